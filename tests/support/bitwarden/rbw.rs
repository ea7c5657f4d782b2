//! The real `rbw`, logged in to a [`Server`] from a home of its own, with an agent of its own. Its pinentry is a script
//! that counts how often it is asked.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal};
use serde_json::json;
use tempfile::TempDir;

use super::{EMAIL, PASSWORD, Server};
use crate::support::peers;

/// What a test with an [`Account`] needs: the `needs` of [`peers::trial`].
pub const NEEDS: &[&str] = &["rbw", "rbw-agent"];

/// What the pinentry does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It gives the password.
    Password,
    /// It gives another one.
    Wrong,
    /// It says that the person cancelled.
    Cancel,
    /// Nothing, until something else is chosen.
    Wait,
}

/// A user of `rbw`.
pub struct Account {
    directory: TempDir,
}

impl Account {
    /// Logged in to `server`, synced and unlocked. The prompt of it is counted.
    pub fn log_in(server: &Server) -> Self {
        let account = Self::configured(server);
        for command in [["login"], ["sync"]] {
            succeeded(&account.rbw(&command));
        }
        account
    }

    /// Configured for `server`, but not logged in.
    pub fn configured(server: &Server) -> Self {
        // the path of a socket must be short, and what `TMPDIR` names need not be
        let directory = tempfile::Builder::new().prefix("rbw-").tempdir_in("/tmp").expect("a directory");
        let account = Self { directory };
        for (_, name) in DIRECTORIES {
            fs::create_dir(account.path(name)).expect("a directory");
        }
        fs::set_permissions(account.path("run"), fs::Permissions::from_mode(0o700)).expect("its mode");
        let pinentry = account.path("pinentry");
        fs::write(&pinentry, script(account.directory.path())).expect("the pinentry");
        fs::set_permissions(&pinentry, fs::Permissions::from_mode(0o700)).expect("its mode");
        account.answer(Answer::Password);
        // no interval: nothing syncs behind a test's back
        let config = json!({
            "email": EMAIL, "base_url": server.url(), "identity_url": format!("{}/identity", server.url()),
            "lock_timeout": 3600, "sync_interval": 0, "pinentry": pinentry,
        });
        fs::create_dir(account.path("config/rbw")).expect("a directory");
        fs::write(account.path("config/rbw/config.json"), config.to_string()).expect("the configuration");
        account
    }

    /// What to run `rbw`, or what runs it, with.
    pub fn env(&self) -> Vec<(String, OsString)> {
        let peers = peers::find("rbw").and_then(|rbw| Some(rbw.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(peers.into_iter().chain(std::env::split_paths(&path))).expect("a PATH");
        let directories = DIRECTORIES.iter().map(|(variable, name)| (*variable, self.path(name).into_os_string()));
        let set = [("PATH", path), ("RBW_PROFILE", OsString::new()), ("NO_PROXY", "127.0.0.1".into())];
        directories.chain(set).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Runs `rbw` without a terminal and without input.
    pub fn rbw(&self, arguments: &[impl AsRef<OsStr>]) -> Output {
        self.rbw_with_input(arguments, "")
    }

    /// Runs `rbw` without a terminal.
    pub fn rbw_with_input(&self, arguments: &[impl AsRef<OsStr>], input: &str) -> Output {
        let mut command = Command::new(peers::find("rbw").expect("rbw"));
        command.args(arguments).envs(self.env()).env_remove("RBW_AGENT").env_remove("RBW_TTY");
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("rbw starts");
        // one that takes no input has left already
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("its output")
    }

    /// How often the pinentry was asked.
    pub fn prompts(&self) -> usize {
        self.asked().len()
    }

    /// What it was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.path("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    /// What the pinentry does from now on.
    pub fn answer(&self, answer: Answer) {
        let line = match answer {
            Answer::Password => format!("D {PASSWORD}"),
            Answer::Wrong => "D wrong".to_owned(),
            Answer::Cancel => "ERR 83886179 Operation cancelled <Pinentry>".to_owned(),
            Answer::Wait => "wait".to_owned(),
        };
        fs::write(self.path("answer.new"), line + "\n").expect("the answer");
        fs::rename(self.path("answer.new"), self.path("answer")).expect("the answer");
    }

    /// Forgets the keys.
    pub fn lock(&self) {
        succeeded(&self.rbw(&["lock"]));
    }

    /// Asks the pinentry, when the keys are forgotten.
    pub fn unlock(&self) {
        succeeded(&self.rbw(&["unlock"]));
    }

    /// Whether the agent is there and has the keys.
    pub fn is_unlocked(&self) -> bool {
        self.rbw(&["unlocked"]).status.success()
    }

    /// Fetches what the server has.
    pub fn sync(&self) {
        succeeded(&self.rbw(&["sync"]));
    }

    /// Its configuration.
    pub fn configuration(&self) -> PathBuf {
        self.path("config/rbw/config.json")
    }

    /// The local database.
    pub fn database(&self) -> PathBuf {
        let all = fs::read_dir(self.path("cache/rbw")).expect("a cache").flatten().map(|entry| entry.path());
        all.into_iter().find(|path| path.extension() == Some(OsStr::new("json"))).expect("a database")
    }

    /// The socket of the agent.
    pub fn socket(&self) -> PathBuf {
        self.path("run/rbw/socket")
    }

    /// Ends the agent, if there is one. The next use of `rbw` starts another.
    pub fn stop_agent(&self) {
        let Some(pid) = self.agent() else { return };
        // not `rbw stop-agent`: it waits until init has reaped the agent, and not every container's does
        if let Ok(mut socket) = UnixStream::connect(self.socket()) {
            let _ = socket.write_all(b"{\"action\":{\"type\":\"Quit\"}}\n");
        }
        if !self.agent_ends_within(Duration::from_secs(2)) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            self.agent_ends_within(Duration::from_secs(2));
        }
    }

    fn agent_ends_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.agent().is_some() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// The process of the agent, if there is one: it holds a lock on the file with its number.
    pub fn agent(&self) -> Option<Pid> {
        let mut file = File::open(self.path("run/rbw/pidfile")).ok()?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return None;
        }
        let mut number = String::new();
        file.read_to_string(&mut number).ok()?;
        Pid::from_raw(number.trim().parse().ok()?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // a pinentry that waits leaves
        let _ = fs::remove_file(self.path("answer"));
        self.stop_agent();
    }
}

const DIRECTORIES: &[(&str, &str)] = &[
    ("HOME", "home"),
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_DATA_HOME", "data"),
    ("XDG_STATE_HOME", "state"),
    ("XDG_RUNTIME_DIR", "run"),
];

/// Speaks Assuan, as a pinentry does; notes what it is asked for.
fn script(directory: &Path) -> String {
    format!(
        r#"#!/bin/sh
cd '{}' || exit 1
echo OK
while IFS= read -r command; do
    case $command in
    SETDESC*) description=${{command#SETDESC }}; echo OK ;;
    GETPIN)
        printf '%s\n' "$description" >> asked
        while IFS= read -r answer < answer && [ "$answer" = wait ]; do sleep 0.05; done 2> /dev/null
        case $answer in
        "D "*) printf '%s\nOK\n' "$answer" ;;
        *) printf '%s\n' "$answer" ;;
        esac ;;
    *) echo OK ;;
    esac
done
"#,
        directory.display()
    )
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "rbw: {}", String::from_utf8_lossy(&output.stderr));
}
