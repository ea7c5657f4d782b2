//! One secret in one sops file: what the file, the receipt and the vault say of it, and what follows.

use std::collections::{BTreeMap, BTreeSet};

use crate::actual::FileState;
use crate::address::{Address, FileName, KeyPath};
use crate::desired::{Item, ValueFacts};
use crate::manifest::BootDelivery;
use crate::observation::{Cause, Observation};
use crate::plan::{Action, Blocker, Inputs, Reason};
use crate::receipt::KeyRecord;
use crate::secret::{Comparison, Fingerprint, SecretName};
use crate::sops::{Leaf, LeafKind};

/// What is decided of one key before its file as a whole is.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is as it should be.
    Unchanged {
        /// The value to expect when the file is encrypted for another reason.
        fingerprint: Fingerprint,
    },
    /// It changes.
    Changes { action: Action, reasons: BTreeSet<Reason>, fingerprint: Option<Fingerprint> },
    /// Its item is at fault: its file must stay as it is.
    Fault(Cause),
    /// The vault could not be asked about it.
    Unseen(Cause),
}

/// What a sops file holds now, as far as one may build on it.
pub(super) struct Held<'a> {
    leaves: Option<&'a BTreeMap<KeyPath, Leaf>>,
    records: BTreeMap<&'a KeyPath, &'a KeyRecord>,
    by_secret: BTreeMap<&'a SecretName, Vec<&'a KeyRecord>>,
}

impl<'a> Held<'a> {
    pub(super) fn of(inputs: Inputs<'a>, file: &FileName) -> Self {
        let leaves = match inputs.actual.files.get(file).and_then(|seen| seen.known()) {
            Some(FileState::Sops(sops)) if !sops.key_groups => Some(&sops.leaves),
            _ => None,
        };
        let written = inputs.receipt.written(file).map(|written| written.keys.as_slice()).unwrap_or_default();
        let records = written.iter().map(|record| (&record.key, record)).collect();
        let mut by_secret: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in written {
            by_secret.entry(&record.secret).or_default().push(record);
        }
        Self { leaves, records, by_secret }
    }

    pub(super) fn leaf(&self, key: &KeyPath) -> Option<&'a Leaf> {
        self.leaves?.get(key)
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = (&'a KeyPath, &'a Leaf)> + use<'a> {
        self.leaves.into_iter().flatten().filter(|(_, leaf)| leaf.kind != LeafKind::Comment)
    }

    pub(super) fn record(&self, key: &KeyPath) -> Option<&'a KeyRecord> {
        self.records.get(key).copied()
    }

    /// A key that the file still has, of a secret of this name.
    fn elsewhere(&self, name: &SecretName) -> Option<&'a KeyRecord> {
        self.by_secret.get(name)?.iter().find(|record| self.leaf(&record.key).is_some()).copied()
    }
}

/// Whether only its value can tell if a secret changed.
pub(super) fn must_be_read(inputs: Inputs<'_>, held: &Held<'_>, name: &SecretName) -> bool {
    let Some(boot) = inputs.manifest.secrets.get(name).and_then(|secret| secret.boot.as_ref()) else { return false };
    let Some(Observation::Known(item)) = inputs.desired.items.get(name) else { return false };
    let origin = Origin::of(inputs, held, name, boot);
    item.value.is_none() && !origin.record().is_some_and(|record| is_proven(record, name, item))
}

/// Whether the item's revision alone proves the recorded value current. A fingerprint covers the name: one recorded
/// under an old name proves nothing.
fn is_proven(record: &KeyRecord, name: &SecretName, item: &Item) -> bool {
    record.secret == *name
        && record.item == item.identity
        && record.revision.is_some()
        && record.revision == item.revision
}

/// Where the file has a secret now.
enum Origin<'a> {
    /// At its declared key.
    InPlace(&'a Leaf, Option<&'a KeyRecord>),
    /// At its old key, under its old name or with another `key:`.
    Elsewhere(&'a KeyRecord),
    /// Nowhere.
    Missing {
        /// It was there after the last apply.
        removed: bool,
    },
}

