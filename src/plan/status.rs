//! How far each secret has come: from the vault into its file, and from the file onto each of its hosts. It is decided
//! as a plan decides it, and shown where a plan would only say that it waits for something else.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::actual::{Activation, FileState};
use crate::address::{Address, FileName, HostName};
use crate::manifest::{BootDelivery, Host, RuntimeDelivery, Secret};
use crate::observation::{Cause, Observation};
use crate::plan::hosts::differences_of;
use crate::plan::keys::{self, Held, Unclaimed, Verdict};
use crate::plan::{Blocked, Blocker, Change, Difference, Inputs, Note, Plan, Reason, files};
use crate::secret::SecretName;
use crate::text::Untrusted;

/// How far everything has come. It holds no value and no length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Each boot secret on each host that it is declared for.
    pub boot: Vec<BootLine>,
    /// Each run-time secret.
    pub runtime: Vec<RuntimeLine>,
    /// Files of the dataset that are not as they should be, other than by a secret.
    pub files: BTreeMap<FileName, BTreeSet<Reason>>,
    /// What a sops file still holds of secrets that are no longer declared.
    pub undeclared: BTreeMap<FileName, BTreeSet<SecretName>>,
    /// What else the next apply changes, and no line tells.
    pub pending: BTreeMap<Address, BTreeSet<Reason>>,
    /// What of a host or file, or of a key of somebody else, is in the way of the next apply.
    pub blocked: Vec<Blocked>,
    /// What else was seen of the hosts.
    pub notes: BTreeSet<Note>,
}

/// A boot secret and a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootLine {
    /// The secret.
    pub secret: SecretName,
    /// The item it comes from.
    pub item: Untrusted,
    /// When the vault says that the item was changed, seconds since 1970.
    pub item_changed_at: Option<i64>,
    /// Whether the item has another version than when the file was written. Its value need not be another.
    pub item_changed: bool,
    /// The file that carries it.
    pub file: FileName,
    /// When that was written, seconds since 1970.
    pub file_written_at: Option<i64>,
    /// The file against the vault.
    pub in_file: Standing,
    /// The host.
    pub host: HostName,
    /// Where it is there.
    pub path: String,
    /// When the host was last seen to have been brought up to date, seconds since 1970.
    pub host_switched_at: Option<i64>,
    /// The host against the file.
    pub on_host: Standing,
}

/// A run-time secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeLine {
    /// The secret.
    pub secret: SecretName,
    /// The item it comes from.
    pub item: Untrusted,
    /// When the vault says that the item was changed, seconds since 1970.
    pub item_changed_at: Option<i64>,
    /// Whether the item is there.
    pub in_vault: Standing,
    /// Who gets it, such as `gh` or `git github.com`.
    pub consumers: Vec<String>,
}

/// Something against what comes before it on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    /// It is the same.
    Current,
    /// It is not.
    Differs {
        /// Why; never empty.
        reasons: BTreeSet<Reason>,
    },
    /// Something is wrong with it that an apply does not mend.
    Blocked {
        /// What.
        by: Blocker,
    },
    /// It could not be compared.
    Unknown {
        /// Why.
        cause: Cause,
    },
}

impl Status {
    /// What stands anywhere on the way.
    pub fn standings(&self) -> impl Iterator<Item = &Standing> {
        let boot = self.boot.iter().flat_map(|line| [&line.in_file, &line.on_host]);
        boot.chain(self.runtime.iter().map(|line| &line.in_vault))
    }

    /// The same, each with what is to be seen to when it is not known or blocked: a secret, its file or its host.
    pub fn placed(&self) -> impl Iterator<Item = (Address, &Standing)> {
        let boot = self.boot.iter().flat_map(|line| {
            let in_file = match &line.in_file {
                Standing::Blocked { by: Blocker::Unknown(cause) } | Standing::Unknown { cause }
                    if cause.is_of_the_item() =>
                {
                    Address::Secret(line.secret.clone())
                }
                _ => Address::File(line.file.clone()),
            };
            [(in_file, &line.in_file), (Address::Host(line.host.clone()), &line.on_host)]
        });
        boot.chain(self.runtime.iter().map(|line| (Address::Secret(line.secret.clone()), &line.in_vault)))
    }

    /// Whether everything could be compared and nothing is in the way.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let open = |standing: &Standing| matches!(standing, Standing::Blocked { .. } | Standing::Unknown { .. });
        self.blocked.is_empty() && !self.standings().any(open)
    }

    /// Whether anything is known to differ.
    #[must_use]
    pub fn differs(&self) -> bool {
        let beside = !self.files.is_empty() || !self.undeclared.is_empty() || !self.pending.is_empty();
        beside || self.standings().any(|standing| matches!(standing, Standing::Differs { .. }))
    }
}

