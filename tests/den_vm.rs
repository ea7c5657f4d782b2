//! The whole way: the manifest of manifests/den-vm as it stands, the real rbw logged in to a server, a host that is
//! reached by ssh, and the real sops-install-secrets as what its switch runs.

mod support;

use std::fs;
use std::process::Command;

use libtest_mimic::{Arguments, Trial};
use support::bitwarden::Item;
use support::den_vm::{self, INSTALLED, Outcome, Scene, declared, same, succeeded, word};
use support::host::Options;
use support::peers;
use support::program::Ran;

fn main() {
    let arguments = Arguments::from_args();
    let needs = den_vm::needs();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &needs, test) };
    let trials = vec![
        trial("the_four_boot_secrets_arrive_and_nothing_is_left_to_do", arrive),
        trial("a_changed_item_is_the_only_change_and_only_its_steps_run", one_item),
        trial("a_host_without_a_key_gets_one_on_the_first_apply", first_boot),
        trial("an_existing_setup_is_taken_over_without_root", without_root),
        trial("a_locked_vault_with_nothing_new_needs_no_unlock", locked),
        trial("a_saved_plan_is_refused_when_anything_moved", saved_plan),
        trial("sops_set_is_seen_and_written_anew", sops_set),
        trial("sops_edit_that_adds_a_key_blocks_until_it_is_declared_or_given_up", sops_edit),
        trial("sops_updatekeys_and_a_swapped_recipient_are_seen", sops_updatekeys),
        trial("sops_rotate_is_seen", sops_rotate),
        trial("a_git_merge_of_two_versions_is_never_deployed", git_merge),
        trial("a_lost_receipt_is_made_again_and_adopt_keeps_the_file", lost_receipt),
        trial("a_lost_fingerprint_key_keeps_no_changed_value_back", lost_key),
        trial("a_host_left_behind_is_switched_alone", left_behind),
        trial("a_secret_that_is_no_longer_declared_goes", undeclared),
        trial("a_crash_between_the_file_and_the_receipt_is_settled", crash_between),
        trial("what_is_wrong_in_the_vault_blocks_and_changes_nothing", bad_vault),
        trial("what_is_wrong_with_the_files_is_told_and_changes_nothing", bad_files),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn arrive() -> Outcome {
    let scene = Scene::new();
    scene.untouched(|| {
        let plan = scene.place.run("plan --detailed-exitcode").ended(2)?;
        plan.says(&["7 to add", "1 file to encrypt, 1 host to switch", "bash docs/vm.sh switch"])?.hides(&["tskey"])
    })?;
    let applied = scene.place.run("apply --auto-approve").ended(0)?;
    applied.says(&["Apply complete! Resources: 7 added, 0 changed, 0 destroyed.", "4 secrets in place"])?;
    for (path, attributes, value) in INSTALLED {
        same(path, scene.host.stat(path), Some(attributes.to_owned()))?;
        same(path, scene.host.read(path), Some(value.as_bytes().to_vec()))?;
    }
    same(
        "the public key",
        fs::read_to_string(scene.dataset.join("vm-age-pubkey"))?,
        scene.host.age_recipient() + "\n",
    )?;
    same("a copy", fs::read(scene.dataset.join("host-authorized-keys"))?, b"ssh-ed25519 AAAA someone\n".to_vec())?;
    scene.unchanged()?;
    // What it was given of our environment.
    let environment = scene.host.switch_environment();
    let dataset = format!("RECONCILE_DATASET={}", scene.dataset.display());
    same("its dataset", environment.contains(&dataset), true)?;
    same("its host", environment.contains(&"RECONCILE_HOST=vm".to_owned()), true)?;
    scene.untouched(|| scene.place.run("apply --auto-approve").ended(0)?.says(&["No changes."]))?;
    scene.untouched(|| scene.place.run("apply --auto-approve --no-switch").ended(0))?;
    Ok(())
}

fn one_item() -> Outcome {
    let scene = Scene::applied()?;
    scene.set("tailscale-auth-key", "tskey-auth-2");
    let before = scene.host.restarted_units();
    let plan = scene.place.run("plan --detailed-exitcode").ended(2)?;
    plan.says(&["0 to add, 1 to change, 0 to destroy", "tailscale/auth-key"])?.hides(&["uniclip", "tskey-auth-2"])?;
    same(
        "the plan",
        scene.planned()?.changes,
        vec!["secret.tailscale/auth-key: value_changed".to_owned(), "host.vm: file_changes".to_owned()],
    )?;
    let lines = scene.place.run("apply --auto-approve --json").ended(0)?.json()?;
    let ended = lines.iter().filter(|line| line["type"] == "apply_complete");
    let steps: Vec<String> = ended.map(|line| word(&line["step"]["step"])).collect();
    same("the steps", steps, ["collect", "encrypt", "index", "switch", "verify"].map(str::to_owned).to_vec())?;
    same("its value", scene.host.read("/run/secrets/tailscale/auth-key"), Some(b"tskey-auth-2".to_vec()))?;
    let restarted = scene.host.restarted_units();
    same("its unit alone", restarted[before.len()..].to_vec(), vec!["tailscaled.service".to_owned()])?;
    // What is only needed at run time is no reason to do anything.
    scene.set("github-token", "ghp_2");
    scene.settled()?;
    // A value of the same length is told apart, too, and one that goes back is a change again.
    scene.set("uniclip-password", "clap");
    same(
        "the plan",
        scene.planned()?.changes.first().cloned(),
        Some("secret.uniclip/password: value_changed".to_owned()),
    )?;
    scene.set("uniclip-password", "clip");
    scene.settled()
}

fn first_boot() -> Outcome {
    let scene = Scene::with(Options { key: false, ..Options::default() });
    scene.untouched(|| scene.place.run("plan --detailed-exitcode").ended(2)?.says(&["make an age key on vm"]))?;
    same("a plan makes no key", scene.host.stat("/var/lib/sops-nix/key.txt"), None)?;
    scene.place.run("apply --auto-approve").ended(0)?;
    let made = scene.host.stat("/var/lib/sops-nix/key.txt").unwrap_or_default();
    same("root's alone", made.starts_with("root root 600 "), true)?;
    same("published", fs::read_to_string(scene.dataset.join("vm-age-pubkey"))?, scene.host.age_recipient() + "\n")?;
    scene.settled()
}

fn without_root() -> Outcome {
    let scene = Scene::new();
    scene.place.edit_manifest("    become: sudo ", "    become: never ");
    // What the scripts left: the key's public half in the dataset. A file alone is not believed, and what does not
    // depend on it is done.
    fs::write(scene.dataset.join("vm-age-pubkey"), scene.host.age_recipient() + "\n")?;
    scene
        .place
        .run("apply --auto-approve")
        .ended(1)?
        .says(&["--accept-recipient host.vm", "Applied in part: 7 blocked"])?;
    same("no file to an unknown key", scene.file().exists(), false)?;
    scene.place.run("apply --auto-approve --accept-recipient vm").ended(0)?;
    for (path, _, value) in INSTALLED {
        same(path, scene.host.read(path), Some(value.as_bytes().to_vec()))?;
    }
    let plan = scene.place.run("plan");
    // Root's files are out of sight, and that is said; what m can see agrees.
    if plan.code == 0 { Ok(()) } else { Err(plan.all().into()) }
}

fn locked() -> Outcome {
    let scene = Scene::applied()?;
    let prompts = scene.account.prompts();
    scene.account.lock();
    scene.untouched(|| scene.place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."]))?;
    // Without ssh nothing is said of the host.
    let without = || scene.place.run("plan --detailed-exitcode --refresh=false").ended(1)?.says(&["1 not checked"]);
    scene.untouched(without)?;
    scene.untouched(|| scene.place.run("apply --auto-approve").ended(0))?;
    same("prompts", scene.account.prompts(), prompts)
}

fn saved_plan() -> Outcome {
    let scene = Scene::applied()?;
    let stale = |scene: &Scene| -> Outcome {
        scene.untouched(|| scene.place.run("apply plan.out").ended(1)?.says(&["stale", "reconcile plan --out"]))?;
        Ok(())
    };
    let save = |scene: &Scene| scene.place.run("plan --out plan.out").ended(0);
    scene.set("tailscale-auth-key", "tskey-auth-2");
    save(&scene)?.hides(&["tskey-auth-2"])?;
    scene.place.run("show plan.out").ended(0)?.says(&["tailscale/auth-key", "1 to change"])?;
    // The vault moved: that item again, or another one.
    scene.set("tailscale-auth-key", "tskey-auth-3");
    stale(&scene)?;
    save(&scene)?;
    scene.set("uniclip-password", "clop");
    stale(&scene)?;
    // The manifest, if only in a comment.
    save(&scene)?;
    let text = fs::read_to_string(scene.place.manifest())?;
    scene.place.write_manifest(&format!("{text}# more\n"));
    stale(&scene)?;
    scene.place.write_manifest(&text);
    // A file, a source, the host.
    fs::write(scene.place.home.join(".ssh/id_ed25519.pub"), "ssh-ed25519 BBBB someone\n")?;
    stale(&scene)?;
    save(&scene)?;
    scene.sops(&["set", "secrets.yaml", "[\"rbw\"][\"email\"]", "\"else@example.org\""])?;
    stale(&scene)?;
    save(&scene)?;
    scene.host.replace_key();
    stale(&scene)?;
    // With nothing moved it is carried out without a question, and only once.
    scene.place.run("plan --accept-recipient vm --out plan.out").ended(0)?;
    scene.place.run("apply plan.out").ended(0)?.says(&["Apply complete!"])?;
    scene.settled()?;
    scene.untouched(|| scene.place.run("apply plan.out").ended(1)?.says(&["stale"]))?;
    fs::write(scene.place.repository.join("plan.out"), "{}")?;
    scene.untouched(|| scene.place.run("apply plan.out").ended(1)?.says(&["plan.out"]))?;
    Ok(())
}

fn sops_set() -> Outcome {
    let scene = Scene::applied()?;
    scene.sops(&["set", "secrets.yaml", "[\"uniclip\"][\"password\"]", "\"mine\""])?;
    let planned = scene.planned()?;
    same("the plan", planned.changes.first().cloned(), Some("secret.uniclip/password: edited_outside".to_owned()))?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("the vault's", scene.host.read("/run/secrets/uniclip/password"), Some(b"clip".to_vec()))?;
    scene.settled()?;
    // A number is no text that sops-nix would install.
    scene.sops(&["set", "secrets.yaml", "[\"uniclip\"][\"password\"]", "5"])?;
    let reasons = scene.planned()?.changes.swap_remove(0);
    same("the plan", reasons.contains("wrong_type"), true)?;
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn sops_edit() -> Outcome {
    let scene = Scene::applied()?;
    let editor = scene.place.home.join("editor");
    fs::write(&editor, "printf 'extra: mine\\n' >>\"$1\"\n")?;
    scene.sops_edited(&["edit", "secrets.yaml"], &format!("sh {}", editor.display()))?;
    scene.untouched(|| {
        scene.place.run("apply --auto-approve").ended(1)?.says(&["key.secrets.yaml/extra", "--destroy-foreign"])
    })?;
    scene.place.run("apply --auto-approve --destroy-foreign key.secrets.yaml/extra").ended(0)?;
    scene.settled()?;
    let replaced = scene.receipt().parent().map(|state| state.join("replaced")).ok_or("a state directory")?;
    let texts = fs::read_dir(replaced)?.flatten().map(|entry| fs::read_to_string(entry.path()).unwrap_or_default());
    same("what was replaced is kept", texts.into_iter().any(|text| text.contains("extra: ENC[")), true)
}

fn sops_updatekeys() -> Outcome {
    let scene = Scene::applied()?;
    let (_, stranger) = reconcile::sops::Identities::generate();
    fs::write(
        scene.dataset.join(".sops.yaml"),
        format!("creation_rules:\n  - age: \"{},{stranger}\"\n", scene.host.age_recipient()),
    )?;
    scene.sops(&["updatekeys", "--yes", "secrets.yaml"])?;
    same(
        "the plan",
        scene.planned()?.changes.first().cloned(),
        Some("file.secrets.yaml: file_edited_outside recipients_changed".to_owned()),
    )?;
    let plan = scene.place.run("plan").ended(0)?;
    plan.says(&[&stranger.to_string()[..7]])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    let text = fs::read_to_string(scene.file())?;
    same("the stranger is out", text.contains(&stranger.to_string()), false)?;
    scene.settled()?;
    // Swapped: the host is not among the recipients any more.
    fs::write(scene.dataset.join(".sops.yaml"), format!("creation_rules:\n  - age: \"{stranger}\"\n"))?;
    scene.sops(&["updatekeys", "--yes", "secrets.yaml"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn sops_rotate() -> Outcome {
    let scene = Scene::applied()?;
    scene.sops(&["rotate", "-i", "secrets.yaml"])?;
    let planned = scene.planned()?;
    same(
        "every value is another ciphertext",
        planned.changes.iter().filter(|change| change.contains("edited_outside")).count(),
        4,
    )?;
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn git_merge() -> Outcome {
    let scene = Scene::applied()?;
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"];
        Command::new("git").current_dir(&scene.dataset).args(identity).args(arguments).output()
    };
    let commit = |message: &str| -> Outcome {
        succeeded(&git(&["add", "secrets.yaml"])?)?;
        succeeded(&git(&["commit", "-qm", message])?)
    };
    succeeded(&git(&["init", "-qb", "main"])?)?;
    commit("first")?;
    succeeded(&git(&["checkout", "-qb", "other"])?)?;
    scene.sops(&["set", "secrets.yaml", "[\"rbw\"][\"email\"]", "\"theirs@example.org\""])?;
    commit("theirs")?;
    succeeded(&git(&["checkout", "-q", "main"])?)?;
    scene.sops(&["set", "secrets.yaml", "[\"user\"][\"hashed-password\"]", "\"ours\""])?;
    commit("ours")?;
    let _ = git(&["merge", "-q", "other"])?;
    let text = fs::read_to_string(scene.file())?;
    same("it has conflicts", text.contains("<<<<<<<"), true)?;
    scene.untouched(|| scene.place.run("apply --auto-approve").ended(1)?.says(&["--replace file.secrets.yaml"]))?;
    // Resolved by hand: each line is of one of the two, and the MAC of neither fits.
    let ours = |line: &&str| !line.starts_with("<<<<<<<") && !line.starts_with(">>>>>>>");
    let mut keep = true;
    let resolved: Vec<&str> = text
        .lines()
        .filter(ours)
        .filter(|line| {
            let marker = line.starts_with("=======");
            keep = if marker { false } else { keep || line.starts_with("    age:") || !line.starts_with(' ') };
            keep && !marker
        })
        .collect();
    fs::write(scene.file(), resolved.join("\n") + "\n")?;
    let refused = scene.place.run("plan");
    same("it is not as we left it", refused.out.contains("No changes."), false)?;
    scene.place.run("apply --auto-approve --replace file.secrets.yaml").ended(0)?;
    scene.settled()
}

fn lost_receipt() -> Outcome {
    let scene = Scene::applied()?;
    let written = fs::read(scene.file())?;
    fs::remove_file(scene.receipt())?;
    same("the plan", scene.planned()?.changes.iter().filter(|change| change.contains("never_recorded")).count(), 4)?;
    // The operator's word that the file holds what the vault has.
    let adopted = scene.place.run("adopt file.secrets.yaml").ended(0)?;
    adopted.says(&["Adopted", "could not be checked", "reconcile apply --replace file.secrets.yaml"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("the file", fs::read(scene.file())? == written, true)?;
    scene.settled()?;
    // Without it everything is written anew; the host's key, whose acceptance is lost too, is seen live.
    fs::remove_file(scene.receipt())?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("the file", fs::read(scene.file())? == written, false)?;
    scene.settled()
}

fn lost_key() -> Outcome {
    let scene = Scene::applied()?;
    let state = scene.receipt().parent().ok_or("a state directory")?.to_owned();
    let keys = fs::read_dir(state)?.flatten().map(|entry| entry.path());
    let keys: Vec<_> = keys.filter(|path| path.to_string_lossy().contains("fingerprint")).collect();
    same("keys", keys.len(), 1)?;
    fs::remove_file(&keys[0])?;
    // The others are proven by their revisions, under fingerprints that can no longer be compared.
    scene.set("uniclip-password", "clop");
    scene.place.run("apply --auto-approve").ended(0)?;
    same("its value", scene.host.read("/run/secrets/uniclip/password"), Some(b"clop".to_vec()))?;
    scene.settled()
}

fn left_behind() -> Outcome {
    let scene = Scene::applied()?;
    scene.set("uniclip-password", "clop");
    scene.place.run("apply --auto-approve --no-switch").ended(0)?;
    same("switches", scene.host.switches(), 1)?;
    same("the plan", scene.planned()?.changes, vec!["host.vm: host_behind".to_owned()])?;
    let lines = scene.place.run("apply --auto-approve --json").ended(0)?.json()?;
    let ended = lines.iter().filter(|line| line["type"] == "apply_complete");
    same(
        "the steps",
        ended.map(|line| word(&line["step"]["step"])).collect(),
        ["switch", "verify", "restart_user_units"].map(str::to_owned).to_vec(),
    )?;
    same("its value", scene.host.read("/run/secrets/uniclip/password"), Some(b"clop".to_vec()))?;
    // Somebody changed what is installed.
    scene.host.root("chown root /run/secrets/uniclip/password");
    same("the plan", scene.planned()?.changes, vec!["host.vm: host_drifted".to_owned()])?;
    scene.place.run("plan").ended(0)?.says(&["uniclip/password", "owner"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn undeclared() -> Outcome {
    let mut scene = Scene::applied()?;
    let text = fs::read_to_string(scene.place.manifest())?;
    let (before, rest) = text.split_once("  uniclip/password:").ok_or("the secret")?;
    let (_, after) = rest.split_once("  user/hashed-password:").ok_or("the next one")?;
    scene.place.write_manifest(&format!("{before}  user/hashed-password:{after}"));
    scene.host.set_declared(declared().into_iter().filter(|one| !format!("{one:?}").contains("uniclip")).collect());
    same(
        "the plan",
        scene.planned()?.changes.first().cloned(),
        Some("secret.uniclip/password: key_undeclared".to_owned()),
    )?;
    scene.place.run("plan").ended(0)?.says(&["1 to destroy"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("it is gone", scene.host.stat("/run/secrets/uniclip/password"), None)?;
    scene.unchanged()
}

fn crash_between() -> Outcome {
    let scene = Scene::applied()?;
    let receipt = fs::read(scene.receipt())?;
    scene.set("uniclip-password", "clop");
    scene.place.run("apply --auto-approve --no-switch").ended(0)?;
    let written = fs::read(scene.file())?;
    // As after a crash when the file was in place and the receipt only said that it would be.
    let mut after: serde_json::Value = serde_json::from_slice(&fs::read(scene.receipt())?)?;
    let before: serde_json::Value = serde_json::from_slice(&receipt)?;
    let file = &mut after["files"]["secrets.yaml"];
    let (new, old) = (file["written"].take(), before["files"]["secrets.yaml"]["written"].clone());
    *file = serde_json::json!({"written": old, "pending": new});
    fs::write(scene.receipt(), serde_json::to_vec(&after)?)?;
    same("the plan", scene.planned()?.changes, vec!["host.vm: host_behind".to_owned()])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("the file", fs::read(scene.file())? == written, true)?;
    scene.settled()
}

fn bad_vault() -> Outcome {
    let scene = Scene::applied()?;
    let refused = |words: &[&str]| -> Outcome {
        scene.untouched(|| scene.place.run("apply --auto-approve").ended(1)?.says(words)?.hides(&["clip-secret"]))?;
        Ok(())
    };
    let id = &scene.ids["uniclip-password"];
    // Gone, with one that is called almost the same.
    scene.server.trash(id);
    let other = scene.server.put(Item::login("uniclip-password-old", "someone", "clip-secret"));
    refused(&["uniclip-password", "uniclip-password-old"])?;
    scene.server.restore(id);
    // Twice.
    scene.server.edit(&other, |item| "uniclip-password".clone_into(&mut item.name));
    refused(&["uniclip-password", "2"])?;
    scene.server.remove(&other);
    // Empty.
    scene.set("uniclip-password", "");
    refused(&["uniclip-password", "empty"])?;
    scene.set("uniclip-password", "clip");
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()?;
    // Escape sequences in a name do not reach the terminal.
    let odd = scene.server.put(Item::login("uniclip\u{1b}[2J-password", "someone", "x"));
    let ran = scene.place.run("plan");
    same("no escape", ran.all().contains('\u{1b}'), false)?;
    scene.server.remove(&odd);
    // Locked, with something new, and nobody to ask.
    scene.place.edit_manifest("rbw: {unlock: pinentry}", "rbw: {unlock: never}");
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.set("uniclip-password", "clop");
    scene.account.lock();
    refused(&["locked", "rbw unlock"])?;
    scene.account.unlock();
    // Not installed, and no agent that would answer all the same.
    scene.account.stop_agent();
    let mut without = scene.place.reconcile();
    let path = std::env::split_paths(&scene.place.variables["PATH"]).filter(|path| !path.join("rbw").exists());
    without.env("PATH", std::env::join_paths(path.collect::<Vec<_>>())?).args(["apply", "--auto-approve"]);
    scene.untouched(|| Ran::from(without.output()?).ended(1)?.says(&["rbw", "not installed"]))?;
    scene.account.unlock();
    scene.place.run("apply --auto-approve").ended(0)?;
    Ok(())
}

fn bad_files() -> Outcome {
    let scene = Scene::applied()?;
    let good = fs::read_to_string(scene.file())?;
    let refused = |words: &[&str]| -> Outcome {
        scene.untouched(|| scene.place.run("apply --auto-approve").ended(1)?.says(words))?;
        Ok(())
    };
    for (content, words) in [
        (&good[..good.len() / 2], &["file.secrets.yaml", "--replace file.secrets.yaml"][..]),
        ("just: text\n", &["file.secrets.yaml"]),
        ("", &["file.secrets.yaml"]),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", &["file.secrets.yaml"]),
        ("key: !vault |\n  x\n", &["file.secrets.yaml"]),
    ] {
        fs::write(scene.file(), content)?;
        refused(words)?;
    }
    let groups = good.replace(
        "    age:",
        "    key_groups:\n        - age: []\n        - age: []\n    shamir_threshold: 2\n    age:",
    );
    fs::write(scene.file(), groups)?;
    refused(&["key groups"])?;
    // A link in its place is not followed, and not replaced.
    fs::remove_file(scene.file())?;
    let elsewhere = scene.place.home.join("elsewhere");
    fs::write(&elsewhere, &good)?;
    std::os::unix::fs::symlink(&elsewhere, scene.file())?;
    refused(&["symlink"])?;
    fs::remove_file(scene.file())?;
    fs::write(scene.file(), &good)?;
    scene.unchanged()?;
    // What this version does not know is not written over.
    let receipt = fs::read(scene.receipt())?;
    fs::write(scene.receipt(), String::from_utf8(receipt.clone())?.replacen("\"version\": 1", "\"version\": 99", 1))?;
    refused(&["99"])?;
    fs::write(scene.receipt(), &receipt)?;
    let text = fs::read_to_string(scene.place.manifest())?;
    scene.place.edit_manifest("version: 1", "version: 2");
    refused(&["version 2"])?;
    scene.place.write_manifest(&text);
    // The host: off, then with another ssh key. What can be told is still planned.
    scene.host.stop();
    refused(&["vm", "reached"]).or_else(|_| refused(&["refused"]))?;
    scene.host.power_on();
    scene.host.change_ssh_host_key();
    refused(&["ssh", "vm"])?;
    scene.host.trust_ssh_host_key();
    scene.settled()
}
