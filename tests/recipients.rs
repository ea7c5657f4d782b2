//! To whom a file is encrypted, and where the key of each host comes from: held against the real sops and
//! sops-install-secrets, which decrypt or do not, and hosts that are reached by ssh.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use support::den_vm::{self, Outcome, Scene, same};
use support::fleet::{Fleet, ONE};
use support::peers;

fn main() {
    let arguments = Arguments::from_args();
    let needs = den_vm::needs();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &needs, test) };
    let trials = vec![
        trial("a_host_decrypts_with_its_ssh_key", ssh_host_key),
        trial("a_recovery_key_opens_the_file_until_it_is_taken_back", recovery_key),
        trial("a_key_that_only_root_sees_is_used_as_it_was_accepted", unverified),
        trial("a_public_file_of_a_host_is_published_and_a_private_one_never", read_files),
        trial("hosts_that_share_a_file_share_its_recipients_and_that_is_told", shared_file),
        trial("a_file_per_host_is_open_to_that_host_alone", file_per_host),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Who is named in a sops file.
fn recipients(file: &Path) -> Result<Vec<String>, Failed> {
    let text = fs::read_to_string(file)?;
    let keys = text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("recipient: "));
    let mut keys: Vec<String> = keys.map(str::to_owned).collect();
    keys.sort();
    Ok(keys)
}

/// Whether the real sops opens a file with an identity.
fn opens(file: &Path, identity: &str) -> Result<bool, Failed> {
    let mut sops = Command::new(peers::find("sops").ok_or("sops")?);
    let output = sops.arg("-d").arg(file).env("SOPS_AGE_KEY", identity).env("HOME", "/nowhere").output()?;
    Ok(output.status.success())
}

fn ssh_host_key() -> Outcome {
    let scene = Scene::new();
    scene.place.edit_manifest("recipient: {file: vm-age-pubkey}", "recipient: {ssh_host_key: {}}");
    scene.place.run("apply --auto-approve").ended(0)?.says(&["4 secrets in place"])?;
    let first = recipients(&scene.file())?;
    let converted = |scene: &Scene| -> Result<Vec<String>, Failed> {
        let line = scene.host.root("cat /etc/ssh/ssh_host_ed25519_key.pub");
        Ok(vec![reconcile::sops::Recipient::from_ssh_ed25519(&line)?.to_string()])
    };
    same("its ssh key", first.clone(), converted(&scene)?)?;
    same("not its age key", first == [scene.host.age_recipient()], false)?;
    // The host decrypted with that key alone: sops-install-secrets converts it as we do.
    scene.settled()?;
    // Reinstalled: neither ssh nor we go on without a word.
    scene.host.change_ssh_host_key();
    scene.host.trust_ssh_host_key();
    scene.set("uniclip-password", "clop");
    let old = first.first().ok_or("a recipient")?;
    let words = ["host.vm: its age key is", &old[..7], "--accept-recipient host.vm"];
    scene.untouched(|| scene.place.run("apply --auto-approve").ended(1)?.says(&words))?;
    scene.place.run("apply --auto-approve --accept-recipient vm").ended(0)?;
    same("its new ssh key", recipients(&scene.file())?, converted(&scene)?)?;
    scene.settled()
}

fn recovery_key() -> Outcome {
    let scene = Scene::applied()?;
    let (identity, key) = reconcile::sops::Identities::generate();
    let secret = identity.lines().last().ok_or("an identity")?;
    same("before", opens(&scene.file(), secret)?, false)?;
    let declared = format!("    extra_recipients: [{key}]\n    become: sudo ");
    scene.place.edit_manifest("    become: sudo ", &declared);
    let plan = scene.place.run("plan").ended(0)?;
    plan.says(&["file.secrets.yaml will be updated", "encrypted to", &key.to_string()[..7]])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("with it", opens(&scene.file(), secret)?, true)?;
    scene.place.run("list --access").ended(0)?.says(&["recovery key", &key.short()])?;
    scene.settled()?;
    scene.place.edit_manifest(&declared, "    become: sudo ");
    scene.place.run("plan").ended(0)?.says(&["no longer to", &key.to_string()[..7]])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("after", opens(&scene.file(), secret)?, false)?;
    scene.settled()
}

