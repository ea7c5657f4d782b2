//! A secret: its name, its value while it is in memory, and the fingerprint by which values are compared without being kept.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::digest::{parse_hex, write_hex};

/// The name of a secret in the manifest: components of `[A-Za-z0-9_][A-Za-z0-9_.@+=-]*` joined by `/`,
/// such as `tailscale/auth-key`. It is also the default key in the sops file and the path below `/run/secrets`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SecretName(String);

/// Why a text is no name of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing between two slashes.
    #[error("a name has an empty component")]
    Empty,
    /// A character that does not belong into a path, a key and a shell word alike.
    #[error(
        "{0:?} cannot stand in a name: use letters, digits and _ . @ + = -, with / between components, and begin with a letter, a digit or _"
    )]
    Character(char),
    /// sops leaves such a key in the clear.
    #[error("sops stores a key ending in \"_unencrypted\" in the clear")]
    Unencrypted,
    /// The key of sops's own block.
    #[error("\"sops\" is the key of sops's own metadata")]
    Reserved,
}

impl SecretName {
    /// The name's components, at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        for component in text.split('/') {
            check_component(component)?;
        }
        if text.split('/').next() == Some("sops") {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

fn check_component(component: &str) -> Result<(), NameError> {
    let first = component.chars().next().ok_or(NameError::Empty)?;
    if !first.is_ascii_alphanumeric() && first != '_' {
        return Err(NameError::Character(first));
    }
    if let Some(c) = component.chars().find(|c| !c.is_ascii_alphanumeric() && !"_.@+=-".contains(*c)) {
        return Err(NameError::Character(c));
    }
    if component.ends_with("_unencrypted") {
        return Err(NameError::Unencrypted);
    }
    Ok(())
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SecretName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A secret's bytes. It cannot be cloned, printed, serialized or compared; it is wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Lends the bytes to `sink`. Every sink is listed in `tests/architecture.rs`.
    pub fn expose<R>(&self, sink: impl FnOnce(&[u8]) -> R) -> R {
        sink(&self.0)
    }

    /// Whether there are no bytes: such a read is never taken for a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of bytes. A sops file shows it too; a plan or a message never does.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The key under which fingerprints are made: 32 random bytes, never in the dataset.
pub struct FingerprintKey {
    id: KeyId,
    key: Zeroizing<[u8; 32]>,
}

impl FingerprintKey {
    /// A key from 32 random bytes; the caller's copy is wiped.
    #[must_use]
    pub fn new(bytes: &mut [u8; 32]) -> Self {
        let key = Zeroizing::new(*bytes);
        bytes.zeroize();
        let mut mac = keyed(&key);
        mac.update(b"reconcile fingerprint key id");
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let mut id = [0; 8];
        id.copy_from_slice(&tag[..8]);
        Self { id: KeyId(id), key }
    }

    /// Which key this is; two operators with the same key have the same id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key as an item of a vault holds it: `reconcile-key-1:ID:KEY` in hexadecimal. The id follows from the key, so
    /// that a text which was cut or mistyped is no key.
    #[must_use]
    pub fn to_text(&self) -> SecretValue {
        let mut text = Zeroizing::new(Vec::with_capacity(TEXT.len() + 16 + 1 + 64));
        text.extend_from_slice(TEXT.as_bytes());
        text.extend_from_slice(self.id.to_string().as_bytes());
        text.push(b':');
        for byte in self.key.iter() {
            text.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        SecretValue(text)
    }

    /// A key from its text. Space around it does not matter.
    ///
    /// # Errors
    /// When it is no such text, or not the whole of it.
    pub fn from_text(text: &SecretValue) -> Result<Self, NotAKey> {
        let text = std::str::from_utf8(&text.0).map_err(|_| NotAKey)?;
        let (id, hex) = text.trim().strip_prefix(TEXT).and_then(|rest| rest.split_once(':')).ok_or(NotAKey)?;
        let key = Self::new(&mut parse_hex(hex).ok_or(NotAKey)?);
        if key.id.to_string() == id { Ok(key) } else { Err(NotAKey) }
    }
}

/// How the text of a key begins.
const TEXT: &str = "reconcile-key-1:";

/// The text was not `reconcile-key-1:ID:KEY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint key")]
pub struct NotAKey;

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC takes keys of any length, and this one has 32 bytes.
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key length"))
}

/// Names a fingerprint key without telling it: 8 bytes derived from it, as 16 hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// HMAC-SHA-256 of a secret's name and value, tied to the key that made it. Two of different keys say nothing about each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    key: KeyId,
    mac: [u8; 32],
}

/// What comparing two fingerprints says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The same value.
    Same,
    /// Another value.
    Different,
    /// Made under different keys: unknown, not changed.
    OtherKey,
}

