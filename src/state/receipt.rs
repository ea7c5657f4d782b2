//! The receipt on disk: written only over the one that it was made from, and where it is shared only after the one that
//! this machine saw last.

use std::path::PathBuf;

use crate::receipt::{self, Receipt};

use super::directory::{Directory, RECEIPT_FILE, StateError};
use super::shared::{self, Conflict, Seen};
use super::whole::{FileError, Held};

/// No receipt is larger, in bytes.
const LIMIT: u64 = 64 << 20;

impl Directory {
    /// Whether the receipt is at a path that the manifest names, and so may be others' as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Where the receipt is.
    #[must_use]
    pub fn receipt_path(&self) -> PathBuf {
        self.receipt.0.join(&self.receipt.1)
    }

    /// Reads the receipt; `None` when there is none yet. Which one it was is remembered where it is shared; before there
    /// is a shared one, this machine's own is where it begins.
    ///
    /// # Errors
    /// When it cannot be read, is of a newer version, of another dataset, or not one to build on.
    pub fn receipt(&self) -> Result<Option<Receipt>, StateError> {
        let path = self.receipt_path();
        if !self.is_shared() {
            return Ok(self.read_receipt(&self.receipt)?.map(|(receipt, _)| receipt));
        }
        // Read before the receipt: what another run of this machine writes in between has then not gone back.
        let seen = Seen::read(&self.path, &path)?;
        let there = self.read_receipt(&self.receipt)?;
        let now = there.as_ref().map(|(receipt, bytes)| Seen::of(&path, receipt, bytes));
        if let Some(seen) = &seen {
            seen.check(now.as_ref())?;
        }
        if let Some(now) = now.filter(|now| seen.as_ref() != Some(now)) {
            // Only a later look can miss it.
            let _ = now.write(&self.path);
        }
        let own = || self.read_receipt(&(self.path.clone(), RECEIPT_FILE.to_owned()));
        let receipt = if there.is_none() && seen.is_none() { own()? } else { there };
        let readings = shared::readings(&self.path)?;
        Ok(receipt.map(|(receipt, _)| receipt.with_readings(&readings)))
    }

    fn read_receipt(&self, (directory, name): &(PathBuf, String)) -> Result<Option<(Receipt, Vec<u8>)>, StateError> {
        let Some(held) = Held::open(directory)? else { return Ok(None) };
        let Some(bytes) = held.read(name, LIMIT)? else { return Ok(None) };
        let path = directory.join(name);
        let receipt = receipt::read(&bytes).map_err(|error| match error {
            receipt::ReadError::Newer(version) => StateError::NewerReceipt { path: path.clone(), version },
            receipt::ReadError::Broken(problem) => StateError::BrokenReceipt { path: path.clone(), problem },
        })?;
        if receipt.dataset != self.dataset && self.shared.as_ref() != Some(&receipt.dataset) {
            return Err(StateError::OtherDataset { path, of: receipt.dataset });
        }
        Ok(Some((receipt, bytes)))
    }

    /// Writes the receipt as the next of its lineage, after the one that it was made from.
    ///
    /// # Errors
    /// When it cannot be written, or what is there by now is another one, or none that we know: it is left.
    pub fn write_receipt(&self, receipt: &mut Receipt) -> Result<(), StateError> {
        let (directory, name) = &self.receipt;
        let path = directory.join(name);
        if let Some(there) = self.receipt()?
            && (there.lineage != receipt.lineage || there.serial != receipt.serial)
        {
            return Err(Conflict::Moved { path, began: receipt.serial, now: there.serial }.into());
        }
        let held = Held::open_or_create(directory, 0o700)?;
        let before = held.read(name, LIMIT)?;
        let as_read = || match held.read(name, LIMIT)? == before {
            true => Ok(()),
            false => Err(FileError::Moved { path: path.clone() }),
        };
        let mut next = receipt.clone();
        next.serial += 1;
        next.dataset = self.shared.clone().unwrap_or(next.dataset);
        let bytes = next.to_bytes();
        held.replace(name, &bytes, 0o600, as_read)?;
        if self.is_shared() {
            // It stands: that it cannot be remembered is no reason to say that it does not.
            let _ = Seen::of(&path, &next, &bytes).write(&self.path);
        }
        *receipt = next;
        Ok(())
    }

    /// Records that values were proven unchanged. Of a shared receipt each machine remembers it for itself: to look is no
    /// reason to write what others have to sync.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record_proven(&self, proven: &mut Receipt) -> Result<(), StateError> {
        match self.is_shared() {
            true => Ok(shared::write_readings(&self.path, &proven.readings())?),
            false => self.write_receipt(proven),
        }
    }

    /// Takes the shared receipt as it is, or that there is none, for what this machine has seen.
    ///
    /// # Errors
    /// When it cannot be read, or that cannot be remembered.
    pub fn take_receipt(&self) -> Result<Option<Receipt>, StateError> {
        let path = self.receipt_path();
        let there = self.read_receipt(&self.receipt)?;
        let seen =
            there.as_ref().map_or_else(|| Seen::nothing(&path), |(receipt, bytes)| Seen::of(&path, receipt, bytes));
        seen.write(&self.path)?;
        Ok(there.map(|(receipt, _)| receipt))
    }

    /// Copies of the shared receipt that its folder made where two machines wrote it at once.
    #[must_use]
    pub fn conflicted_copies(&self) -> Vec<String> {
        let (directory, name) = &self.receipt;
        let names = Held::open(directory).ok().flatten().and_then(|held| held.names().ok()).unwrap_or_default();
        let is_copy = |there: &String| self.is_shared() && shared::is_conflicted_copy(there, name);
        names.into_iter().filter(is_copy).collect()
    }
}
