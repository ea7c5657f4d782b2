//! Starts programs with an environment of listed variables, and takes bounded output from them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use zeroize::Zeroizing;

/// Variables that every program may see.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XMODIFIERS",
    "GTK_IM_MODULE",
    "QT_IM_MODULE",
    "QT_QPA_PLATFORM",
    "GPG_TTY",
    "SSH_AUTH_SOCK",
    "SSH_TTY",
    "DBUS_SESSION_BUS_ADDRESS",
    "RBW_PROFILE",
    "RBW_AGENT",
    "RBW_TTY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "PINENTRY_USER_DATA",
    "PINENTRY_GEOM_HINT",
];
const PASSED_PREFIXES: &[&str] = &["LC_", "XDG_", "NIX_"];

/// What a program printed, and how it ended.
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output. It may hold a value, and is wiped.
    pub stdout: Zeroizing<Vec<u8>>,
    /// Standard error, at most 16 KiB.
    pub stderr: Vec<u8>,
}

/// Why a program gave no output.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It is not installed.
    #[error("{0} is not installed, or not on the PATH")]
    NotFound(String),
    /// It could not be started or read.
    #[error("{program}: {error}")]
    System {
        /// The program.
        program: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It printed more than it should.
    #[error("{program} printed more than {limit} bytes")]
    TooMuch {
        /// The program.
        program: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// It did not end in time.
    #[error("{program} did not answer within {seconds} s")]
    TimedOut {
        /// The program.
        program: String,
        /// The time it had.
        seconds: u64,
    },
}

/// A command whose environment holds the listed variables of ours only.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let ours = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    with_listed(program, ours)
}

/// A command whose environment holds the listed ones of `variables` only.
#[must_use]
pub fn command_in(program: impl AsRef<OsStr>, variables: &BTreeMap<String, String>) -> Command {
    with_listed(program, variables.iter().map(|(name, value)| (name.clone(), value.into())))
}

fn with_listed(program: impl AsRef<OsStr>, variables: impl Iterator<Item = (String, OsString)>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    let listed = |name: &str| PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    command.envs(variables.filter(|(name, _)| listed(name)));
    command
}

/// Runs a program to its end: `input` on its standard input, at most `limit` bytes from its standard output.
///
/// # Errors
/// When it cannot be started, prints too much, or takes longer than `timeout`. It is then ended.
pub async fn run(mut command: Command, input: &[u8], limit: u64, timeout: Duration) -> Result<Output, RunError> {
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(Stdio::piped());
    to_the_end(command, input, limit, timeout).await
}

async fn to_the_end(mut command: Command, input: &[u8], limit: u64, timeout: Duration) -> Result<Output, RunError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| RunError::System { program: program.clone(), error };
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(RunError::NotFound(program)),
        Err(error) => return Err(failed(error)),
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading all of it says why by itself.
            let _ = stdin.write_all(input).await;
        }
    };
    let whole = async { tokio::join!(feed, taken(stdout, limit + 1), taken(stderr, 16 << 10), child.wait()) };
    let Ok(((), stdout, stderr, status)) = tokio::time::timeout(timeout, whole).await else {
        return Err(RunError::TimedOut { program, seconds: timeout.as_secs() });
    };
    let stdout = stdout.map_err(failed)?;
    if stdout.len() as u64 > limit {
        return Err(RunError::TooMuch { program, limit });
    }
    let stderr = stderr.map_err(failed)?.to_vec();
    Ok(Output { code: status.map_err(failed)?.code(), stdout, stderr })
}

/// Runs a program that may ask something on our terminal: it has our standard input. Its standard output is dropped.
///
/// # Errors
/// When it cannot be started, or takes longer than `timeout`. It is then ended.
pub async fn run_attended(mut command: Command, timeout: Duration) -> Result<Output, RunError> {
    command.stdin(Stdio::inherit()).stdout(Stdio::null());
    to_the_end(command, b"", 0, timeout).await
}

/// Where what a program prints goes.
pub enum Shown<'a> {
    /// To our own terminal, which it may read from as well.
    Inherit,
    /// Line by line to this, both streams as they come, each line at most 4 KiB.
    Lines(&'a mut dyn FnMut(&[u8])),
}