impl<'a> Origin<'a> {
    fn of(inputs: Inputs<'a>, held: &Held<'a>, name: &SecretName, boot: &BootDelivery) -> Self {
        let (leaf, record) = (held.leaf(&boot.key), held.record(&boot.key));
        let is_own = |record: &KeyRecord| record.secret == *name || old_names(inputs, name).contains(&&record.secret);
        // What was recorded at its key may be another secret: two have changed places, or this one took over.
        if let Some(leaf) = leaf.filter(|_| record.is_none_or(is_own)) {
            return Self::InPlace(leaf, record);
        }
        match (old_names(inputs, name).into_iter().find_map(|name| held.elsewhere(name)), leaf) {
            (Some(record), _) => Self::Elsewhere(record),
            (None, Some(leaf)) => Self::InPlace(leaf, None),
            (None, None) => Self::Missing { removed: record.is_some_and(|record| record.secret == *name) },
        }
    }

    fn record(&self) -> Option<&'a KeyRecord> {
        match self {
            Self::InPlace(_, record) => *record,
            Self::Elsewhere(record) => Some(record),
            Self::Missing { .. } => None,
        }
    }
}

/// The names under which the receipt may know a secret: its own, and those it was `moved` from.
pub(super) fn old_names<'a>(inputs: Inputs<'a>, name: &'a SecretName) -> Vec<&'a SecretName> {
    let mut names = vec![name];
    let mut last = name;
    // A chain of moves is followed back; the manifest refuses circles, and the length bounds it all the same.
    for _ in 0..inputs.manifest.moved.len() {
        let Some(moved) = inputs.manifest.moved.iter().find(|moved| moved.to == *last) else { break };
        names.push(&moved.from);
        last = &moved.from;
    }
    names
}

/// Decides about one declared secret.
pub(super) fn decide(
    inputs: Inputs<'_>,
    file: &FileName,
    held: &Held<'_>,
    name: &SecretName,
    boot: &BootDelivery,
) -> Verdict {
    let origin = Origin::of(inputs, held, name, boot);
    let item = match inputs.desired.items.get(name) {
        Some(Observation::Known(item)) => item,
        Some(Observation::Unknown(cause)) => return unseen(cause),
        None => return Verdict::Unseen(Cause::NotLookedAt),
    };
    let value = match &item.value {
        Some(Observation::Known(value)) => Some(value),
        Some(Observation::Unknown(cause)) => return unseen(cause),
        None => None,
    };
    let proven = origin.record().is_some_and(|record| is_proven(record, name, item));
    if value.is_none() && !proven {
        return Verdict::Unseen(Cause::NotLookedAt);
    }
    let reasons = reasons(inputs, file, &origin, name, Some(item));
    let recorded = origin.record().filter(|_| proven).map(|record| record.fingerprint);
    let fingerprint = value.map(|value| value.fingerprint).or(recorded);
    match (reasons.is_empty(), fingerprint) {
        (true, Some(fingerprint)) => Verdict::Unchanged { fingerprint },
        _ => {
            let action = if matches!(origin, Origin::Missing { .. }) { Action::Create } else { Action::Update };
            Verdict::Changes { action, reasons, fingerprint }
        }
    }
}

/// What is not as it should be in the file, whatever the vault holds.
pub(super) fn seen_in_file(
    inputs: Inputs<'_>,
    file: &FileName,
    held: &Held<'_>,
    name: &SecretName,
    boot: &BootDelivery,
) -> BTreeSet<Reason> {
    reasons(inputs, file, &Origin::of(inputs, held, name, boot), name, None)
}

/// Whether the item has another version than the one that was recorded: its value may be another, too.
pub(super) fn item_changed(inputs: Inputs<'_>, held: &Held<'_>, name: &SecretName, boot: &BootDelivery) -> bool {
    let Some(Observation::Known(item)) = inputs.desired.items.get(name) else { return false };
    let record = Origin::of(inputs, held, name, boot).record();
    record.is_some_and(|record| record.revision.is_some() && !is_proven(record, name, item))
}

fn unseen(cause: &Cause) -> Verdict {
    if cause.is_of_the_item() { Verdict::Fault(cause.clone()) } else { Verdict::Unseen(cause.clone()) }
}

