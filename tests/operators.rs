//! Several operators of one dataset, as homes of their own with the real program: the key of fingerprints in the vault,
//! the receipt at a shared path, one after the other and at the same time.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use libtest_mimic::{Arguments, Failed, Trial};
use support::bitwarden::rbw::{Account, NEEDS};
use support::bitwarden::{Item, Server};
use support::peers;
use support::program::{Place, Ran, typed};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, needs: &[&str], test: fn() -> Outcome| -> Trial { peers::trial(name, needs, test) };
    let trials = vec![
        trial("a_key_that_is_not_in_the_vault_is_asked_for_and_never_made", &[], missing_key),
        trial("the_key_of_one_machine_moves_into_the_vault_and_nothing_changes", &[], moved_key),
        trial("with_the_key_in_rbw_a_locked_vault_is_planned_and_nothing_is_called_changed", NEEDS, locked),
        trial("two_operators_in_turn_see_each_others_work_and_nothing_else", &[], in_turn),
        trial("each_operator_may_read_the_vault_through_an_account_of_its_own", &[], own_accounts),
        trial("what_is_not_shared_is_told_once_with_how_to_share_it", &[], not_shared),
        trial("a_shared_receipt_begins_with_the_one_that_there_was", &[], begins_with_own),
        trial("a_receipt_that_goes_back_forks_or_is_another_is_told_and_left", &[], conflicts),
        trial("two_operators_at_once_are_one_after_the_other", &[], at_once),
        trial("a_receipt_that_arrives_during_an_apply_is_not_overwritten", &[], moved_meanwhile),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

/// A manifest of two secrets, with `shared` lines.
fn manifest(vault: &str, shared: &str) -> String {
    format!(
        "version: 1\nname: shared\nvault: {{{vault}}}\n{shared}
dataset: {{path: dataset, files: {{here-age-pubkey: {{age_key_of: here}}}}}}
hosts:
  here: {{local: {{}}, age_key_file: key.txt, recipient: {{file: here-age-pubkey}}, switch: {{activate: {{symlink_path: secrets}}}}}}
secrets:
  a: {{item: a, delivery: {{sops: {{}}}}}}
  b: {{item: b, delivery: {{sops: {{}}}}}}
"
    )
}

const FILE: &str = "file: {path: vault.yaml}";
const KEY: &str = "fingerprint_key: {item: our key}\n";

fn with_file(shared: &str) -> Result<Place, Failed> {
    let place = Place::new(&manifest(FILE, shared));
    std::fs::write(place.repository.join("vault.yaml"), "a: canary-a\nb: canary-b\n")?;
    Ok(place)
}

/// The advice at the end of what was printed.
fn advised(ran: &Ran) -> Result<String, Failed> {
    let line = ran.err.lines().find_map(|line| line.trim().strip_prefix("→ "));
    Ok(line.ok_or_else(|| format!("no advice in {ran:?}"))?.to_owned())
}

fn missing_key() -> Outcome {
    let place = with_file(KEY)?;
    let before = place.files();
    for command in ["plan", "apply --auto-approve", "adopt secret.a"] {
        let refused = place.run(command).ended(1)?.hides(&["canary"])?;
        let refused = refused.says(&["fingerprint_key: no item is called \"our key\"", "nothing was done"])?;
        same("the advice", advised(&refused)?, format!("reconcile fingerprint-key >> {}/vault.yaml", real(&place)?))?;
    }
    let after: Vec<_> = place.files().into_iter().filter(|(path, _)| !path.ends_with("lock")).collect();
    same("nothing was made", after, before.into_iter().collect())?;
    place.run("doctor").ended(1)?.says(&["✗ fingerprint key", "→ reconcile fingerprint-key >> "])?;
    let advice = advised(&place.run("plan"))?;
    typed(&place, &advice)?.ended(0)?;
    place.run("apply --auto-approve").ended(0)?.hides(&["canary", "reconcile-key-1:"])?;
    place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    // What is there and is no key is neither taken nor replaced.
    let text = std::fs::read_to_string(place.repository.join("vault.yaml"))?;
    let cut = text.trim_end().strip_suffix(|_: char| true).ok_or("a key")?.to_owned();
    std::fs::write(place.repository.join("vault.yaml"), cut)?;
    let refused = place.run("plan").ended(1)?.hides(&["reconcile-key-1:"])?;
    refused.says(&["what the item \"our key\" holds is no fingerprint key", "remove that item and make one"])?;
    Ok(())
}

fn real(place: &Place) -> Result<String, Failed> {
    Ok(place.repository.canonicalize()?.display().to_string())
}

fn moved_key() -> Outcome {
    let place = with_file("")?;
    place.run("apply --auto-approve").ended(0)?;
    place.write_manifest(&manifest(FILE, KEY));
    // Also after a line that does not end.
    edit(&place, "b: canary-b\n", "b: canary-b")?;
    typed(&place, "reconcile fingerprint-key >> vault.yaml")?.ended(0)?;
    // The index names the manifest that it was made from.
    let plan = place.run("plan").ended(0)?.hides(&["secret.", "encrypt", "fingerprint"])?;
    plan.says(&["0 to add, 1 to change, 0 to destroy.", "Steps: index"])?;
    let ids = |text: &str| -> Vec<String> {
        text.split("fingerprint\": \"").skip(1).filter_map(|rest| Some(rest.split(':').next()?.to_owned())).collect()
    };
    let receipt = place.run("show --json").ended(0)?.out;
    let vault = std::fs::read_to_string(place.repository.join("vault.yaml"))?;
    let id = vault.split("reconcile-key-1:").nth(1).and_then(|rest| rest.split(':').next()).ok_or("an id")?;
    same("the key", ids(&receipt), vec![id.to_owned(); 2])
}

fn operator(server: &Server, shared: &str) -> Result<(Place, Account), Failed> {
    let account = Account::log_in(server);
    let mut place = Place::new(&manifest("rbw: {unlock: never}", shared));
    place.variables.extend(account.env().into_iter().filter(|(name, _)| name != "HOME"));
    Ok((place, account))
}

fn locked() -> Outcome {
    let server = Server::start();
    let a = server.put(Item::login("a", "me", "canary-a"));
    server.put(Item::login("b", "me", "canary-b"));
    let (place, account) = operator(&server, &both())?;
    let refused = place.run("apply --auto-approve").ended(1)?;
    same("the advice", advised(&refused)?, "reconcile fingerprint-key | rbw add 'our key'".to_owned())?;
    typed(&place, &advised(&refused)?)?.ended(0)?.hides(&["reconcile-key-1:"])?;
    place.run("apply --auto-approve").ended(0)?.hides(&["canary", "reconcile-key-1:"])?;
    account.lock();
    place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    // The same on another machine, once it has seen what the items are called.
    let (mut other, others) = operator(&server, &both())?;
    other.repository = place.repository.clone();
    other.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    others.lock();
    other.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    // Whoever cannot read the key cannot tell, and says so of what may have changed alone.
    server.edit(&a, |item| item.set_password(Some("canary-new")));
    let unknown = place.run("plan --detailed-exitcode").ended(1)?.hides(&["will be", "secret.b"])?;
    unknown.says(&["secret.a: it may have changed", "the vault is locked", "rbw unlock"])?;
    account.unlock();
    let changed = place.run("plan --detailed-exitcode").ended(2)?.hides(&["secret.b"])?;
    changed.says(&["secret.a will be updated: its value changed in the vault"])?;
    Ok(())
}

/// Two machines, each with its own home, in one repository: the dataset, the vault and the receipt are the same.
fn two(shared: &str) -> Result<(Place, Place), Failed> {
    let first = with_file(shared)?;
    let mut second = Place::new("");
    second.repository = first.repository.clone();
    typed(&first, "reconcile fingerprint-key >> vault.yaml")?;
    Ok((first, second))
}

const RECEIPT: &str = "receipt: {path: shared/receipt.json}\n";

fn both() -> String {
    format!("{RECEIPT}{KEY}")
}

fn receipt_path(place: &Place) -> PathBuf {
    place.repository.join("shared/receipt.json")
}

fn edit(place: &Place, from: &str, to: &str) -> Outcome {
    let vault = place.repository.join("vault.yaml");
    let text = std::fs::read_to_string(&vault)?;
    same("once in the vault", text.matches(from).count(), 1)?;
    Ok(std::fs::write(vault, text.replace(from, to))?)
}

fn serial(place: &Place) -> Result<u64, Failed> {
    let receipt: serde_json::Value = serde_json::from_slice(&std::fs::read(receipt_path(place))?)?;
    Ok(receipt["serial"].as_u64().ok_or("a serial")?)
}

fn in_turn() -> Outcome {
    let (first, second) = two(&both())?;
    first.run("apply --auto-approve").ended(0)?;
    second.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?.hides(&["Note:"])?;
    second.run("doctor").ended(0)?.says(&["✓ receipt", "✓ fingerprint key   in the item \"our key\""])?;
    edit(&first, "canary-a", "canary-new")?;
    let changed = second.run("plan --detailed-exitcode").ended(2)?.hides(&["secret.b"])?;
    changed.says(&["secret.a will be updated: its value changed in the vault"])?;
    second.run("apply --auto-approve").ended(0)?.hides(&["canary"])?;
    let before = serial(&first)?;
    for place in [&first, &second] {
        place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
        place.run("apply --auto-approve").ended(0)?.says(&["No changes."])?;
    }
    same("looking writes nothing that others have to sync", serial(&first)?, before)
}

fn own_accounts() -> Outcome {
    let (mut first, mut second) = (with_file(&both())?, Place::new(""));
    second.repository = first.repository.clone();
    first.write_manifest(&manifest("file: {path: $VAULT}", &both()));
    for (place, name) in [(&mut first, "one.yaml"), (&mut second, "two.yaml")] {
        let vault = place.home.join(name);
        std::fs::copy(place.repository.join("vault.yaml"), &vault)?;
        place.variables.insert("VAULT".to_owned(), vault.into());
    }
    // The copies were made before there was a key.
    typed(&first, "reconcile fingerprint-key > key && cat key >> $VAULT")?.ended(0)?;
    typed(&second, "cat key >> $VAULT && rm key")?.ended(0)?;
    first.run("apply --auto-approve").ended(0)?;
    let before = std::fs::read(receipt_path(&first))?;
    for place in [&second, &first, &second] {
        place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
        place.run("apply --auto-approve").ended(0)?.says(&["No changes."])?;
    }
    same("the receipt", std::fs::read(receipt_path(&first))? == before, true)?;
    let is_readings = |(path, _): &(PathBuf, Vec<u8>)| path.ends_with("readings.json");
    let (path, kept) = second.files().into_iter().find(is_readings).ok_or("what it read")?;
    same("without a value", String::from_utf8(kept)?.contains("canary"), false)?;
    same("its mode", std::fs::metadata(path)?.permissions().mode() & 0o777, 0o600)
}

fn not_shared() -> Outcome {
    let first = with_file("")?;
    let mut second = Place::new("");
    second.repository = first.repository.clone();
    first.run("apply --auto-approve").ended(0)?;
    let plan = second.run("plan").ended(0)?;
    let plan =
        plan.says(&["secret.a will be updated: never recorded here", "secret.b will be updated: never recorded"])?;
    plan.says(&["Note: what another machine applied is not known here: `receipt: {path: …}`"])?;
    second.run("apply --auto-approve").ended(0)?;
    second.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    // A receipt that is shared under keys that are not.
    let (first, second) = two(RECEIPT)?;
    first.run("apply --auto-approve").ended(0)?;
    let plan = second.run("plan").ended(0)?.hides(&["its value changed"])?;
    plan.says(&[
        "recorded under another fingerprint key",
        "Warning: the receipt was made under the fingerprint key of",
    ])?;
    Ok(())
}

fn begins_with_own() -> Outcome {
    let (first, second) = two("")?;
    first.run("apply --auto-approve").ended(0)?;
    first.write_manifest(&manifest(FILE, &both()));
    std::fs::write(first.repository.join("vault.yaml"), "a: canary-a\nb: canary-b\n")?;
    typed(&first, "reconcile fingerprint-key >> vault.yaml")?.ended(0)?;
    let plan = first.run("plan").ended(0)?.hides(&["secret."])?;
    plan.says(&["Steps: index"])?;
    first.run("apply --auto-approve").ended(0)?;
    second.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    Ok(())
}

fn conflicts() -> Outcome {
    let (first, second) = two(&both())?;
    let path = receipt_path(&first);
    first.run("apply --auto-approve").ended(0)?;
    second.run("plan").ended(0)?;
    let old = std::fs::read(&path)?;
    edit(&first, "canary-a", "canary-new")?;
    first.run("apply --auto-approve").ended(0)?;
    second.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    let new = std::fs::read(&path)?;
    let text = String::from_utf8(new.clone())?;
    let lineage = text.split("\"lineage\": \"").nth(1).and_then(|rest| rest.split('"').next()).ok_or("a lineage")?;
    let forked = text.replacen("\"files\"", "\n  \"files\"", 1);
    let other = text.replacen(lineage, &"0".repeat(32), 1);
    for (there, said) in [
        (Some(old.as_slice()), "went back"),
        (Some(forked.as_bytes()), "neither knowing the other's"),
        (Some(other.as_bytes()), "is of another history"),
        (None, "is gone"),
    ] {
        match there {
            Some(bytes) => std::fs::write(&path, bytes)?,
            None => std::fs::remove_file(&path)?,
        }
        let before = first.files();
        for place in [&first, &second] {
            for command in ["plan", "apply --auto-approve", "show"] {
                let refused = place.run(command).ended(1)?.says(&[said, "reconcile adopt --receipt"])?;
                place.run("doctor").ended(1)?.says(&["✗ receipt", said, "→ "])?;
                refused.says(&[&path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string()])?;
            }
        }
        let after: Vec<_> = first.files().into_iter().filter(|(path, _)| !path.ends_with("lock")).collect();
        same("left as it was", after, before.into_iter().filter(|(path, _)| !path.ends_with("lock")).collect())?;
    }
    // On purpose it is gone on with: the older one shows what it lacks, and one apply settles it.
    std::fs::write(&path, &old)?;
    for place in [&first, &second] {
        place.run("adopt --receipt").ended(0)?.says(&["Adopted", "as it is, at serial"])?;
    }
    second.run("plan --detailed-exitcode").ended(2)?.says(&["secret.a", "edited outside of reconcile"])?;
    second.run("apply --auto-approve").ended(0)?;
    first.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    std::fs::write(path.with_file_name("receipt.sync-conflict-20261125-203000-ABCDEFG.json"), &old)?;
    let warned = first.run("plan").ended(0)?;
    warned.says(&["warning: receipt.sync-conflict-20261125-203000-ABCDEFG.json is beside", "two machines wrote"])?;
    std::fs::remove_file(&path)?;
    first.run("adopt --receipt").ended(0)?.says(&["the next apply begins anew"])?;
    first.run("plan").ended(0)?.says(&["never recorded here"])?;
    Ok(())
}

fn at_once() -> Outcome {
    let (first, second) = two(&both())?;
    first.run("apply --auto-approve").ended(0)?;
    for round in 0..3 {
        let (from, to) = (format!("b: canary-b{}", "+".repeat(round)), format!("b: canary-b{}", "+".repeat(round + 1)));
        edit(&first, &format!("{from}\n"), &format!("{to}\n"))?;
        let applies: Vec<_> = [&first, &second, &first, &second]
            .into_iter()
            .map(|place| {
                place
                    .reconcile()
                    .args(["apply", "--auto-approve", "--lock-timeout", "60s"])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
            })
            .collect::<Result<_, _>>()?;
        // Whoever only looks meanwhile sees the one or the other, and never one that went back.
        let mut plans = 0;
        for mut apply in applies {
            while apply.try_wait()?.is_none() {
                let place = if plans % 2 == 0 { &first } else { &second };
                place.run("plan").ended(0)?;
                plans += 1;
            }
            Ran::from(apply.wait_with_output()?).ended(0)?;
        }
    }
    for place in [&first, &second] {
        place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    }
    // Who holds it on another machine is not known; that it is held is.
    let lock = std::fs::File::options().write(true).open(first.repository.join("shared/.receipt.json.lock"))?;
    lock.lock()?;
    same("it stays as it is, to be synced or not", lock.metadata()?.len(), 0)?;
    edit(&first, "canary-a", "canary-new")?;
    let refused = second.run("apply --auto-approve").ended(1)?;
    refused.says(&["another run is in the way", "/.receipt.json.lock is locked", "--lock-timeout"])?;
    second.run("plan").ended(0)?.says(&["secret.a will be updated"])?;
    Ok(())
}

/// The switch is what a machine elsewhere does meanwhile: its receipt arrives.
fn moved_meanwhile() -> Outcome {
    let place = with_file(RECEIPT)?;
    let installed = place.repository.join("installed");
    let text = manifest(FILE, RECEIPT)
        .replace("{activate: {symlink_path: secrets}}", "{command: [sh, switch.sh]}")
        .replace(
            "  a: {item: a, delivery: {sops: {}}}",
            &format!("  a: {{item: a, delivery: {{sops: {{path: {}}}}}}}", installed.display()),
        )
        .replace("  b: {item: b, delivery: {sops: {}}}\n", "");
    place.write_manifest(&text);
    let script = "mkdir -p run.d/1; printf canary-a > run.d/1/a; ln -s run.d/1/a installed; sed -i 's/\"serial\": [0-9]*/\"serial\": 99/' shared/receipt.json\n";
    std::fs::write(place.repository.join("switch.sh"), script)?;
    let ran = place.run("apply --auto-approve").ended(1)?;
    ran.says(&["was written by another run in the meantime (serial 99; this one began at", "plan again"])?;
    same("it was left as it is", serial(&place)?, 99)?;
    std::fs::write(place.repository.join("switch.sh"), "true\n")?;
    place.run("apply --auto-approve").ended(0)?;
    place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    Ok(())
}
