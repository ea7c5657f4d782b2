//! A machine to switch, for tests: a real sshd in namespaces of its own, laid out as NixOS lays out a running system,
//! where the real `sops-install-secrets` puts secrets under `/run/secrets`. Nothing outside of the namespaces is
//! reached, and nothing is left of them when the [`Host`] is dropped or its test dies.
#![allow(dead_code, reason = "each test binary uses its part of a host")]

mod accounts;
mod client;
mod dataset;
mod declared;
mod namespaces;
mod seen;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

pub use dataset::Dataset;
pub use declared::Declared;
use namespaces::{Contents, Namespaces};

use super::peers;

/// What a test with a [`Host`] needs: the `needs` of [`peers::trial`].
pub const NEEDS: &[&str] =
    &["root", "unshare", "nsenter", "ip", "bash", "ssh", "ssh-keygen", "sshd", "age-keygen", "sops-install-secrets"];

/// What a host is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name: what follows the `@` of its destinations.
    pub name: String,
    /// What it sees of the dataset.
    pub dataset: Dataset,
    /// Where it sees it.
    pub seen_at: String,
    /// The sops file in the dataset that its configuration installs from.
    pub sops_file: String,
    /// What its configuration declares under `sops.secrets`.
    pub declared: Vec<Declared>,
    /// Users of services, beside root and the ordinary user `m`. Each has a group of its name.
    pub users: Vec<String>,
    /// Whether it has an age key.
    pub key: bool,
    /// Whether `m` may use `sudo` without a password.
    pub sudo: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "nixos-vm".to_owned(),
            dataset: Dataset::Absent,
            seen_at: "/nixos-generated".to_owned(),
            sops_file: "secrets.yaml".to_owned(),
            declared: Vec::new(),
            users: Vec::new(),
            key: true,
            sudo: false,
        }
    }
}

/// How a host behaves when it is switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switching {
    /// As it should.
    Works,
    /// As it should, after a pause.
    Slow(Duration),
    /// It ends with success and has done nothing.
    DoesNothing,
    /// Its configuration does not build: exit 1, nothing moved.
    Refuses,
    /// The system moves, its activation installs no secrets (the key cannot be read then): exit 1.
    ActivationFails,
}

/// A running host. Everything of it ends when it is dropped.
pub struct Host {
    // Dropped in this order: the namespaces before their directory.
    namespaces: Namespaces,
    lag: Option<dataset::Lag>,
    options: Options,
    switching: Switching,
    tree: tempfile::TempDir,
}

impl Host {
    /// A host that is up: its sshd answers, nothing is installed yet (`/run/current-system` is not there before the
    /// first switch).
    ///
    /// # Panics
    /// When a program is missing or the namespaces cannot be made; [`NEEDS`] keeps a test from getting here.
    pub fn start(options: Options) -> Self {
        let tree = tempfile::Builder::new().prefix("reconcile-host-").tempdir().expect("a directory");
        let at = |name: &str| tree.path().join(name);
        for directory in ["root", "etc/ssh", "etc-ssh/authorized_keys.d", "etc-nixos", "var-lib-sops-nix", "client"] {
            fs::create_dir_all(at(directory)).expect("the host's directory");
        }
        fs::set_permissions(at("var-lib-sops-nix"), fs::Permissions::from_mode(0o700)).expect("0700");
        accounts::write(tree.path(), &options.users);
        let public = client::configure(&at("client"), &options.name);
        for user in ["m", "root"] {
            fs::write(at("etc-ssh/authorized_keys.d").join(user), &public).expect("the authorized key");
        }
        fs::write(at("etc-ssh/sshd_config"), accounts::SSHD_CONFIG).expect("the configuration of sshd");
        client::keygen(&at("etc-ssh/ssh_host_ed25519_key"), "host");
        client::write_program(&at("etc-nixos/rebuild"), include_str!("rebuild.sh"));

        let (shared, lag) = share(&options.dataset, &at("lagging"));
        let installer = peers::find("sops-install-secrets").expect("sops-install-secrets is installed");
        let namespaces = Namespaces::start(&Contents {
            tree: tree.path(),
            dataset: shared.as_deref(),
            seen_at: &options.seen_at,
            installer: &installer,
            name: &options.name,
        });
        let mut host = Self { namespaces, lag, options, switching: Switching::Works, tree };
        let ssh = client::write_ssh(&host.at("client/bin"), &[host.known()]);
        client::write_switch(&host.at("client"), &ssh, &host.options.name);
        host.trust_ssh_host_key();
        host.set_declared(host.options.declared.clone());
        if host.options.key {
            host.replace_key();
        }
        if host.options.sudo {
            host.allow_sudo();
        }
        host.power_on();
        host
    }

    // The client's side.

    /// Where its ordinary user logs in, such as `m@nixos-vm`.
    pub fn ssh_destination(&self) -> String {
        format!("m@{}", self.options.name)
    }

    /// Where root logs in.
    pub fn root_destination(&self) -> String {
        format!("root@{}", self.options.name)
    }

    /// The environment in which `ssh` reaches this host and no other: a PATH.
    pub fn env(&self) -> Vec<(&'static str, OsString)> {
        path_with(&self.at("client/bin"))
    }

