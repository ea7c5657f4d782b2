//! The desired state: what the manifest declares and what the vault says about it. Plain data, filled by `observe`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::{FileName, HostName};
use crate::observation::Observation;
use crate::secret::{Fingerprint, SecretName};
use crate::text::Untrusted;

/// What the vault and the sources of public files say.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The vault as a whole.
    pub vault: VaultFacts,
    /// The item of each secret, boot and run-time.
    pub items: BTreeMap<SecretName, Observation<Item>>,
    /// The item that holds the key of fingerprints, if the manifest names one.
    pub fingerprint_key: Option<Observation<Item>>,
    /// The source of each public dataset file but those that hold a host's age key: there the plan decides which to believe.
    pub sources: BTreeMap<FileName, Observation<Source>>,
}

/// What a plan says about the vault in its first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultFacts {
    /// `rbw`, `bw` or `file`.
    pub kind: &'static str,
    /// The account or path, told apart in item identities.
    pub account: Untrusted,
    /// How many items it has, if it could be listed.
    pub items: Option<usize>,
    /// Seconds since its last sync, if it has any.
    pub synced: Option<u64>,
}

/// One field of one item of the vault, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Which one it is; compared whole.
    pub identity: ItemIdentity,
    /// Its name in the vault, for showing.
    pub name: Untrusted,
    /// A token of its version, if the vault gives one.
    pub revision: Option<Revision>,
    /// When the vault says it was changed, seconds since 1970, if it says so.
    pub changed_at: Option<i64>,
    /// What its value shows, if it was read. `plan::reads` says for which items that is needed.
    pub value: Option<Observation<ValueFacts>>,
}

/// Tells one field of one item of one account of one kind of vault from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ItemIdentity {
    /// `rbw`, `bw` or `file`.
    pub scheme: String,
    /// The account or path.
    pub account: Untrusted,
    /// The item's id; a file vault's is its name.
    pub id: Untrusted,
    /// The field, as `default`, `password`, `notes`, `username` or `custom:NAME`.
    pub field: Untrusted,
}

/// An opaque token of an item's version, tagged with its scheme. Equal means unchanged; different means nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

/// What is kept of a value that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueFacts {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its length in bytes, compared with what the ciphertext shows and never displayed.
    pub length: usize,
}

/// The content that a public file of the dataset should have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// These bytes.
    Content(#[serde(serialize_with = "as_text")] Vec<u8>),
    /// The public half of an identity that the host does not have yet: known after apply.
    MadeByApply(HostName),
}

fn as_text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}