/// Runs a program to its end, however long it takes, and shows what it prints. Returns its exit code; `None` when a
/// signal ended it.
///
/// # Errors
/// When it cannot be started or read.
pub async fn run_shown(mut command: Command, shown: Shown<'_>) -> Result<Option<i32>, RunError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => RunError::NotFound(program.clone()),
        _ => RunError::System { program: program.clone(), error },
    };
    let Shown::Lines(show) = shown else {
        return Ok(command.status().await.map_err(failed)?.code());
    };
    // One pipe for both, so that their lines stay in order.
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    // It holds the pipe's other end, which must close when the program ends.
    drop(command);
    let mut lines = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
    let mut buffer = vec![0_u8; 4096];
    let mut held = Vec::new();
    let mut ended = None;
    loop {
        let count = tokio::select! {
            biased;
            count = lines.read(&mut buffer) => count.map_err(failed)?,
            // A daemon that it left behind may hold the pipe for ever.
            status = child.wait(), if ended.is_none() => {
                ended = Some(status.map_err(failed)?);
                continue;
            }
            () = tokio::time::sleep(Duration::from_millis(200)), if ended.is_some() => 0,
        };
        held.extend_from_slice(&buffer[..count]);
        while let Some(end) = held.iter().position(|byte| *byte == b'\n').or((held.len() >= 4096).then_some(4095)) {
            show(&held[..=end]);
            held.drain(..=end);
        }
        if count == 0 {
            break;
        }
    }
    if !held.is_empty() {
        show(&held);
    }
    let status = match ended {
        Some(status) => status,
        None => child.wait().await.map_err(failed)?,
    };
    Ok(status.code())
}

/// Reads at most `limit` bytes; what comes after is read and dropped, so that the program can end.
async fn taken(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let Some(mut stream) = stream else { return Ok(Zeroizing::default()) };
    let mut bytes = Zeroizing::new(Vec::new());
    // Not in the future itself: it is a part of all that wait for it, and those are a part of others.
    let mut buffer = Zeroizing::new(vec![0_u8; 16 << 10]);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(bytes);
        }
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(bytes.len()).min(count);
        if bytes.capacity() - bytes.len() < room {
            // Grown by hand, so that the old allocation is wiped.
            let mut larger = Zeroizing::new(Vec::with_capacity((bytes.len() + room) * 2));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(&buffer[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: u64, timeout: u64) -> Result<Output, RunError> {
        let variables =
            [("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("BW_SESSION", "canary"), ("LD_PRELOAD", "canary")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut command = command_in("sh", &variables);
        command.args(["-c", script]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        runtime.block_on(run(command, b"input", limit, Duration::from_millis(timeout)))
    }

    #[test]
    fn only_listed_variables_are_passed_on() -> Result<(), RunError> {
        let output = shell("env", 10_000, 5000)?;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("LC_ALL=C") && !text.contains("canary"), "{text}");
        Ok(())
    }

    #[test]
    fn input_output_and_the_code_go_through() -> Result<(), RunError> {
        let output = shell("cat; echo oh >&2; exit 3", 10_000, 5000)?;
        assert_eq!(
            (output.code, output.stdout.as_slice(), output.stderr.as_slice()),
            (Some(3), &b"input"[..], &b"oh\n"[..])
        );
        Ok(())
    }

    #[test]
    fn what_is_too_much_or_too_slow_is_an_error() -> Result<(), RunError> {
        assert_eq!(shell("echo 12345", 6, 5000)?.stdout.as_slice(), b"12345\n");
        assert!(matches!(shell("echo 12345", 5, 5000), Err(RunError::TooMuch { .. })));
        assert!(matches!(shell("exec sleep 20", 5, 50), Err(RunError::TimedOut { .. })));
        // A program that never reads is not waited for.
        assert_eq!(shell("exec 0<&-; exit 0", 5, 5000)?.code, Some(0));
        Ok(())
    }

    #[test]
    fn waiting_takes_little_of_the_stack() {
        let waits = run(Command::new("true"), b"", 5, Duration::from_secs(5));
        let size = std::mem::size_of_val(&waits);
        assert!(size < 8 << 10, "{size} bytes");
    }

    #[test]
    fn what_is_not_installed_is_told_apart() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        let command = command_in("rbw", &[("PATH".to_owned(), "/nonexistent".to_owned())].into());
        let failed = runtime.block_on(run(command, b"", 5, Duration::from_secs(5)));
        assert!(matches!(failed, Err(RunError::NotFound(program)) if program == "rbw"));
    }
}
