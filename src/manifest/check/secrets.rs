//! The secrets: their items, their delivery at boot, and what two of them must not share.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{HostName, KeyPath};
use crate::secret::SecretName;

use super::super::finding::printable;
use super::super::model::{BootDelivery, Host, ItemField, ItemRef, Mode, Secret, Switch};
use super::super::source::{ItemSource, SecretSource, SopsSource, TextOr};
use super::{At, Checker, runtime};

pub(super) fn check(
    check: &mut Checker<'_>,
    source: BTreeMap<String, SecretSource>,
    hosts: &BTreeMap<HostName, Host>,
) -> BTreeMap<SecretName, Secret> {
    let mut secrets = BTreeMap::new();
    for (text, secret) in source {
        let at = ["secrets", text.as_str()];
        let name = check.name::<SecretName>(At::Key, &at, &text);
        let item = item(check, &[&at[..], &["item"]].concat(), secret.item);
        let at_delivery = [&at[..], &["delivery"]].concat();
        let boot = match (secret.delivery.sops, &name) {
            (Some(sops), Some(name)) => boot(check, &[&at_delivery[..], &["sops"]].concat(), name, sops, hosts),
            _ => None,
        };
        let runtime = secret
            .delivery
            .runtime
            .map(|runtime| runtime::delivery(check, &[&at_delivery[..], &["runtime"]].concat(), runtime));
        if let (Some(name), Some(item)) = (name, item) {
            secrets.insert(name, Secret { item, description: secret.description, boot, runtime });
        }
    }
    keys_apart(check, &secrets, hosts);
    paths_apart(check, &secrets, hosts);
    runtime::apart(check, &secrets);
    secrets
}

/// Which item, and which field of it.
pub(super) fn item(check: &mut Checker<'_>, at: &[&str], source: TextOr<ItemSource>) -> Option<ItemRef> {
    let source = match source {
        TextOr::Text(name) => ItemSource { id: None, name: Some(name), user: None, folder: None, field: None },
        TextOr::Map(source) => source,
    };
    if source.id.as_deref().unwrap_or_default().is_empty() && source.name.as_deref().unwrap_or_default().is_empty() {
        check.error(At::Value, at, "item", "no item is named", "give its exact name, or {id: …}");
        return None;
    }
    for (key, text) in [("name", &source.name), ("id", &source.id), ("user", &source.user), ("folder", &source.folder)]
    {
        if text.as_ref().is_some_and(|text| text.chars().any(char::is_control)) {
            let below = [at, &[key]].concat();
            check.error(At::Value, &below, "control", "a control character has no place here", "remove it");
        }
    }
    let field = match source.field.as_deref() {
        None => ItemField::Default,
        Some("password") => ItemField::Password,
        Some("notes") => ItemField::Notes,
        Some("username") => ItemField::Username,
        Some(text) => match text.strip_prefix("custom:").filter(|name| !name.is_empty()) {
            Some(name) => ItemField::Custom(name.to_owned()),
            None => {
                let help =
                    format!("a field is password, notes or username; a custom one is custom:{}", printable(text));
                let message = format!("there is no field \"{}\"", printable(text));
                check.error(At::Value, &[at, &["field"]].concat(), "field", message, &help);
                return None;
            }
        },
    };
    Some(ItemRef { id: source.id, name: source.name, user: source.user, folder: source.folder, field })
}

