//! What a plan may record although nothing changes: that a secret's value is the recorded one, as its item stands now.
//! The next plan then needs neither the value nor an unlocked vault.

use crate::desired::Desired;
use crate::observation::Observation;
use crate::receipt::Receipt;
use crate::secret::Comparison;

/// The receipt with the items and revisions of all values that were just read and found equal; `None` when it says so already.
#[must_use]
pub fn with_proven(receipt: &Receipt, desired: &Desired) -> Option<Receipt> {
    let mut proven = receipt.clone();
    for record in proven.files.values_mut().filter_map(|file| file.written.as_mut()).flat_map(|w| &mut w.keys) {
        let Some(Observation::Known(item)) = desired.items.get(&record.secret) else { continue };
        let Some(Observation::Known(value)) = &item.value else { continue };
        if value.fingerprint.compare(&record.fingerprint) == Comparison::Same {
            record.item = item.identity.clone();
            record.revision = item.revision.clone();
        }
    }
    (proven.files != receipt.files).then_some(proven)
}
