//! Writes a sops file for its recipients, holding none of their keys. The MAC covers every value and is encrypted with
//! the data key, so a file is always written whole: a new data key, and every value encrypted anew.

use std::collections::{BTreeMap, HashMap};

use super::model::{Leaf, LeafKind, SopsFile};
use super::recipient::Recipient;
use super::value::{Cipher, DataKey, Mac};
use super::yaml::{SIMPLE_KEY, write_key};
use crate::address::KeyPath;
use crate::digest::Digest;
use crate::secret::SecretValue;
use crate::text::Untrusted;
use zeroize::Zeroizing;

/// The version of sops whose layout this is.
const VERSION: &str = "3.13.2";
/// The end of a key below which sops leaves everything in the clear.
const UNENCRYPTED: &str = "_unencrypted";
/// No reader looks further ahead for the end of a key.
const LONGEST_KEY: usize = 1000;
/// As deep as [`SopsFile::read`] follows.
const DEEPEST: usize = 128;

/// One value of the file to be written.
pub struct Entry<'a> {
    /// Where it goes.
    pub key: KeyPath,
    /// What goes there. An empty value is written as `""`, as sops does.
    pub value: &'a SecretValue,
}

/// A file, and what it shows to those who hold no key.
#[derive(Debug)]
pub struct EncryptedFile {
    /// The file.
    pub bytes: Vec<u8>,
    /// What [`SopsFile::read`] says of it.
    pub metadata: SopsFile,
}

/// Why a file cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// Nobody could decrypt it.
    #[error("no recipients: nobody could decrypt the file")]
    NoRecipients,
    /// sops leaves such a value in the clear.
    #[error("{}: sops stores what is below a key ending in \"_unencrypted\" in the clear", .0.printable())]
    Unencrypted(Untrusted),
    /// The key of sops's own block.
    #[error("{}: \"sops\" is the key of sops's own metadata", .0.printable())]
    Reserved(Untrusted),
    /// Empty, too long, too deep, or with a line break in it.
    #[error("{:?} cannot be a key: it needs 1 to 1000 bytes in each part, no line break, and at most 128 parts", .0.printable())]
    Key(Untrusted),
    /// Two values for one place, or one inside the other.
    #[error("{} is given twice, or a value stands where keys of others belong", .0.printable())]
    Conflict(Untrusted),
    /// Not of the form that sops authenticates.
    #[error("the time of writing must be like 2026-01-01T00:00:00Z: UTC, in whole seconds")]
    Time,
    /// More than AES-GCM takes.
    #[error("{}: the value is too long to be encrypted", .0.printable())]
    TooLong(Untrusted),
    /// age refused.
    #[error("the data key could not be encrypted to {0:?}")]
    DataKey(Recipient),
}

/// Encrypts `entries` to `recipients`, laid out as sops does it: keys in the order of their first appearance, those of
/// one mapping together. `last_modified` is a time in RFC 3339, UTC, whole seconds. `random` fills what it is given with
/// bytes fit for keys; what age needs for itself it takes from the operating system.
///
/// # Errors
/// When a key would be left in the clear, cannot be written, or is in another's place; when there are no recipients.
pub fn encrypt(
    entries: &[Entry<'_>],
    recipients: &[Recipient],
    last_modified: &str,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<EncryptedFile, EncryptError> {
    if recipients.is_empty() {
        return Err(EncryptError::NoRecipients);
    }
    if !is_utc_seconds(last_modified) {
        return Err(EncryptError::Time);
    }
    let mut root = Branch::default();
    for entry in entries {
        check(&entry.key)?;
        root.insert(entry, 0)?;
    }
    let mut key = DataKey::default();
    random(&mut *key);
    let longest = entries.iter().map(|entry| entry.value.len()).max().unwrap_or(0);
    let total: usize = entries.iter().map(|entry| entry.value.len() * 4 / 3 + 256).sum();
    let mut writer = Writer {
        out: String::with_capacity(total + 1024 * (recipients.len() + 2)),
        cipher: Cipher::new(&key),
        mac: Mac::default(),
        // Large enough for every value from the start: growing would leave copies behind.
        buffer: Zeroizing::new(Vec::with_capacity(longest.max(128))),
        leaves: BTreeMap::new(),
        random,
    };
    writer.branch(&root, &mut String::new(), 0, false)?;
    writer.finish(&key, recipients, last_modified)
}

/// Whether `text` is a date and time of the form `2026-01-01T00:00:00Z`.
fn is_utc_seconds(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T' && text.parse::<jiff::Timestamp>().is_ok()
}

fn check(key: &KeyPath) -> Result<(), EncryptError> {
    let parts = key.components();
    if parts.first().is_some_and(|first| first == "sops") {
        return Err(EncryptError::Reserved(key.joined()));
    }
    if parts.iter().any(|part| part.ends_with(UNENCRYPTED)) {
        return Err(EncryptError::Unencrypted(key.joined()));
    }
    let breaks = |part: &String| part.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    let bad = |part: &String| part.is_empty() || part.len() > LONGEST_KEY || breaks(part);
    if parts.is_empty() || parts.len() > DEEPEST || parts.iter().any(bad) {
        return Err(EncryptError::Key(key.joined()));
    }
    Ok(())
}

/// A mapping of the file: its keys in the order of their first appearance.
#[derive(Default)]
struct Branch<'a> {
    children: Vec<(&'a str, Child<'a>)>,
    places: HashMap<&'a str, usize>,
}

enum Child<'a> {
    Branch(Branch<'a>),
    Leaf(&'a Entry<'a>),
}

impl<'a> Branch<'a> {
    fn insert(&mut self, entry: &'a Entry<'a>, depth: usize) -> Result<(), EncryptError> {
        let parts = entry.key.components();
        let (name, last) = (parts[depth].as_str(), depth + 1 == parts.len());
        let next = self.children.len();
        let place = *self.places.entry(name).or_insert(next);
        if place == next {
            let child = if last { Child::Leaf(entry) } else { Child::Branch(Branch::default()) };
            self.children.push((name, child));
        } else if last {
            return Err(EncryptError::Conflict(entry.key.joined()));
        }
        match &mut self.children[place].1 {
            Child::Branch(branch) => branch.insert(entry, depth + 1),
            Child::Leaf(_) if last => Ok(()),
            Child::Leaf(_) => Err(EncryptError::Conflict(entry.key.joined())),
        }
    }
}

struct Writer<'r> {
    out: String,
    cipher: Cipher,
    mac: Mac,
    buffer: Zeroizing<Vec<u8>>,
    leaves: BTreeMap<KeyPath, Leaf>,
    random: &'r mut dyn FnMut(&mut [u8]),
}

