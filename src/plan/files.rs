//! One sops file as a whole: it is encrypted anew or left exactly as it is. One thing that must not be guessed keeps all
//! of it as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::actual::FileState;
use crate::address::{Address, FileName, HostName};
use crate::digest::Digest;
use crate::manifest::{BootDelivery, Secret};
use crate::observation::Cause;
use crate::plan::keys::{self, Held, Unclaimed, Verdict};
use crate::plan::scope::Scope;
use crate::plan::trust::Trust;
use crate::plan::{Action, Blocked, Blocker, Change, Details, EncryptTo, Inputs, Install, Note, Plan, Reason, Wanted};
use crate::secret::SecretName;
use crate::text::Untrusted;

/// What is decided of a sops file.
#[derive(Debug)]
pub(super) enum FileVerdict {
    /// It is as it should be; its digest, if it is there.
    Unchanged(Option<Digest>),
    /// It is encrypted anew.
    Encrypt { items: Vec<Wanted>, recipients: BTreeSet<EncryptTo>, expects: Option<Digest> },
    /// It would have to be, and is left as it is.
    Blocked,
}

/// What is found out about a file before it is decided whether it can be written.
#[derive(Default)]
struct Findings {
    changes: Vec<Change>,
    blockers: Vec<Blocked>,
    unseen: BTreeMap<Address, Cause>,
    items: Vec<Wanted>,
    /// A declared key is not in the file, and its value cannot be had now.
    incomplete: bool,
}

pub(super) fn decide(
    inputs: Inputs<'_>,
    scope: &Scope,
    trusts: &BTreeMap<HostName, Trust>,
    plan: &mut Plan,
) -> BTreeMap<FileName, FileVerdict> {
    let files = inputs.manifest.sops_files();
    let in_scope = files.into_iter().filter(|(file, _)| scope.has_file(file));
    in_scope.map(|(file, hosts)| (file.clone(), one(inputs, file, &hosts, trusts, plan))).collect()
}

fn one(
    inputs: Inputs<'_>,
    file: &FileName,
    hosts: &BTreeSet<&HostName>,
    trusts: &BTreeMap<HostName, Trust>,
    plan: &mut Plan,
) -> FileVerdict {
    let address = Address::File(file.clone());
    let state = match not_writable(inputs, file, &address) {
        Ok(state) => state,
        Err(by) => {
            plan.blocked.push(Blocked { address, by });
            return FileVerdict::Blocked;
        }
    };
    let mut findings = Findings::default();
    let held = Held::of(inputs, file);
    look_at_secrets(inputs, file, &held, &mut findings);
    look_at_unclaimed(inputs, file, &held, &mut findings);
    look_at_file(inputs, file, hosts, trusts, state, &mut findings);
    warn_of_oversharing(inputs, file, hosts, plan);
    if findings.changes.is_empty() && !findings.incomplete {
        plan.unchecked.extend(findings.unseen);
        plan.blocked.extend(findings.blockers);
        return FileVerdict::Unchanged(state.digest());
    }
    conclude(inputs, file, hosts, trusts, state, findings, plan)
}

/// Whether the file may be written at all, whatever is in it.
pub(super) fn not_writable<'a>(
    inputs: Inputs<'a>,
    file: &FileName,
    address: &Address,
) -> Result<&'a FileState, Blocker> {
    let seen = inputs.actual.files.get(file).ok_or(Blocker::Unknown(Cause::NotLookedAt))?;
    let state = match seen.cause() {
        Some(cause) => return Err(Blocker::Unknown(cause.clone())),
        None => seen.known().ok_or(Blocker::Unknown(Cause::NotLookedAt))?,
    };
    match state {
        FileState::Broken { problem, .. } if !inputs.wishes.replace.contains(address) => {
            Err(Blocker::FileBroken { problem: problem.clone() })
        }
        FileState::Sops(sops) if sops.key_groups => Err(Blocker::KeyGroups),
        state => Ok(state),
    }
}

