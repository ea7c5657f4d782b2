//! The rows of the decision table that the whole way does not cross, each provoked by the real thing: by the real sops,
//! git's and the operator's edits, the host. What the plan says, and that an apply settles it.

mod support;

use std::fs;

use libtest_mimic::{Arguments, Trial};
use support::bitwarden::Item;
use support::den_vm::{self, Outcome, Scene, declared, same};
use support::host::{Declared, Switching};
use support::peers;

fn main() {
    let arguments = Arguments::from_args();
    let needs = den_vm::needs();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &needs, test) };
    let trials = vec![
        trial("what_sops_removes_or_only_touches_is_told_apart", removed_or_touched),
        trial("a_file_whose_source_changed_or_that_was_edited_is_published_again", public_files),
        trial("a_new_secret_a_new_owner_and_a_new_name_are_told_apart", declarations),
        trial("two_secrets_whose_keys_changed_places_are_written_anew", swapped),
        trial("another_fingerprint_key_proves_nothing", other_fingerprint_key),
        trial("an_activation_that_failed_is_told_until_one_works", failed_activation),
        trial("a_new_age_key_of_the_host_needs_consent", new_age_key),
        trial("a_key_that_somebody_put_into_the_dataset_is_not_taken", key_in_dataset),
        trial("a_key_that_nothing_had_to_be_done_for_is_accepted_too", accepted_with_nothing_to_do),
        trial("what_a_host_prints_does_not_reach_the_terminal_as_it_is", host_output),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// What the plan says must be this; what is applied then settles it.
fn plans(scene: &Scene, expected: &[&str]) -> Outcome {
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    same("the plan", scene.planned()?.changes, expected)?;
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

/// An apply must end with 1, say `words`, and write nothing.
fn refused(scene: &Scene, arguments: &str, words: &[&str]) -> Outcome {
    scene.untouched(|| scene.place.run(arguments).ended(1)?.says(words))?;
    Ok(())
}

fn removed_or_touched() -> Outcome {
    let scene = Scene::applied()?;
    scene.sops(&["unset", "secrets.yaml", "[\"uniclip\"]"])?;
    plans(&scene, &["secret.uniclip/password: removed_outside", "host.vm: file_changes"])?;
    // The same value once more: sops writes another `lastmodified` and MAC, and the same ciphertext.
    scene.sops(&["set", "secrets.yaml", "[\"uniclip\"][\"password\"]", "\"clip\""])?;
    plans(&scene, &["file.secrets.yaml: file_edited_outside", "host.vm: file_changes"])?;
    fs::remove_file(scene.file())?;
    let all = ["rbw/email", "tailscale/auth-key", "uniclip/password", "user/hashed-password"];
    let all = all.map(|name| format!("secret.{name}: removed_outside"));
    let all: Vec<&str> = all.iter().map(String::as_str).chain(["host.vm: file_changes"]).collect();
    plans(&scene, &all)
}

fn public_files() -> Outcome {
    let scene = Scene::applied()?;
    fs::write(scene.place.home.join(".ssh/id_ed25519.pub"), "ssh-ed25519 BBBB someone\n")?;
    plans(&scene, &["file.host-authorized-keys: source_changed", "file.mac-host-authorized-keys: source_changed"])?;
    let copy = scene.dataset.join("host-authorized-keys");
    fs::write(&copy, "ssh-ed25519 EVIL somebody\n")?;
    plans(&scene, &["file.host-authorized-keys: edited_outside"])?;
    same("the copy", fs::read_to_string(&copy)?, "ssh-ed25519 BBBB someone\n".to_owned())?;
    fs::remove_file(&copy)?;
    plans(&scene, &["file.host-authorized-keys: removed_outside"])?;
    let index = scene.dataset.join("reconcile.json");
    fs::write(&index, fs::read_to_string(&index)?.replace("uniclip/password", "uniclip/else"))?;
    plans(&scene, &["file.reconcile.json: index_stale"])?;
    fs::remove_file(&index)?;
    plans(&scene, &["file.reconcile.json: file_missing"])
}

fn declarations() -> Outcome {
    let mut scene = Scene::applied()?;
    let text = fs::read_to_string(scene.place.manifest())?;
    let declare = |scene: &mut Scene, from: &str, to: &str, there: Vec<Declared>| {
        let text = fs::read_to_string(scene.place.manifest()).expect("the manifest");
        scene.place.write_manifest(&text.replacen(from, to, 1));
        scene.host.set_declared(there);
    };
    // Another owner: nothing is encrypted for that.
    let written = fs::read(scene.file())?;
    let clip = "  uniclip/password:\n    item: uniclip-password\n";
    let owned: Vec<Declared> =
        declared().into_iter().map(|one| if is(&one, "uniclip") { one.owner("root") } else { one }).collect();
    let (before, after) = text.split_once(clip).ok_or("the secret")?;
    scene.place.write_manifest(&format!("{before}{clip}{}", after.replacen("owner: m", "owner: root", 1)));
    scene.host.set_declared(owned);
    let planned = scene.planned()?.changes;
    same(
        "the plan",
        planned,
        ["secret.uniclip/password: declaration_changed", "host.vm: file_changes"].map(str::to_owned).to_vec(),
    )?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("the file", fs::read(scene.file())? == written, true)?;
    scene.unchanged()?;
    scene.place.write_manifest(&text);
    scene.host.set_declared(declared());
    scene.place.run("apply --auto-approve").ended(0)?;
    // A new secret, of an item that is there.
    let new = "  extra/token:\n    item: amp-api-key\n    delivery:\n      sops: {}\n";
    let more = || declared().into_iter().chain([Declared::new("extra/token")]).collect::<Vec<_>>();
    declare(&mut scene, "  uniclip/password:\n", &format!("{new}  uniclip/password:\n"), more());
    plans(&scene, &["secret.extra/token: key_missing", "host.vm: file_changes"])?;
    same("its value", scene.host.read("/run/secrets/extra/token"), Some(b"amp-1".to_vec()))?;
    // Another name for it, which the manifest tells.
    let moved = declared().into_iter().chain([Declared::new("other/token")]).collect();
    declare(&mut scene, "  extra/token:\n", "  other/token:\n", moved);
    let text = fs::read_to_string(scene.place.manifest())?;
    scene.place.write_manifest(&format!("{text}moved: [{{from: extra/token, to: other/token}}]\n"));
    plans(&scene, &["secret.other/token: renamed", "host.vm: file_changes"])?;
    same("under its old name", scene.host.stat("/run/secrets/extra/token"), None)?;
    same("its value", scene.host.read("/run/secrets/other/token"), Some(b"amp-1".to_vec()))
}

fn is(one: &Declared, name: &str) -> bool {
    format!("{one:?}").contains(name)
}

/// The file has both values, and each is the other's.
fn swapped() -> Outcome {
    let mut scene = Scene::new();
    let text = fs::read_to_string(scene.place.manifest())?;
    let keyed = |email: &str, clip: &str| {
        text.replace(
            "      sops: {owner: m, mode: \"0400\"}\n",
            &format!("      sops: {{owner: m, mode: \"0400\", key: {email}}}\n"),
        )
        .replace(
            "{owner: m, mode: \"0400\", restart_user_units",
            &format!("{{owner: m, key: {clip}, mode: \"0400\", restart_user_units"),
        )
    };
    let there = |email: &str, clip: &str| {
        let keyed = |one: Declared| match (is(&one, "rbw/email"), is(&one, "uniclip")) {
            (true, _) => one.key(email),
            (_, true) => one.key(clip),
            _ => one,
        };
        declared().into_iter().map(keyed).collect::<Vec<_>>()
    };
    scene.place.write_manifest(&keyed("one", "two"));
    scene.host.set_declared(there("one", "two"));
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.place.write_manifest(&keyed("two", "one"));
    scene.host.set_declared(there("two", "one"));
    let changes = [
        "secret.rbw/email: declaration_changed",
        "secret.uniclip/password: declaration_changed",
        "host.vm: file_changes",
    ];
    plans(&scene, &changes)?;
    same("the address", scene.host.read("/run/secrets/rbw/email"), Some(b"someone@example.org".to_vec()))?;
    same("the password", scene.host.read("/run/secrets/uniclip/password"), Some(b"clip".to_vec()))
}

fn other_fingerprint_key() -> Outcome {
    let scene = Scene::applied()?;
    let receipt = scene.receipt();
    fs::remove_file(receipt.with_file_name("fingerprint.key"))?;
    // The revisions are what they were.
    scene.settled()?;
    // Another item of the same name and value: nothing is left to compare it with.
    scene.server.remove(&scene.ids["uniclip-password"]);
    scene.server.put(Item::login("uniclip-password", "someone", "clip"));
    plans(&scene, &["secret.uniclip/password: other_fingerprint_key", "host.vm: file_changes"])
}

fn failed_activation() -> Outcome {
    let mut scene = Scene::applied()?;
    scene.set("uniclip-password", "clop");
    scene.host.set_switching(Switching::ActivationFails);
    scene.place.run("apply --auto-approve").ended(1)?.says(&["switch vm", "Apply failed"])?;
    same("the old one is live", scene.host.read("/run/secrets/uniclip/password"), Some(b"clip".to_vec()))?;
    let planned = scene.planned()?.changes;
    same("the host alone", planned.iter().all(|change| change.starts_with("host.vm: ")), true)?;
    same("it is told", planned.concat().contains("activation_failed"), true)?;
    scene.host.set_switching(Switching::Works);
    scene.place.run("apply --auto-approve").ended(0)?;
    same("the new one is live", scene.host.read("/run/secrets/uniclip/password"), Some(b"clop".to_vec()))?;
    scene.settled()
}

fn new_age_key() -> Outcome {
    let scene = Scene::applied()?;
    scene.host.replace_key();
    scene.set("uniclip-password", "clop");
    let words = ["host.vm: its age key is", "--accept-recipient host.vm"];
    refused(&scene, "apply --auto-approve", &words)?;
    refused(&scene, "apply --auto-approve --target secret.uniclip/password", &words)?;
    // Gone altogether.
    scene.host.without_key();
    refused(&scene, "apply --auto-approve", &["host.vm: it has no age key any more"])?;
    let new = scene.host.replace_key();
    scene.place.run("apply --auto-approve --accept-recipient vm").ended(0)?;
    same("published", fs::read_to_string(scene.dataset.join("vm-age-pubkey"))?, new + "\n")?;
    same("its value", scene.host.read("/run/secrets/uniclip/password"), Some(b"clop".to_vec()))?;
    scene.settled()
}

fn key_in_dataset() -> Outcome {
    let scene = Scene::applied()?;
    let (_, stranger) = reconcile::sops::Identities::generate();
    let published = scene.dataset.join("vm-age-pubkey");
    let ours = fs::read_to_string(&published)?;
    fs::write(&published, format!("{stranger}\n"))?;
    scene.set("uniclip-password", "clop");
    // The host cannot be asked: its accepted key and the dataset's contradict each other.
    scene.host.stop();
    let words = ["the dataset offers", "--accept-recipient host.vm"];
    refused(&scene, "apply --auto-approve", &words)?;
    refused(&scene, "apply --auto-approve --no-switch --accept-recipient vm", &words)?;
    scene.host.power_on();
    let text = || fs::read_to_string(scene.file());
    scene.place.run("apply --auto-approve").ended(0)?;
    same("published", fs::read_to_string(&published)?, ours)?;
    same("encrypted to the stranger", text()?.contains(stranger.as_str()), false)?;
    scene.settled()
}

fn accepted_with_nothing_to_do() -> Outcome {
    let scene = Scene::applied()?;
    fs::remove_file(scene.receipt())?;
    scene.place.run("adopt file.secrets.yaml").ended(0)?;
    scene.place.run("apply --auto-approve").ended(0)?.says(&["accepts its age key", &scene.host.age_recipient()])?;
    scene.place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?.hides(&["accepts"])?;
    // What is encrypted while the host is off is encrypted to that key.
    scene.host.stop();
    scene.set("uniclip-password", "clop");
    let before = fs::read(scene.file())?;
    scene.place.run("apply --auto-approve --no-switch").says(&["encrypt secrets.yaml to 1 recipient"])?;
    same("it was not encrypted", fs::read(scene.file())? == before, false)?;
    scene.host.power_on();
    scene.place.run("apply --auto-approve").ended(0)?;
    same("its value", scene.host.read("/run/secrets/uniclip/password"), Some(b"clop".to_vec()))?;
    scene.settled()
}

fn host_output() -> Outcome {
    let scene = Scene::applied()?;
    scene.set("uniclip-password", "clop");
    let script = scene.place.repository.join("docs/vm.sh");
    let switch = fs::read_to_string(&script)?;
    fs::write(&script, format!("printf 'a\\033[2Jb\\r\\n\\033]0;title\\007\\n'; printf '\\033[31m' >&2; {switch}"))?;
    let ran = scene.place.run("apply --auto-approve").ended(0)?;
    same("no escape", ran.all().contains(['\u{1b}', '\u{7}', '\r']), false)?;
    ran.says(&["[2J"])?;
    scene.settled()
}
