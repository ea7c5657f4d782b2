//! The client's side of a test host: its `ssh` configuration, the `ssh` that enters the host's network, the script that
//! switches it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::peers;

/// Makes the client's key pair and the configuration of `ssh`; the public key is returned.
pub fn configure(client: &Path, alias: &str) -> String {
    keygen(&client.join("id_ed25519"), "client");
    let at = client.display();
    // StrictHostKeyChecking is not set here: asking for it is up to whoever calls ssh.
    let config = format!(
        "Host {alias}\n  HostName 127.0.0.1\n  Port 22\n  HostKeyAlias {alias}\n  IdentityFile {at}/id_ed25519\n  \
         IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {at}/known_hosts\n  \
         GlobalKnownHostsFile /dev/null\n  UpdateHostKeys no\n"
    );
    fs::write(client.join("config"), config).expect("the configuration of ssh is written");
    fs::read_to_string(client.join("id_ed25519.pub")).expect("the client's public key")
}

/// A new ed25519 pair at `path` and `path.pub`, in place of any other.
pub fn keygen(path: &Path, comment: &str) {
    let public = path.with_extension("pub");
    for old in [path, &public] {
        let _ = fs::remove_file(old);
    }
    let mut command = Command::new(peers::find("ssh-keygen").expect("ssh-keygen"));
    let done = command.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(path).status();
    assert!(done.is_ok_and(|status| status.success()), "ssh-keygen makes {}", path.display());
}

/// One host as `ssh` knows it.
pub struct Known<'a> {
    /// Its name in the destination.
    pub alias: &'a str,
    /// A process in its network.
    pub pid: u32,
    /// The configuration of `ssh` for it.
    pub config: PathBuf,
}

/// Writes `ssh` into `directory`: it enters the network of the host that its arguments name, and one without anything
/// in it for any other, so that no test reaches further than its hosts.
pub fn write_ssh(directory: &Path, hosts: &[Known<'_>]) -> PathBuf {
    let program = |name| peers::find(name).unwrap_or_else(|| panic!("{name} is not installed")).display().to_string();
    let ssh = program("ssh");
    let mut text = "#!/bin/sh\nfor word; do\n  case $word in\n".to_owned();
    for Known { alias, pid, config } in hosts {
        let (nsenter, config) = (program("nsenter"), config.display());
        text += &format!("  {alias} | *@{alias}) exec {nsenter} --target {pid} --net -- {ssh} -F {config} \"$@\" ;;\n");
    }
    text += &format!("  esac\ndone\nexec {} --net -- {ssh} -F /dev/null \"$@\"\n", program("unshare"));
    fs::create_dir_all(directory).expect("the client's directory");
    write_program(&directory.join("ssh"), &text)
}

/// Writes the client's script that switches `alias`, as `docs/vm.sh switch` does. Each call leaves a line in `switches`
/// and its environment in `switch.env`.
pub fn write_switch(client: &Path, ssh: &Path, alias: &str) -> PathBuf {
    let (at, ssh) = (client.display(), ssh.display());
    let text = format!(
        "#!/usr/bin/env bash\nset -eu\nif [ \"${{1-}}\" != switch ]; then\n  echo \"usage: vm.sh switch\" >&2\n  exit 64\nfi\n\
         echo switch >>{at}/switches\nenv -0 >{at}/switch.env\n\
         exec {ssh} -o BatchMode=yes -o StrictHostKeyChecking=yes -- root@{alias} /etc/nixos/rebuild\n"
    );
    write_program(&client.join("vm.sh"), &text)
}

/// Writes an executable.
pub fn write_program(path: &Path, text: &str) -> PathBuf {
    fs::write(path, text).expect("a script is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a script is made executable");
    path.to_owned()
}