/// Decides how far everything has come; `plan` is the one of the same inputs.
#[must_use]
pub fn status(inputs: Inputs<'_>, plan: &Plan) -> Status {
    let of_place = |address: &Address| !matches!(address, Address::Secret(_));
    let in_the_way = plan.blocked.iter().filter(|blocked| {
        // An unknown host is told on its lines, and what waits for something else says nothing new.
        let told = matches!((&blocked.address, &blocked.by), (Address::Host(_), Blocker::Unknown(_)));
        of_place(&blocked.address) && !told && !matches!(blocked.by, Blocker::DependsOn { .. })
    });
    let files = plan.changes.iter().filter_map(|change| match &change.address {
        Address::File(file) => Some((file.clone(), change.reasons.clone())),
        _ => None,
    });
    let boot = boot_lines(inputs);
    Status {
        pending: pending(plan, &boot),
        boot,
        runtime: runtime_lines(inputs),
        files: files.collect(),
        undeclared: undeclared(inputs),
        blocked: in_the_way.cloned().collect(),
        notes: plan.notes.iter().filter(|note| is_of_host(note)).cloned().chain(rbw_unseen(inputs)).collect(),
    }
}

/// What the sops files hold that was ours and is declared no more.
fn undeclared(inputs: Inputs<'_>) -> BTreeMap<FileName, BTreeSet<SecretName>> {
    let of_file = |file: &FileName| {
        let gone = keys::unclaimed(inputs, file, &Held::of(inputs, file)).into_iter().filter_map(|key| match key {
            Unclaimed::Ours { name, .. } => Some(name),
            Unclaimed::Released(_) | Unclaimed::Foreign(..) => None,
        });
        (file.clone(), gone.collect::<BTreeSet<_>>())
    };
    let files = inputs.manifest.sops_files().into_keys().map(of_file);
    files.filter(|(_, gone)| !gone.is_empty()).collect()
}

/// What a plan changes and neither the line of a secret nor that of a file tells.
fn pending(plan: &Plan, boot: &[BootLine]) -> BTreeMap<Address, BTreeSet<Reason>> {
    let follows = |reason: &Reason| matches!(reason, Reason::FileChanges | Reason::KeyUndeclared);
    let told = |change: &Change| match &change.address {
        Address::File(_) => true,
        Address::Secret(name) => {
            boot.iter().any(|line| line.secret == *name && matches!(line.in_file, Standing::Differs { .. }))
        }
        Address::Host(host) => {
            boot.iter().any(|line| line.host == *host && matches!(line.on_host, Standing::Differs { .. }))
        }
        Address::Key(..) => false,
    };
    let untold = plan.changes.iter().filter(|change| !change.reasons.iter().any(follows) && !told(change));
    untold.map(|change| (change.address.clone(), change.reasons.clone())).collect()
}

fn is_of_host(note: &Note) -> bool {
    use Note::{DatasetLags, Host, HostKeyUnverified, Overshared, RbwConfig, RbwLoggedOut};
    match note {
        HostKeyUnverified { .. } | Overshared { .. } | Host { .. } | RbwLoggedOut { .. } | DatasetLags { .. } => true,
        RbwConfig { missing, .. } => *missing,
        _ => false,
    }
}

/// The hosts that answered, and did not tell of the rbw that the manifest configures.
fn rbw_unseen(inputs: Inputs<'_>) -> impl Iterator<Item = Note> {
    inputs.manifest.hosts.iter().filter_map(move |(name, host)| {
        let user = host.rbw_config.as_ref()?.user.clone();
        let cause = inputs.actual.hosts.get(name)?.known()?.rbw.as_ref()?.cause()?.clone();
        Some(Note::RbwUnseen { host: name.clone(), user, cause })
    })
}

fn boot_lines(inputs: Inputs<'_>) -> Vec<BootLine> {
    let declared = inputs.manifest.sops_files();
    let held: BTreeMap<&FileName, Held<'_>> = declared.into_keys().map(|file| (file, Held::of(inputs, file))).collect();
    let mut lines = Vec::new();
    for (name, secret) in &inputs.manifest.secrets {
        let Some(boot) = &secret.boot else { continue };
        for (host_name, host) in inputs.manifest.hosts.iter().filter(|(host, _)| boot.hosts.contains(*host)) {
            let Some(held) = held.get(&host.sops_file) else { continue };
            let switched = inputs.receipt.hosts.get(host_name).and_then(|record| record.switched.as_ref());
            lines.push(BootLine {
                secret: name.clone(),
                item: item_name(inputs, name, secret),
                item_changed_at: item_changed_at(inputs, name),
                item_changed: keys::item_changed(inputs, held, name, boot),
                file: host.sops_file.clone(),
                file_written_at: written_at(inputs, &host.sops_file),
                in_file: in_file(inputs, &host.sops_file, held, name, boot),
                host: host_name.clone(),
                path: host.installed_path(name, boot).as_written().to_owned(),
                host_switched_at: switched.and_then(|switched| seconds(&switched.at)),
                on_host: on_host(inputs, host_name, host, name, boot),
            });
        }
    }
    lines
}

fn item_name(inputs: Inputs<'_>, name: &SecretName, secret: &Secret) -> Untrusted {
    let wanted = || secret.item.name.as_ref().or(secret.item.id.as_ref()).cloned().unwrap_or_default();
    let item = inputs.desired.items.get(name).and_then(Observation::known);
    item.map_or_else(|| Untrusted::new(wanted()), |item| item.name.clone())
}