fn reasons(
    inputs: Inputs<'_>,
    file: &FileName,
    origin: &Origin<'_>,
    name: &SecretName,
    item: Option<&Item>,
) -> BTreeSet<Reason> {
    let value = item.and_then(|item| item.value.as_ref()?.known());
    let mut reasons = BTreeSet::new();
    match origin {
        Origin::Missing { removed } => {
            let absent = matches!(inputs.actual.files.get(file).and_then(|f| f.known()), Some(FileState::Absent));
            reasons.insert(match (removed, absent) {
                (true, _) => Reason::RemovedOutside,
                (false, true) => Reason::FileMissing,
                (false, false) => Reason::KeyMissing,
            });
            return reasons;
        }
        Origin::Elsewhere(record) if record.secret == *name => {
            reasons.insert(Reason::DeclarationChanged);
        }
        Origin::Elsewhere(record) => {
            reasons.insert(Reason::Renamed { from: record.secret.clone() });
        }
        Origin::InPlace(leaf, record) => {
            let installable = leaf.kind == LeafKind::Str || (leaf.kind == LeafKind::Clear && leaf.length == 0);
            if !installable {
                reasons.insert(Reason::WrongType);
            }
            match record {
                None => {
                    reasons.insert(Reason::NeverRecorded);
                }
                Some(record) => {
                    if record.secret != *name {
                        reasons.insert(Reason::Renamed { from: record.secret.clone() });
                    }
                    if record.leaf != leaf.digest {
                        reasons.insert(Reason::EditedOutside);
                    }
                }
            }
            // The ciphertext shows its plaintext's length: another one proves a change even where nothing is recorded.
            if record.is_none() && value.is_some_and(|value| value.length != leaf.length) {
                reasons.insert(Reason::ValueChanged);
            }
        }
    }
    if let (Some(record), Some(item), Some(value)) = (origin.record(), item, value) {
        match compare(record, name, value) {
            Comparison::Same => {}
            Comparison::Different if record.item != item.identity => {
                reasons.insert(Reason::OtherItem);
            }
            Comparison::Different => {
                reasons.insert(Reason::ValueChanged);
            }
            Comparison::OtherKey => {
                reasons.insert(Reason::OtherFingerprintKey);
            }
        }
    }
    reasons
}

/// A fingerprint covers the name, so that one made under an old name cannot be compared: being renamed is reason enough.
fn compare(record: &KeyRecord, name: &SecretName, value: &ValueFacts) -> Comparison {
    if record.secret == *name { value.fingerprint.compare(&record.fingerprint) } else { Comparison::Same }
}

/// A key of the file that no declared secret claims.
pub(super) enum Unclaimed {
    /// Ours once: it goes. Whether somebody wrote it anew since is told.
    Ours { name: SecretName, edited: bool },
    /// Somebody else's, and it may go.
    Released(Address),
    /// Somebody else's.
    Foreign(Address, Blocker),
}

/// Decides about the keys that nobody declares.
pub(super) fn unclaimed(inputs: Inputs<'_>, file: &FileName, held: &Held<'_>) -> Vec<Unclaimed> {
    let mut claimed: BTreeSet<&KeyPath> = BTreeSet::new();
    for (name, _, boot) in inputs.manifest.boot_secrets(file) {
        claimed.insert(&boot.key);
        if let Origin::Elsewhere(from) = Origin::of(inputs, held, name, boot) {
            claimed.insert(&from.key);
        }
    }
    let decide = |(key, leaf): (&KeyPath, &Leaf)| {
        let address = Address::Key(file.clone(), key.clone());
        match held.record(key) {
            Some(record) => Unclaimed::Ours { name: record.secret.clone(), edited: record.leaf != leaf.digest },
            None if released(inputs, file, held, &address) => Unclaimed::Released(address),
            None => Unclaimed::Foreign(address, Blocker::ForeignKey),
        }
    };
    // What is left of a map in which a declared key belongs holds nothing that could be lost.
    let is_filled = |(key, leaf): &(&KeyPath, &Leaf)| {
        let is_above = |claimed: &&KeyPath| claimed.components().starts_with(key.components());
        leaf.kind == LeafKind::Nothing && claimed.iter().any(is_above)
    };
    held.leaves().filter(|(key, _)| !claimed.contains(key)).filter(|leaf| !is_filled(leaf)).map(decide).collect()
}

/// Whether `--destroy-foreign` names this key. The address is compared as it is printed, and must fit one key only: what
/// is printed may be escaped, or cut.
fn released(inputs: Inputs<'_>, file: &FileName, held: &Held<'_>, address: &Address) -> bool {
    let text = address.to_string();
    let printed = |key: &KeyPath| Address::Key(file.clone(), key.clone()).to_string();
    inputs.wishes.destroy_foreign.iter().any(|wish| wish.to_string() == text)
        && held.leaves().filter(|(key, _)| printed(key) == text).count() == 1
}
