//! The test host held against what it stands for: a NixOS machine with sops-nix that is reached by ssh.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use support::host::{Dataset, Declared, Host, NEEDS, Options, Switching};
use support::peers;

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let needs: Vec<&str> = NEEDS.iter().copied().chain(["sops"]).collect();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &needs, test) };
    let trials = vec![
        trial("sshd_answers_as_m_and_as_root", answers),
        trial("a_switch_installs_what_is_declared", switch_installs),
        trial("a_unit_restarts_when_its_secret_changes", units_restart),
        trial("a_key_can_be_taken_and_replaced", keys),
        trial("a_host_that_is_off_refuses_and_one_that_hangs_times_out", off_and_hung),
        trial("a_changed_host_key_is_refused", changed_host_key),
        trial("a_failed_activation_keeps_the_old_generation_and_moves_the_system", failed_activation),
        trial("a_switch_that_does_nothing_or_refuses_moves_nothing", idle_switches),
        trial("a_missing_key_fails_the_build", missing_key),
        trial("a_lagging_dataset_is_seen_late", lagging),
        trial("a_reboot_activates_the_profile", reboot),
        trial("two_hosts_do_not_disturb_each_other", two_hosts),
        trial("no_other_host_is_reached", confined),
        trial("nothing_is_left_of_a_host", nothing_left),
        trial("a_host_ends_with_its_process", ends_with_process),
    ];
    if std::env::var_os(HOLD).is_some() {
        hold();
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Set in a child that starts a host, says its pid, and waits to be killed.
const HOLD: &str = "RECONCILE_TEST_HOLD_HOST";

fn hold() -> ! {
    let host = Host::start(Options::default());
    println!("{}", host.pid());
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// A dataset and a host that sees it.
struct Scene {
    host: Host,
    dataset: PathBuf,
    _directory: tempfile::TempDir,
}

const PLAIN: &str = "rbw:\n    email: someone@example.org\ntailscale:\n    auth-key: tskey-auth-1\n\
                     user:\n    hashed-password: $y$j9T$abc$def\n";

fn four() -> Vec<Declared> {
    vec![
        Declared::new("rbw/email").owner("m"),
        Declared::new("tailscale/auth-key").restart_units(&["tailscaled.service"]),
        Declared::new("shared").key("rbw/email").owner("postgres").group("keys").mode("0440").path("/var/lib/db/email"),
        Declared::new("user/hashed-password").needed_for_users(),
    ]
}

impl Scene {
    fn new() -> Self {
        Self::seen(Dataset::Shared)
    }

    fn seen(how: impl FnOnce(PathBuf) -> Dataset) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let dataset = directory.path().join("dataset");
        let users = vec!["postgres".to_owned()];
        let host =
            Host::start(Options { dataset: how(dataset.clone()), declared: four(), users, ..Options::default() });
        Self { host, dataset, _directory: directory }
    }

    /// What the real sops makes of `plain`, for the host's present key.
    fn encrypt(&self, plain: &str) -> Result<(), Failed> {
        let source = self.dataset.join(".plain.yaml");
        fs::write(&source, plain)?;
        let mut sops = Command::new(peers::find("sops").ok_or("sops")?);
        let sops =
            sops.args(["-e", "--input-type", "yaml", "--output-type", "yaml", "--age", &self.host.age_recipient()]);
        let output = sops.arg(&source).output()?;
        fs::remove_file(&source)?;
        succeeded(&output)?;
        Ok(fs::write(self.dataset.join("secrets.yaml"), output.stdout)?)
    }

    fn switched(plain: &str) -> Result<Self, Failed> {
        let scene = Self::new();
        scene.encrypt(plain)?;
        succeeded(&scene.host.switch())?;
        Ok(scene)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(output: &Output) -> Outcome {
    let ok = output.status.success();
    if ok { Ok(()) } else { Err(format!("{}: {}", output.status, text(&output.stderr)).into()) }
}

/// Fails with both when they differ.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}").into()) }
}

/// Fails unless `output` failed with `word` on standard error.
fn refused(output: &Output, word: &str) -> Outcome {
    let error = text(&output.stderr);
    if !output.status.success() && error.contains(word) {
        return Ok(());
    }
    Err(format!("{}: {error:?}, not a failure with {word:?}", output.status).into())
}

fn answers() -> Outcome {
    let host = Host::start(Options::default());
    for (destination, expected) in [
        (host.ssh_destination(), "m users 1000 nixos-vm /home/m\n"),
        (host.root_destination(), "root root 0 nixos-vm /var/root\n"),
    ] {
        let output = host.ssh(&destination, "echo $(id -un) $(id -gn) $(id -u) $(cat /proc/sys/kernel/hostname) $HOME");
        succeeded(&output)?;
        same(&destination, text(&output.stdout), expected.to_owned())?;
    }
    same(
        "the key's place",
        host.stat("/var/lib/sops-nix/key.txt").map(|seen| seen.starts_with("root root 600 ")),
        Some(true),
    )?;
    refused(&host.ssh(&host.ssh_destination(), "cat /var/lib/sops-nix/key.txt"), "ermission denied")?;
    same("the dataset that is not shared", host.stat("/nixos-generated"), None)?;
    same("systems before the first switch", host.system(), None)
}

fn switch_installs() -> Outcome {
    let scene = Scene::switched(PLAIN)?;
    let host = &scene.host;
    let expected = [
        ("/run/secrets/rbw/email", "m users 400 19"),
        ("/run/secrets/tailscale/auth-key", "root root 400 12"),
        ("/var/lib/db/email", "postgres keys 440 19"),
        ("/run/secrets-for-users/user/hashed-password", "root root 400 14"),
    ];
    for (path, attributes) in expected {
        same(path, host.stat(path), Some(attributes.to_owned()))?;
    }
    same("a value", host.read("/run/secrets/rbw/email"), Some(b"someone@example.org".to_vec()))?;
    same(
        "a hashed password",
        host.read("/run/secrets-for-users/user/hashed-password"),
        Some(b"$y$j9T$abc$def".to_vec()),
    )?;
    same("the generation", host.generation(), Some(1))?;
    let digest = reconcile::digest::Digest::of(&fs::read(scene.dataset.join("secrets.yaml"))?).to_string();
    same("the sops file of the running system", host.sops_file_digest(), Some(digest))?;
    same("switches", host.switches(), 1)?;
    // What an ordinary user can see, as spec'd by sops-nix's own permissions.
    let seen = host.ssh(&host.ssh_destination(), "stat -L -c '%U %a %s' /run/secrets/tailscale/auth-key; cat /run/secrets/rbw/email; ls /run/secrets; cat /run/secrets/tailscale/auth-key");
    same("what m sees", text(&seen.stdout), "root 400 12\nsomeone@example.org".to_owned())?;
    let found = host.ssh(&host.ssh_destination(), "grep -oE 'sops-install-secrets (-ignore-passwd )?/nix/store/[0-9a-df-np-sv-z]{32}-manifest(-for-users)?.json' /run/current-system/activate | wc -l; head -c 1 /run/current-system/activate");
    same("manifests in activate, as m", text(&found.stdout), "2\n#".to_owned())
}

fn units_restart() -> Outcome {
    let scene = Scene::switched(PLAIN)?;
    let before = scene.host.restarted_units();
    scene.encrypt(&PLAIN.replace("someone@", "another@"))?;
    succeeded(&scene.host.switch())?;
    same("restarts after another secret changed", scene.host.restarted_units(), before.clone())?;
    scene.encrypt(&PLAIN.replace("tskey-auth-1", "tskey-auth-2"))?;
    succeeded(&scene.host.switch())?;
    let restarted = scene.host.restarted_units();
    same("restarts after it changed", restarted[before.len()..].to_vec(), vec!["tailscaled.service".to_owned()])?;
    same("generations", scene.host.generation(), Some(3))
}

fn keys() -> Outcome {
    let scene = Scene::switched(PLAIN)?;
    let old = scene.host.age_recipient();
    scene.host.without_key();
    same("a key that was taken", scene.host.stat("/var/lib/sops-nix/key.txt"), None)?;
    refused(&scene.host.switch(), "cannot read keyfile")?;
    let new = scene.host.replace_key();
    same("the shape of a recipient", (new.starts_with("age1"), new != old), (true, true))?;
    let output = scene.host.switch();
    refused(&output, "failed to decrypt")?;
    same("the generation", scene.host.generation(), Some(1))?;
    scene.encrypt(PLAIN)?;
    succeeded(&scene.host.switch())?;
    same("the generation for the new key", scene.host.generation(), Some(2))
}

fn off_and_hung() -> Outcome {
    let host = Host::start(Options::default());
    let ssh = |option: &str| {
        let [(name, path)] = &host.env()[..] else { panic!("one variable") };
        let arguments = ["-o", "BatchMode=yes", "-o", option, "--", "m@nixos-vm", "true"];
        Command::new("ssh").args(arguments).env(name, path).output()
    };
    host.stop();
    refused(&ssh("ConnectTimeout=5")?, "Connection refused")?;
    host.power_on();
    succeeded(&ssh("ConnectTimeout=5")?)?;
    host.freeze();
    let since = Instant::now();
    refused(&ssh("ConnectTimeout=1")?, "timed out")?;
    same("a second was waited", since.elapsed() > Duration::from_millis(900), true)?;
    host.thaw();
    succeeded(&ssh("ConnectTimeout=5")?)
}

fn changed_host_key() -> Outcome {
    let host = Host::start(Options::default());
    succeeded(&host.ssh(&host.ssh_destination(), "true"))?;
    host.change_ssh_host_key();
    refused(&host.ssh(&host.ssh_destination(), "true"), "REMOTE HOST IDENTIFICATION HAS CHANGED")?;
    host.trust_ssh_host_key();
    succeeded(&host.ssh(&host.ssh_destination(), "true"))
}

fn failed_activation() -> Outcome {
    let mut scene = Scene::switched(PLAIN)?;
    let (system, digest) = (scene.host.system(), scene.host.sops_file_digest());
    scene.encrypt(&PLAIN.replace("tskey-auth-1", "tskey-auth-22"))?;
    scene.host.set_switching(Switching::ActivationFails);
    refused(&scene.host.switch(), "Activation script snippet 'setupSecrets' failed (1)")?;
    same("the system moved", scene.host.system() != system, true)?;
    same("its sops file is another", scene.host.sops_file_digest() != digest, true)?;
    same("the generation", scene.host.generation(), Some(1))?;
    same("the old value", scene.host.read("/run/secrets/tailscale/auth-key"), Some(b"tskey-auth-1".to_vec()))?;
    scene.host.set_switching(Switching::Works);
    succeeded(&scene.host.switch())?;
    same("the new value", scene.host.read("/run/secrets/tailscale/auth-key"), Some(b"tskey-auth-22".to_vec()))
}

fn idle_switches() -> Outcome {
    let mut scene = Scene::switched(PLAIN)?;
    let system = scene.host.system();
    scene.host.set_declared(four().split_off(1));
    scene.host.set_switching(Switching::DoesNothing);
    succeeded(&scene.host.switch())?;
    scene.host.set_switching(Switching::Refuses);
    refused(&scene.host.switch(), "error: ")?;
    same("the system", scene.host.system(), system)?;
    let pause = Duration::from_millis(700);
    scene.host.set_switching(Switching::Slow(pause));
    let since = Instant::now();
    succeeded(&scene.host.switch())?;
    same("the pause", since.elapsed() >= pause, true)?;
    same("a secret that is declared no longer", scene.host.stat("/run/secrets/rbw/email"), None)?;
    same("switches", scene.host.switches(), 4)?;
    let environment = scene.host.switch_environment();
    same("the environment has a PATH", environment.iter().any(|one| one.starts_with("PATH=")), true)
}

fn missing_key() -> Outcome {
    let scene = Scene::switched(PLAIN)?;
    let system = scene.host.system();
    scene.encrypt("rbw:\n    email: someone@example.org\n")?;
    refused(&scene.host.switch(), "cannot be found")?;
    same("the system", scene.host.system(), system)?;
    fs::remove_file(scene.dataset.join("secrets.yaml"))?;
    refused(&scene.host.switch(), "has no secrets.yaml")
}

fn lagging() -> Outcome {
    let scene = Scene::seen(|path| Dataset::Lagging { path, by: Duration::MAX });
    scene.encrypt(PLAIN)?;
    std::thread::sleep(Duration::from_millis(100));
    same("a file that has not arrived", scene.host.stat("/nixos-generated/secrets.yaml"), None)?;
    scene.host.catch_up();
    succeeded(&scene.host.switch())?;
    scene.encrypt(&PLAIN.replace("tskey-auth-1", "tskey-auth-2"))?;
    succeeded(&scene.host.switch())?;
    same("the old value", scene.host.read("/run/secrets/tailscale/auth-key"), Some(b"tskey-auth-1".to_vec()))?;

    let timed = Scene::seen(|path| Dataset::Lagging { path, by: Duration::from_millis(300) });
    timed.encrypt(PLAIN)?;
    same("at first", timed.host.stat("/nixos-generated/secrets.yaml"), None)?;
    std::thread::sleep(Duration::from_millis(800));
    let seen = timed.host.ssh(&timed.host.ssh_destination(), "cat /nixos-generated/secrets.yaml");
    same("what m sees later", seen.stdout, fs::read(timed.dataset.join("secrets.yaml"))?)
}

fn reboot() -> Outcome {
    let scene = Scene::switched(PLAIN)?;
    succeeded(&scene.host.switch())?;
    same("the generation", scene.host.generation(), Some(2))?;
    succeeded(&scene.host.reboot())?;
    same("the generation of a boot", scene.host.generation(), Some(1))?;
    succeeded(&scene.host.ssh(&scene.host.ssh_destination(), "test -r /run/secrets/rbw/email"))
}

fn two_hosts() -> Outcome {
    let one = Scene::switched(PLAIN)?;
    let two = Host::start(Options { name: "den-mac".to_owned(), ..Options::default() });
    same("secrets of the other", two.stat("/run/secrets"), None)?;
    same("keys", one.host.age_recipient() != two.age_recipient(), true)?;
    for (name, path) in one.host.env_with(&[&two]) {
        for alias in ["nixos-vm", "den-mac"] {
            let destination = format!("m@{alias}");
            let arguments = ["-o", "BatchMode=yes", "--", &destination, "cat /proc/sys/kernel/hostname"];
            let output = Command::new("ssh").args(arguments).env(name, &path).output()?;
            succeeded(&output)?;
            same("the host reached", text(&output.stdout), format!("{alias}\n"))?;
        }
    }
    two.stop();
    succeeded(&one.host.ssh(&one.host.ssh_destination(), "true"))?;
    drop(two);
    succeeded(&one.host.switch())
}

fn confined() -> Outcome {
    let host = Host::start(Options::default());
    refused(&host.ssh("m@other.example", "true"), "ould not resolve hostname")?;
    refused(&host.ssh("m@127.0.0.1", "true"), "")?;
    let interfaces = host.root("ls /sys/class/net 2>/dev/null; sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' '");
    same("the interfaces of the host", interfaces.lines().last(), Some("lo"))
}

/// The processes of this machine whose namespace of mounts is `namespace`.
fn processes_in(namespace: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|link| link == namespace) {
            found.push(text(&fs::read(entry.path().join("comm")).unwrap_or_default()));
        }
    }
    found
}

