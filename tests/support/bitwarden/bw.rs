//! The real `bw`, logged in to a [`Server`] with a data directory of its own. It insists on https, so node, which it
//! runs on, stands in front of the server with a certificate for loopback that `bw` alone is told to trust.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::{EMAIL, PASSWORD, Server};
use crate::support::peers;

/// What a test with an [`Account`] needs: the `needs` of [`peers::trial`].
pub const NEEDS: &[&str] = &["bw", "node"];

/// A certificate for 127.0.0.1 and localhost, and its key.
const CERTIFICATE: &str = include_str!("loopback.pem");

/// Passes on what it is sent to the port that it is given, until its input ends.
const FRONT: &str = "
const [certificate, port] = process.argv.slice(1);
const pem = require('fs').readFileSync(certificate);
const pass = client => {
    const server = require('net').connect(port, '127.0.0.1');
    client.on('error', () => server.destroy());
    server.on('error', () => client.destroy());
    client.pipe(server).pipe(client);
};
require('tls').createServer({ cert: pem, key: pem }, pass).listen(0, '127.0.0.1', function () {
    console.log(this.address().port);
});
process.stdin.on('end', () => process.exit()).resume();
";

/// A user of `bw`.
pub struct Account {
    directory: TempDir,
    front: Child,
    session: String,
}

impl Account {
    /// Logged in to `server`, synced and unlocked.
    pub fn log_in(server: &Server) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let certificate = directory.path().join("loopback.pem");
        fs::write(&certificate, CERTIFICATE).expect("the certificate");
        let mut node = Command::new(peers::find("node").expect("node"));
        let port = server.listening.address.port().to_string();
        node.args(["-e", FRONT, "--"]).arg(certificate).arg(port).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut front = node.spawn().expect("node starts");
        let mut port = String::new();
        BufReader::new(front.stdout.take().expect("a pipe")).read_line(&mut port).expect("its port");
        let mut account = Self { directory, front, session: String::new() };
        let port: u16 = port.trim().parse().expect("a port");
        account.succeeds(&["config", "server", &format!("https://127.0.0.1:{port}")]);
        account.session = account.succeeds(&["login", EMAIL, "--passwordenv", "BW_PASSWORD", "--raw"]);
        account
    }

    /// What to run `bw`, or what runs it, with.
    pub fn env(&self) -> Vec<(String, OsString)> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let peers = peers::find("bw").and_then(|bw| Some(bw.parent()?.to_owned()));
        let path = std::env::join_paths(peers.into_iter().chain(std::env::split_paths(&path))).expect("a PATH");
        let directory = self.directory.path();
        let set = [
            ("PATH", path),
            ("HOME", directory.into()),
            ("BITWARDENCLI_APPDATA_DIR", directory.into()),
            ("NODE_EXTRA_CA_CERTS", directory.join("loopback.pem").into()),
            ("NO_PROXY", "127.0.0.1".into()),
            ("BW_SESSION", self.session.clone().into()),
        ];
        set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Runs `bw` without a terminal and without questions.
    pub fn bw(&self, arguments: &[impl AsRef<OsStr>]) -> Output {
        let mut command = Command::new(peers::find("bw").expect("bw"));
        command.args(arguments).envs(self.env()).env("BW_PASSWORD", PASSWORD).env("BW_NOINTERACTION", "true");
        command.stdin(Stdio::null()).output().expect("bw starts")
    }

    /// Forgets the key. The session that there was is worth nothing any more.
    pub fn lock(&self) {
        self.succeeds(&["lock"]);
    }

    /// Unlocked again, with a new session.
    pub fn unlock(&mut self) {
        self.session = self.succeeds(&["unlock", "--passwordenv", "BW_PASSWORD", "--raw"]);
    }

    /// Fetches what the server has.
    pub fn sync(&self) {
        self.succeeds(&["sync"]);
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.bw(arguments);
        assert!(output.status.success(), "bw: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = self.front.kill();
        let _ = self.front.wait();
    }
}
