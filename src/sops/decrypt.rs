//! Decrypts a sops file with an age identity, and holds it against its MAC: for our own activation, and as an oracle.

use age::Identity;
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt::Write;
use zeroize::Zeroizing;

use crate::address::KeyPath;
use crate::secret::SecretValue;

use super::document::{Document, RawLeaf, ReadError};
use super::identity::Identities;
use super::read::Metadata;
use super::value::{DataKey, KEY, Sealed, looks_encrypted};

/// Why a file was not decrypted. Nothing of it is given out then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// It is no sops file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// None of the identities is a recipient.
    #[error("it is not encrypted to this identity")]
    NoIdentity,
    /// A value was moved, renamed or altered.
    #[error("the value of {} does not decrypt: it was moved or altered", .0.joined().printable())]
    Value(KeyPath),
    /// The MAC does not hold.
    #[error("its MAC does not hold: values were added, removed or moved")]
    Mac,
}

/// Decrypts every leaf, in the file's order, and verifies the MAC.
///
/// # Errors
/// When no identity fits, or anything was altered.
pub fn decrypt(bytes: &[u8], identities: &Identities) -> Result<Vec<(KeyPath, SecretValue)>, DecryptError> {
    let document = Document::read(bytes)?;
    let metadata = Metadata::of(&document.sops)?;
    let key = data_key(&metadata, identities).ok_or(DecryptError::NoIdentity)?;
    let mut mac = Sha512::new();
    if metadata.mac_only_encrypted {
        mac.update(Sha256::digest(b"sops"));
    }
    let mut values = Vec::with_capacity(document.leaves.len());
    for leaf in document.leaves {
        let encrypted = looks_encrypted(&leaf.scalar.text);
        let value = if encrypted { open(&key, &leaf)? } else { in_the_clear(&leaf) };
        if encrypted || !metadata.mac_only_encrypted {
            value.expose(|bytes| mac.update(bytes));
        }
        values.push((leaf.path, value));
    }
    let sealed = Sealed::read(metadata.mac).ok_or(DecryptError::Mac)?;
    let there = key.open(&sealed, metadata.last_modified).map_err(|_| DecryptError::Mac)?;
    let expected = mac.finalize().iter().fold(String::with_capacity(128), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    });
    if there.as_slice() == expected.as_bytes() { Ok(values) } else { Err(DecryptError::Mac) }
}

fn data_key(metadata: &Metadata<'_>, identities: &Identities) -> Option<DataKey> {
    metadata.age.iter().find_map(|(_, armored)| {
        let reader = age::armor::ArmoredReader::new(armored.as_bytes());
        let decryptor = age::Decryptor::new_buffered(reader).ok()?;
        let all = identities.keys().iter().map(|key| key as &dyn Identity);
        let mut reader = decryptor.decrypt(all).ok()?;
        let mut key = Zeroizing::new([0; KEY]);
        std::io::Read::read_exact(&mut reader, &mut *key).ok()?;
        Some(DataKey::new(&key))
    })
}

fn open(key: &DataKey, leaf: &RawLeaf) -> Result<SecretValue, DecryptError> {
    let failed = || DecryptError::Value(leaf.path.clone());
    let sealed = Sealed::read(&leaf.scalar.text).ok_or_else(failed)?;
    let mut value = key.open(&sealed, &leaf.place).map_err(|_| failed())?;
    Ok(SecretValue::new(std::mem::take(&mut *value)))
}

/// Booleans count in the MAC as sops writes them.
fn in_the_clear(leaf: &RawLeaf) -> SecretValue {
    let text = match leaf.scalar.text.as_str() {
        "true" if leaf.scalar.plain => "True",
        "false" if leaf.scalar.plain => "False",
        text => text,
    };
    SecretValue::new(text.as_bytes().to_vec())
}
