//! Decrypts a file on the machine whose identity opens it, and checks its MAC before anything is handed out.

use std::io::Read as _;

use age::armor::ArmoredReader;
use zeroize::{Zeroize as _, Zeroizing};

use super::identity::Identities;
use super::model::LeafKind;
use super::read::{Metadata, ReadError, Rule, text_of};
use super::tree::{Content, RawLeaf, Tree, parse};
use super::value::{Cipher, DataKey, Mac, PREFIX, Sealed};
use super::yaml::Type;
use crate::address::KeyPath;
use crate::secret::SecretValue;
use crate::text::Untrusted;

/// Why a file could not be decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// It is no sops file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// None of the identities is among the recipients.
    #[error("no identity fits: the file is encrypted to {}", listed(.recipients))]
    NoIdentity {
        /// Those that the file names.
        recipients: Vec<Untrusted>,
    },
    /// The data key is divided among groups of keys.
    #[error("the data key is divided among key groups, which only sops itself can put together")]
    KeyGroups,
    /// A value does not decrypt under its key.
    #[error("line {line}: {} does not decrypt: it was changed, or moved from another key", key.printable())]
    Value {
        /// Its path.
        key: Untrusted,
        /// Counted from 1.
        line: usize,
    },
    /// A value in the clear where only encrypted ones belong.
    #[error("line {line}: {} stands in the clear where an encrypted value belongs", key.printable())]
    NotEncrypted {
        /// Its path.
        key: Untrusted,
        /// Counted from 1.
        line: usize,
    },
    /// A date in the clear, which sops and we might not read alike.
    #[error("line {line}: {} is a date or number in the clear of a form that is not supported: quote it", key.printable())]
    Clear {
        /// Its path.
        key: Untrusted,
        /// Counted from 1.
        line: usize,
    },
    /// Which leaves are encrypted cannot be told.
    #[error("the file has mac_only_encrypted with a regular expression, which cannot be checked: use sops itself")]
    Rule,
    /// A leaf was added, removed or moved.
    #[error("the MAC does not fit: the file was changed by something other than sops. Restore it, or encrypt it anew")]
    Mac,
}

impl DecryptError {
    /// Whether the file opens, and what it holds was changed or stands there as we do not read it: written anew, it is well.
    #[must_use]
    pub fn is_of_the_content(&self) -> bool {
        match self {
            Self::Value { .. } | Self::NotEncrypted { .. } | Self::Clear { .. } | Self::Rule | Self::Mac => true,
            Self::Read(_) | Self::NoIdentity { .. } | Self::KeyGroups => false,
        }
    }
}

fn listed(recipients: &[Untrusted]) -> String {
    if recipients.is_empty() {
        return "no age recipient at all".to_owned();
    }
    recipients.iter().map(Untrusted::printable).collect::<Vec<_>>().join(", ")
}

/// Every leaf of the file in document order, after its MAC was found to fit. Numbers and the like come as the text that
/// sops writes for them; `null`, `{}` and `[]` are left out.
///
/// # Errors
/// When no identity opens the file, or anything in it was tampered with.
pub fn decrypt(bytes: &[u8], identities: &Identities) -> Result<Vec<(KeyPath, SecretValue)>, DecryptError> {
    let tree = parse(text_of(bytes)?)?;
    let metadata = Metadata::of(&tree)?;
    if metadata.key_groups {
        return Err(DecryptError::KeyGroups);
    }
    if metadata.mac_only_encrypted && metadata.rule == Rule::Other {
        return Err(DecryptError::Rule);
    }
    let cipher = Cipher::new(&data_key(&metadata, identities)?);
    let (values, mac) = leaves(&tree, &metadata, &cipher)?;
    let claimed = Sealed::parse(metadata.mac).and_then(|mac| mac.open(&cipher, metadata.last_modified));
    match claimed {
        // Whoever could try many MACs here would need the data key first.
        Some(claimed) if *claimed == *mac => Ok(values),
        _ => Err(DecryptError::Mac),
    }
}

/// The data key, from the first recipient's copy that an identity opens.
fn data_key(metadata: &Metadata<'_>, identities: &Identities) -> Result<DataKey, DecryptError> {
    let opened = metadata.age.iter().find_map(|key| {
        let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(key.enc.as_bytes())).ok()?;
        let mut reader = decryptor.decrypt(identities.iter()).ok()?;
        let mut data_key = DataKey::default();
        reader.read_exact(&mut *data_key).ok()?;
        let mut more = [0];
        let whole = matches!(reader.read(&mut more), Ok(0));
        more.zeroize();
        whole.then_some(data_key)
    });
    opened.ok_or_else(|| DecryptError::NoIdentity {
        recipients: metadata.age.iter().map(|key| Untrusted::new(key.recipient)).collect(),
    })
}

