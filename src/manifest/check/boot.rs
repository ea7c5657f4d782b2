//! Delivery at boot: what the host is told about the secret.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{HostName, KeyPath};
use crate::secret::SecretName;

use super::super::finding::printable;
use super::super::model::{BootDelivery, Host, Mode};
use super::super::source::SopsSource;
use super::super::switch::Switch;
use super::{At, Checker};

pub(super) fn delivery(
    check: &mut Checker<'_>,
    at: &[&str],
    name: Option<&SecretName>,
    source: SopsSource,
    hosts: &BTreeMap<HostName, Host>,
) -> Option<BootDelivery> {
    let below = |key| [at, &[key]].concat();
    let to = deliver_to(check, at, source.hosts.as_deref(), hosts);
    let key = match &source.key {
        None => name.map(KeyPath::from),
        Some(text) => check.name::<SecretName>(At::Value, &below("key"), text).as_ref().map(KeyPath::from),
    };
    let needed_for_users = source.needed_for_users.unwrap_or_default();
    accounts(check, at, &source, needed_for_users);
    if let Some(path) = &source.path {
        check.absolute(&below("path"), path, "/etc/app/token");
    }
    let mode = source.mode.as_deref().and_then(|text| mode(check, &below("mode"), text));
    units(check, at, &source);
    let bind = source.bind.as_deref().and_then(|bind| option_path(check, &below("bind"), bind));
    before_users(check, at, needed_for_users, bind.as_deref(), &to, hosts);
    Some(BootDelivery {
        hosts: to,
        key: key?,
        path: source.path,
        owner: source.owner,
        group: source.group,
        mode,
        restart_units: source.restart_units.unwrap_or_default(),
        reload_units: source.reload_units.unwrap_or_default(),
        restart_user_units: source.restart_user_units.unwrap_or_default(),
        needed_for_users,
        bind,
    })
}

fn deliver_to(
    check: &mut Checker<'_>,
    at: &[&str],
    source: Option<&[String]>,
    hosts: &BTreeMap<HostName, Host>,
) -> BTreeSet<HostName> {
    if check.declared(&["hosts"]).is_empty() {
        check.error(At::Key, at, "no-host", "no host is declared that could decrypt it", "declare one under `hosts:`");
    }
    let Some(source) = source else { return hosts.keys().cloned().collect() };
    if source.is_empty() {
        let help = "name a host, or leave `hosts` out for all";
        check.error(At::Value, &[at, &["hosts"]].concat(), "no-host", "it goes to no host", help);
    }
    let mut to = BTreeSet::new();
    for (number, text) in source.iter().enumerate() {
        check.unknown(&[at, &["hosts", &number.to_string()]].concat(), "unknown-host", "host", text, &["hosts"]);
        to.extend(hosts.keys().find(|host| host.as_str() == text).cloned());
    }
    to
}

fn accounts(check: &mut Checker<'_>, at: &[&str], source: &SopsSource, needed_for_users: bool) {
    for (key, text) in [("owner", &source.owner), ("group", &source.group)] {
        let Some(text) = text else { continue };
        let at = [at, &[key]].concat();
        if needed_for_users {
            let message = format!("a secret that is needed before users exist has no {key}");
            let help = format!("it is root's: remove `{key}` or `needed_for_users`");
            check.error(At::Key, &at, "needed-for-users", message, &help);
        }
        if !is_account(text) {
            let message = format!("\"{}\" is no name of an account", printable(text));
            check.error(At::Value, &at, "account", message, "use letters, digits and _ . -");
        }
    }
}

fn mode(check: &mut Checker<'_>, at: &[&str], text: &str) -> Option<Mode> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    let Some(mode) = mode else {
        let message = format!("\"{}\" is no mode", printable(text));
        check.error(At::Value, at, "mode", message, "a mode is quoted, octal and at most \"0777\", such as \"0400\"");
        return None;
    };
    if mode & 0o007 != 0 {
        check.warning(at, "mode", format!("mode {text} lets every user of the host in"), "such as \"0400\"");
    }
    Some(Mode(mode))
}