impl Fingerprint {
    /// The fingerprint of `value` under `name`.
    #[must_use]
    pub fn of(key: &FingerprintKey, name: &SecretName, value: &SecretValue) -> Self {
        let mut mac = keyed(&key.key);
        let name = name.as_str().as_bytes();
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name);
        value.expose(|bytes| {
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(bytes);
        });
        Self { key: key.id, mac: mac.finalize().into_bytes().into() }
    }

    /// Compares two fingerprints of one name.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Comparison {
        match (self.key == other.key, self.mac == other.mac) {
            (false, _) => Comparison::OtherKey,
            (true, true) => Comparison::Same,
            (true, false) => Comparison::Different,
        }
    }

    /// Which key made it.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.key)?;
        write_hex(f, &self.mac)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The text was not `key id:mac`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let (id, mac) = text.split_once(':').ok_or(NotAFingerprint)?;
        // The id is parsed as the first 8 of 32 bytes, so that one reader of hexadecimal serves both.
        let padded = parse_hex(&format!("{id}{}", "0".repeat(48))).ok_or(NotAFingerprint)?;
        let mut key = [0; 8];
        key.copy_from_slice(&padded[..8]);
        Ok(Self { key: KeyId(key), mac: parse_hex(mac).ok_or(NotAFingerprint)? })
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> FingerprintKey {
        FingerprintKey::new(&mut [byte; 32])
    }

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.as_bytes().to_vec())
    }

    #[test]
    fn names_are_paths_of_plain_components() {
        for good in ["a", "tailscale/auth-key", "user@host/x.y", "_1"] {
            assert_eq!(good.parse::<SecretName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for (bad, why) in [
            ("", NameError::Empty),
            ("a//b", NameError::Empty),
            ("a/", NameError::Empty),
            ("..", NameError::Character('.')),
            ("a/../b", NameError::Character('.')),
            ("a b", NameError::Character(' ')),
            ("a\u{1b}", NameError::Character('\u{1b}')),
            ("-rf", NameError::Character('-')),
            ("x_unencrypted/y", NameError::Unencrypted),
            ("sops/mac", NameError::Reserved),
        ] {
            assert_eq!(bad.parse::<SecretName>(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_fingerprint_tells_values_names_and_keys_apart() -> Result<(), NameError> {
        let (a, b) = ("a".parse()?, "b".parse()?);
        let one = Fingerprint::of(&key(1), &a, &value("x"));
        assert_eq!(one.compare(&Fingerprint::of(&key(1), &a, &value("x"))), Comparison::Same);
        assert_eq!(one.compare(&Fingerprint::of(&key(1), &a, &value("y"))), Comparison::Different);
        assert_eq!(one.compare(&Fingerprint::of(&key(1), &b, &value("x"))), Comparison::Different);
        assert_eq!(one.compare(&Fingerprint::of(&key(2), &a, &value("x"))), Comparison::OtherKey);
        assert_eq!(one.to_string().parse(), Ok(one));
        Ok(())
    }

    #[test]
    fn a_key_comes_back_from_its_text_or_not_at_all() -> Result<(), NotAKey> {
        let text = key(7).to_text().expose(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(text.len(), 97);
        for good in [text.clone(), format!(" {text}\n")] {
            assert_eq!(FingerprintKey::from_text(&value(&good))?.id(), key(7).id());
        }
        let mistyped = text.replace(":07", ":08").replacen("0707", "0708", 1);
        for bad in ["", "hunter2", &text[..96], &text[1..], &text.replace("key-1", "key-2"), &mistyped] {
            assert_eq!(FingerprintKey::from_text(&value(bad)).map(|key| key.id()), Err(NotAKey), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn where_name_ends_and_value_begins_cannot_be_moved() -> Result<(), NameError> {
        let one = Fingerprint::of(&key(1), &"ab".parse()?, &value("c"));
        let two = Fingerprint::of(&key(1), &"a".parse()?, &value("bc"));
        assert_eq!(one.compare(&two), Comparison::Different);
        Ok(())
    }
}