fn item_changed_at(inputs: Inputs<'_>, name: &SecretName) -> Option<i64> {
    inputs.desired.items.get(name)?.known()?.changed_at
}

/// When a sops file was written, by us or by somebody else.
fn written_at(inputs: Inputs<'_>, file: &FileName) -> Option<i64> {
    match inputs.actual.files.get(file)?.known()? {
        FileState::Sops(sops) => seconds(sops.last_modified.as_is()),
        _ => None,
    }
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

fn in_file(inputs: Inputs<'_>, file: &FileName, held: &Held<'_>, name: &SecretName, boot: &BootDelivery) -> Standing {
    match files::not_writable(inputs, file, &Address::File(file.clone())) {
        Err(Blocker::Unknown(cause)) => return Standing::Unknown { cause },
        Err(by) => return Standing::Blocked { by },
        Ok(_) => {}
    }
    match keys::decide(inputs, file, held, name, boot) {
        Verdict::Unchanged { .. } => Standing::Current,
        Verdict::Changes { reasons, .. } => Standing::Differs { reasons },
        Verdict::Fault(cause) => Standing::Blocked { by: Blocker::Unknown(cause) },
        Verdict::Unseen(cause) => {
            // What the file itself shows is known with any vault.
            let reasons = keys::seen_in_file(inputs, file, held, name, boot);
            if reasons.is_empty() { Standing::Unknown { cause } } else { Standing::Differs { reasons } }
        }
    }
}

fn on_host(inputs: Inputs<'_>, host_name: &HostName, host: &Host, name: &SecretName, boot: &BootDelivery) -> Standing {
    let state = match inputs.actual.hosts.get(host_name) {
        Some(Observation::Known(state)) => state,
        Some(Observation::Unknown(cause)) => return Standing::Unknown { cause: cause.clone() },
        None => return Standing::Unknown { cause: Cause::NotLookedAt },
    };
    let sops = match inputs.actual.files.get(&host.sops_file) {
        Some(Observation::Known(FileState::Sops(sops))) => sops,
        Some(Observation::Known(FileState::Absent)) => return differs([Reason::FileMissing]),
        Some(Observation::Known(_)) => return differs([Reason::FileBroken]),
        Some(Observation::Unknown(cause)) => return Standing::Unknown { cause: cause.clone() },
        None => return Standing::Unknown { cause: Cause::NotLookedAt },
    };
    let recorded = inputs.receipt.hosts.get(host_name).and_then(|record| record.switched.as_ref());
    let behind = state.installs.or(recorded.map(|switched| switched.file)) != Some(sops.digest);
    let seen = differences_of(boot, state, name, sops);
    let older = behind.then_some(Reason::HostBehind);
    let failed = (!behind && state.activation == Activation::Failed).then_some(Reason::ActivationFailed);
    // An older file holds another value, perhaps: only what is not there at all is told of it.
    let told = |found: &BTreeSet<Difference>| !behind || found.contains(&Difference::Absent);
    let drifted = match &seen {
        Ok(found) if !found.is_empty() && told(found) => {
            Some(Reason::HostDrifted { secrets: BTreeMap::from([(name.clone(), found.clone())]) })
        }
        _ => None,
    };
    let reasons: BTreeSet<Reason> = older.into_iter().chain(failed).chain(drifted).collect();
    match seen {
        _ if !reasons.is_empty() => Standing::Differs { reasons },
        Err(cause) => Standing::Unknown { cause },
        Ok(_) => Standing::Current,
    }
}

fn differs(reasons: impl Into<BTreeSet<Reason>>) -> Standing {
    Standing::Differs { reasons: reasons.into() }
}

fn runtime_lines(inputs: Inputs<'_>) -> Vec<RuntimeLine> {
    let runtime =
        inputs.manifest.secrets.iter().filter_map(|(name, secret)| Some((name, secret, secret.runtime.as_ref()?)));
    let line = |(name, secret, runtime): (&SecretName, &Secret, &RuntimeDelivery)| RuntimeLine {
        secret: name.clone(),
        item: item_name(inputs, name, secret),
        item_changed_at: item_changed_at(inputs, name),
        in_vault: match inputs.desired.items.get(name) {
            Some(Observation::Known(_)) => Standing::Current,
            Some(Observation::Unknown(cause)) if cause.is_of_the_item() => {
                Standing::Blocked { by: Blocker::Unknown(cause.clone()) }
            }
            Some(Observation::Unknown(cause)) => Standing::Unknown { cause: cause.clone() },
            None => Standing::Unknown { cause: Cause::NotLookedAt },
        },
        consumers: consumers(runtime),
    };
    runtime.map(line).collect()
}

pub(super) fn consumers(runtime: &RuntimeDelivery) -> Vec<String> {
    let git = runtime.git_credential.iter().flat_map(|git| &git.hosts).map(|host| format!("git {host}"));
    runtime.commands.keys().chain(&runtime.with_command).cloned().chain(git).collect()
}