type Values = Vec<(KeyPath, SecretValue)>;

fn leaves(
    tree: &Tree<'_>,
    metadata: &Metadata<'_>,
    cipher: &Cipher,
) -> Result<(Values, Zeroizing<Vec<u8>>), DecryptError> {
    let only_encrypted = metadata.mac_only_encrypted;
    let mut mac = if only_encrypted { Mac::of_encrypted_only() } else { Mac::default() };
    let mut values = Vec::with_capacity(tree.leaves.len());
    for leaf in &tree.leaves {
        let Content::Scalar(text, kind) = &leaf.content else { continue };
        let encrypted = is_encrypted(leaf, text, &metadata.rule);
        let bytes = match (encrypted, text.is_empty()) {
            (_, true) => Zeroizing::new(Vec::new()),
            (true, false) => opened(leaf, text, cipher)?,
            (false, false) => clear(leaf, text, *kind)?,
        };
        if encrypted || !only_encrypted {
            mac.update(&bytes);
        }
        let mut bytes = bytes;
        values.push((leaf.path.clone(), SecretValue::new(std::mem::take(&mut *bytes))));
    }
    Ok((values, mac.finish()))
}

/// Whether the rule of the file says that this leaf is encrypted. What a regular expression decides is told by its look:
/// a wrong guess cannot pass, since then the MAC covers every leaf.
fn is_encrypted(leaf: &RawLeaf<'_>, text: &str, rule: &Rule) -> bool {
    let ends = |suffix: &String| leaf.path.components().iter().any(|part| part.ends_with(suffix));
    match rule {
        Rule::UnencryptedSuffix(suffix) => !ends(suffix),
        Rule::EncryptedSuffix(suffix) => ends(suffix),
        Rule::Other => text.starts_with(PREFIX),
    }
}

fn opened(leaf: &RawLeaf<'_>, text: &str, cipher: &Cipher) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let place = || (leaf.path.joined(), leaf.line);
    if !text.starts_with(PREFIX) {
        let (key, line) = place();
        return Err(DecryptError::NotEncrypted { key, line });
    }
    let sealed = Sealed::parse(text).filter(|sealed| sealed.kind != LeafKind::Comment);
    sealed.and_then(|sealed| sealed.open(cipher, &leaf.additional)).ok_or_else(|| {
        let (key, line) = place();
        DecryptError::Value { key, line }
    })
}

/// The bytes that sops authenticates for a scalar in the clear: not as it stands there, but as it reads it.
fn clear(leaf: &RawLeaf<'_>, text: &str, kind: Type) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let unsupported = || DecryptError::Clear { key: leaf.path.joined(), line: leaf.line };
    let number = text.replace('_', "");
    let text = match kind {
        Type::Int => integer(&number).ok_or_else(unsupported)?.to_string(),
        Type::Float => {
            number.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(unsupported)?.to_string()
        }
        Type::Bool => if text.eq_ignore_ascii_case("true") { "True" } else { "False" }.to_owned(),
        Type::Time => time(text).ok_or_else(unsupported)?,
        Type::Str | Type::Null | Type::Merge => text.to_owned(),
    };
    Ok(Zeroizing::new(text.into_bytes()))
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)];
    let found = radix.iter().find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, *radix)));
    // YAML 1.1's octal, which sops's library still reads.
    let octal = || lower.strip_prefix('0').filter(|rest| !rest.is_empty()).map(|rest| (rest, 8));
    let (digits, radix) = found.or_else(octal).unwrap_or((&lower, 10));
    i64::from_str_radix(digits, radix).ok()?.checked_mul(sign)
}

/// A date, or a time that is written in RFC 3339 already.
fn time(text: &str) -> Option<String> {
    let civil = |date: &str| date.parse::<jiff::civil::Date>().is_ok();
    if text.len() == 10 && civil(text) {
        return Some(format!("{text}T00:00:00Z"));
    }
    let whole = text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    (whole && text.parse::<jiff::Timestamp>().is_ok()).then(|| text.to_owned())
}
