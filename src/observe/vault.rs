//! Looks up the item of each secret in the vault, and reads the values that a plan must compare. No value is kept: what
//! stays is its fingerprint and its length.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::{Item, ValueFacts, VaultFacts};
use crate::manifest::{ItemRef, Manifest};
use crate::observation::{Cause, Observation};
use crate::secret::{Fingerprint, FingerprintKey, SecretName};
use crate::tools::together;
use crate::tools::vault::Vault;

/// The item of each secret.
pub type Items = BTreeMap<SecretName, Observation<Item>>;

/// What was found without reading a value.
pub struct Found {
    /// The vault.
    pub facts: VaultFacts,
    /// The items.
    pub items: Items,
    /// The item that holds the key of fingerprints, if there is to be one.
    pub fingerprint_key: Option<Observation<Item>>,
}

/// Finds the items, without a value.
pub async fn look(vault: &Vault, manifest: &Manifest) -> Found {
    let secrets = manifest.secrets.values().map(|secret| &secret.item);
    let wanted: Vec<&ItemRef> = secrets.chain(&manifest.fingerprint_key).collect();
    let (facts, found) = vault.find(&wanted).await;
    let mut found = found.into_iter().map(|found| match found {
        Ok(item) => Observation::Known(item),
        Err(cause) => Observation::Unknown(cause),
    });
    let items = manifest.secrets.keys().cloned().zip(found.by_ref()).collect();
    Found { facts, items, fingerprint_key: found.next() }
}

/// Nothing is known of a vault that could not be opened.
#[must_use]
pub fn unseen(manifest: &Manifest, facts: VaultFacts, cause: &Cause) -> Found {
    let unknown = || Observation::Unknown(cause.clone());
    let items = manifest.secrets.keys().map(|name| (name.clone(), unknown())).collect();
    Found { facts, items, fingerprint_key: manifest.fingerprint_key.as_ref().map(|_| unknown()) }
}

/// Without the key there is no fingerprint: the values of `names` are unknown, and none of them is called changed.
pub fn leave_unread(names: &BTreeSet<SecretName>, items: &mut Items, cause: &Cause) {
    for (_, item) in items.iter_mut().filter(|(name, _)| names.contains(*name)) {
        if let Observation::Known(item) = item {
            item.value = Some(Observation::Unknown(cause.clone()));
        }
    }
}

/// Reads the values of `names` and fills in what they show. The vault bounds how many are read at a time.
pub async fn read_values(vault: &Vault, key: &FingerprintKey, names: &BTreeSet<SecretName>, items: &mut Items) {
    let known = |name: &SecretName| items.get(name)?.known().map(|item| (name.clone(), item.clone()));
    let reads = names.iter().filter_map(known).map(async |(name, item): (SecretName, Item)| {
        let value = seen(vault, key, &name, &item).await;
        (name, value)
    });
    for (name, value) in together::all(reads.collect::<Vec<_>>()).await {
        if let Some(Observation::Known(item)) = items.get_mut(&name) {
            item.value = Some(value);
        }
    }
}

async fn seen(vault: &Vault, key: &FingerprintKey, name: &SecretName, item: &Item) -> Observation<ValueFacts> {
    match vault.read(&item.identity).await {
        Ok(value) => {
            Observation::Known(ValueFacts { fingerprint: Fingerprint::of(key, name, &value), length: value.len() })
        }
        Err(cause) => Observation::Unknown(cause.about(&item.identity.id, &item.name)),
    }
}
