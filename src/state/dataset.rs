//! The dataset directory: world-readable files that are replaced only when they are what the plan saw.

use std::path::Path;

use crate::address::FileName;
use crate::digest::Digest;

use super::whole::{FileError, Held};

/// No sops file is larger, in bytes.
pub const SOPS_FILE_LIMIT: u64 = 64 << 20;
/// No public file is larger, in bytes.
pub const PUBLIC_FILE_LIMIT: u64 = 64 << 10;

/// The dataset directory, held open.
#[derive(Debug)]
pub struct Dataset(Held);

impl Dataset {
    /// Opens it; `None` when there is none yet.
    ///
    /// # Errors
    /// When it is there and cannot be opened.
    pub fn open(path: &Path) -> Result<Option<Self>, FileError> {
        Ok(Held::open(path)?.map(Self))
    }

    /// Opens it, made with its parents when there is none yet.
    ///
    /// # Errors
    /// When it can neither be opened nor made.
    pub fn open_or_create(path: &Path) -> Result<Self, FileError> {
        Held::open_or_create(path, 0o755).map(Self)
    }

    /// Reads a file of at most `limit` bytes; `None` when there is none.
    ///
    /// # Errors
    /// When it is no regular file, too large, or cannot be read.
    pub fn read(&self, file: &FileName, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
        self.0.read(file.as_str(), limit)
    }

    /// Replaces a file as a whole if what is there has the digest `expects`, or if nothing is there and `None` is expected.
    ///
    /// # Errors
    /// When it is another file by now, or cannot be written; then it is left as it is.
    pub fn write(&self, file: &FileName, bytes: &[u8], expects: Option<Digest>) -> Result<(), FileError> {
        let name = file.as_str();
        let as_planned = || {
            let there = self.0.read(name, SOPS_FILE_LIMIT)?.map(|bytes| Digest::of(&bytes));
            if there == expects { Ok(()) } else { Err(FileError::Moved { path: self.0.path.join(name) }) }
        };
        self.0.replace(name, bytes, 0o644, as_planned)
    }
}