fn nothing_left() -> Outcome {
    let mounts = |path: &Path| {
        let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        table.lines().filter(|line| line.contains(&*path.to_string_lossy())).count()
    };
    let scene = Scene::switched(PLAIN)?;
    let namespace = fs::read_link(format!("/proc/{}/ns/mnt", scene.host.pid()))?;
    let directory = scene.host.directory().to_owned();
    let held = Command::new(scene.host.directory().join("client/bin/ssh"))
        .args(["-o", "BatchMode=yes", "--", "m@nixos-vm", "sleep 600"])
        .stderr(std::process::Stdio::null())
        .spawn()?;
    same("it lives", processes_in(&namespace).len() >= 2, true)?;
    same("mounts of it here", mounts(&directory), 0)?;
    drop(scene);
    same("processes left", processes_in(&namespace), Vec::<String>::new())?;
    same("mounts left", mounts(&directory), 0)?;
    same("its directory", directory.exists(), false)?;
    same("a session ends with it", held.wait_with_output()?.status.success(), false)
}

fn ends_with_process() -> Outcome {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.env(HOLD, "1").stdout(std::process::Stdio::piped()).spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().ok_or("a pipe")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
    let namespace = fs::read_link(format!("/proc/{}/ns/mnt", line.trim()))?;
    let directory = fs::read_to_string(format!("/proc/{}/environ", line.trim()))?;
    let directory = directory.split('\0').find_map(|one| one.strip_prefix("TREE=")).ok_or("TREE")?.to_owned();
    child.kill()?;
    child.wait()?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while !processes_in(&namespace).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    same("processes left", processes_in(&namespace), Vec::<String>::new())?;
    // A killed process removes nothing: what is left is a directory without any mount.
    Ok(fs::remove_dir_all(directory)?)
}
