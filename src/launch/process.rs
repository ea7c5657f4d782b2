//! Becoming the program: its secrets are set in this process only, and this process is replaced by it.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::launch::{Form, Given, LaunchError};
use crate::secret::SecretValue;

/// Whether there is such a program, so that nobody is asked for a password for nothing.
///
/// # Errors
/// When it is not found, or cannot be run.
pub fn check_program(program: &OsStr) -> Result<(), LaunchError> {
    let not_found = |what: &str| Err(LaunchError::NotFound(what.to_owned()));
    let not_runnable = |what: &str| Err(LaunchError::NotRunnable(what.to_owned()));
    let look = |path: &Path| match std::fs::metadata(path) {
        Err(_) => Seen::Nothing,
        Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => Seen::Program,
        Ok(_) => Seen::Other,
    };
    if program.is_empty() {
        return not_found("this names no program");
    }
    if program.as_bytes().contains(&b'/') {
        return match look(Path::new(program)) {
            Seen::Program => Ok(()),
            Seen::Other => not_runnable("not a program that can be run"),
            Seen::Nothing => not_found("no such file"),
        };
    }
    // Without a PATH the system has its own.
    let Some(path) = std::env::var_os("PATH") else { return Ok(()) };
    let mut seen = Seen::Nothing;
    for place in std::env::split_paths(&path) {
        match look(&place.join(program)) {
            Seen::Program => return Ok(()),
            Seen::Other => seen = Seen::Other,
            Seen::Nothing => {}
        }
    }
    match seen {
        Seen::Other => not_runnable("what is on the PATH cannot be run"),
        _ => not_found("not on the PATH"),
    }
}

#[derive(Clone, Copy)]
enum Seen {
    Program,
    Other,
    Nothing,
}

/// Replaces this process by the program: the number, the terminal, signals and the exit code are then its own. It has
/// the environment of this process but for `withheld`, and what is given. `before` undoes what was done to this process
/// and would be passed on. Returns only when it failed.
///
/// # Errors
/// When the program cannot be run, or a value cannot be handed over.
pub fn become_program(
    program: &OsStr,
    arguments: &[OsString],
    given: &[(Given<'_>, SecretValue)],
    withheld: Option<&str>,
    before: impl FnOnce(),
) -> Result<Infallible, LaunchError> {
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(variable) = withheld {
        command.env_remove(variable);
    }
    // Open until this process is replaced; then they are the program's.
    let mut files = Vec::new();
    for (given, value) in given {
        match given.form {
            Form::Value if value.expose(|bytes| bytes.contains(&0)) => {
                return Err(LaunchError::Nul(given.secret.clone()));
            }
            Form::Value => {
                value.expose(|bytes| command.env(&given.variable, OsStr::from_bytes(bytes)));
            }
            Form::File => {
                let failed = |error| LaunchError::File { secret: given.secret.clone(), error };
                let file = value.expose(holding).map_err(failed)?;
                command.env(&given.variable, path_of(&file));
                files.push(file);
            }
        }
    }
    before();
    let error = command.exec();
    let what = error.to_string();
    Err(match error.kind() {
        ErrorKind::NotFound => LaunchError::NotFound(what),
        _ => LaunchError::NotRunnable(what),
    })
}

/// A file in memory that has no name: only processes that hold it, and those that may look into them, can read it.
#[cfg(target_os = "linux")]
fn holding(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fchmod, fcntl_add_seals, memfd_create};
    let mut file = File::from(memfd_create("secret", MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    // ssh and others refuse a key that others could read.
    fchmod(&file, rustix::fs::Mode::RUSR)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// A pipe that holds all of it: it can be read once.
#[cfg(not(target_os = "linux"))]
fn holding(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let (reader, writer) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    let mut writer = File::from(OwnedFd::from(writer));
    writer.write_all(bytes)?;
    let reader = OwnedFd::from(reader);
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty())?;
    Ok(reader)
}

fn path_of(file: &OwnedFd) -> String {
    let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    format!("{directory}/{}", file.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(program: &str) -> Option<u8> {
        check_program(OsStr::new(program)).err().map(|error| error.exit_code())
    }

    #[test]
    fn a_program_that_is_not_there_is_told_from_one_that_cannot_run() {
        assert_eq!(code("sh"), None);
        assert_eq!(code("/bin/sh"), None);
        assert_eq!(code("no-such-program-here"), Some(127));
        assert_eq!(code("/no/such/program"), Some(127));
        assert_eq!(code("/etc/passwd"), Some(126));
        assert_eq!(code("/"), Some(126));
        assert_eq!(code(""), Some(127));
    }
}
