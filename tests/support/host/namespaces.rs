//! The mount, network, pid, uts and ipc namespaces that a test host lives in. They end with the value, and with the
//! test's process however that ends: process 1 in them waits on a pipe that only the test holds.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::peers;

/// What process 1 runs.
const SETUP: &str = include_str!("setup.sh");

/// Namespaces, and the process that holds them.
pub struct Namespaces {
    unshare: Child,
    /// Closing it ends process 1.
    lifeline: Option<ChildStdin>,
    /// Process 1 of the namespaces, as this machine numbers it.
    pub pid: u32,
}

/// What is put into the namespaces.
pub struct Contents<'a> {
    /// The host's own directory.
    pub tree: &'a Path,
    /// The dataset that it sees, if any.
    pub dataset: Option<&'a Path>,
    /// Where it sees the dataset.
    pub seen_at: &'a str,
    /// `sops-install-secrets`.
    pub installer: &'a Path,
    /// Its host name.
    pub name: &'a str,
}

impl Namespaces {
    /// New namespaces with a root of their own; returns when they are set up.
    pub fn start(contents: &Contents<'_>) -> Self {
        let mut unshare = Command::new(peers::find("unshare").expect("unshare"))
            .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--propagation", "private"])
            .args(["--fork", "--kill-child=SIGKILL", "bash", "-c", SETUP])
            .env("TREE", contents.tree)
            .env("DATASET", contents.dataset.unwrap_or(Path::new("")))
            .env("SEEN_AT", contents.seen_at)
            .env("INSTALLER", contents.installer)
            .env("NAME", contents.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is spawned");
        let lifeline = unshare.stdin.take();
        let mut lines = BufReader::new(unshare.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let pid = lines.next().and_then(|line| line.strip_prefix("pid ")?.parse().ok());
        let ready = lines.any(|line| line == "ready");
        let pid = pid.filter(|_| ready).expect("the namespaces are set up (see standard error)");
        Self { unshare, lifeline, pid }
    }

    /// A command that will run in the namespaces, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(peers::find("nsenter").expect("nsenter"));
        command.args(["--target", &self.pid.to_string(), "--mount", "--net", "--pid", "--uts", "--ipc", "--", program]);
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.lifeline = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.unshare.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Process 1 is then killed with it.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
