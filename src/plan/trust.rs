//! Which key of each host a file may be encrypted to. Only a key that is literal in the manifest, accepted in the
//! receipt, or read live from the host is ever used; a file in the dataset alone is not believed.

use std::collections::BTreeMap;

use crate::actual::{FileState, IdentityState};
use crate::address::{Address, FileName, HostName};
use crate::manifest::{DatasetFile, Host, RecipientSource};
use crate::observation::{Cause, Observation};
use crate::plan::scope::Scope;
use crate::plan::{Blocked, Blocker, Inputs, KeySeen, Note, Plan};
use crate::sops::Recipient;

/// The key of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// This one.
    Key(Recipient),
    /// The host has none yet: an earlier step makes it.
    MadeByApply,
    /// None may be used.
    Blocked(Blocker),
}

/// Decides for every host in scope, and notes which keys the plan accepts and which are refused.
pub(super) fn decide(inputs: Inputs<'_>, scope: &Scope, plan: &mut Plan) -> BTreeMap<HostName, Trust> {
    let mut trusts = BTreeMap::new();
    for (name, host) in inputs.manifest.hosts.iter().filter(|(name, _)| scope.needs_key_of(name)) {
        let trust = of_host(inputs, name, host);
        match &trust {
            Trust::Key(key) if accepted(inputs, name) != Some(key) => {
                let instead_of = accepted(inputs, name).cloned();
                if declared(inputs, host).is_none() {
                    plan.notes.insert(Note::KeyAccepted { host: name.clone(), key: key.clone(), instead_of });
                }
                plan.accepts.insert(name.clone(), key.clone());
            }
            Trust::Blocked(by) => plan.blocked.push(Blocked { address: Address::Host(name.clone()), by: by.clone() }),
            Trust::Key(_) | Trust::MadeByApply => {}
        }
        if matches!(trust, Trust::Key(_)) && matches!(live(inputs, name), Some(Err(Cause::NeedsRoot { .. }))) {
            plan.notes.insert(Note::HostKeyUnverified { host: name.clone() });
        }
        trusts.insert(name.clone(), trust);
    }
    trusts
}

fn of_host(inputs: Inputs<'_>, name: &HostName, host: &Host) -> Trust {
    match declared(inputs, host) {
        Some(key) => declared_key(inputs, name, key),
        None => seen_key(inputs, name, host),
    }
}

/// The key that the manifest itself names.
fn declared(inputs: Inputs<'_>, host: &Host) -> Option<Recipient> {
    match &host.recipient {
        RecipientSource::Literal(key) => Some(key.clone()),
        RecipientSource::File(file) => literal_in_manifest(inputs, file),
        RecipientSource::SshHostKey => None,
    }
}

/// A key that the manifest itself names: it counts, unless the host is seen to have another or none.
fn declared_key(inputs: Inputs<'_>, name: &HostName, key: Recipient) -> Trust {
    let offered = match live(inputs, name) {
        Some(Ok(IdentityState::Present(seen))) if *seen != key => Some(seen.clone()),
        Some(Ok(IdentityState::Absent)) => None,
        _ => return Trust::Key(key),
    };
    Trust::Blocked(Blocker::HostKeyChanged { accepted: key, offered, seen: KeySeen::InManifest })
}

/// A key that was accepted before, or is seen live.
fn seen_key(inputs: Inputs<'_>, name: &HostName, host: &Host) -> Trust {
    let consent = inputs.wishes.accept_recipients.contains(name);
    let changed = |accepted: &Recipient, offered: Option<Recipient>, seen| {
        Trust::Blocked(Blocker::HostKeyChanged { accepted: accepted.clone(), offered, seen })
    };
    match (accepted(inputs, name), live(inputs, name)) {
        (Some(key), Some(Ok(IdentityState::Present(seen)))) if key == seen => Trust::Key(key.clone()),
        (None, Some(Ok(IdentityState::Present(seen)))) => Trust::Key(seen.clone()),
        (Some(_), Some(Ok(IdentityState::Present(seen)))) if consent => Trust::Key(seen.clone()),
        (Some(key), Some(Ok(IdentityState::Present(seen)))) => changed(key, Some(seen.clone()), KeySeen::OnHost),
        (Some(key), Some(Ok(IdentityState::Absent))) if !consent => changed(key, None, KeySeen::OnHost),
        (_, Some(Ok(IdentityState::Absent))) if host.recipient == RecipientSource::SshHostKey => {
            Trust::Blocked(Blocker::HostKeyUnverified { cause: None, offered: None })
        }
        (_, Some(Ok(IdentityState::Absent))) => Trust::MadeByApply,
        (recorded, unseen) => {
            let cause = match unseen {
                Some(Err(cause)) => Some(cause),
                _ => inputs.actual.hosts.get(name).and_then(Observation::cause),
            };
            unverified(recorded, in_dataset(inputs, host), consent, cause.unwrap_or(&Cause::NotLookedAt))
        }
    }
}

/// The host could not be asked: the accepted key counts while the dataset does not contradict it.
fn unverified(accepted: Option<&Recipient>, in_dataset: Option<Recipient>, consent: bool, cause: &Cause) -> Trust {
    let needs_root = matches!(cause, Cause::NeedsRoot { .. });
    match (accepted, in_dataset) {
        (_, Some(offered)) if consent && needs_root => Trust::Key(offered),
        (Some(accepted), Some(offered)) if offered != *accepted => Trust::Blocked(Blocker::HostKeyChanged {
            accepted: accepted.clone(),
            offered: Some(offered),
            seen: KeySeen::InDataset,
        }),
        (Some(accepted), _) => Trust::Key(accepted.clone()),
        (None, offered) => Trust::Blocked(Blocker::HostKeyUnverified {
            cause: Some(cause.clone()),
            offered: offered.filter(|_| needs_root),
        }),
    }
}

fn accepted<'a>(inputs: Inputs<'a>, host: &HostName) -> Option<&'a Recipient> {
    inputs.receipt.hosts.get(host)?.accepted.as_ref()
}

/// What was seen of the host's identity just now; `None` when the host itself could not be asked.
fn live<'a>(inputs: Inputs<'a>, host: &HostName) -> Option<Result<&'a IdentityState, &'a Cause>> {
    match &inputs.actual.hosts.get(host)?.known()?.identity {
        Observation::Known(identity) => Some(Ok(identity)),
        Observation::Unknown(cause) => Some(Err(cause)),
    }
}

fn literal_in_manifest(inputs: Inputs<'_>, file: &FileName) -> Option<Recipient> {
    match inputs.manifest.dataset.files.get(file)? {
        DatasetFile::Literal(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn in_dataset(inputs: Inputs<'_>, host: &Host) -> Option<Recipient> {
    let RecipientSource::File(file) = &host.recipient else { return None };
    match inputs.actual.files.get(file)?.known()? {
        FileState::Public { content, .. } => std::str::from_utf8(content).ok()?.trim().parse().ok(),
        _ => None,
    }
}