fn unverified() -> Outcome {
    let scene = Scene::applied()?;
    scene.place.edit_manifest("    become: sudo ", "    become: never ");
    let note = "host.vm: only root sees its age key; the accepted one is used unverified (become: sudo)";
    scene.untouched(|| scene.place.run("plan").ended(0)?.says(&[note]))?;
    // It is used: what the dataset offers beside it is not.
    let accepted = scene.host.age_recipient();
    scene.set("uniclip-password", "clop");
    scene.place.run("apply --auto-approve").ended(0)?.says(&[note])?;
    same("to the accepted one", recipients(&scene.file())?, vec![accepted.clone()])?;
    let (_, stranger) = reconcile::sops::Identities::generate();
    fs::write(scene.dataset.join("vm-age-pubkey"), format!("{stranger}\n"))?;
    scene.set("uniclip-password", "clup");
    let words = ["the dataset offers", "--accept-recipient host.vm"];
    scene.untouched(|| scene.place.run("apply --auto-approve").ended(1)?.says(&words))?;
    same("still to the accepted one", recipients(&scene.file())?, vec![accepted])
}

fn read_files() -> Outcome {
    let scene = Scene::new();
    let read = |path: &str| format!("    from-vm: {{read: {{host: vm, path: {path}}}}}\n");
    let all = "    host-authorized-keys: {copy";
    scene.place.edit_manifest(all, &format!("{}{all}", read("/etc/ssh/ssh_host_ed25519_key.pub")));
    scene.place.run("apply --auto-approve").ended(0)?;
    let published = scene.dataset.join("from-vm");
    let there = scene.host.read("/etc/ssh/ssh_host_ed25519_key.pub");
    same("what it has", fs::read(&published).ok(), there.clone())?;
    scene.unchanged()?;
    // Whatever it cannot be read for, what is published stays.
    scene.host.root(
        "cd /etc/ssh && cp ssh_host_ed25519_key readable && chmod 644 readable && \
         head -c 20000 /dev/zero | tr '\\0' a >large && echo AGE-SECRET-KEY-1QQ >age && mkdir directory && \
         echo x >hidden && chmod 600 hidden",
    );
    let mut before = read("/etc/ssh/ssh_host_ed25519_key.pub");
    for (path, words) in [
        ("/etc/ssh/hidden", "it is no file that everybody may read"),
        ("/etc/ssh/readable", "it is a private key"),
        ("/etc/ssh/age", "it is a private key"),
        ("/etc/ssh/large", "it is larger than 16 KiB"),
        ("/etc/ssh/directory", "it is no file that everybody may read"),
        ("/etc/ssh/missing", "there is no such file"),
    ] {
        scene.place.edit_manifest(&before, &read(path));
        before = read(path);
        let ran = scene.place.run("apply --auto-approve");
        ran.says(&["file.from-vm", words])?.hides(&["PRIVATE", "AGE-SECRET"])?;
        same(path, fs::read(&published).ok(), there.clone())?;
    }
    scene.place.edit_manifest(&before, &read("/etc/ssh/ssh_host_ed25519_key.pub"));
    scene.host.change_ssh_host_key();
    scene.host.trust_ssh_host_key();
    scene.place.run("plan").ended(0)?.says(&["file.from-vm will be updated: its source changed"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("what it has now", fs::read(&published).ok(), scene.host.read("/etc/ssh/ssh_host_ed25519_key.pub"))
}

fn keys_of(fleet: &Fleet) -> Vec<String> {
    let mut keys: Vec<String> = fleet.hosts.values().map(support::host::Host::age_recipient).collect();
    keys.sort();
    keys
}

fn shared_file() -> Outcome {
    let mut fleet = Fleet::new(&[("a", ONE), ("b", ONE)]);
    fleet
        .place
        .edit_manifest("clip: {item: clip, delivery: {sops: {", "clip: {item: clip, delivery: {sops: {hosts: [a], ");
    let kept = support::fleet::declared().into_iter().filter(|one| !format!("{one:?}").contains("clip"));
    fleet.host("b").set_declared(kept.collect());
    let warning = "Warning: host.b can decrypt secret.clip, which is not declared for it: they share a file";
    fleet.place.run("plan").ended(0)?.says(&[warning, "encrypt secrets.yaml to 2 recipients"])?;
    fleet.place.run("apply --auto-approve").ended(0)?.says(&["a runs", "b runs"])?;
    let file = fleet.dataset.join("secrets.yaml");
    same("its recipients", recipients(&file)?, keys_of(&fleet))?;
    same("not installed on b", fleet.hosts["b"].stat("/run/secrets/clip"), None)?;
    fleet.place.run("list --access").ended(0)?.says(&["warning: b can decrypt what is not declared for it: clip"])?;
    // What is only for a is no reason to switch b.
    fleet.unchanged()?;
    let status = fleet.place.run("status").ended(0)?;
    status.says(&["a up to date with secrets.yaml"])?.hides(&["vault newer"])?;
    // A key of one of them that changed is a matter of both.
    fleet.hosts["b"].replace_key();
    fleet.set("session", "session-22");
    let refused = fleet.place.run("apply --auto-approve").ended(1)?;
    refused.says(&["host.b: its age key is", "file.secrets.yaml", "waits for host.b"])?;
    fleet.place.run("apply --auto-approve --accept-recipient b").ended(0)?;
    same("its recipients", recipients(&file)?, keys_of(&fleet))?;
    fleet.unchanged().map(drop)
}

fn file_per_host() -> Outcome {
    let mut fleet = Fleet::new(&[("a", ONE), ("b", ONE)]);
    fleet.place.edit_manifest("    ssh: m@b\n", "    ssh: m@b\n    sops_file: b.yaml\n");
    fleet.host("b").set_sops_file("b.yaml");
    fleet.place.run("apply --auto-approve").ended(0)?.says(&["a runs", "b runs"])?.hides(&["can decrypt"])?;
    for (host, file, other) in [("a", "secrets.yaml", "b.yaml"), ("b", "b.yaml", "secrets.yaml")] {
        same(file, recipients(&fleet.dataset.join(file))?, vec![fleet.hosts[host].age_recipient()])?;
        let identity = fs::read_to_string(fleet.hosts[host].identity_file())?;
        let identity = identity.lines().last().ok_or("an identity")?;
        same("its own", opens(&fleet.dataset.join(file), identity)?, true)?;
        same("the other's", opens(&fleet.dataset.join(other), identity)?, false)?;
        same("its value", fleet.hosts[host].read("/run/secrets/session"), Some(b"session-1".to_vec()))?;
    }
    fleet.unchanged()?;
    // One host's trouble is one file's.
    fleet.hosts["b"].replace_key();
    fleet.set("session", "session-22");
    fleet.place.run("apply --auto-approve").ended(1)?.says(&["host.b: its age key is", "a runs"])?;
    same("a", fleet.hosts["a"].read("/run/secrets/session"), Some(b"session-22".to_vec()))?;
    same("b", fleet.hosts["b"].read("/run/secrets/session"), Some(b"session-1".to_vec()))?;
    fleet.place.run("status").says(&["~ session", "a up to date with secrets.yaml", "vault newer than b.yaml"])?;
    fleet.place.run("apply --auto-approve --accept-recipient b").ended(0)?;
    fleet.unchanged().map(drop)
}
