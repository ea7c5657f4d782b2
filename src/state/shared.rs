//! A receipt at a path that several machines share, mostly a folder that is synced. Such a folder may go back in time,
//! may lose one of two writes, and locks nothing for others: so each machine remembers which receipt it saw last, and
//! builds on nothing older and on no other history. It is told, and never overwritten.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::receipt::{Readings, Receipt};

use super::whole::{FileError, Held};

/// Which receipt was seen last.
const SEEN: &str = "seen.json";
/// What this machine's vault said of the values in it.
const READINGS: &str = "readings.json";
/// Neither is larger, in bytes.
const LIMIT: u64 = 64 << 20;

/// The receipt at a shared path is not one to build on.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    /// An older one than was seen.
    #[error("{path} went back: it is at serial {serial}, and this machine has seen serial {seen}")]
    WentBack {
        /// The receipt.
        path: PathBuf,
        /// Its serial.
        serial: u64,
        /// The one that was seen.
        seen: u64,
    },
    /// The write that was seen, with other content.
    #[error(
        "two runs wrote serial {serial} of {path}, neither knowing the other's: what one of them wrote is lost there"
    )]
    Forked {
        /// The receipt.
        path: PathBuf,
        /// The serial of both.
        serial: u64,
    },
    /// One of another lineage.
    #[error("{path} is of another history than the one that this machine has seen: two machines began one each")]
    OtherHistory {
        /// The receipt.
        path: PathBuf,
    },
    /// None.
    #[error("{path} is gone, and this machine has seen serial {seen} of it")]
    Gone {
        /// Where it was.
        path: PathBuf,
        /// The one that was seen.
        seen: u64,
    },
    /// Another one than this run began with.
    #[error(
        "{path} was written by another run in the meantime (serial {now}; this one began at {began}): it was left as it is, plan again"
    )]
    Moved {
        /// The receipt.
        path: PathBuf,
        /// With which serial this run began.
        began: u64,
        /// Which one is there.
        now: u64,
    },
}

impl Conflict {
    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> &'static str {
        match self {
            Self::WentBack { .. } => {
                "wait until the folder is synced; if it was restored on purpose: reconcile adopt --receipt"
            }
            Self::Forked { .. } => "reconcile adopt --receipt takes what is there; a plan then shows what it lacks",
            Self::OtherHistory { .. } => {
                "keep the one that the dataset was written with at that path, then: reconcile adopt --receipt"
            }
            Self::Gone { .. } => "wait until the folder is there and synced; to begin anew: reconcile adopt --receipt",
            Self::Moved { .. } => "reconcile plan",
        }
    }
}

/// Which receipt this machine saw last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Where: the manifest may say another place by now.
    path: PathBuf,
    /// Empty, with serial 0: somebody said to begin anew.
    lineage: String,
    serial: u64,
    /// Of the file's bytes.
    digest: Digest,
}

impl Seen {
    pub(super) fn of(path: &Path, receipt: &Receipt, bytes: &[u8]) -> Self {
        let digest = Digest::of(bytes);
        Self { path: path.to_path_buf(), lineage: receipt.lineage.clone(), serial: receipt.serial, digest }
    }

    pub(super) fn nothing(path: &Path) -> Self {
        Self { path: path.to_path_buf(), lineage: String::new(), serial: 0, digest: Digest::of(b"") }
    }

    /// What was last seen at `path`; `None` when nothing was. A file that cannot be understood counts as nothing.
    pub(super) fn read(state: &Path, path: &Path) -> Result<Option<Self>, FileError> {
        let seen: Option<Self> = read(state, SEEN)?;
        Ok(seen.filter(|seen| seen.path == path))
    }

    pub(super) fn write(&self, state: &Path) -> Result<(), FileError> {
        write(state, SEEN, self)
    }

