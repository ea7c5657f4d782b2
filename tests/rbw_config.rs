//! The configuration of rbw on a host: from the manifest, through an apply and the index, to the real rbw that reads it.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use support::bitwarden::rbw::{self, Account};
use support::bitwarden::{EMAIL, Item, Server};
use support::peers;
use support::program::{Place, Ran};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        peers::trial("the_real_rbw_logs_in_with_it", rbw::NEEDS, logs_in),
        Trial::test("the_rest_of_the_file_stays", the_rest_stays),
        Trial::test("what_cannot_be_right_changes_nothing", refused),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

/// This machine as the host, applied once; `settings` are those of `rbw_config`.
fn applied(settings: &Value) -> Result<Place, Failed> {
    let mut config = json!({"user": "somebody", "email": "rbw/email"});
    for (name, value) in settings.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    let host = json!({
        "local": {}, "age_key_file": "run/key.txt", "recipient": {"file": "key"}, "path_on_host": "run/dataset",
        "switch": {"activate": {"symlink_path": "run/secrets"}}, "rbw_config": config,
    });
    let email = json!({"item": "bitwarden-email", "delivery": {"sops": {"mode": "0444"}}});
    let dataset = json!({"path": "run/dataset", "files": {"key": {"age_key_of": "here"}}});
    let manifest = json!({
        "version": 1, "name": "t", "vault": {"file": {"path": "vault.yaml"}}, "dataset": dataset,
        "hosts": {"here": host}, "secrets": {"rbw/email": email},
    });
    let place = Place::new(&manifest.to_string());
    fs::write(place.repository.join("vault.yaml"), json!({"bitwarden-email": EMAIL}).to_string())?;
    let note = "a unit of somebody configures rbw: reconcile rbw-config --dataset run/dataset --host here";
    place.run("plan").ended(0)?.says(&[note])?;
    place.run("apply --auto-approve").ended(0)?;
    let settled = place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
    settled.hides(&["configures rbw"])?;
    Ok(place)
}

/// As the unit runs it.
const CALL: &str = "rbw-config --dataset run/dataset --host here --symlink-path run/secrets";

fn logs_in() -> Outcome {
    let server = Server::start();
    server.put(Item::login("github-token", "me", "ghp_1"));
    let account = Account::configured(&server);
    let directory = |variable: &str| -> Result<PathBuf, Failed> {
        let found = account.env().into_iter().find(|(name, _)| name == variable);
        Ok(found.ok_or("a directory")?.1.into())
    };
    let path = directory("XDG_CONFIG_HOME")?.join("rbw/config.json");
    let before: Value = serde_json::from_slice(&fs::read(&path)?)?;
    fs::remove_dir_all(path.parent().ok_or("a directory")?)?;
    let mut settings = before;
    settings.as_object_mut().ok_or("an object")?.remove("email");
    let mut place = applied(&settings)?;
    place.variables = account.env().into_iter().collect();
    place.variables.insert("USER".to_owned(), "somebody".into());
    place.run(CALL).ended(0)?.says(&["config.json written"])?.hides(&[EMAIL])?;
    same("its mode", fs::metadata(&path)?.permissions().mode() & 0o7777, 0o600)?;
    // rbw asks the pinentry of the configuration at the server of the configuration for the account of the secret.
    let rbw = |arguments: &[&str]| Ran::from(account.rbw(arguments)).ended(0);
    rbw(&["login"])?;
    rbw(&["sync"])?;
    same("a value", rbw(&["get", "github-token"])?.out.as_str(), "ghp_1\n")?;
    same("asked", account.prompts(), 1)?;
    let shown = rbw(&["config", "show"])?;
    shown.says(&[EMAIL, &server.url()])?;
    // Nothing moves when nothing changed: rbw's agent keeps its keys.
    let written = fs::metadata(&path)?.modified()?;
    place.run(CALL).ended(0)?.says(&["as it should be"])?;
    same("written", fs::metadata(&path)?.modified()?, written)
}

/// A configuration of `place`'s own user.
fn configuration(place: &Place) -> PathBuf {
    place.home.join(".config/rbw/config.json")
}

fn read(path: &Path) -> Result<Value, Failed> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn the_rest_stays() -> Outcome {
    let place = applied(&json!({"pinentry": "pinentry-curses", "lock_timeout": 900}))?;
    let path = configuration(&place);
    let expected = json!({"email": EMAIL, "pinentry": "pinentry-curses", "lock_timeout": 900});
    place.run(CALL).ended(0)?;
    same("a new one", read(&path)?, expected)?;
    // What rbw or somebody set stays; what the manifest says counts.
    let theirs =
        json!({"email": "old@example.org", "pinentry": "x", "lock_timeout": 1, "sso_id": "acme", "later": [1]});
    fs::write(&path, theirs.to_string())?;
    place.run(CALL).ended(0)?.says(&["rbw stop-agent", "another account"])?.hides(&[EMAIL, "old@example.org"])?;
    let expected =
        json!({"email": EMAIL, "pinentry": "pinentry-curses", "lock_timeout": 900, "sso_id": "acme", "later": [1]});
    same("merged", read(&path)?, expected.clone())?;
    // By hand, without a dataset.
    let mut by_hand = expected;
    by_hand["sync_interval"] = json!(60);
    by_hand["pinentry"] = json!("pinentry-tty");
    let call = "rbw-config --email-file run/secrets/rbw/email --set sync_interval=60 --set pinentry=pinentry-tty";
    place.run(call).ended(0)?;
    same("by hand", read(&path)?, by_hand)?;
    same("nothing beside it", fs::read_dir(path.parent().ok_or("a directory")?)?.count(), 1)
}

fn refused() -> Outcome {
    let mut place = applied(&json!({"pinentry": "pinentry-curses"}))?;
    let path = configuration(&place);
    fs::create_dir_all(path.parent().ok_or("a directory")?)?;
    // As home-manager leaves it: a link to a file of the store.
    let store = place.home.join("store.json");
    fs::write(&store, "{}")?;
    symlink(&store, &path)?;
    place.run(CALL).ended(1)?.says(&["config.json: it is a symlink", "programs.rbw.settings = null"])?;
    same("the store", fs::read_to_string(&store)?.as_str(), "{}")?;
    same("the link", fs::read_link(&path)?, store)?;
    fs::remove_file(&path)?;
    fs::write(&path, "{\"email\": ")?;
    place.run(CALL).ended(1)?.says(&["config.json: it is not a JSON object", "move it away"])?;
    same("what is broken", fs::read_to_string(&path)?.as_str(), "{\"email\": ")?;
    fs::remove_file(&path)?;
    for (call, says) in [
        ("rbw-config", "--email-file"),
        ("rbw-config --dataset run/dataset", "--host"),
        (
            "rbw-config --dataset run/dataset --host there --symlink-path run/secrets",
            "nothing is said of rbw on host there",
        ),
        ("rbw-config --dataset run/nowhere --host here", "there is no such directory"),
        (
            "rbw-config --dataset run/dataset --host here --symlink-path run/elsewhere",
            "run/elsewhere/rbw/email: No such file",
        ),
        ("rbw-config --email-file vault.yaml", "vault.yaml: it holds no address"),
        ("rbw-config --email-file run/secrets/rbw/email --set pinentri=x", "rbw knows no such setting"),
    ] {
        place.run(call).ended(1)?.says(&[says])?;
    }
    place.variables.insert("USER".to_owned(), "another".into());
    place.run(CALL).ended(1)?.says(&["this runs as another, and the manifest configures the rbw of somebody"])?;
    same("written", path.exists(), false)
}
