//! Writes a sops file with public keys alone, laid out as sops 3.13 lays it out. Without the data key no value can be
//! changed in place: every write takes a new one and encrypts everything anew.

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use crate::address::KeyPath;
use crate::digest::Digest;
use crate::secret::SecretValue;
use crate::text::Untrusted;

use super::model::{Leaf, LeafKind, SopsFile};
use super::recipient::Recipient;
use super::value::{DataKey, KEY};
use super::yaml;

/// The version of sops whose layout this is.
const VERSION: &str = "3.13.2";

/// One value and its place.
pub struct Entry<'a> {
    /// Where it goes.
    pub key: KeyPath,
    /// What goes there.
    pub value: &'a SecretValue,
}

/// A file as it is to be written.
#[derive(Debug)]
pub struct EncryptedFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What reading it without a key shows.
    pub metadata: SopsFile,
}

/// Why values cannot be encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// Nobody could decrypt it.
    #[error("there is no recipient to encrypt to")]
    NoRecipient,
    /// sops would leave it in the clear, or it is sops's own.
    #[error("the key {} is not taken: {why}", .key.printable())]
    Key {
        /// The key.
        key: Untrusted,
        /// Why.
        why: &'static str,
    },
    /// age refused the recipient.
    #[error("age cannot encrypt to {0:?}")]
    Age(Recipient),
}

/// The file's keys as a tree, in the order in which they were given.
enum Node<'a> {
    Map(Vec<(&'a str, Node<'a>)>),
    Value(usize),
}

/// Encrypts `entries` to `recipients`. `last_modified` is RFC 3339 in UTC and whole seconds; `random` fills with random
/// bytes.
///
/// # Errors
/// When a key is not taken, or there is nobody to encrypt to.
pub fn encrypt(
    entries: &[Entry<'_>],
    recipients: &[Recipient],
    last_modified: &str,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<EncryptedFile, EncryptError> {
    let tree = tree(entries)?;
    let mut key = Zeroizing::new([0; KEY]);
    random(&mut *key);
    let age = armored(recipients, &key)?;
    let data_key = DataKey::new(&key);
    let mut data = Writer {
        entries,
        key: &data_key,
        random,
        mac: Sha512::new(),
        text: String::with_capacity(entries.iter().map(|entry| entry.value.len() * 4 / 3 + 192).sum()),
        leaves: BTreeMap::new(),
    };
    let Node::Map(top) = &tree else { unreachable!("the top is a map") };
    if top.is_empty() {
        data.text.push_str("{}\n");
    }
    data.map(top, 0, &mut String::new());
    let mac = Zeroizing::new(data.mac.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    }));
    let mut iv = [0; KEY];
    (data.random)(&mut iv);
    let mac = data_key.seal(mac.as_bytes(), last_modified, iv).to_text();
    let mut text = if top.is_empty() { String::new() } else { data.text };
    metadata(&mut text, &age, last_modified, &mac);
    let bytes = text.into_bytes();
    let metadata = SopsFile {
        digest: Digest::of(&bytes),
        leaves: data.leaves,
        recipients: age
            .iter()
            .map(|(recipient, enc)| (Untrusted::new(recipient.as_str()), Digest::of(enc.as_bytes())))
            .collect(),
        other_keys: Vec::new(),
        key_groups: false,
        last_modified: Untrusted::new(last_modified),
        mac: Digest::of(mac.as_bytes()),
        version: Untrusted::new(VERSION),
    };
    Ok(EncryptedFile { bytes, metadata })
}

