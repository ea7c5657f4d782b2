//! Reads every value of a file into memory; each must be the one that was planned.

use crate::address::FileName;
use crate::desired::Item;
use crate::observation::{Cause, Observation};
use crate::plan::Wanted;
use crate::report::{Event, StepResult};
use crate::secret::{Comparison, Fingerprint, FingerprintKey, SecretName, SecretValue};
use crate::tools::together;
use crate::tools::vault::Vault;

use super::{Apply, Failure, Running};

/// How many values are asked for at a time.
const AT_ONCE: usize = 4;

/// One value, until it is encrypted.
pub(super) struct Collected {
    pub(super) secret: SecretName,
    pub(super) value: SecretValue,
    pub(super) fingerprint: Fingerprint,
    /// The item as the plan saw it: its revision was read before the value, so that a later edit shows as a change.
    pub(super) item: Item,
}

pub(super) async fn all(
    running: &Running<'_>,
    step: usize,
    file: &FileName,
    items: &[Wanted],
) -> Result<StepResult, Failure> {
    let vault = running.apply.vault.as_ref().map_err(no_key)?;
    let key = running
        .apply
        .key
        .get(vault, running.apply.desired.fingerprint_key.as_ref())
        .await
        .map_err(|cause| no_key(&cause))?;
    let mut collected = Vec::with_capacity(items.len());
    for some in items.chunks(AT_ONCE) {
        for result in together::all(some.iter().map(|wanted| one(running.apply, vault, key, wanted))).await {
            collected.push(result?);
        }
        running.tell(Event::Progress { step, done: collected.len(), total: items.len() });
    }
    let values = collected.len();
    running.progress.borrow_mut().collected.insert(file.clone(), collected);
    Ok(StepResult::Collected { values })
}

async fn one(apply: &Apply<'_>, vault: &Vault, key: &FingerprintKey, wanted: &Wanted) -> Result<Collected, Failure> {
    let name = &wanted.secret;
    let item = match apply.desired.items.get(name) {
        Some(Observation::Known(item)) => item.clone(),
        _ => return Err(Failure::new(format!("secret.{name}: its item was not found"), Some("reconcile plan"))),
    };
    let value = vault.read(&item.identity).await.map_err(|cause| unread(name, &cause))?;
    let fingerprint = Fingerprint::of(key, name, &value);
    match wanted.fingerprint.map(|planned| planned.compare(&fingerprint)) {
        // Recorded under a key that is lost: its item's revision was proven unchanged, and no more can be asked for.
        None | Some(Comparison::Same | Comparison::OtherKey) => {
            Ok(Collected { secret: name.clone(), value, fingerprint, item })
        }
        Some(Comparison::Different) => {
            let what = format!("secret.{name}: its value changed in the vault after it was planned");
            Err(Failure::new(what, Some("reconcile apply")))
        }
    }
}

fn no_key(cause: &Cause) -> Failure {
    Failure::new(format!("no fingerprints can be made: {cause}"), cause.next().as_deref())
}

fn unread(name: &SecretName, cause: &Cause) -> Failure {
    Failure::new(format!("secret.{name}: {cause}"), cause.next().as_deref())
}
