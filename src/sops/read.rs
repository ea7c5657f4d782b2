//! Reads what a sops file shows without a key, in the layouts of sops 3.8 and later.

use std::collections::BTreeMap;

use super::model::{Leaf, LeafKind, SopsFile};
use super::tree::{Content, Node, RawLeaf, Tree, parse};
use super::value::{PREFIX, Sealed};
use crate::digest::Digest;
use crate::text::Untrusted;

/// Why a file is no sops file that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Not text.
    #[error("the file is not UTF-8 text (byte {offset})")]
    NotText {
        /// The first byte that is not, counted from 0.
        offset: usize,
    },
    /// Another program's format.
    #[error("this is {0}, not a sops file in YAML")]
    OtherTool(&'static str),
    /// A merge stopped half way.
    #[error("line {line} is a marker of an unfinished merge: take one side whole, since both cannot be put together")]
    Conflict {
        /// Counted from 1.
        line: usize,
    },
    /// The end is missing.
    #[error("the file is cut off: it has encrypted values, and its sops block is missing or ends too early")]
    CutOff,
    /// No YAML.
    #[error("line {line}, column {column}: not YAML: {}", problem.printable())]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// In the parser's words.
        problem: Untrusted,
    },
    /// A list or a text where the file should be a mapping.
    #[error("line {line}: the file is not a mapping of keys to values")]
    NotAMapping {
        /// Counted from 1.
        line: usize,
    },
    /// A key that YAML does not read as text.
    #[error("line {line}: the key {:?} is not text to YAML: quote it", key.printable())]
    KeyNotText {
        /// As it stands there.
        key: Untrusted,
        /// Counted from 1.
        line: usize,
    },
    /// The same key twice.
    #[error("line {line}: {} is there twice", key.printable())]
    DuplicateKey {
        /// Its path.
        key: Untrusted,
        /// Counted from 1.
        line: usize,
    },
    /// A YAML alias.
    #[error("line {line}: an alias (`*name`); sops writes none")]
    Alias {
        /// Counted from 1.
        line: usize,
    },
    /// More levels than any file of secrets has.
    #[error("line {line}: nested more than 128 levels deep")]
    TooDeep {
        /// Counted from 1.
        line: usize,
    },
    /// An encrypted value that is not whole.
    #[error("line {line}: the encrypted value of {} is not whole", key.printable())]
    Value {
        /// Its path.
        key: Untrusted,
        /// Counted from 1.
        line: usize,
    },
    /// Nothing of sops in it.
    #[error("the file has no sops block: it is not encrypted")]
    NotEncrypted,
    /// `sops` is something else than sops's block.
    #[error("line {line}: the key \"sops\" does not hold sops's block, and no data may have that key")]
    MetadataNotAMapping {
        /// Counted from 1.
        line: usize,
    },
    /// A field of the block is missing or not of its form.
    #[error("the sops block has no usable `{0}`")]
    Field(&'static str),
    /// No key can open it.
    #[error("the sops block names no key that could decrypt the file")]
    NoKeys,
    /// More than one rule about what is encrypted.
    #[error("the sops block has both `{0}` and `{1}`, and sops takes one of them")]
    TwoRules(&'static str, &'static str),
}

/// Which leaves of a file are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// All but those with a key that ends so.
    UnencryptedSuffix(String),
    /// Only those with a key that ends so.
    EncryptedSuffix(String),
    /// A regular expression over keys or comments.
    Other,
}

/// The kinds of key that are not age's, as the sops block names them.
const OTHER_KEYS: [&str; 6] = ["pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms"];
const RULES: [&str; 6] = [
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
];

impl SopsFile {
    /// Reads a file without any key.
    ///
    /// # Errors
    /// Whatever would keep sops from reading it, and what is no sops file at all.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let tree = parse(text_of(bytes)?)?;
        let metadata = Metadata::of(&tree)?;
        let leaves = tree.leaves.iter().map(|leaf| Ok((leaf.path.clone(), shown(leaf)?)));
        let leaves = leaves.collect::<Result<BTreeMap<_, _>, ReadError>>()?;
        Ok(Self {
            digest: Digest::of(bytes),
            leaves,
            recipients: metadata
                .age
                .iter()
                .map(|key| (Untrusted::new(key.recipient), Digest::of(key.enc.as_bytes())))
                .collect(),
            other_keys: metadata.other_keys.iter().copied().map(Untrusted::new).collect(),
            key_groups: metadata.key_groups,
            last_modified: Untrusted::new(metadata.last_modified),
            mac: Digest::of(metadata.mac.as_bytes()),
            version: Untrusted::new(metadata.version),
        })
    }
}

/// The sops block.
pub(super) struct Metadata<'t> {
    /// In the order in which they stand there.
    pub age: Vec<AgeKey<'t>>,
    pub other_keys: Vec<&'static str>,
    pub key_groups: bool,
    pub last_modified: &'t str,
    pub mac: &'t str,
    pub version: &'t str,
    pub rule: Rule,
    pub mac_only_encrypted: bool,
}