fn look_at_secrets(inputs: Inputs<'_>, file: &FileName, held: &Held<'_>, findings: &mut Findings) {
    for (name, secret, boot) in inputs.manifest.boot_secrets(file) {
        let address = Address::Secret(name.clone());
        match keys::decide(inputs, file, held, name, boot) {
            Verdict::Unchanged { fingerprint } => {
                findings.items.push(Wanted { secret: name.clone(), fingerprint: Some(fingerprint) });
            }
            Verdict::Changes { action, reasons, fingerprint } => {
                let details = secret_details(inputs, file, name, secret, boot);
                findings.changes.push(Change { address, action, reasons, details });
                findings.items.push(Wanted { secret: name.clone(), fingerprint });
            }
            Verdict::Fault(cause) => {
                findings.incomplete |= held.leaf(&boot.key).is_none();
                findings.blockers.push(Blocked { address, by: Blocker::Unknown(cause) });
            }
            Verdict::Unseen(cause) => {
                findings.incomplete |= held.leaf(&boot.key).is_none();
                findings.unseen.insert(address, cause);
            }
        }
    }
}

fn look_at_unclaimed(inputs: Inputs<'_>, file: &FileName, held: &Held<'_>, findings: &mut Findings) {
    for key in keys::unclaimed(inputs, file, held) {
        let (address, reasons) = match key {
            Unclaimed::Ours { name, edited } => {
                let edited = edited.then_some(Reason::EditedOutside);
                (Address::Secret(name), [Reason::KeyUndeclared].into_iter().chain(edited).collect())
            }
            Unclaimed::Released(address) => (address, BTreeSet::from([Reason::ForeignKey])),
            Unclaimed::Foreign(address, by) => {
                findings.blockers.push(Blocked { address, by });
                continue;
            }
        };
        findings.changes.push(Change {
            address,
            action: Action::Destroy,
            reasons,
            details: Details::Key { file: file.clone() },
        });
    }
}

/// What concerns the file and none of its keys: recipients, and edits that left every key alone.
fn look_at_file(
    inputs: Inputs<'_>,
    file: &FileName,
    hosts: &BTreeSet<&HostName>,
    trusts: &BTreeMap<HostName, Trust>,
    state: &FileState,
    findings: &mut Findings,
) {
    let mut reasons = BTreeSet::new();
    match state {
        FileState::Sops(sops) => {
            reasons.extend(recipients_changed(inputs, hosts, trusts, sops));
            let replaced = inputs.wishes.replace.contains(&Address::File(file.clone()));
            reasons.extend(replaced.then_some(Reason::Replaced));
            // Also with a vault that cannot be asked: nothing may build upon a file that is not the one we wrote.
            match inputs.receipt.written(file) {
                Some(written) if written.digest == sops.digest => {}
                _ if !findings.changes.is_empty() => {}
                Some(_) => drop(reasons.insert(Reason::FileEditedOutside)),
                None => drop(reasons.insert(Reason::NeverRecorded)),
            }
        }
        FileState::Broken { .. } => {
            reasons.insert(Reason::FileBroken);
        }
        FileState::Absent | FileState::Public { .. } => {}
    }
    if !reasons.is_empty() {
        let hosts = hosts.iter().map(|host| (*host).clone()).collect();
        findings.changes.push(Change {
            address: Address::File(file.clone()),
            action: Action::Update,
            reasons,
            details: Details::Sops { hosts },
        });
    }
}

fn recipients_changed(
    inputs: Inputs<'_>,
    hosts: &BTreeSet<&HostName>,
    trusts: &BTreeMap<HostName, Trust>,
    sops: &crate::sops::SopsFile,
) -> Option<Reason> {
    let Ok(wanted) = recipients(inputs, hosts, trusts) else { return None };
    let made = wanted.iter().any(|to| matches!(to, EncryptTo::MadeByApply(_)));
    let keys: BTreeSet<_> = wanted
        .into_iter()
        .filter_map(|to| match to {
            EncryptTo::Key(key) => Some(key),
            EncryptTo::MadeByApply(_) => None,
        })
        .collect();
    let claimed = |key: &&crate::sops::Recipient| sops.recipients.contains_key(&Untrusted::new(key.as_str()));
    let added: BTreeSet<_> = keys.iter().filter(|key| !claimed(key)).cloned().collect();
    let stays = |text: &&Untrusted| keys.iter().any(|key| key.as_str() == text.as_is());
    let mut removed: BTreeSet<_> = sops.recipients.keys().filter(|text| !stays(text)).cloned().collect();
    removed.extend(sops.other_keys.iter().cloned());
    (made || !added.is_empty() || !removed.is_empty()).then_some(Reason::RecipientsChanged { added, removed })
}

