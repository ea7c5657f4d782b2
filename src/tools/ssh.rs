//! Runs a constant script on a host: over the user's own ssh, or in a shell of this machine for a host that is local.
//! The script goes in on standard input, so that nothing of it stands in an argument list; what comes back is bounded
//! in size and time.

use std::time::Duration;

use tokio::process::Command;

use crate::address::HostName;
use crate::manifest::{Access, Surroundings, UnsetVariable};
use crate::observation::Cause;
use crate::text::Untrusted;
use crate::tools::program::{self, RunError};

/// How long a look at a host may take, from the first packet to the last.
pub const LOOK: Duration = Duration::from_secs(15);
/// No answer of a host is longer, in bytes.
const LIMIT: u64 = 4 << 20;

/// What ssh is told on top of the user's own configuration. Nothing is ever asked: many hosts are looked at at once.
/// A host that is off has four seconds, so that it is told within five.
const OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=4",
    "ConnectionAttempts=1",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=2",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "ControlMaster=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
];

/// Where a script runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// In a shell of this machine.
    Local,
    /// Over ssh.
    Ssh {
        /// `[user@]host`, checked.
        to: String,
        /// Another port than the configuration's.
        port: Option<u16>,
    },
}

/// Why a host gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// A variable of the destination is not set here.
    #[error(transparent)]
    Unset(#[from] UnsetVariable),
    /// There was no connection, or nobody was let in.
    #[error("it cannot be reached ({})", .0.printable())]
    Unreachable(Untrusted),
    /// Its ssh key is not the one that is known.
    #[error("its ssh key was refused ({})", .0.printable())]
    HostKey(Untrusted),
    /// It answered something that is no answer.
    #[error("it answered what is not understood ({})", .0.printable())]
    Unclear(Untrusted),
}

impl SshError {
    /// The same as a cause of what is unknown of `host`.
    #[must_use]
    pub fn cause(self, host: &HostName) -> Cause {
        let host = host.clone();
        match self {
            Self::Unset(unset) => Cause::Unset(unset),
            Self::Unreachable(detail) => Cause::HostUnreachable { host, detail },
            Self::HostKey(detail) => Cause::HostKeyRefused { host, detail },
            Self::Unclear(detail) => Cause::HostUnclear { host, detail },
        }
    }
}

/// What a script printed, and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, at most 4 MiB.
    pub stdout: Vec<u8>,
    /// The last line of its standard error.
    pub complaint: Untrusted,
}

impl Target {
    /// Where the scripts of a host run.
    ///
    /// # Errors
    /// When a variable of the destination is not set, or holds what is no destination.
    pub fn of(access: &Access, surroundings: &Surroundings) -> Result<Self, SshError> {
        let Access::Ssh { to, port } = access else { return Ok(Self::Local) };
        let to = to.text(surroundings)?;
        if is_destination(&to) {
            Ok(Self::Ssh { to, port: *port })
        } else {
            Err(SshError::Unreachable(Untrusted::new(format!("\"{to}\" is no ssh destination: write [user@]host"))))
        }
    }

    /// Runs `script` there and takes what it prints.
    ///
    /// # Errors
    /// When the host is not reached, prints too much, or takes longer than `within`.
    pub async fn run(&self, surroundings: &Surroundings, script: &str, within: Duration) -> Result<Answer, SshError> {
        let ran = program::run(self.command(surroundings), script.as_bytes(), LIMIT, within).await;
        let output = ran.map_err(|error| match error {
            RunError::NotFound(_) | RunError::System { .. } => SshError::Unreachable(Untrusted::new(error.to_string())),
            RunError::TooMuch { .. } => SshError::Unclear(Untrusted::new("it printed more than 4 MiB")),
            RunError::TimedOut { seconds, .. } => {
                SshError::Unreachable(Untrusted::new(format!("no answer within {seconds} s")))
            }
        })?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        // ssh's own failures have this code. A script of ours never ends with it.
        if matches!(self, Self::Ssh { .. }) && output.code == Some(255) && output.stdout.is_empty() {
            return Err(refusal(&stderr));
        }
        Ok(Answer { code: output.code, stdout: output.stdout.to_vec(), complaint: Untrusted::new(last_line(&stderr)) })
    }

