//! Several hosts that are reached by ssh, a vault that is a file, and what switches them: a command for one host, and a
//! stand-in for colmena that switches all that it is given.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::host::{self, Dataset, Declared, Host, Options};
use super::program::{Place, Ran};

/// The programs that it is made of.
pub const NEEDS: &[&str] = host::NEEDS;

/// One command for each host.
pub const ONE: &str = "[bash, switch.sh, \"{host}\"]";
/// One command for all.
pub const SEVERAL: &str = "[./colmena, apply, --on, \"{hosts}\"]";

/// Switches its one host.
const SWITCH: &str = "echo \"$*\" >>\"$HOME/switch.calls\"; env >\"$HOME/switch.env\"; exec bash \"switch-$1.sh\"\n";
/// As colmena does: one host that fails keeps no other back, and is told by the exit code.
const COLMENA: &str = "#!/usr/bin/env bash
echo \"$*\" >>\"$HOME/colmena.calls\"; env >\"$HOME/colmena.env\"
[ \"$1 $2\" = 'apply --on' ] || exit 64
status=0
for host in ${3//,/ }; do
  echo \"[INFO ] $host: applying\"
  bash \"switch-$host.sh\" || { status=1; echo \"[ERROR] $host: failed\" >&2; }
done
exit $status
";

/// The user's machine and the hosts.
pub struct Fleet {
    pub place: Place,
    pub dataset: PathBuf,
    // Before their dataset.
    pub hosts: BTreeMap<String, Host>,
}

impl Fleet {
    /// Hosts with the `switch:` of each, with one secret that all have, another with a unit of a user, and one that is
    /// needed for users.
    pub fn new(hosts: &[(&str, &str)]) -> Self {
        Self::with(hosts, Options::default())
    }

    pub fn with(hosts: &[(&str, &str)], options: Options) -> Self {
        let mut place = Place::new(&manifest(hosts));
        let dataset = place.repository.join("dataset");
        let start = |name: &str| {
            Host::start(Options {
                name: name.to_owned(),
                dataset: Dataset::Shared(dataset.clone()),
                declared: declared(),
                sudo: true,
                ..options.clone()
            })
        };
        let hosts: BTreeMap<String, Host> = hosts.iter().map(|(name, _)| ((*name).to_owned(), start(name))).collect();
        for (name, host) in &hosts {
            let script = format!("exec {}\n", host.switch_command().join(" "));
            fs::write(place.repository.join(format!("switch-{name}.sh")), script).expect("a script");
        }
        let all: Vec<&Host> = hosts.values().collect();
        place.variables =
            all[0].env_with(&all[1..]).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        place.variables.insert("XDG_STATE_HOME".to_owned(), place.home.join("state").into());
        let fleet = Self { place, dataset, hosts };
        fleet.script("switch.sh", SWITCH);
        fleet.script("colmena", COLMENA);
        fleet.set("session", "session-1");
        fleet.set("clip", "clip-1");
        fleet
    }

    /// Applied once.
    pub fn applied(hosts: &[(&str, &str)]) -> Result<Self, Failed> {
        let fleet = Self::new(hosts);
        fleet.place.run("apply --auto-approve").ended(0)?.says(&["Apply complete!"])?;
        Ok(fleet)
    }

    /// An executable beside the manifest.
    pub fn script(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.place.repository.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, text).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable");
    }

    /// Changes an item of the vault.
    pub fn set(&self, item: &str, value: &str) {
        let path = self.place.repository.join("vault.yaml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let kept = text.lines().filter(|line| !line.starts_with(&format!("{item}:")));
        let text: String = kept.map(|line| format!("{line}\n")).collect();
        fs::write(path, format!("{text}{item}: {value}\n")).expect("the vault");
    }

    pub fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.get_mut(name).expect("a host of this name")
    }

    /// The lines of a file in the home directory.
    pub fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.place.home.join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// `reconcile` that runs beside the test.
    pub fn begin(&self, arguments: &str) -> Beside {
        let mut command = self.place.reconcile();
        command.args(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Beside(Some(command.spawn().expect("it runs")))
    }

    /// Everything agrees.
    pub fn unchanged(&self) -> Result<Ran, Failed> {
        self.place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])
    }

    /// The addresses that change, with their reasons.
    pub fn planned(&self) -> Result<Vec<String>, Failed> {
        let lines = self.place.run("plan --json").json()?;
        let changes = lines.into_iter().filter(|line| line["type"] == "planned_change");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(changes
            .map(|line| {
                let change = &line["change"];
                let reasons = change["reasons"].as_array().cloned().unwrap_or_default();
                let reasons: Vec<String> = reasons.iter().map(|reason| text(&reason["reason"])).collect();
                format!("{}: {}", text(&change["address"]), reasons.join(" "))
            })
            .collect())
    }
}