fn boot(
    check: &mut Checker<'_>,
    at: &[&str],
    name: &SecretName,
    source: SopsSource,
    hosts: &BTreeMap<HostName, Host>,
) -> Option<BootDelivery> {
    let below = |key| [at, &[key]].concat();
    let to = deliver_to(check, at, source.hosts, hosts)?;
    let key = match &source.key {
        None => KeyPath::from(name),
        Some(text) => KeyPath::from(&check.name::<SecretName>(At::Value, &below("key"), text)?),
    };
    let needed_for_users = source.needed_for_users.unwrap_or_default();
    for (key, text) in [("owner", &source.owner), ("group", &source.group)] {
        let Some(text) = text else { continue };
        if needed_for_users {
            let message = format!("a secret that is needed before users exist has no {key}");
            let help = format!("it is root's: remove `{key}` or `needed_for_users`");
            check.error(At::Key, &below(key), "needed-for-users", message, &help);
        }
        if !is_account(text) {
            let message = format!("\"{}\" is no name of an account", printable(text));
            check.error(At::Value, &below(key), "account", message, "use letters, digits and _ . -");
        }
    }
    if let Some(path) = &source.path {
        let is_plain = path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
        if !path.starts_with('/') || !is_plain {
            check.error(
                At::Value,
                &below("path"),
                "path",
                "a path on a host is absolute and plain",
                "such as /etc/app/token",
            );
        }
        check.no_control(&below("path"), path);
    }
    let mode = source.mode.as_deref().and_then(|text| mode(check, &below("mode"), text));
    for (key, units) in [("restart_units", &source.restart_units), ("reload_units", &source.reload_units)] {
        for (number, unit) in units.iter().flatten().enumerate() {
            check_unit(check, &[at, &[key, &number.to_string()]].concat(), unit);
        }
    }
    for (user, units) in source.restart_user_units.iter().flatten() {
        if !is_account(user) {
            let at = [at, &["restart_user_units", user]].concat();
            check.error(At::Key, &at, "account", format!("\"{}\" is no name of a user", printable(user)), "");
        }
        for (number, unit) in units.iter().enumerate() {
            check_unit(check, &[at, &["restart_user_units", user, &number.to_string()]].concat(), unit);
        }
    }
    Some(BootDelivery {
        hosts: to,
        key,
        path: source.path,
        owner: source.owner,
        group: source.group,
        mode,
        restart_units: source.restart_units.unwrap_or_default(),
        reload_units: source.reload_units.unwrap_or_default(),
        restart_user_units: source.restart_user_units.unwrap_or_default(),
        needed_for_users,
        bind: source.bind.and_then(|bind| option_path(check, &below("bind"), &bind)),
    })
}

fn deliver_to(
    check: &mut Checker<'_>,
    at: &[&str],
    source: Option<Vec<String>>,
    hosts: &BTreeMap<HostName, Host>,
) -> Option<BTreeSet<HostName>> {
    if hosts.is_empty() {
        check.error(At::Key, at, "no-host", "no host is declared that could decrypt it", "declare one under `hosts:`");
        return None;
    }
    let Some(source) = source else { return Some(hosts.keys().cloned().collect()) };
    if source.is_empty() {
        let help = "name a host, or leave `hosts` out for all";
        check.error(At::Value, &[at, &["hosts"]].concat(), "no-host", "it goes to no host", help);
        return None;
    }
    let mut to = BTreeSet::new();
    for (number, text) in source.iter().enumerate() {
        match hosts.keys().find(|host| host.as_str() == text) {
            Some(host) => drop(to.insert(host.clone())),
            None => {
                let names: Vec<&str> = hosts.keys().map(HostName::as_str).collect();
                check.unknown(&[at, &["hosts", &number.to_string()]].concat(), "unknown-host", "host", text, &names);
            }
        }
    }
    Some(to)
}

fn mode(check: &mut Checker<'_>, at: &[&str], text: &str) -> Option<Mode> {
    let octal = text.len() <= 4 && text.len() >= 3 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u16::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777) {
        Some(mode) => {
            if mode & 0o007 != 0 {
                check.warning(at, "mode", format!("mode {text} lets every user of the host in"), "such as \"0400\"");
            }
            Some(Mode(mode))
        }
        None => {
            let message = format!("\"{}\" is no mode", printable(text));
            check.error(At::Value, at, "mode", message, "a mode is quoted and octal, such as \"0400\"");
            None
        }
    }
}

fn is_account(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !text.is_empty() && text.len() <= 256 && !text.starts_with('-') && text.trim_end_matches('$').chars().all(good)
}

fn check_unit(check: &mut Checker<'_>, at: &[&str], unit: &str) {
    let good = |c: char| c.is_ascii_alphanumeric() || "@:_.-\\".contains(c);
    let kinds = [".service", ".socket", ".target", ".timer", ".path", ".mount", ".slice", ".scope"];
    if !unit.chars().all(good) || unit.starts_with('-') || !kinds.iter().any(|kind| unit.ends_with(kind)) {
        let message = format!("\"{}\" is no unit", printable(unit));
        check.error(At::Value, at, "unit", message, "write it in full, such as tailscaled.service");
    }
}

