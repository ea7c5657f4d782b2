//! Several operators of one dataset, as homes of their own with the real program: the key of fingerprints in the vault,
//! the receipt at a shared path, one after the other and at the same time.

mod support;

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
    let (place, account) = operator(&server, KEY)?;
    let refused = place.run("apply --auto-approve").ended(1)?;
    same("the advice", advised(&refused)?, "reconcile fingerprint-key | rbw add 'our key'".to_owned())?;
    typed(&place, &advised(&refused)?)?.ended(0)?.hides(&["reconcile-key-1:"])?;
    place.run("apply --auto-approve").ended(0)?.hides(&["canary", "reconcile-key-1:"])?;
    account.lock();
    place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    // Whoever cannot read the key cannot tell, and says so of what may have changed alone.
    server.edit(&a, |item| item.set_password(Some("canary-new")));
    let unknown = place.run("plan --detailed-exitcode").ended(1)?.hides(&["will be", "secret.b"])?;
    unknown.says(&["secret.a: it may have changed", "the vault is locked", "rbw unlock"])?;
    account.unlock();
    let changed = place.run("plan --detailed-exitcode").ended(2)?.hides(&["secret.b"])?;
    changed.says(&["secret.a will be updated: its value changed in the vault"])?;
    Ok(())
}