    /// Whether `now`, or that there is nothing, may follow this.
    pub(super) fn check(&self, now: Option<&Self>) -> Result<(), Conflict> {
        let path = self.path.clone();
        match now {
            _ if self.serial == 0 => Ok(()),
            None => Err(Conflict::Gone { path, seen: self.serial }),
            Some(now) if now.lineage != self.lineage => Err(Conflict::OtherHistory { path }),
            Some(now) if now.serial < self.serial => {
                Err(Conflict::WentBack { path, serial: now.serial, seen: self.serial })
            }
            Some(now) if now.serial == self.serial && now.digest != self.digest => {
                Err(Conflict::Forked { path, serial: now.serial })
            }
            Some(_) => Ok(()),
        }
    }
}

/// What this machine's vault said of recorded values. Nothing when it cannot be understood: they are read again.
pub(super) fn readings(state: &Path) -> Result<Readings, FileError> {
    Ok(read(state, READINGS)?.unwrap_or_default())
}

pub(super) fn write_readings(state: &Path, readings: &Readings) -> Result<(), FileError> {
    write(state, READINGS, readings)
}

fn read<T: for<'de> Deserialize<'de>>(state: &Path, name: &str) -> Result<Option<T>, FileError> {
    let Some(held) = Held::open(state)? else { return Ok(None) };
    Ok(held.read(name, LIMIT)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn write(state: &Path, name: &str, what: &impl Serialize) -> Result<(), FileError> {
    // Maps with text keys, texts and numbers always serialize.
    let bytes = serde_json::to_vec(what).unwrap_or_default();
    Held::open_or_create(state, 0o700)?.replace(name, &bytes, 0o600, || Ok(()))
}

/// Whether a file is a copy of the file `name` that a synced folder made where two machines wrote at once:
/// `receipt.sync-conflict-….json` of Syncthing, `receipt (… conflicted copy …).json` of Dropbox and Nextcloud,
/// `receipt 2.json` of iCloud.
pub(super) fn is_conflicted_copy(there: &str, name: &str) -> bool {
    let (stem, ending) = name.split_at(name.rfind('.').unwrap_or(name.len()));
    let Some(middle) = there.strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending)) else { return false };
    let numbered = middle.strip_prefix(' ').is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()));
    numbered || middle.to_lowercase().contains("conflict")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lineage: &str, serial: u64, content: &[u8]) -> Seen {
        let receipt = Receipt { serial, ..Receipt::new(lineage.to_owned(), "/d".into()) };
        Seen::of(Path::new("/shared/receipt.json"), &receipt, content)
    }

    #[test]
    fn only_what_follows_is_built_upon() {
        let last = seen("a", 7, b"7");
        for (now, good) in [
            (Some(seen("a", 7, b"7")), true),
            (Some(seen("a", 8, b"8")), true),
            (Some(seen("a", 6, b"6")), false),
            (Some(seen("a", 7, b"also 7")), false),
            (Some(seen("b", 9, b"9")), false),
            (None, false),
        ] {
            assert_eq!(last.check(now.as_ref()).is_ok(), good, "{now:?}");
            assert!(Seen::nothing(&last.path).check(now.as_ref()).is_ok(), "{now:?}");
        }
    }

    #[test]
    fn copies_of_a_conflict_are_told_from_other_files() {
        for copy in [
            "receipt.sync-conflict-20261125-203000-ABCDEFG.json",
            "receipt (m's conflicted copy 2026-11-25).json",
            "receipt (Case Conflict).json",
            "receipt 2.json",
        ] {
            assert!(is_conflicted_copy(copy, "receipt.json"), "{copy}");
        }
        for other in
            ["receipt.json", "receipt.json.bak", "receipts.json", ".receipt.json.lock", "receipt 2.yaml", "x.json"]
        {
            assert!(!is_conflicted_copy(other, "receipt.json"), "{other}");
        }
        assert!(is_conflicted_copy("receipt 2", "receipt") && !is_conflicted_copy("receipt", "receipt"));
    }
}
