//! The vault held against the real `bw`: exact names, nothing empty, versions from one answer, and its session in no
//! process but the one that decrypts.

mod support;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use reconcile::desired::{Item as Found, VaultFacts};
use reconcile::manifest::{self, ItemField, ItemRef, Surroundings};
use reconcile::observation::Cause;
use reconcile::tools::vault::Vault;
use support::bitwarden::bw::{Account, NEEDS};
use support::bitwarden::{EMAIL, Item, Server};
use support::peers;
use support::program::{Place, typed};

type Outcome = Result<(), Failed>;
type Variables = Vec<(String, OsString)>;

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, NEEDS, test) };
    let trials = vec![
        trial("each_item_is_the_one_that_was_named_or_none", items),
        trial("a_vault_that_is_not_open_says_which_command_opens_it", closed),
        trial("what_was_applied_is_unchanged_and_the_session_stays_with_bw", applied),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

macro_rules! is {
    ($got:expr, $pattern:pat $(if $guard:expr)?) => {
        match $got {
            $pattern $(if $guard)? => {}
            other => return Err(format!("{other:?} is not {}", stringify!($pattern $(if $guard)?)).into()),
        }
    };
}

fn open(variables: Variables) -> Result<Vault, Failed> {
    let text = |(name, value): (String, OsString)| Some((name, value.into_string().ok()?));
    let variables = variables.into_iter().filter_map(text).collect();
    let surroundings = Surroundings { variables, ..Surroundings::default() };
    Ok(Vault::open(&manifest::Vault::Bw, &surroundings, false, None).map_err(|cause| cause.to_string())?)
}

fn block_on<F: Future>(future: F) -> Result<F::Output, Failed> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

type Looked = (VaultFacts, Vec<Result<Found, Cause>>);

fn look(vault: &Vault, wanted: &[ItemRef]) -> Result<Looked, Failed> {
    block_on(vault.find(&wanted.iter().collect::<Vec<_>>()))
}

fn read(vault: &Vault, found: &Result<Found, Cause>) -> Result<Result<String, Cause>, Failed> {
    let Ok(found) = found else { return Err(format!("{found:?}").into()) };
    let value = block_on(vault.read(&found.identity))?;
    Ok(value.map(|value| value.expose(|bytes| String::from_utf8_lossy(bytes).into_owned())))
}

fn called(name: &str) -> ItemRef {
    ItemRef { id: None, name: Some(name.to_owned()), user: None, folder: None, field: ItemField::Default }
}

fn items() -> Outcome {
    let server = Server::start();
    let app = server.put(Item::login("app", "me", "one").notes("first\nsecond").field("pin", "1234").with_own_key());
    server.put(Item::login("db/prod-readonly", "me", "not this one"));
    server.put(Item::login("twice", "a", "of a"));
    server.put(Item::login("twice", "b", "of b").folder("work"));
    server.put(Item::note("motd", "hello"));
    server.put(Item::login("empty", "me", ""));
    server.put(Item::login("asks", "me", "pw").reprompt());
    let gone = server.put(Item::login("gone", "me", "pw"));
    server.trash(&gone);
    let damaged = server.put(Item::login("damaged", "me", "pw"));
    server.damage(&damaged);
    server.share(Item::login("ours", "us", "shared"));
    let account = Account::log_in(&server);
    let vault = open(account.env())?;
    let pin = ItemRef { field: ItemField::Custom("pin".to_owned()), ..called("app") };
    let named = ["app", "db/prod", "twice", "motd", "empty", "asks", "gone", "damaged", "ours"].map(called);
    let work = ItemRef { folder: Some("work".to_owned()), ..called("twice") };
    let by_id = ItemRef { id: Some(app.to_string()), name: None, ..called("") };
    let wanted: Vec<ItemRef> = named.into_iter().chain([work, pin, by_id]).collect();
    let (facts, found) = look(&vault, &wanted)?;
    for (at, expected) in [(0, "one"), (3, "hello"), (8, "shared"), (9, "of b"), (10, "1234"), (11, "one")] {
        same("a value", read(&vault, &found[at])?, Ok(expected.to_owned()))?;
    }
    is!(&found[1], Err(Cause::ItemMissing { similar, .. }) if similar.len() == 1);
    is!(&found[2], Err(Cause::ItemAmbiguous { count: 2, .. }));
    is!(read(&vault, &found[4])?, Err(Cause::ItemEmpty { .. }));
    is!(&found[5], Err(Cause::ItemReprompt { .. }));
    for at in [6, 7] {
        is!(&found[at], Err(Cause::ItemMissing { .. }));
    }
    same("all but what is in the trash", facts.items, Some(9))?;
    same("the account", facts.account.as_is().starts_with(EMAIL), true)?;
    is!(facts.synced, Some(_));
    // Nothing is held of what was not looked for.
    let Ok(readonly) = &look(&vault, &[called("db/prod-readonly")])?.1[0] else { return Err("it is there".into()) };
    let before = found[0].clone();
    server.edit(&app, |item| item.set_password(Some("two")));
    block_on(vault.sync())?.map_err(|cause| cause.to_string())?;
    let (_, found) = look(&vault, &[called("app")])?;
    is!(block_on(vault.read(&readonly.identity))?.map(drop), Err(Cause::ItemMissing { .. }));
    same("the new value", read(&vault, &found[0])?, Ok("two".to_owned()))?;
    let (Ok(before), Ok(after)) = (before, found[0].clone()) else { return Err("it was found".into()) };
    same("the same item", &before.identity, &after.identity)?;
    same("another version", before.revision == after.revision, false)?;
    same("and later", before.changed_at <= after.changed_at && before.changed_at.is_some(), true)
}

fn closed() -> Outcome {
    let server = Server::start();
    server.put(Item::login("app", "me", "one"));
    let account = Account::log_in(&server);
    let asked = |change: &dyn Fn(&mut Variables)| -> Result<Cause, Failed> {
        let mut variables = account.env();
        change(&mut variables);
        match look(&open(variables)?, &[called("app")])?.1.remove(0) {
            Ok(found) => Err(format!("{found:?}").into()),
            Err(cause) => Ok(cause),
        }
    };
    let unlock = |cause: &Cause| cause.next() == Some("export BW_SESSION=\"$(bw unlock --raw)\"".to_owned());
    is!(asked(&|variables| variables.retain(|(name, _)| name != "BW_SESSION"))?, Cause::VaultLocked { .. });
    account.lock();
    // The session of before.
    is!(asked(&|_| {})?, cause if matches!(cause, Cause::VaultLocked { .. }) && unlock(&cause));
    let locked = open(account.env())?;
    same("a sync needs no key", block_on(locked.sync())?, Ok(()))?;
    server.set_down(true);
    is!(block_on(locked.sync())?, Err(Cause::VaultUnavailable { what, .. }) if what.as_is().starts_with("bw sync failed: Fetch"));
    let elsewhere = tempfile::tempdir()?;
    let no_data = |variables: &mut Variables| {
        variables.push(("BITWARDENCLI_APPDATA_DIR".to_owned(), elsewhere.path().into()));
    };
    let cause = asked(&no_data)?;
    is!(&cause, Cause::VaultUnavailable { what, .. } if what.as_is() == "bw is not logged in");
    same("next", cause.next(), Some("export BW_SESSION=\"$(bw login --raw)\"".to_owned()))?;
    let cause = asked(&|variables| variables.push(("PATH".to_owned(), "/nonexistent".into())))?;
    is!(cause, Cause::VaultUnavailable { what, .. } if what.as_is().starts_with("bw is not installed"));
    Ok(())
}

const MANIFEST: &str = "version: 1
name: bw
vault: {bw: {}}
fingerprint_key: {item: our key}
dataset: {path: dataset, files: {here-age-pubkey: {age_key_of: here}}}
hosts:
  here:
    local: {}
    age_key_file: key.txt
    recipient: {file: here-age-pubkey}
    switch: {activate: {symlink_path: secrets}}
secrets:
  tailscale/auth-key: {item: tailscale-auth-key, delivery: {sops: {mode: \"0400\"}}}
  pin: {item: {name: tailscale-auth-key, field: custom:pin}, delivery: {sops: {}}}
  github-token: {item: github-token, delivery: {runtime: {env: GITHUB_TOKEN, commands: [gh]}}}
";

fn applied() -> Outcome {
    let server = Server::start();
    let key = server.put(Item::login("tailscale-auth-key", "me", "canary-one").field("pin", "canary-pin"));
    server.put(Item::login("github-token", "me", "canary-token"));
    let account = Account::log_in(&server);
    let mut place = Place::new(MANIFEST);
    place.variables.extend(account.env().into_iter().filter(|(name, _)| name != "HOME"));
    let refused = place.run("plan").ended(1)?.says(&["fingerprint_key: no item is called \"our key\""])?;
    let advice = "reconcile fingerprint-key | bw encode | bw create item > /dev/null";
    refused.says(&[advice])?;
    typed(&place, advice)?.ended(0)?.hides(&["reconcile-key-1:"])?;
    let log = place.home.join("bw.log");
    watched(&mut place, &log)?;
    place.run("apply --auto-approve").ended(0)?.hides(&["canary", "reconcile-key-1:"])?;
    same(
        "installed",
        std::fs::read_to_string(place.repository.join("secrets/tailscale/auth-key"))?,
        "canary-one".into(),
    )?;
    place.run("plan --detailed-exitcode").ended(0)?.says(&["Vault bw · 3 items", "No changes."])?;
    server.edit(&key, |item| item.set_password(Some("canary-two")));
    let changed = place.run("plan --detailed-exitcode").ended(2)?.hides(&["canary", "secret.pin"])?;
    changed
        .says(&["secret.tailscale/auth-key will be updated: its value changed in the vault; its item was edited"])?;
    let exec = format!("--manifest {} exec github-token -- env", place.manifest().display());
    place.run(&exec).ended(0)?.says(&["GITHUB_TOKEN=canary-token"])?.hides(&["BW_SESSION"])?;
    // What runs at the same time is noted in any order.
    let asked = std::fs::read_to_string(&log)?;
    let count = |line: &str| asked.lines().filter(|asked| *asked == line).count();
    let counts = ["sync", "status", "list items with the session"].map(count);
    same("of apply, two plans and exec", (counts, asked.lines().count()), ([3, 4, 4], 11))
}

/// Puts a `bw` before the real one that notes what it is asked, and whether it was given the session.
fn watched(place: &mut Place, log: &Path) -> Outcome {
    let directory = place.home.join("bin");
    std::fs::create_dir(&directory)?;
    let bw = directory.join("bw");
    let real = peers::find("bw").ok_or("bw")?;
    let script = format!(
        "#!/bin/sh\necho \"$*${{BW_SESSION:+ with the session}}\" >> '{}'\nexec '{}' \"$@\"\n",
        log.display(),
        real.display()
    );
    std::fs::write(&bw, script)?;
    std::fs::set_permissions(&bw, std::fs::Permissions::from_mode(0o755))?;
    let path = place.variables.get("PATH").cloned().unwrap_or_default();
    let path = std::env::join_paths([directory].into_iter().chain(std::env::split_paths(&path)))?;
    place.variables.insert("PATH".to_owned(), path);
    Ok(())
}
