//! A user whose manifest has run-time secrets, with programs that stand in for those that are given them.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::bitwarden::rbw::Account;
use super::bitwarden::{Item, Server};
use super::program::Place;

/// What no process but the right one may ever hold.
pub const CANARY: &str = "c4nary-gh-51d0";
/// The value of another secret.
pub const OTHER: &str = "c4nary-openai-77e2";

const HEAD: &str = "version: 1\nname: t\ndataset: {path: out}\nhosts: {}\n";
const FILE: &str = "vault: {file: {path: vault.yaml}}\n";
/// The helpers of the den-vm manifest, and items that cannot be read.
const SECRETS: &str = "secrets:
  github-token: {item: github-token, delivery: {runtime: {env: GITHUB_TOKEN, commands: [gh]}}}
  openai-api-key: {item: openai-api-key, delivery: {runtime: {env: OPENAI_API_KEY, commands: [codex], with_command: with-openai}}}
  db/prod: {item: db/prod, delivery: {runtime: {env: DB_PASSWORD, commands: [db]}}}
  empty: {item: empty, delivery: {runtime: {env: EMPTY}}}
";

/// The manifest with this `vault:` line and these `secrets:`.
pub fn manifest(vault: &str, secrets: &str) -> String {
    format!("{HEAD}{vault}{secrets}")
}

/// The usual secrets from a vault that is a file.
pub fn place() -> Place {
    place_of(&manifest(FILE, SECRETS))
}

/// The usual secrets from rbw, that may be unlocked like this.
pub fn rbw_manifest(unlock: &str) -> String {
    manifest(&format!("vault: {{rbw: {{unlock: {unlock}}}}}\n"), SECRETS)
}

/// These secrets from a vault that is a file.
pub fn place_with(secrets: &str) -> Place {
    place_of(&manifest(FILE, secrets))
}

/// A place with `reconcile` and `gh` first on the PATH.
pub fn place_of(manifest: &str) -> Place {
    let mut place = Place::new(manifest);
    let vault = format!(
        "github-token: {CANARY}\nopenai-api-key: {OTHER}\ndb/prod-readonly: near\nempty: \"\"\nlines: \"a\\nb\\n\"\n"
    );
    fs::write(place.repository.join("vault.yaml"), vault).expect("the vault");
    fs::create_dir(bin(&place)).expect("a directory");
    symlink(env!("CARGO_BIN_EXE_reconcile"), bin(&place).join("reconcile")).expect("a link");
    prepend_to_path(&mut place, &std::env::var_os("PATH").unwrap_or_default());
    place.variables.insert("RECONCILE_MANIFEST".to_owned(), place.manifest().into());
    // It notes that it ran, in what process, and with what.
    stand_in(
        &place,
        "gh",
        "#!/bin/sh\necho ran >> \"$HOME/ran\"\nprintf '%s\\0' \"$@\" > \"$HOME/arguments\"\ntr '\\0' '\\n' < /proc/$$/environ > \"$HOME/environ\"\necho $$\nexit 7\n",
    );
    place
}

/// A server, somebody logged in to it, and a place where `manifest` reads from there.
pub fn with_rbw(manifest: &str, items: impl IntoIterator<Item = Item>) -> (Place, Account, Server) {
    let server = Server::start();
    for item in items {
        server.put(item);
    }
    let account = Account::log_in(&server);
    let mut place = place_of(manifest);
    for (name, value) in account.env() {
        match name.as_str() {
            "HOME" => {}
            "PATH" => prepend_to_path(&mut place, &value),
            _ => drop(place.variables.insert(name, value)),
        }
    }
    (place, account, server)
}

/// What the four run-time secrets of the den-vm manifest are, and the variable of each.
pub const TOKENS: [(&str, &str, &str); 4] = [
    ("github-token", "GITHUB_TOKEN", "c4nary-ghp-07"),
    ("claude-oauth-token", "CLAUDE_CODE_OAUTH_TOKEN", "c4nary-ant-18"),
    ("openai-api-key", "OPENAI_API_KEY", "c4nary-sk-29"),
    ("amp-api-key", "AMP_API_KEY", "c4nary-amp-3a"),
];

/// Tells its name, its arguments and which of the variables it has.
const TELLS: &str = r#"#!/bin/sh
printf '%s' "${0##*/}"
for word; do printf ' <%s>' "$word"; done
echo " $GITHUB_TOKEN|$CLAUDE_CODE_OAUTH_TOKEN|$OPENAI_API_KEY|$AMP_API_KEY"
"#;

/// The manifest of manifests/den-vm as it stands, its vault, and programs that tell what they were given.
pub fn den_vm(unlock: &str) -> (Place, Account, Server) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/den-vm/secrets.manifest.yaml");
    let manifest =
        fs::read_to_string(manifest).expect("the manifest").replace("unlock: pinentry", &format!("unlock: {unlock}"));
    let items = TOKENS.map(|(name, _, value)| Item::login(name, "me", value));
    let (place, account, server) = with_rbw(&manifest, items);
    for program in ["gh", "claude", "codex", "any"] {
        stand_in(&place, program, TELLS);
    }
    (place, account, server)
}

/// Puts our programs before `path`.
pub fn prepend_to_path(place: &mut Place, path: &std::ffi::OsStr) {
    let path: OsString =
        std::env::join_paths([bin(place)].into_iter().chain(std::env::split_paths(path))).expect("a PATH");
    place.variables.insert("PATH".to_owned(), path);
}

/// Where programs are put.
pub fn bin(place: &Place) -> PathBuf {
    place.home.join("bin")
}

/// A program that is `script`.
pub fn stand_in(place: &Place, name: &str, script: &str) {
    let path = bin(place).join(name);
    fs::write(&path, script).expect("a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// How often `gh` ran.
pub fn ran(place: &Place) -> usize {
    fs::read_to_string(place.home.join("ran")).unwrap_or_default().lines().count()
}

/// What `gh` was last given, each argument as it is.
pub fn arguments(place: &Place) -> Vec<Vec<u8>> {
    let mut all = fs::read(place.home.join("arguments")).unwrap_or_default();
    all.pop();
    all.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// The environment that `gh` last had.
pub fn environ(place: &Place) -> String {
    fs::read_to_string(place.home.join("environ")).unwrap_or_default()
}
