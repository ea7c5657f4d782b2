//! The values of a few secrets: their items by exact name, nothing empty, all of them or none.

use crate::launch::LaunchError;
use crate::manifest::ItemRef;
use crate::observation::{Cause, Hidden};
use crate::secret::{SecretName, SecretValue};
use crate::tools::together;
use crate::tools::vault::Vault;

/// Reads the values of `wanted`, in their order.
///
/// # Errors
/// With the first that cannot be had.
pub async fn values(vault: &Vault, wanted: &[(&SecretName, &ItemRef)]) -> Result<Vec<SecretValue>, LaunchError> {
    let items: Vec<&ItemRef> = wanted.iter().map(|(_, item)| *item).collect();
    let (_, found) = vault.find(&items).await;
    // What a lock hides matters to a plan: here nothing was to be had.
    let failed = |name: &SecretName, cause| match cause {
        Cause::VaultLocked { unlock, .. } => {
            LaunchError::Vault(Cause::VaultLocked { unlock, hidden: Hidden::Anything })
        }
        cause => LaunchError::Value { secret: name.clone(), cause },
    };
    let mut known = Vec::new();
    for ((name, _), found) in wanted.iter().zip(found) {
        known.push((*name, found.map_err(|cause| failed(name, cause))?));
    }
    let reads = known.iter().map(async |(name, item)| {
        let value = vault.read(&item.identity).await;
        value.map_err(|cause| failed(name, cause.about(&item.identity.id, &item.name)))
    });
    together::all(reads.collect::<Vec<_>>()).await.into_iter().collect()
}

/// Reads the value of one secret.
///
/// # Errors
/// When it cannot be had.
pub async fn value(vault: &Vault, name: &SecretName, item: &ItemRef) -> Result<SecretValue, LaunchError> {
    let mut values = values(vault, &[(name, item)]).await?;
    values.pop().ok_or_else(|| LaunchError::NotDeclared(name.clone()))
}
