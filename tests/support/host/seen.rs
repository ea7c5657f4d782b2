//! What a test looks at on a host: from inside, as root, and not by ssh.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use super::{Host, checked, text_of};

impl Host {
    /// Runs a shell script there as root, not by `ssh`.
    pub fn run_as_root(&self, script: &str) -> Output {
        let mut command = self.namespaces.command("sh");
        command.args(["-c", script]).stdin(Stdio::null()).output().expect("nsenter is run")
    }

    /// What a shell script prints there, run as root; its last line end removed.
    ///
    /// # Panics
    /// When the script fails.
    pub fn root(&self, script: &str) -> String {
        checked(self.namespaces.command("sh").args(["-c", script]))
    }

    /// Writes a file there, as root.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let mut command = self.namespaces.command("sh");
        command.args(["-c", "mkdir -p \"$(dirname \"$0\")\" && cat >\"$0\"", path]).stdin(Stdio::piped());
        let mut child = command.spawn().expect("nsenter is run");
        child.stdin.take().expect("a pipe").write_all(bytes).expect("the file's bytes are taken");
        assert!(child.wait().is_ok_and(|status| status.success()), "{path} is written");
    }

    /// The bytes of a file there, if it is there.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let output = self.namespaces.command("cat").arg(path).output().expect("nsenter is run");
        output.status.success().then_some(output.stdout)
    }

    /// `owner group mode size` of what is at `path` there, such as `m users 400 17`; `None` when nothing is.
    pub fn stat(&self, path: &str) -> Option<String> {
        let output = self.namespaces.command("stat").args(["-L", "-c", "%U %G %a %s", path]).output();
        let output = output.expect("nsenter is run");
        output.status.success().then(|| text_of(&output.stdout))
    }

    /// The number of the live generation of `/run/secrets`.
    pub fn generation(&self) -> Option<u64> {
        let target = self.run_as_root("readlink /run/secrets");
        text_of(&target.stdout).rsplit_once('/')?.1.parse().ok()
    }

    /// The store path of the running system.
    pub fn system(&self) -> Option<String> {
        let path = self.run_as_root("readlink -e /run/current-system");
        path.status.success().then(|| text_of(&path.stdout))
    }

    /// The SHA-256 of the sops file that the running system installs from, in hexadecimal; `None` before the first
    /// switch and when nothing is declared.
    pub fn sops_file_digest(&self) -> Option<String> {
        let manifest = self
            .run_as_root("cat $(grep -o '/nix/store/[^ ]*-manifest.*json' /run/current-system/activate | tail -n 1)");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.stdout).ok()?;
        let file = manifest["secrets"][0]["sopsFile"].as_str()?;
        self.root(&format!("sha256sum {file}")).split(' ').next().map(str::to_owned)
    }

    /// The units that switches restarted since the start, in order.
    pub fn restarted_units(&self) -> Vec<String> {
        self.lines("/run/nixos/restart-log")
    }

    /// The units that switches reloaded since the start, in order.
    pub fn reloaded_units(&self) -> Vec<String> {
        self.lines("/run/nixos/reload-log")
    }

    /// Process 1 of its namespaces, as this machine numbers it.
    pub fn pid(&self) -> u32 {
        self.namespaces.pid
    }

    /// Its directory on this machine, which is removed with it.
    pub fn directory(&self) -> &Path {
        self.tree.path()
    }

    fn lines(&self, path: &str) -> Vec<String> {
        self.read(path).map_or_else(Vec::new, |bytes| text_of(&bytes).lines().map(str::to_owned).collect())
    }
}
