//! Whether `reconcile.json` says what the manifest says, for the sops files as they are or will be.

use std::collections::{BTreeMap, BTreeSet};

use crate::actual::IndexState;
use crate::address::{Address, FileName};
use crate::digest::Digest;
use crate::index::Index;
use crate::observation::Observation;
use crate::plan::files::{FileVerdict, secret_details};
use crate::plan::{Action, Blocked, Blocker, Change, Details, Inputs, Plan, Reason};
use crate::secret::SecretName;

/// An index to write.
#[derive(Debug)]
pub(super) struct Writing {
    /// The digests of the files that are not encrypted now.
    pub(super) files: BTreeMap<FileName, Digest>,
    /// What is there now.
    pub(super) expects: Option<Digest>,
}

/// What is decided of the index.
#[derive(Debug, Default)]
pub(super) struct IndexVerdict {
    /// It is written.
    pub(super) write: Option<Writing>,
    /// Secrets whose declaration is not the index's: their hosts are switched.
    pub(super) redeclared: BTreeSet<SecretName>,
}

pub(super) fn decide(inputs: Inputs<'_>, files: &BTreeMap<FileName, FileVerdict>, plan: &mut Plan) -> IndexVerdict {
    // An index that names what a file does not hold would break a build: it waits with its file.
    if files.values().any(|verdict| matches!(verdict, FileVerdict::Blocked)) {
        return IndexVerdict::default();
    }
    let (there, said) = match &inputs.actual.index {
        Observation::Known(IndexState::Absent) => (None, None),
        Observation::Known(IndexState::Present { digest, index }) => (Some(*digest), Some(index.as_ref())),
        Observation::Known(IndexState::Broken { digest }) => (Some(*digest), None),
        Observation::Unknown(cause) => {
            plan.blocked.push(Blocked { address: address(), by: Blocker::Unknown(cause.clone()) });
            return IndexVerdict::default();
        }
    };
    let redeclared = said.map(|index| redeclared(inputs, index, plan)).unwrap_or_default();
    let encrypts = files.values().any(|verdict| matches!(verdict, FileVerdict::Encrypt { .. }));
    let files = digests(inputs, files, said);
    if !encrypts && there == Some(Digest::of(&Index::of(inputs.manifest, files.clone()).to_bytes())) {
        return IndexVerdict::default();
    }
    if !encrypts && redeclared.is_empty() {
        let (action, reason) = match there {
            None => (Action::Create, Reason::FileMissing),
            Some(_) => (Action::Update, Reason::IndexStale),
        };
        let reasons = BTreeSet::from([reason]);
        plan.changes.push(Change { address: address(), action, reasons, details: Details::Index });
    }
    IndexVerdict { write: Some(Writing { files, expects: there }), redeclared }
}

fn address() -> Address {
    Address::File(FileName::index())
}

/// The files that stay as they are; those outside of the scope keep what the index says of them.
fn digests(
    inputs: Inputs<'_>,
    files: &BTreeMap<FileName, FileVerdict>,
    said: Option<&Index>,
) -> BTreeMap<FileName, Digest> {
    let digest = |file: &FileName| match files.get(file) {
        Some(FileVerdict::Unchanged(digest)) => *digest,
        Some(FileVerdict::Encrypt { .. } | FileVerdict::Blocked) => None,
        None => said.and_then(|index| index.files.get(file).copied()),
    };
    let declared = inputs.manifest.sops_files();
    declared.keys().filter_map(|file| digest(file).map(|digest| ((*file).clone(), digest))).collect()
}

/// Finds secrets of which the index says something else than the manifest, and adds that reason to their change, or a change.
fn redeclared(inputs: Inputs<'_>, said: &Index, plan: &mut Plan) -> BTreeSet<SecretName> {
    let declared = Index::of(inputs.manifest, BTreeMap::new());
    let mut changed = BTreeSet::new();
    let known: BTreeMap<Address, usize> =
        plan.changes.iter().enumerate().map(|(at, change)| (change.address.clone(), at)).collect();
    for (name, declaration) in &declared.secrets {
        let differs = said.secrets.get(name).is_some_and(|before| before != declaration);
        let Some(secret) = inputs.manifest.secrets.get(name).filter(|_| differs) else { continue };
        let Some(boot) = &secret.boot else { continue };
        let address = Address::Secret(name.clone());
        changed.insert(name.clone());
        if let Some(at) = known.get(&address) {
            plan.changes[*at].reasons.insert(Reason::DeclarationChanged);
            continue;
        }
        let hosts = boot.hosts.iter().filter_map(|host| inputs.manifest.hosts.get(host));
        let Some(file) = hosts.map(|host| &host.sops_file).min() else { continue };
        plan.changes.push(Change {
            address,
            action: Action::Update,
            reasons: BTreeSet::from([Reason::DeclarationChanged]),
            details: secret_details(inputs, file, name, secret, boot),
        });
    }
    changed
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_index_has_an_address() {
        assert_eq!(super::address().to_string(), "file.reconcile.json");
    }
}