    /// The environment in which `ssh` reaches this host and `others`, which have other names.
    pub fn env_with(&self, others: &[&Self]) -> Vec<(&'static str, OsString)> {
        let directory = self.at("client/bin-with-others");
        let hosts: Vec<_> = std::iter::once(self).chain(others.iter().copied()).map(Self::known).collect();
        client::write_ssh(&directory, &hosts);
        path_with(&directory)
    }

    /// The environment in which `ssh` reaches this host by every name that fits `pattern`, such as `web-*`: as many hosts
    /// as a manifest likes, on one machine.
    pub fn env_as(&self, pattern: &str) -> Vec<(&'static str, OsString)> {
        let config = self.at("client/config-of-many");
        let text = fs::read_to_string(self.at("client/config")).expect("the configuration of ssh");
        let host = format!("Host {}", self.options.name);
        fs::write(&config, text.replacen(&host, &format!("Host {pattern}"), 1)).expect("the configuration of ssh");
        let directory = self.at("client/bin-of-many");
        client::write_ssh(&directory, &[client::Known { alias: pattern, config, ..self.known() }]);
        path_with(&directory)
    }

    /// Runs `script` there by `ssh`, without asking anything and with the host's key checked.
    pub fn ssh(&self, destination: &str, script: &str) -> Output {
        let mut command = Command::new(self.at("client/bin/ssh"));
        command.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "--", destination, script]);
        command.stdin(Stdio::null()).output().expect("ssh is run")
    }

    /// The command that switches this host, to be run on the client's side: `bash …/vm.sh switch`.
    pub fn switch_command(&self) -> Vec<String> {
        vec!["bash".to_owned(), self.at("client/vm.sh").display().to_string(), "switch".to_owned()]
    }

    /// Runs the switch command.
    pub fn switch(&self) -> Output {
        let command = self.switch_command();
        Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output().expect("the switch is run")
    }

    /// How often the switch command was run.
    pub fn switches(&self) -> usize {
        fs::read_to_string(self.at("client/switches")).map_or(0, |text| text.lines().count())
    }

    /// The environment of the last switch command, as `NAME=value`.
    pub fn switch_environment(&self) -> Vec<String> {
        let text = fs::read(self.at("client/switch.env")).unwrap_or_default();
        text.split(|byte| *byte == 0).filter(|one| !one.is_empty()).map(text_of).collect()
    }

    /// The file of known host keys that the client's `ssh` reads.
    pub fn known_hosts(&self) -> PathBuf {
        self.at("client/known_hosts")
    }

    // What happens to a host.

    /// How it behaves when it is switched, from now on.
    pub fn set_switching(&mut self, switching: Switching) {
        self.switching = switching;
        let (behaviour, seconds) = match switching {
            Switching::Works => ("works", 0.0),
            Switching::Slow(pause) => ("works", pause.as_secs_f64()),
            Switching::DoesNothing => ("does-nothing", 0.0),
            Switching::Refuses => ("refuses", 0.0),
            Switching::ActivationFails => ("activation-fails", 0.0),
        };
        let Options { seen_at, sops_file, .. } = &self.options;
        let settings = format!("dataset='{seen_at}'\nfile='{sops_file}'\nbehaviour={behaviour}\nseconds={seconds}\n");
        fs::write(self.at("etc-nixos/settings"), settings).expect("the settings are written");
    }

    /// What its configuration declares from now on; the next switch installs it.
    pub fn set_declared(&mut self, declared: Vec<Declared>) {
        for (file, for_users) in [("secrets.json", false), ("secrets-for-users.json", true)] {
            let path = self.at("etc-nixos").join(file);
            match declared::manifest(&declared, for_users) {
                Some(text) => fs::write(path, text).expect("the manifest is written"),
                None => drop(fs::remove_file(path)),
            }
        }
        self.options.declared = declared;
        self.set_switching(self.switching);
    }

    /// The sops file that its configuration installs from, from now on.
    pub fn set_sops_file(&mut self, file: &str) {
        file.clone_into(&mut self.options.sops_file);
        self.set_switching(self.switching);
    }

    /// Lets a lagging dataset catch up now.
    pub fn catch_up(&self) {
        self.lag.as_ref().expect("the host was started with Dataset::Lagging").catch_up();
    }

    /// Off: connections are refused. What is installed stays.
    pub fn stop(&self) {
        self.root(
            "kill_all() { found=; for p in /proc/[0-9]*; do case $(cat $p/comm 2>/dev/null) in \
             sshd*) kill -9 ${p#/proc/} && found=1 ;; esac; done; [ -n \"$found\" ]; }; \
             while kill_all; do sleep 0.01; done",
        );
    }

    /// On again, and listening: sshd goes into the background first, and says its number once it listens.
    pub fn power_on(&self) {
        let sshd = peers::find("sshd").expect("sshd is installed");
        self.root(&format!(
            "rm -f /run/sshd.pid; {} -f /etc/ssh/sshd_config -E /run/sshd.log && \
             for n in $(seq 3000); do [ -s /run/sshd.pid ] && exit 0; sleep 0.01; done; exit 1",
            sshd.display()
        ));
    }

    /// Whatever `m` asks for, a login runs this shell script instead, from now on.
    pub fn force(&self, script: &str) {
        client::write_program(&self.at("etc-ssh/forced"), &format!("#!/bin/sh\n{script}"));
        self.configure_sshd(&format!("{}Match User m\n  ForceCommand /etc/ssh/forced\n", accounts::SSHD_CONFIG));
    }

    /// Logins run what they ask for again.
    pub fn unforce(&self) {
        self.configure_sshd(accounts::SSHD_CONFIG);
    }

    fn configure_sshd(&self, text: &str) {
        self.stop();
        fs::write(self.at("etc-ssh/sshd_config"), text).expect("the configuration of sshd");
        self.power_on();
    }

    /// A `sudo` that works, where NixOS has it: it asks nothing and goes by root's ssh, as setuid programs are not ours
    /// to make.
    fn allow_sudo(&self) {
        fs::copy(self.at("client/id_ed25519"), self.at("etc-ssh/sudo_key")).expect("the key for sudo");
        client::write_program(&self.at("etc-ssh/sudo"), include_str!("sudo.sh"));
        self.root(
            "chown 1000 /etc/ssh/sudo_key && chmod 600 /etc/ssh/sudo_key && mkdir -p /run/wrappers/bin && \
             ln -s /etc/ssh/sudo /run/wrappers/bin/sudo",
        );
    }

    /// Hung: a connection is taken and never answered, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.root("kill -STOP $(cat /run/sshd.pid)");
    }

    /// Answers again.
    pub fn thaw(&self) {
        self.root("kill -CONT $(cat /run/sshd.pid)");
    }

    /// Off and on: `/run` is that of a boot, and the system of the profile is activated again, if there is one.
    pub fn reboot(&self) -> Output {
        self.stop();
        let output = self.run_as_root(
            "umount /run/secrets.d /run/secrets-for-users.d 2>/dev/null\n\
             rm -rf /run/secrets /run/secrets.d /run/secrets-for-users /run/secrets-for-users.d /run/current-system\n\
             [ ! -e /nix/var/nix/profiles/system ] || /nix/var/nix/profiles/system/activate",
        );
        self.power_on();
        output
    }

    /// A new ssh host key, which the client does not know yet: as after a reinstallation, or with someone in between.
    pub fn change_ssh_host_key(&self) {
        self.stop();
        client::keygen(&self.at("etc-ssh/ssh_host_ed25519_key"), "host");
        self.power_on();
    }

    /// The client learns the host's present ssh key.
    pub fn trust_ssh_host_key(&self) {
        let public = fs::read_to_string(self.at("etc-ssh/ssh_host_ed25519_key.pub")).expect("the host's public key");
        fs::write(self.known_hosts(), format!("{} {public}", self.options.name)).expect("the known hosts");
    }

    // Its age key.

    /// Its age recipient.
    pub fn age_recipient(&self) -> String {
        let mut keygen = Command::new(peers::find("age-keygen").expect("age-keygen is installed"));
        checked(keygen.arg("-y").arg(self.identity_file()))
    }

    /// Its age identity, as a file of this machine: what `/var/lib/sops-nix/key.txt` is there.
    pub fn identity_file(&self) -> PathBuf {
        self.at("var-lib-sops-nix/key.txt")
    }

    /// Takes its age key away.
    pub fn without_key(&self) {
        fs::remove_file(self.identity_file()).expect("the host had a key");
    }

    /// Gives it a new age key, root's and 0600; the recipient is returned.
    pub fn replace_key(&self) -> String {
        let _ = fs::remove_file(self.identity_file());
        let mut keygen = Command::new(peers::find("age-keygen").expect("age-keygen is installed"));
        checked(keygen.arg("-o").arg(self.identity_file()));
        self.age_recipient()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.tree.path().join(name)
    }

    fn known(&self) -> client::Known<'_> {
        client::Known { alias: &self.options.name, pid: self.namespaces.pid, config: self.at("client/config") }
    }
}

/// The directory that the host is to see, made if need be, and what keeps it late.
fn share(dataset: &Dataset, copy: &Path) -> (Option<PathBuf>, Option<dataset::Lag>) {
    match dataset {
        Dataset::Absent => (None, None),
        Dataset::Shared(path) => {
            fs::create_dir_all(path).expect("the dataset directory");
            (Some(path.clone()), None)
        }
        Dataset::Lagging { path, by } => {
            fs::create_dir_all(path).and_then(|()| fs::create_dir_all(copy)).expect("the dataset directory");
            (Some(copy.to_owned()), Some(dataset::Lag::start(path.clone(), copy.to_owned(), *by)))
        }
    }
}

fn path_with(directory: &Path) -> Vec<(&'static str, OsString)> {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&rest));
    vec![("PATH", std::env::join_paths(entries).expect("a PATH"))]
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// What `command` prints; it must succeed.
fn checked(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("a program is run");
    assert!(output.status.success(), "{command:?}: {}: {}", output.status, text_of(&output.stderr));
    text_of(&output.stdout)
}