/// The data key, encrypted to one recipient.
pub(super) struct AgeKey<'t> {
    pub recipient: &'t str,
    pub enc: &'t str,
}

impl<'t> Metadata<'t> {
    /// The block of a file.
    pub fn of(tree: &'t Tree<'_>) -> Result<Self, ReadError> {
        let Some(block) = &tree.metadata else {
            let encrypted = tree
                .leaves
                .iter()
                .any(|leaf| matches!(&leaf.content, Content::Scalar(text, _) if text.starts_with(PREFIX)));
            return Err(if encrypted { ReadError::CutOff } else { ReadError::NotEncrypted });
        };
        let (mut age, mut other_keys) = (Vec::new(), Vec::new());
        for group in std::iter::once(block).chain(block.list("key_groups")) {
            for key in group.list("age") {
                let recipient = key.text("recipient").ok_or(ReadError::Field("age: recipient"))?;
                age.push(AgeKey { recipient, enc: key.text("enc").ok_or(ReadError::Field("age: enc"))? });
            }
            other_keys.extend(OTHER_KEYS.iter().filter(|kind| !group.list(kind).is_empty()));
        }
        // The block is written in alphabetical order: without what stands last, its end is missing.
        let version = block.text("version").ok_or(ReadError::CutOff)?;
        let last_modified = block.text("lastmodified").ok_or(ReadError::Field("lastmodified"))?;
        let mac = block.text("mac").ok_or(ReadError::Field("mac"))?;
        if Sealed::parse(mac).is_none_or(|sealed| sealed.kind != LeafKind::Str) {
            return Err(ReadError::Field("mac"));
        }
        if age.is_empty() && other_keys.is_empty() {
            return Err(ReadError::NoKeys);
        }
        other_keys.sort_unstable();
        other_keys.dedup();
        Ok(Self {
            age,
            other_keys,
            key_groups: !block.list("key_groups").is_empty()
                || block.text("shamir_threshold").is_some_and(|n| n != "0"),
            last_modified,
            mac,
            version,
            rule: rule(block)?,
            mac_only_encrypted: block
                .text("mac_only_encrypted")
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        })
    }
}

fn rule(block: &Node<'_>) -> Result<Rule, ReadError> {
    let mut given = RULES.iter().filter_map(|rule| Some((*rule, block.text(rule)?)));
    let (first, second) = (given.next(), given.next());
    match (first, second) {
        (Some((one, _)), Some((other, _))) => Err(ReadError::TwoRules(one, other)),
        (Some(("unencrypted_suffix", suffix)), None) => Ok(Rule::UnencryptedSuffix(suffix.to_owned())),
        (Some(("encrypted_suffix", suffix)), None) => Ok(Rule::EncryptedSuffix(suffix.to_owned())),
        (Some(_), None) => Ok(Rule::Other),
        (None, _) => Ok(Rule::UnencryptedSuffix("_unencrypted".to_owned())),
    }
}

/// The text of a file that could be one of sops.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, ReadError> {
    if let Some((_, tool)) = OTHER_TOOLS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err(ReadError::OtherTool(tool));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| ReadError::NotText { offset: error.valid_up_to() })?;
    if text.trim().is_empty() {
        return Err(ReadError::Empty);
    }
    let marker = |line: &str| ["<<<<<<< ", "||||||| ", ">>>>>>> "].iter().any(|marker| line.starts_with(marker));
    match text.lines().position(marker) {
        Some(before) => Err(ReadError::Conflict { line: before + 1 }),
        None => Ok(text),
    }
}

/// How files of other tools begin that are found where a sops file should be.
const OTHER_TOOLS: [(&[u8], &str); 8] = [
    (b"$ANSIBLE_VAULT", "a file of Ansible Vault"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "a file that age encrypted as a whole"),
    (b"age-encryption.org/", "a file that age encrypted as a whole"),
    (b"-----BEGIN PGP MESSAGE-----", "a file that PGP encrypted as a whole"),
    (b"\0GITCRYPT", "a file of git-crypt"),
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS (run `git lfs pull`)"),
    (b"[sops]", "a sops file in the INI format"),
    (b"sops_", "a sops file in the dotenv format"),
];

/// What a leaf shows.
fn shown(leaf: &RawLeaf<'_>) -> Result<Leaf, ReadError> {
    let (text, kind, length) = match &leaf.content {
        Content::Nothing(text) => (*text, LeafKind::Nothing, text.len()),
        Content::Scalar(text, _) if text.starts_with(PREFIX) => {
            let sealed =
                Sealed::parse(text).ok_or_else(|| ReadError::Value { key: leaf.path.joined(), line: leaf.line })?;
            (text.as_ref(), sealed.kind, sealed.length)
        }
        Content::Scalar(text, _) => (text.as_ref(), LeafKind::Clear, text.len()),
    };
    Ok(Leaf { digest: Digest::of(text.as_bytes()), kind, length })
}
