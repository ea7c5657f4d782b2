//! The receipt: what the last apply wrote, so that a later plan can tell drift from change. It holds keyed
//! fingerprints and digests of ciphertexts, never a value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::actual::Actual;
use crate::address::{FileName, HostName, KeyPath};
use crate::desired::{ItemIdentity, Revision};
use crate::digest::Digest;
use crate::secret::{Fingerprint, SecretName};
use crate::sops::Recipient;

/// The version that this program writes.
pub const VERSION: u32 = 1;

/// What the last apply wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`VERSION`].
    pub version: u32,
    /// Random, made with the first receipt: two histories never mix.
    pub lineage: String,
    /// Counts the writes of this lineage.
    pub serial: u64,
    /// The dataset directory that it is about.
    pub dataset: PathBuf,
    /// The files.
    pub files: BTreeMap<FileName, FileRecord>,
    /// The hosts.
    pub hosts: BTreeMap<HostName, HostRecord>,
}

/// What is recorded of a file: what is there for sure, and what an apply was about to put there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// What we wrote last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub written: Option<Written>,
    /// What we were writing when this was recorded: the file is one or the other.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pending: Option<Written>,
}

/// One version of a file that we wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Of the whole file.
    pub digest: Digest,
    /// When, RFC 3339.
    pub at: String,
    /// To whom it was encrypted; empty for a public file.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub recipients: BTreeSet<Recipient>,
    /// Its keys; empty for a public file.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub keys: Vec<KeyRecord>,
}

/// One key of a sops file that we wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Where it is in the file.
    pub key: KeyPath,
    /// Which secret it is.
    pub secret: SecretName,
    /// Of its `ENC[…]` text.
    pub leaf: Digest,
    /// Of its value, keyed.
    pub fingerprint: Fingerprint,
    /// Where the value came from.
    pub item: ItemIdentity,
    /// The item's version, if the vault gave one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision: Option<Revision>,
}

/// What a machine's vault said of each recorded value. Operators of one receipt may read it through accounts of their
/// own: then each remembers this for itself.
pub type Readings = BTreeMap<SecretName, Reading>;

/// Where a value was read, and in which version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Of the value, as it is recorded.
    pub fingerprint: Fingerprint,
    /// Where it was read.
    pub item: ItemIdentity,
    /// The item's version, if the vault gave one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision: Option<Revision>,
}

/// What is recorded of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The recipient that was accepted for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted: Option<Recipient>,
    /// The last switch that was seen to succeed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub switched: Option<Switched>,
    /// The value of each secret for which units of users were last restarted; nothing while that is still to be done.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub restarted: BTreeMap<SecretName, Option<Fingerprint>>,
}

/// A switch that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// The sops file that the host installed from.
    pub file: Digest,
    /// The generation that was live then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generation: Option<u64>,
    /// When, RFC 3339.
    pub at: String,
}

/// Why bytes are no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Of this later version.
    #[error("version {0} is newer")]
    Newer(u64),
    /// Not what it should be.
    #[error("{0}")]
    Broken(String),
}

/// What every version has, whatever else is in it.
#[derive(Deserialize)]
struct Versioned {
    version: Option<serde_json::Value>,
}

/// Reads a receipt of this version. When there is a later one, older ones are upgraded here, purely.
///
/// # Errors
/// When it is newer, or none.
pub fn read(bytes: &[u8]) -> Result<Receipt, ReadError> {
    let broken = |error: serde_json::Error| ReadError::Broken(error.to_string());
    let Versioned { version } = serde_json::from_slice(bytes).map_err(broken)?;
    match version.as_ref().and_then(serde_json::Value::as_u64) {
        Some(version) if version > u64::from(VERSION) => Err(ReadError::Newer(version)),
        Some(version) if version == u64::from(VERSION) => serde_json::from_slice(bytes).map_err(broken),
        _ => Err(ReadError::Broken("it has no known version".to_owned())),
    }
}

impl Receipt {
    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and maps with text keys always serialize.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// An empty receipt of a new lineage.
    #[must_use]
    pub fn new(lineage: String, dataset: PathBuf) -> Self {
        Self { version: VERSION, lineage, serial: 0, dataset, files: BTreeMap::new(), hosts: BTreeMap::new() }
    }

    /// What stands recorded of a sops or public file.
    #[must_use]
    pub fn written(&self, file: &FileName) -> Option<&Written> {
        self.files.get(file)?.written.as_ref()
    }

    /// What it says of each value.
    #[must_use]
    pub fn readings(&self) -> Readings {
        let keys = self.files.values().filter_map(|file| file.written.as_ref()).flat_map(|written| &written.keys);
        let of = |key: &KeyRecord| Reading {
            fingerprint: key.fingerprint,
            item: key.item.clone(),
            revision: key.revision.clone(),
        };
        keys.map(|key| (key.secret.clone(), of(key))).collect()
    }

    /// The same with what this machine read itself, of each value that is still the recorded one.
    #[must_use]
    pub fn with_readings(mut self, readings: &Readings) -> Self {
        let written = self.files.values_mut().filter_map(|file| file.written.as_mut());
        for key in written.flat_map(|written| &mut written.keys) {
            if let Some(own) = readings.get(&key.secret).filter(|own| own.fingerprint == key.fingerprint) {
                key.item = own.item.clone();
                key.revision = own.revision.clone();
            }
        }
        self
    }

    /// Decides what an interrupted apply left: where the file is the pending one, that one was written; else it was not.
    /// A file that could not be looked at stays undecided.
    #[must_use]
    pub fn settle(mut self, actual: &Actual) -> Self {
        for (name, record) in &mut self.files {
            let Some(state) = actual.files.get(name).and_then(|seen| seen.known()) else { continue };
            let Some(pending) = record.pending.take() else { continue };
            if state.digest() == Some(pending.digest) {
                record.written = Some(pending);
            }
        }
        self.files.retain(|_, record| *record != FileRecord::default());
        self
    }
}
