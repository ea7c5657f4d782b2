//! The key of fingerprints: at hand, or in an item of the vault. There it is read once, when the first fingerprint is
//! needed: as long as revisions prove everything unchanged, a plan needs neither the key nor an unlocked vault.

use std::sync::OnceLock;

use crate::desired::Item;
use crate::observation::{Cause, Observation};
use crate::secret::FingerprintKey;
use crate::tools::vault::Vault;

/// The key, or where it is.
pub struct Key(OnceLock<FingerprintKey>);

impl Key {
    /// One that is at hand.
    #[must_use]
    pub fn held(key: FingerprintKey) -> Self {
        Self(OnceLock::from(key))
    }

    /// One that is in the vault, in the item that the manifest names.
    #[must_use]
    pub fn in_vault() -> Self {
        Self(OnceLock::new())
    }

    /// The key, if it need not be read.
    #[must_use]
    pub fn at_hand(&self) -> Option<&FingerprintKey> {
        self.0.get()
    }

    /// The key, read from `item` unless it was before.
    ///
    /// # Errors
    /// When the item was not found, cannot be read, or holds no key.
    pub async fn get(&self, vault: &Vault, item: Option<&Observation<Item>>) -> Result<&FingerprintKey, Cause> {
        if let Some(key) = self.0.get() {
            return Ok(key);
        }
        let item = match item {
            Some(Observation::Known(item)) => item,
            Some(Observation::Unknown(cause)) => return Err(cause.clone()),
            None => return Err(Cause::NotLookedAt),
        };
        let text = vault.read(&item.identity).await.map_err(|cause| cause.about(&item.identity.id, &item.name))?;
        let key = FingerprintKey::from_text(&text).map_err(|_| Cause::NoFingerprintKey { item: item.name.clone() })?;
        Ok(self.0.get_or_init(|| key))
    }
}