pub(super) fn is_account(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let plain = text.strip_suffix('$').unwrap_or(text);
    !plain.is_empty() && plain.len() <= 255 && !plain.starts_with('-') && plain.chars().all(is_good)
}

fn units(check: &mut Checker<'_>, at: &[&str], source: &SopsSource) {
    for (key, units) in [("restart_units", &source.restart_units), ("reload_units", &source.reload_units)] {
        for (number, unit) in units.iter().flatten().enumerate() {
            check_unit(check, &[at, &[key, &number.to_string()]].concat(), unit);
        }
    }
    for (user, units) in source.restart_user_units.iter().flatten() {
        if !is_account(user) {
            let at = [at, &["restart_user_units", user]].concat();
            let message = format!("\"{}\" is no name of a user", printable(user));
            check.error(At::Key, &at, "account", message, "write {user: [unit]}");
        }
        for (number, unit) in units.iter().enumerate() {
            check_unit(check, &[at, &["restart_user_units", user, &number.to_string()]].concat(), unit);
        }
    }
}

fn check_unit(check: &mut Checker<'_>, at: &[&str], unit: &str) {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "@:_.-\\".contains(c);
    let kinds = [".service", ".socket", ".target", ".timer", ".path", ".mount", ".slice", ".scope"];
    let has_kind = kinds.iter().any(|kind| unit.strip_suffix(kind).is_some_and(|name| !name.is_empty()));
    if !unit.chars().all(is_good) || unit.starts_with('-') || !has_kind {
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
            Some(quoted) => quoted.split_once('"').unwrap_or(("", "?")),
            None => rest.find('.').map_or((rest, ""), |end| rest.split_at(end)),
        };
        let is_quoted = rest.starts_with('"');
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-'".contains(c);
        let is_good = !component.is_empty() && (is_quoted || component.chars().all(plain));
        // Nix would read ${…} and \ inside of the quotes.
        let is_text = !component.chars().any(|c| c.is_control() || c == '\\' || c == '$');
        if !is_good || !is_text || !(after.is_empty() || after.starts_with('.')) {
            let message = format!("\"{}\" is no NixOS option", printable(text));
            check.error(At::Value, at, "bind", message, "such as services.tailscale.authKeyFile");
            return None;
        }
        components.push(component.to_owned());
        match after.strip_prefix('.') {
            Some(after) => rest = after,
            None => return Some(components),
        }
    }
}

/// Users are made before secrets are installed: what that takes must be there first, and a host without such a stage
/// has no place for it.
fn before_users(
    check: &mut Checker<'_>,
    at: &[&str],
    needed_for_users: bool,
    bind: Option<&[String]>,
    to: &BTreeSet<HostName>,
    hosts: &BTreeMap<HostName, Host>,
) {
    let takes_password = |option: &[String]| {
        option.starts_with(&["users".to_owned(), "users".to_owned()])
            && option.last().is_some_and(|last| last == "hashedPasswordFile")
    };
    let at_users = [at, &["needed_for_users"]].concat();
    if !needed_for_users && bind.is_some_and(takes_password) {
        let message = "users are made before this secret is installed, so that nobody could log in";
        let at = [at, &["bind"]].concat();
        check.error(At::Value, &at, "needed-for-users", message, "add `needed_for_users: true`");
    }
    let is_activated =
        |host: &&HostName| hosts.get(*host).is_some_and(|host| matches!(host.switch, Some(Switch::Activate { .. })));
    if let Some(host) = to.iter().find(is_activated).filter(|_| needed_for_users) {
        let message = format!("host {host} has no stage before users: it is activated by reconcile itself");
        check.error(At::Key, &at_users, "needed-for-users", message, "remove `needed_for_users`");
    }
}