impl Writer<'_> {
    /// Writes a mapping at `indent`; its first line is indented already when it is `begun`.
    fn branch(
        &mut self,
        branch: &Branch<'_>,
        additional: &mut String,
        indent: usize,
        begun: bool,
    ) -> Result<(), EncryptError> {
        for (n, (name, child)) in branch.children.iter().enumerate() {
            let outer = additional.len();
            additional.push_str(name);
            additional.push(':');
            if n > 0 || !begun {
                self.indent(indent);
            }
            let long = name.len() > SIMPLE_KEY;
            if long {
                self.out.push_str("? ");
            }
            write_key(name, &mut self.out);
            if long {
                self.out.push('\n');
                self.indent(indent);
            }
            self.out.push(':');
            match child {
                Child::Leaf(entry) => {
                    self.out.push(' ');
                    self.leaf(entry, additional)?;
                    self.out.push('\n');
                }
                Child::Branch(inner) => {
                    self.out.push_str(if long { "   " } else { "\n" });
                    self.branch(inner, additional, indent + 4, long)?;
                }
            }
            additional.truncate(outer);
        }
        Ok(())
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn leaf(&mut self, entry: &Entry<'_>, additional: &str) -> Result<(), EncryptError> {
        let leaf = if entry.value.is_empty() {
            self.out.push_str("\"\"");
            Leaf { digest: Digest::of(b""), kind: LeafKind::Clear, length: 0 }
        } else {
            entry.value.expose(|bytes| {
                self.mac.update(bytes);
                self.buffer.clear();
                self.buffer.extend_from_slice(bytes);
            });
            let start = self.seal(additional).map_err(|_| EncryptError::TooLong(entry.key.joined()))?;
            let digest = Digest::of(&self.out.as_bytes()[start..]);
            Leaf { digest, kind: LeafKind::Str, length: entry.value.len() }
        };
        self.leaves.insert(entry.key.clone(), leaf);
        Ok(())
    }

    /// Writes what is in the buffer encrypted, and says where that begins.
    fn seal(&mut self, additional: &str) -> Result<usize, super::value::TooLong> {
        let start = self.out.len();
        self.cipher.seal(&mut self.buffer, additional, self.random, &mut self.out)?;
        Ok(start)
    }

    /// Writes the block of sops.
    fn finish(
        mut self,
        key: &DataKey,
        recipients: &[Recipient],
        last_modified: &str,
    ) -> Result<EncryptedFile, EncryptError> {
        self.out.push_str("sops:\n    age:\n");
        let mut claimed = BTreeMap::new();
        for recipient in recipients {
            let name = Untrusted::new(recipient.as_str());
            if claimed.contains_key(&name) {
                continue;
            }
            let enc = for_recipient(key, recipient)?;
            claimed.insert(name, Digest::of(enc.as_bytes()));
            self.out.push_str("        - enc: |\n");
            for line in enc.lines() {
                self.out.push_str("            ");
                self.out.push_str(line);
                self.out.push('\n');
            }
            self.out.push_str("          recipient: ");
            self.out.push_str(recipient.as_str());
            self.out.push('\n');
        }
        self.out.push_str(&format!("    lastmodified: \"{last_modified}\"\n    mac: "));
        let mac = std::mem::take(&mut self.mac).finish();
        self.buffer.clear();
        self.buffer.extend_from_slice(&mac);
        let start = self.seal(last_modified).map_err(|_| EncryptError::TooLong(Untrusted::new("mac")))?;
        let mac = Digest::of(&self.out.as_bytes()[start..]);
        self.out.push_str(&format!("\n    unencrypted_suffix: {UNENCRYPTED}\n    version: {VERSION}\n"));
        let bytes = self.out.into_bytes();
        let metadata = SopsFile {
            digest: Digest::of(&bytes),
            leaves: self.leaves,
            recipients: claimed,
            other_keys: Vec::new(),
            key_groups: false,
            last_modified: Untrusted::new(last_modified),
            mac,
            version: Untrusted::new(VERSION),
        };
        Ok(EncryptedFile { bytes, metadata })
    }
}

/// The data key in an armoured age file of its own, with a line break at its end.
fn for_recipient(key: &DataKey, recipient: &Recipient) -> Result<String, EncryptError> {
    let refused = || EncryptError::DataKey(recipient.clone());
    let to: age::x25519::Recipient = recipient.as_str().parse().map_err(|_| refused())?;
    let mut armored = age::encrypt_and_armor(&to, &**key).map_err(|_| refused())?;
    if !armored.ends_with('\n') {
        armored.push('\n');
    }
    Ok(armored)
}
