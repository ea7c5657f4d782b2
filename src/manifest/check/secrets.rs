//! The secrets: the item of each, and its delivery.

use std::collections::BTreeMap;

use crate::address::HostName;
use crate::secret::SecretName;

use super::super::model::{Host, Secret};
use super::super::source::SecretSource;
use super::{At, Checker, boot, item, runtime};

pub(super) fn check(
    check: &mut Checker<'_>,
    source: BTreeMap<String, SecretSource>,
    hosts: &BTreeMap<HostName, Host>,
) -> BTreeMap<SecretName, Secret> {
    let mut secrets = BTreeMap::new();
    for (text, secret) in source {
        let at = ["secrets", text.as_str()];
        let name = check.name::<SecretName>(At::Key, &at, &text);
        let below = |path: &[&'static str]| [&at[..], path].concat();
        let item = secret.item.and_then(|item| item::item(check, &below(&["item"]), item));
        if let Some(description) = &secret.description {
            check.no_control(&below(&["description"]), &description.replace(['\n', '\t'], ""));
        }
        let (sops, at_run_time) = secret.delivery.map_or((None, None), |delivery| (delivery.sops, delivery.runtime));
        let boot =
            sops.and_then(|sops| boot::delivery(check, &below(&["delivery", "sops"]), name.as_ref(), sops, hosts));
        let runtime = at_run_time.map(|runtime| runtime::delivery(check, &below(&["delivery", "runtime"]), runtime));
        let (Some(name), Some(item)) = (name, item) else { continue };
        let secret = Secret { item, description: secret.description, boot, runtime };
        rule_of_thumb(check, &name, &secret, hosts);
        secrets.insert(name, secret);
    }
    secrets
}

/// What is needed at boot goes through sops, everything else is fetched live. A secret that has both, and that nothing
/// takes at boot, lies on a disk for no reason that the manifest tells.
fn rule_of_thumb(check: &mut Checker<'_>, name: &SecretName, secret: &Secret, hosts: &BTreeMap<HostName, Host>) {
    let (Some(boot), Some(_)) = (&secret.boot, &secret.runtime) else { return };
    let is_address = hosts.values().filter_map(|host| host.rbw_config.as_ref()).any(|config| config.email == *name);
    let has_units = !boot.restart_units.is_empty() || !boot.reload_units.is_empty();
    let is_taken = boot.bind.is_some()
        || boot.owner.is_some()
        || boot.group.is_some()
        || boot.path.is_some()
        || boot.needed_for_users
        || has_units
        || !boot.restart_user_units.is_empty();
    if !is_taken && !is_address {
        let at = ["secrets", name.as_str(), "delivery", "sops"];
        let message = format!("{name} is fetched at run time, and nothing is declared that takes it at boot");
        let help = "remove `sops`, or say who needs it: `bind`, `owner`, `restart_units`";
        check.warning(&at, "rule-of-thumb", message, help);
    }
}