/// To whom a file is encrypted, or which host keeps it from being known.
fn recipients(
    inputs: Inputs<'_>,
    hosts: &BTreeSet<&HostName>,
    trusts: &BTreeMap<HostName, Trust>,
) -> Result<BTreeSet<EncryptTo>, HostName> {
    let mut to = BTreeSet::new();
    for name in hosts {
        match trusts.get(*name) {
            Some(Trust::Key(key)) => to.insert(EncryptTo::Key(key.clone())),
            Some(Trust::MadeByApply) => to.insert(EncryptTo::MadeByApply((*name).clone())),
            Some(Trust::Blocked(_)) | None => return Err((*name).clone()),
        };
        let extra = inputs.manifest.hosts.get(*name).map(|host| &host.extra_recipients);
        to.extend(extra.into_iter().flatten().cloned().map(EncryptTo::Key));
    }
    Ok(to)
}

/// The file has to be written: with everything known it will be, and else it stays.
fn conclude(
    inputs: Inputs<'_>,
    file: &FileName,
    hosts: &BTreeSet<&HostName>,
    trusts: &BTreeMap<HostName, Trust>,
    state: &FileState,
    mut findings: Findings,
    plan: &mut Plan,
) -> FileVerdict {
    let unseen = std::mem::take(&mut findings.unseen);
    let unknown = |(address, cause)| Blocked { address, by: Blocker::Unknown(cause) };
    findings.blockers.extend(unseen.into_iter().map(unknown));
    let recipients = recipients(inputs, hosts, trusts);
    let in_the_way = match (&recipients, findings.blockers.first()) {
        (Err(host), _) => Some(Address::Host(host.clone())),
        (Ok(_), Some(blocked)) => Some(blocked.address.clone()),
        (Ok(_), None) => None,
    };
    plan.blocked.append(&mut findings.blockers);
    match (recipients, in_the_way) {
        (Ok(recipients), None) => {
            plan.changes.append(&mut findings.changes);
            FileVerdict::Encrypt { items: findings.items, recipients, expects: state.digest() }
        }
        (_, on) => {
            let waits = |address| on.clone().map(|on| Blocked { address, by: Blocker::DependsOn { on } });
            plan.blocked.extend(waits(Address::File(file.clone())));
            let changing = findings.changes.into_iter().map(|change| change.address);
            plan.blocked.extend(changing.filter_map(waits));
            FileVerdict::Blocked
        }
    }
}

fn warn_of_oversharing(inputs: Inputs<'_>, file: &FileName, hosts: &BTreeSet<&HostName>, plan: &mut Plan) {
    for (name, _, boot) in inputs.manifest.boot_secrets(file) {
        for host in hosts.iter().filter(|host| !boot.hosts.contains(**host)) {
            plan.notes.insert(Note::Overshared { secret: name.clone(), host: (*host).clone() });
        }
    }
}

/// What a reader wants to know beside a change of a secret.
pub(super) fn secret_details(
    inputs: Inputs<'_>,
    file: &FileName,
    name: &SecretName,
    secret: &Secret,
    boot: &BootDelivery,
) -> Details {
    let item = inputs.desired.items.get(name).and_then(|item| item.known());
    let wished = || secret.item.name.clone().or_else(|| secret.item.id.clone()).unwrap_or_default();
    let install = |host: &HostName| {
        let declared = inputs.manifest.hosts.get(host)?;
        (declared.sops_file == *file).then(|| Install {
            host: host.clone(),
            path: declared.installed_path(name, boot).as_written().to_owned(),
            owner: boot.owner.clone(),
            group: boot.group.clone(),
            mode: boot.mode.map(|mode| mode.to_string()),
        })
    };
    let user_units = boot.restart_user_units.values().flatten();
    let units = boot.restart_units.iter().chain(&boot.reload_units).chain(user_units);
    Details::Secret {
        item: item.map_or_else(|| Untrusted::new(wished()), |item| item.name.clone()),
        file: file.clone(),
        installs: boot.hosts.iter().filter_map(install).collect(),
        bind: boot.bind.as_ref().map(|path| path.join(".")),
        units: units.cloned().collect(),
        changed_at: item.and_then(|item| item.changed_at),
    }
}
