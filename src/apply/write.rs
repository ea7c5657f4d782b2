//! Writes files of the dataset, each whole: the receipt says so before and after.

use std::collections::{BTreeMap, BTreeSet};

use crate::actual::FileState;
use crate::address::FileName;
use crate::desired::Source;
use crate::digest::Digest;
use crate::index::Index;
use crate::observation::Observation;
use crate::plan::EncryptTo;
use crate::receipt::{KeyRecord, Written};
use crate::report::StepResult;
use crate::sops::{self, Entry, Recipient};

use super::collect::Collected;
use super::{Apply, Failure, Progress, now};

/// Writes a public file.
pub(super) fn publish(
    apply: &Apply<'_>,
    file: &FileName,
    content: &Source,
    expects: Option<Digest>,
    progress: &mut Progress,
) -> Result<StepResult, Failure> {
    let bytes = match content {
        Source::Content(bytes) => bytes.clone(),
        Source::MadeByApply(host) => match progress.made.get(host) {
            Some(recipient) => format!("{recipient}\n").into_bytes(),
            None => return Err(Failure::new(format!("host.{host} has no key yet"), Some("reconcile plan"))),
        },
    };
    let written = Written { digest: Digest::of(&bytes), at: now(), recipients: BTreeSet::new(), keys: Vec::new() };
    put(apply, file, &bytes, expects, written, progress)
}

/// Encrypts what was collected for a file, and puts it in place.
pub(super) fn encrypt(
    apply: &Apply<'_>,
    file: &FileName,
    recipients: &[EncryptTo],
    expects: Option<Digest>,
    progress: &mut Progress,
) -> Result<StepResult, Failure> {
    let recipients = resolved(recipients, progress)?;
    // Taken out, so that the values are wiped when this step ends, however it ends.
    let collected = progress.collected.remove(file).unwrap_or_default();
    let at = now();
    let mut entries = Vec::with_capacity(collected.len());
    for one in &collected {
        entries.push(Entry { key: key_of(apply, one)?, value: &one.value });
    }
    let mut random_failed = None;
    let mut random = |bytes: &mut [u8]| random_failed = random_failed.take().or(getrandom::fill(bytes).err());
    let encrypted = sops::encrypt(&entries, &recipients, &at, &mut random)?;
    if let Some(error) = random_failed {
        return Err(Failure::new(format!("{file}: no random bytes from the system: {error}"), None));
    }
    let mut keys = Vec::with_capacity(collected.len());
    for (one, entry) in collected.iter().zip(&entries) {
        let leaf = encrypted.metadata.leaves.get(&entry.key).map(|leaf| leaf.digest);
        let leaf = leaf.ok_or_else(|| Failure::new(format!("{file} was encrypted without {}", one.secret), None))?;
        keys.push(KeyRecord {
            key: entry.key.clone(),
            secret: one.secret.clone(),
            leaf,
            fingerprint: one.fingerprint,
            item: one.item.identity.clone(),
            revision: one.item.revision.clone(),
        });
    }
    keep_replaced(apply, file)?;
    let recipients = recipients.into_iter().collect();
    let written = Written { digest: encrypted.metadata.digest, at, recipients, keys };
    let result = put(apply, file, &encrypted.bytes, expects, written, progress)?;
    progress.encrypted.insert(file.clone(), encrypted.metadata);
    Ok(result)
}

/// Writes `reconcile.json` for the files as they are now.
pub(super) fn index(
    apply: &Apply<'_>,
    files: &BTreeMap<FileName, Digest>,
    expects: Option<Digest>,
    progress: &mut Progress,
) -> Result<StepResult, Failure> {
    let mut files = files.clone();
    files.extend(progress.encrypted.iter().map(|(file, sops)| (file.clone(), sops.digest)));
    let bytes = Index::of(apply.site.manifest, files).to_bytes();
    let file = FileName::index();
    let written = Written { digest: Digest::of(&bytes), at: now(), recipients: BTreeSet::new(), keys: Vec::new() };
    put(apply, &file, &bytes, expects, written, progress)
}

fn resolved(recipients: &[EncryptTo], progress: &Progress) -> Result<Vec<Recipient>, Failure> {
    let mut keys = BTreeSet::new();
    for to in recipients {
        keys.insert(match to {
            EncryptTo::Key(key) => key.clone(),
            EncryptTo::MadeByApply(host) => match progress.made.get(host) {
                Some(key) => key.clone(),
                None => return Err(Failure::new(format!("host.{host} has no key yet"), Some("reconcile plan"))),
            },
        });
    }
    Ok(keys.into_iter().collect())
}

fn key_of(apply: &Apply<'_>, one: &Collected) -> Result<crate::address::KeyPath, Failure> {
    let boot = apply.site.manifest.secrets.get(&one.secret).and_then(|secret| secret.boot.as_ref());
    boot.map(|boot| boot.key.clone())
        .ok_or_else(|| Failure::new(format!("secret.{} is not delivered at boot", one.secret), None))
}

/// What is about to be replaced may be the only copy of what somebody else put there.
fn keep_replaced(apply: &Apply<'_>, file: &FileName) -> Result<(), Failure> {
    let there = apply.actual.files.get(file).and_then(Observation::known);
    if matches!(there, Some(FileState::Absent) | None) {
        return Ok(());
    }
    if let Some(bytes) = apply.dataset.read(file, crate::state::SOPS_FILE_LIMIT)? {
        apply.state.keep(file, &bytes)?;
    }
    Ok(())
}

/// Pending in the receipt, in place, settled in the receipt: in this order.
fn put(
    apply: &Apply<'_>,
    file: &FileName,
    bytes: &[u8],
    expects: Option<Digest>,
    written: Written,
    progress: &mut Progress,
) -> Result<StepResult, Failure> {
    let digest = written.digest;
    progress.receipt.files.entry(file.clone()).or_default().pending = Some(written);
    apply.state.write_receipt(&mut progress.receipt)?;
    if let Err(error) = apply.dataset.write(file, bytes, expects) {
        // What is there now was there before: nothing is pending any more. If even this cannot be recorded, the next
        // run finds it out by itself.
        if let Some(record) = progress.receipt.files.get_mut(file) {
            record.pending = None;
        }
        progress.receipt.files.retain(|_, record| *record != crate::receipt::FileRecord::default());
        let _ = apply.state.write_receipt(&mut progress.receipt);
        return Err(error.into());
    }
    if let Some(record) = progress.receipt.files.get_mut(file) {
        record.written = record.pending.take();
    }
    apply.state.write_receipt(&mut progress.receipt)?;
    Ok(StepResult::Wrote { digest })
}
