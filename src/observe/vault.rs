//! Looks up the item of each secret in the vault, and reads the values that a plan must compare. No value is kept: what
//! stays is its fingerprint and its length.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::{Item, ValueFacts, VaultFacts};
use crate::manifest::{ItemRef, Manifest};
use crate::observation::Observation;
use crate::secret::{Fingerprint, FingerprintKey, SecretName};
use crate::tools::together;
use crate::tools::vault::Vault;

/// The item of each secret.
pub type Items = BTreeMap<SecretName, Observation<Item>>;

/// Finds the items, without a value.
pub async fn look(vault: &Vault, manifest: &Manifest) -> (VaultFacts, Items) {
    let wanted: Vec<&ItemRef> = manifest.secrets.values().map(|secret| &secret.item).collect();
    let (facts, found) = vault.find(&wanted).await;
    let found = found.into_iter().map(|found| match found {
        Ok(item) => Observation::Known(item),
        Err(cause) => Observation::Unknown(cause),
    });
    (facts, manifest.secrets.keys().cloned().zip(found).collect())
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
