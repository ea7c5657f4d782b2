//! Which units of users' own managers restart: those of secrets that have another value on their host than when the
//! units were last restarted. NixOS restarts none of them. What an apply could not restart, the next plan does.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{Address, FileName, HostName};
use crate::manifest::{BootDelivery, Host};
use crate::plan::files::FileVerdict;
use crate::plan::{Action, Change, Details, Inputs, Plan, Reason};
use crate::secret::{Comparison, Fingerprint, SecretName};

/// Units by user.
pub(super) type Units = BTreeMap<String, BTreeSet<String>>;

/// What restarts on a host.
#[derive(Debug, Default)]
pub(super) struct Restart {
    /// The secrets because of which.
    pub(super) secrets: BTreeSet<SecretName>,
    pub(super) units: Units,
}

/// Decides for a host that is switched, or that agrees with its file already.
pub(super) fn of_host(
    inputs: Inputs<'_>,
    name: &HostName,
    host: &Host,
    file: &FileVerdict,
    is_switched: bool,
) -> Option<Restart> {
    let mut restart = Restart::default();
    for (secret, boot) in with_units(inputs, name) {
        if is_behind(inputs, name, secret, live(inputs, &host.sops_file, file, secret), is_switched) {
            restart.secrets.insert(secret.clone());
            for (user, units) in &boot.restart_user_units {
                restart.units.entry(user.clone()).or_default().extend(units.iter().cloned());
            }
        }
    }
    (!restart.units.is_empty()).then_some(restart)
}

fn with_units<'a>(inputs: Inputs<'a>, host: &'a HostName) -> impl Iterator<Item = (&'a SecretName, &'a BootDelivery)> {
    let secrets = inputs.manifest.secrets.iter().filter_map(|(name, secret)| Some((name, secret.boot.as_ref()?)));
    secrets
        .filter(move |(_, boot)| boot.hosts.contains(host) && boot.restart_user_units.values().any(|u| !u.is_empty()))
}

/// The value that a host has once this plan is carried out.
fn live(inputs: Inputs<'_>, file: &FileName, verdict: &FileVerdict, secret: &SecretName) -> Option<Fingerprint> {
    if let FileVerdict::Encrypt { items, .. } = verdict {
        return items.iter().find(|wanted| wanted.secret == *secret)?.fingerprint;
    }
    let written = inputs.receipt.written(file)?;
    written.keys.iter().find(|key| key.secret == *secret).map(|key| key.fingerprint)
}

/// Whether the units of a secret were last restarted for another value. Where that cannot be told, a switch brings one.
fn is_behind(
    inputs: Inputs<'_>,
    host: &HostName,
    secret: &SecretName,
    live: Option<Fingerprint>,
    is_switched: bool,
) -> bool {
    let last = inputs.receipt.hosts.get(host).and_then(|host| host.restarted.get(secret));
    match last {
        // Owed since an apply that did not come to it.
        Some(None) => true,
        Some(Some(last)) => match live.map(|live| last.compare(&live)) {
            Some(Comparison::Same) => false,
            Some(Comparison::Different) => true,
            Some(Comparison::OtherKey) | None => is_switched,
        },
        None => is_switched,
    }
}

/// The change of a host on which nothing else is to be done.
pub(super) fn change(plan: &mut Plan, host: &HostName, restart: &Restart) {
    plan.changes.push(Change {
        address: Address::Host(host.clone()),
        action: Action::Restart,
        reasons: BTreeSet::from([Reason::UnitsBehind { secrets: restart.secrets.clone() }]),
        details: Details::Units { units: restart.units.clone() },
    });
}