fn tree<'a>(entries: &'a [Entry<'a>]) -> Result<Node<'a>, EncryptError> {
    let mut top = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let refuse = |why| EncryptError::Key { key: entry.key.joined(), why };
        let components = entry.key.components();
        let Some((last, parents)) = components.split_last() else { return Err(refuse("it is empty")) };
        if components.iter().any(|component| component.ends_with("_unencrypted")) {
            return Err(refuse("sops stores a key ending in \"_unencrypted\" in the clear"));
        }
        if components.first().is_some_and(|first| first == "sops") {
            return Err(refuse("\"sops\" is the key of sops's own metadata"));
        }
        let mut map = &mut top;
        for parent in parents {
            // The last one is looked at first: sorted entries of one parent follow each other.
            let at = map.iter().rposition(|(name, _)| name == parent).unwrap_or_else(|| {
                map.push((parent.as_str(), Node::Map(Vec::new())));
                map.len() - 1
            });
            match &mut map[at].1 {
                Node::Map(inner) => map = inner,
                Node::Value(_) => return Err(refuse("a part of it is a value already")),
            }
        }
        if map.last().is_some_and(|(name, _)| name == last) || map.iter().any(|(name, _)| name == last) {
            return Err(refuse("it is there twice"));
        }
        map.push((last.as_str(), Node::Value(number)));
    }
    Ok(Node::Map(top))
}

fn armored(recipients: &[Recipient], key: &[u8; KEY]) -> Result<Vec<(Recipient, String)>, EncryptError> {
    if recipients.is_empty() {
        return Err(EncryptError::NoRecipient);
    }
    let one = |recipient: &Recipient| {
        let failed = || EncryptError::Age(recipient.clone());
        let parsed: age::x25519::Recipient = recipient.as_str().parse().map_err(|_| failed())?;
        let armored = age::encrypt_and_armor(&parsed, key).map_err(|_| failed())?;
        Ok((recipient.clone(), if armored.ends_with('\n') { armored } else { armored + "\n" }))
    };
    recipients.iter().map(one).collect()
}

struct Writer<'a> {
    entries: &'a [Entry<'a>],
    key: &'a DataKey,
    random: &'a mut dyn FnMut(&mut [u8]),
    mac: Sha512,
    text: String,
    leaves: BTreeMap<KeyPath, Leaf>,
}

impl Writer<'_> {
    /// `place` is the additional data of what is inside: the keys so far, each followed by a colon.
    fn map(&mut self, map: &[(&str, Node<'_>)], depth: usize, place: &mut String) {
        for (name, node) in map {
            let before = place.len();
            let _ = write!(place, "{name}:");
            for _ in 0..depth {
                self.text.push_str("    ");
            }
            self.text.push_str(&yaml::key(name));
            self.text.push(':');
            match node {
                Node::Map(inner) => {
                    self.text.push('\n');
                    self.map(inner, depth + 1, place);
                }
                Node::Value(number) => self.value(*number, place),
            }
            place.truncate(before);
        }
    }

    fn value(&mut self, number: usize, place: &str) {
        let Entry { key, value } = &self.entries[number];
        let mut iv = [0; KEY];
        (self.random)(&mut iv);
        let mac = &mut self.mac;
        let sealed = value.expose(|bytes| {
            mac.update(bytes);
            self.key.seal(bytes, place, iv)
        });
        // sops leaves the empty text as it is.
        let (text, kind) =
            if value.is_empty() { ("\"\"".to_owned(), LeafKind::Clear) } else { (sealed.to_text(), LeafKind::Str) };
        let shown = if value.is_empty() { "" } else { text.as_str() };
        self.leaves.insert(key.clone(), Leaf { digest: Digest::of(shown.as_bytes()), kind, length: value.len() });
        self.text.push(' ');
        self.text.push_str(&text);
        self.text.push('\n');
    }
}

fn metadata(text: &mut String, age: &[(Recipient, String)], last_modified: &str, mac: &str) {
    text.push_str("sops:\n    age:\n");
    for (recipient, armored) in age {
        text.push_str("        - enc: |\n");
        for line in armored.lines() {
            let _ = writeln!(text, "            {line}");
        }
        let _ = writeln!(text, "          recipient: {recipient}");
    }
    let _ = writeln!(text, "    lastmodified: \"{last_modified}\"\n    mac: {mac}");
    let _ = writeln!(text, "    unencrypted_suffix: _unencrypted\n    version: {VERSION}");
}
