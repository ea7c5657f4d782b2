//! A user whose manifest has run-time secrets, with programs that stand in for those that are given them.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

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