    /// How a person runs `command` there.
    #[must_use]
    pub fn by_hand(&self, command: &str) -> String {
        match self {
            Self::Local => command.to_owned(),
            Self::Ssh { to, port } => {
                let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
                format!("ssh -t {port}{to} {}", quoted(command))
            }
        }
    }

    /// A command that runs `line` there, with a terminal where we have one.
    #[must_use]
    pub fn command_line(&self, surroundings: &Surroundings, line: &str) -> Command {
        let Self::Ssh { to, port } = self else {
            let mut shell = program::command_in("sh", &surroundings.variables);
            shell.args(["-c", line]);
            return shell;
        };
        let mut ssh = program::command_in("ssh", &surroundings.variables);
        ssh.args(["-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=yes"]);
        if let Some(port) = port {
            ssh.args(["-p", &port.to_string()]);
        }
        ssh.args(["--", to, line]);
        ssh
    }

    fn command(&self, surroundings: &Surroundings) -> Command {
        let Self::Ssh { to, port } = self else {
            let mut shell = program::command_in("sh", &surroundings.variables);
            shell.arg("-s");
            return shell;
        };
        let mut ssh = program::command_in("ssh", &surroundings.variables);
        ssh.args(OPTIONS.iter().flat_map(|option| ["-o", option])).arg("-T");
        if let Some(port) = port {
            ssh.args(["-p", &port.to_string()]);
        }
        ssh.args(["--", to, "sh -s"]);
        ssh
    }
}

/// `[user@]host`, with nothing that ssh could take for an option or a shell for anything but a word.
fn is_destination(text: &str) -> bool {
    let plain = |part: &str, also: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || also.contains(c);
        !part.is_empty() && !part.starts_with('-') && part.chars().all(good)
    };
    match text.rsplit_once('@') {
        Some((user, host)) => plain(user, "") && plain(host, ":[]%"),
        None => plain(text, ":[]%"),
    }
}

/// `text` as one word of a POSIX shell.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What ssh said when it failed, in few words.
fn refusal(stderr: &str) -> SshError {
    let key = |words: &str| SshError::HostKey(Untrusted::new(words));
    if stderr.contains("HOST IDENTIFICATION HAS CHANGED") {
        return key("it is not the one that is known");
    }
    if stderr.contains("Host key verification failed") || stderr.contains("host key is known for") {
        return key("it is not known here yet");
    }
    let known = [
        ("Connection refused", "connection refused"),
        ("timed out", "timed out"),
        ("No route to host", "no route to host"),
        ("Network is unreachable", "network is unreachable"),
        ("Could not resolve hostname", "its name is not known"),
        ("Too many authentication failures", "too many authentication failures"),
        ("Connection reset", "connection reset"),
        ("Connection closed", "connection closed"),
        ("not responding", "it stopped answering"),
    ];
    if let Some(at) = stderr.find("Permission denied (") {
        let methods = stderr[at..].lines().next().unwrap_or_default().trim_end_matches('.');
        return SshError::Unreachable(Untrusted::new(methods.replacen('P', "p", 1)));
    }
    let words = known.iter().find(|(said, _)| stderr.contains(said)).map(|(_, words)| (*words).to_owned());
    SshError::Unreachable(Untrusted::new(words.unwrap_or_else(|| last_line(stderr))))
}