/// `services."a.b".keyFile` as components.
fn option_path(check: &mut Checker<'_>, at: &[&str], text: &str) -> Option<Vec<String>> {
    let mut components = Vec::new();
    let mut rest = text;
    loop {
        let (component, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').map_or(("", "?"), |(component, after)| (component, after)),
            None => rest.find('.').map_or((rest, ""), |end| rest.split_at(end)),
        };
        let quoted = rest.starts_with('"');
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-'".contains(c);
        let good = !component.is_empty() && (quoted || component.chars().all(plain));
        let ends = after.is_empty();
        if !good || component.chars().any(char::is_control) || !(ends || after.starts_with('.')) {
            let message = format!("\"{}\" is no NixOS option", printable(text));
            check.error(At::Value, at, "bind", message, "such as services.tailscale.authKeyFile");
            return None;
        }
        components.push(component.to_owned());
        if ends {
            return Some(components);
        }
        rest = &after[1..];
    }
}

/// In one sops file, two secrets have neither the same key nor one inside the other's.
fn keys_apart(check: &mut Checker<'_>, secrets: &BTreeMap<SecretName, Secret>, hosts: &BTreeMap<HostName, Host>) {
    let files_of = |boot: &BootDelivery| -> BTreeSet<_> {
        boot.hosts.iter().filter_map(|host| hosts.get(host)).map(|host| host.sops_file.clone()).collect()
    };
    let mut taken: BTreeMap<(crate::address::FileName, Vec<String>), &SecretName> = BTreeMap::new();
    let mut all: Vec<_> = Vec::new();
    for (name, secret) in secrets {
        let Some(boot) = &secret.boot else { continue };
        all.extend(files_of(boot).into_iter().map(|file| (file, boot.key.components().to_vec(), name)));
    }
    let clash = |check: &mut Checker<'_>, name: &SecretName, other: &SecretName, message: String| {
        let at = ["secrets", name.as_str()];
        let there = ["secrets", other.as_str()];
        check.error_with_other(&at, "key", message, "give one of them another `key:`", ("the other", &there));
    };
    all.sort_by_key(|(_, key, name)| (key.len(), (*name).clone()));
    for (file, key, name) in all {
        for length in 1..=key.len() {
            if let Some(other) = taken.get(&(file.clone(), key[..length].to_vec())) {
                let path = key[..length].join("/");
                let message = match length == key.len() {
                    true => format!("{name} and {other} have the same key \"{path}\" in {file}"),
                    false => format!("{name} lies inside of {other}, which is a value at \"{path}\" in {file}"),
                };
                clash(check, name, other, message);
            }
        }
        taken.insert((file, key), name);
    }
}

/// On one host, two secrets are not installed at the same path.
fn paths_apart(check: &mut Checker<'_>, secrets: &BTreeMap<SecretName, Secret>, hosts: &BTreeMap<HostName, Host>) {
    let mut taken: BTreeMap<(&HostName, String), &SecretName> = BTreeMap::new();
    for (name, secret) in secrets {
        let Some(boot) = &secret.boot else { continue };
        for (host, declared) in boot.hosts.iter().filter_map(|host| Some((host, hosts.get(host)?))) {
            let path = declared.installed_path(name, boot).as_written().to_owned();
            if let Some(other) = taken.insert((host, path.clone()), name) {
                let message = format!("{name} and {other} are both installed at {path} on {host}");
                let there = ["secrets", other.as_str()];
                let at = ["secrets", name.as_str(), "delivery", "sops", "path"];
                check.error_with_other(&at, "path", message, "give one of them another `path:`", ("the other", &there));
            }
            if boot.needed_for_users && matches!(declared.switch, Some(Switch::Activate { .. })) {
                let message = format!("host {host} has no stage before users: it is activated by reconcile itself");
                let at = ["secrets", name.as_str(), "delivery", "sops", "needed_for_users"];
                check.error(At::Key, &at, "needed-for-users", message, "remove `needed_for_users`");
            }
        }
    }
}
