//! What two secrets must not share: a key of the sops file, a path on a host, an option.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{FileName, HostName};
use crate::secret::SecretName;

use super::super::model::{BootDelivery, Host, ItemRef, Secret};
use super::Checker;

type Secrets = BTreeMap<SecretName, Secret>;
type Hosts = BTreeMap<HostName, Host>;

fn boots(secrets: &Secrets) -> impl Iterator<Item = (&SecretName, &BootDelivery)> {
    secrets.iter().filter_map(|(name, secret)| Some((name, secret.boot.as_ref()?)))
}

/// In one sops file, two secrets have neither the same key nor one inside the other's; and whoever can decrypt the file
/// can read all that is in it.
pub(super) fn keys(check: &mut Checker<'_>, secrets: &Secrets, hosts: &Hosts) {
    let mut all: Vec<(&FileName, &[String], &SecretName)> = Vec::new();
    for (name, boot) in boots(secrets) {
        let files: BTreeSet<&FileName> =
            boot.hosts.iter().filter_map(|host| hosts.get(host)).map(|host| &host.sops_file).collect();
        all.extend(files.iter().map(|file| (*file, boot.key.components(), name)));
        let others: Vec<&str> = hosts
            .iter()
            .filter(|(host, declared)| files.contains(&declared.sops_file) && !boot.hosts.contains(*host))
            .map(|(host, _)| host.as_str())
            .collect();
        if !others.is_empty() {
            let at = ["secrets", name.as_str(), "delivery", "sops", "hosts"];
            let message = format!("{} can decrypt it, too: the file is theirs as well", others.join(", "));
            check.warning(&at, "shared-file", message, "give the hosts a `sops_file` each");
        }
    }
    // The shorter key first: the longer one lies inside of it.
    all.sort_by_key(|(_, key, name)| (key.len(), *name));
    let mut taken: BTreeMap<(&FileName, &[String]), &SecretName> = BTreeMap::new();
    for (file, key, name) in all {
        for length in 1..=key.len() {
            let Some(other) = taken.get(&(file, &key[..length])) else { continue };
            let path = key[..length].join("/");
            let message = match length == key.len() {
                true => format!("{name} and {other} have the same key \"{path}\" in {file}"),
                false => format!("{name} lies inside of {other}, which is a value at \"{path}\" in {file}"),
            };
            let (at, there) = (["secrets", name.as_str()], ["secrets", other.as_str()]);
            let help = "give one of them another `key:`";
            check.error_with_other(&at, "key", message, help, ("the other", &there));
        }
        taken.insert((file, key), name);
    }
}

/// On one host, two secrets are installed neither at the same path nor one below the other.
pub(super) fn paths(check: &mut Checker<'_>, secrets: &Secrets, hosts: &Hosts) {
    for (host_name, host) in hosts {
        let mut taken: BTreeMap<String, &SecretName> = BTreeMap::new();
        for (name, boot) in boots(secrets).filter(|(_, boot)| boot.hosts.contains(host_name)) {
            let path = host.installed_path(name, boot).as_written().to_owned();
            if let Some((there, other)) = around(&taken, &path) {
                let message = match there == path {
                    true => format!("{name} and {other} are both installed at {path} on {host_name}"),
                    false => format!("{name} is installed at {path} on {host_name}, and {other} at {there}"),
                };
                // Names inside of each other have keys inside of each other, unless `key` says otherwise.
                if !same_clash_of_keys(secrets, name, other) {
                    let at = ["secrets", name.as_str(), "delivery", "sops", "path"];
                    let there = ["secrets", other.as_str()];
                    let help = "give one of them another `path:`";
                    check.error_with_other(&at, "path", message, help, ("the other", &there));
                }
            }
            taken.insert(path, name);
        }
    }
}

/// What is taken already at `path`, above it or below it.
fn around<'t, V>(taken: &'t BTreeMap<String, V>, path: &str) -> Option<(&'t str, &'t V)> {
    let above = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
    let at_or_above = above.filter_map(|directory| taken.get_key_value(directory)).next();
    let below = || {
        let directory = format!("{path}/");
        taken.range(directory.clone()..).next().filter(|(there, _)| there.starts_with(&directory))
    };
    at_or_above.or_else(below).map(|(there, value)| (there.as_str(), value))
}

fn same_clash_of_keys(secrets: &Secrets, one: &SecretName, other: &SecretName) -> bool {
    let key = |name| secrets.get(name)?.boot.as_ref().map(|boot| boot.key.components());
    match (key(one), key(other)) {
        (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
        _ => false,
    }
}

/// On one host, an option takes one path.
pub(super) fn binds(check: &mut Checker<'_>, secrets: &Secrets) {
    let mut taken: BTreeMap<(&HostName, &[String]), &SecretName> = BTreeMap::new();
    for (name, boot) in boots(secrets) {
        let Some(bind) = boot.bind.as_deref() else { continue };
        let others: Vec<&SecretName> = boot.hosts.iter().filter_map(|host| taken.insert((host, bind), name)).collect();
        if let Some(other) = others.first() {
            let message = format!("{name} and {other} are both bound to {}", bind.join("."));
            let at = ["secrets", name.as_str(), "delivery", "sops", "bind"];
            let there = ["secrets", other.as_str(), "delivery", "sops", "bind"];
            check.error_with_other(&at, "bind", message, "an option takes one path", ("the other", &there));
        }
    }
}

/// One item that is delivered under two names is rotated in one place and looked for in two.
pub(super) fn items(check: &mut Checker<'_>, secrets: &Secrets) {
    let mut taken: BTreeMap<&ItemRef, (&SecretName, &Secret)> = BTreeMap::new();
    for (name, secret) in secrets {
        let Some((other, there)) = taken.insert(&secret.item, (name, secret)) else { continue };
        // Each in one way, so that one declaration could say both.
        if secret.boot.is_some() != there.boot.is_some() && secret.runtime.is_some() != there.runtime.is_some() {
            let at = ["secrets", name.as_str(), "item"];
            let message = format!("{name} and {other} are the same field of the same item");
            check.warning(&at, "same-item", message, "one secret can have both deliveries");
        }
    }
}