fn last_line(text: &str) -> String {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("it said nothing").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Place;

    #[test]
    fn a_destination_is_checked_after_its_variables_are_replaced() {
        let surroundings = |value: &str| Surroundings {
            variables: [("VM".to_owned(), value.to_owned())].into(),
            ..Surroundings::default()
        };
        let access = Access::Ssh { to: Place::new("$VM"), port: None };
        for good in ["m@nixos-vm", "nixos-vm", "m@[fe80::1%en0]", "10.0.0.2"] {
            let target = Target::of(&access, &surroundings(good));
            assert_eq!(target, Ok(Target::Ssh { to: good.to_owned(), port: None }));
        }
        for bad in ["-oProxyCommand=id", "m@-x", "a b", "x;y", "m@$(id)", "@", "a@b@c"] {
            assert!(matches!(Target::of(&access, &surroundings(bad)), Err(SshError::Unreachable(_))), "{bad}");
        }
        assert!(matches!(Target::of(&access, &Surroundings::default()), Err(SshError::Unset(_))));
        assert_eq!(Target::of(&Access::Local, &Surroundings::default()), Ok(Target::Local));
    }

    #[test]
    fn a_host_that_is_off_or_asleep_is_told_within_five_seconds_and_nothing_is_asked() {
        let target = Target::Ssh { to: "m@vm".to_owned(), port: Some(2222) };
        let command = target.command(&Surroundings::default());
        let arguments: Vec<_> = command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let given = |name: &str| {
            let option = arguments.windows(2).filter(|pair| pair[0] == "-o").find_map(|pair| {
                let (option, value) = pair[1].split_once('=')?;
                (option == name).then(|| value.to_owned())
            });
            option.unwrap_or_else(|| panic!("{name} is not among {arguments:?}"))
        };
        // Of one attempt, from the first packet to the server's first words.
        let seconds: u64 = given("ConnectTimeout").parse().unwrap_or(u64::MAX);
        let attempts: u64 = given("ConnectionAttempts").parse().unwrap_or(u64::MAX);
        assert!(seconds < 5 && attempts == 1, "{arguments:?}");
        for (name, value) in [("BatchMode", "yes"), ("StrictHostKeyChecking", "yes"), ("ForwardAgent", "no")] {
            assert_eq!(given(name), value, "{name}");
        }
        assert_eq!(arguments[arguments.len() - 5..], ["-p", "2222", "--", "m@vm", "sh -s"]);
    }

    #[test]
    fn what_ssh_says_becomes_few_words() {
        let unreachable = |words: &str| SshError::Unreachable(Untrusted::new(words));
        for (said, expected) in [
            ("ssh: connect to host vm port 22: Connection refused\r\n", unreachable("connection refused")),
            ("Connection timed out during banner exchange\r\n", unreachable("timed out")),
            (
                "m@vm: Permission denied (publickey,password).\r\n",
                unreachable("permission denied (publickey,password)"),
            ),
            ("ssh: Could not resolve hostname vm: Name or service not known\n", unreachable("its name is not known")),
            ("something new\n\n", unreachable("something new")),
            ("", unreachable("it said nothing")),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n",
                SshError::HostKey(Untrusted::new("it is not the one that is known")),
            ),
            (
                "No ED25519 host key is known for vm and you have requested strict checking.\nHost key verification failed.\n",
                SshError::HostKey(Untrusted::new("it is not known here yet")),
            ),
        ] {
            assert_eq!(refusal(said), expected, "{said}");
        }
    }

    #[test]
    fn a_word_stays_a_word() {
        assert_eq!(quoted("a'b $(c)"), r"'a'\''b $(c)'");
    }

    #[tokio::test]
    async fn a_script_runs_in_a_shell_of_this_machine() -> Result<(), SshError> {
        let surroundings = Surroundings {
            variables: std::env::vars().filter(|(name, _)| name == "PATH").collect(),
            ..Surroundings::default()
        };
        let answer = Target::Local.run(&surroundings, "echo out; echo 'no such thing' >&2; exit 3", LOOK).await?;
        assert_eq!((answer.code, &answer.stdout[..]), (Some(3), &b"out\n"[..]));
        assert_eq!(answer.complaint, Untrusted::new("no such thing"));
        let slow = Target::Local.run(&surroundings, "sleep 5", Duration::from_millis(50)).await;
        assert!(matches!(slow, Err(SshError::Unreachable(_))));
        let flood = Target::Local.run(&surroundings, "head -c 5000000 /dev/zero", LOOK).await;
        assert!(matches!(flood, Err(SshError::Unclear(_))));
        Ok(())
    }
}