/// Somebody logs in at a host, and each restart of a unit is written down there.
const SYSTEMCTL: &str = "#!/bin/sh
case \" $* \" in *' restart '*) ;; *) exit 1 ;; esac
echo \"$(id -un) ${XDG_RUNTIME_DIR-} $*\" >>/run/nixos/systemctl-log
[ ! -e /run/nixos/units-fail ] || { echo 'Job for uniclip.service failed.' >&2; exit 1; }
";

/// A `systemctl` that writes down what restarts.
pub fn record_restarts(host: &Host) {
    host.write("/etc/nixos/systemctl", SYSTEMCTL.as_bytes());
    host.root(
        "chmod 755 /etc/nixos/systemctl; : >/run/nixos/systemctl-log; chmod 666 /run/nixos/systemctl-log
        there=$(command -v systemctl) && mount --bind /etc/nixos/systemctl \"$there\" ||
            cp /etc/nixos/systemctl /run/wrappers/bin/systemctl",
    );
}

/// Who logs in has a manager of their own, and a directory that says so.
pub fn log_in(host: &Host, user: &str) {
    host.root(&format!(
        "id=$(id -u {user}); mkdir -p /run/user/$id && chown {user} /run/user/$id && chmod 700 /run/user/$id"
    ));
}

/// What was restarted since the last look: who called it, in which directory, and how.
pub fn restarts(host: &Host) -> Vec<String> {
    let text = host.root("cat /run/nixos/systemctl-log; : >/run/nixos/systemctl-log");
    text.lines().map(str::to_owned).collect()
}

/// A program that runs beside the test, and is ended with it.
pub struct Beside(Option<Child>);

impl Beside {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.as_ref().map(Child::id).expect("it was begun")
    }

    /// Reads its standard error until a line begins with `words`.
    pub fn says(&mut self, words: &str) -> Result<(), Failed> {
        let stderr = self.0.as_mut().and_then(|child| child.stderr.as_mut()).ok_or("a pipe")?;
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.starts_with(words.as_bytes()) {
            if line.ends_with(b"\n") {
                line.clear();
            }
            if stderr.read(&mut byte)? == 0 {
                return Err(format!("it ended without saying {words:?}").into());
            }
            line.extend(byte);
        }
        Ok(())
    }

    /// Waits until it ends.
    pub fn end(mut self) -> Result<Ran, Failed> {
        Ok(Ran::from(self.0.take().ok_or("it was begun")?.wait_with_output()?))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until `holds`.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("it did not happen: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub fn declared() -> Vec<Declared> {
    vec![Declared::new("session"), Declared::new("clip").owner("m"), Declared::new("hash").needed_for_users()]
}

fn manifest(hosts: &[(&str, &str)]) -> String {
    let mut text =
        "version: 1\nname: fleet\nvault: {file: {path: vault.yaml}}\ndataset:\n  path: dataset\n  files:\n".to_owned();
    for (name, _) in hosts {
        text += &format!("    {name}-age-pubkey: {{age_key_of: {name}}}\n");
    }
    text += "hosts:\n";
    for (name, switch) in hosts {
        text += &format!(
            "  {name}:\n    ssh: m@{name}\n    recipient: {{file: {name}-age-pubkey}}\n    become: sudo\n    \
             path_on_host: /nixos-generated\n    switch: {{command: {switch}}}\n"
        );
    }
    text + "secrets:\n  \
        session: {item: session, delivery: {sops: {mode: \"0400\"}}}\n  \
        clip: {item: clip, delivery: {sops: {owner: m, restart_user_units: {m: [uniclip.service]}}}}\n  \
        hash: {item: session, delivery: {sops: {needed_for_users: true}}}\n"
}
