//! age identities: the private halves that open a file. A machine reads its own; nothing else ever holds one.

use age::secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::recipient::Recipient;

/// The identities of one `keys.txt`.
pub struct Identities(Vec<age::x25519::Identity>);

/// Why a text is no file of identities that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not text.
    #[error("the identities are not text")]
    NotText,
    /// Encrypted with a passphrase.
    #[error("the identities are themselves encrypted: decrypt them first (age -d)")]
    Encrypted,
    /// An ssh key.
    #[error("this is an ssh key: convert it first (ssh-to-age -private-key)")]
    Ssh,
    /// Of a plugin, or post-quantum.
    #[error("line {line}: only native identities (AGE-SECRET-KEY-1…) can be used")]
    Kind {
        /// Counted from 1.
        line: usize,
    },
    /// Not an identity.
    #[error("line {line}: not an age identity: it must be AGE-SECRET-KEY-1 and 58 more characters")]
    Malformed {
        /// Counted from 1.
        line: usize,
    },
    /// Only comments, or nothing.
    #[error("there is no identity in it: make one with age-keygen")]
    Empty,
}

impl Identities {
    /// Reads a file as age-keygen writes it: an identity a line, with empty lines and comments.
    ///
    /// # Errors
    /// When a line is no native identity, or none is there.
    pub fn read(text: &[u8]) -> Result<Self, IdentityError> {
        let text = std::str::from_utf8(text).map_err(|_| IdentityError::NotText)?;
        if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE") {
            return Err(IdentityError::Encrypted);
        }
        if text.starts_with("-----BEGIN") {
            return Err(IdentityError::Ssh);
        }
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let identities = lines.map(|(line, number)| one(line, number)).collect::<Result<Vec<_>, _>>()?;
        if identities.is_empty() { Err(IdentityError::Empty) } else { Ok(Self(identities)) }
    }

    /// The public halves, in the order of the file.
    #[must_use]
    pub fn recipients(&self) -> Vec<Recipient> {
        self.0.iter().map(public).collect()
    }

    /// A new identity from the operating system's randomness, as the text of its file, and its public half.
    #[must_use]
    pub fn generate() -> (Zeroizing<String>, Recipient) {
        let identity = age::x25519::Identity::generate();
        let recipient = public(&identity);
        let secret = identity.to_string();
        let (comment, secret) = (format!("# public key: {recipient}\n"), secret.expose_secret());
        // Large enough from the start: growing would leave a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(comment.len() + secret.len() + 1));
        text.push_str(&comment);
        text.push_str(secret);
        text.push('\n');
        (text, recipient)
    }

    /// For age.
    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| identity as &dyn age::Identity)
    }
}

fn one(line: &str, number: usize) -> Result<age::x25519::Identity, IdentityError> {
    line.parse().map_err(|_| {
        let native = line.starts_with("AGE-SECRET-KEY-1");
        let other = line.starts_with("AGE-PLUGIN-") || line.starts_with("AGE-SECRET-KEY-");
        if other && !native { IdentityError::Kind { line: number } } else { IdentityError::Malformed { line: number } }
    })
}

fn public(identity: &age::x25519::Identity) -> Recipient {
    Recipient::of(&identity.to_public())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_generated_is_read_back() -> Result<(), IdentityError> {
        let (text, recipient) = Identities::generate();
        assert!(text.starts_with("# public key: age1"));
        assert_eq!(Identities::read(text.as_bytes())?.recipients(), vec![recipient]);
        Ok(())
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (good, _) = Identities::generate();
        for (text, why) in [
            ("# nothing\n\n".to_owned(), IdentityError::Empty),
            (format!("{}AGE-PLUGIN-YUBIKEY-1QQ\n", *good), IdentityError::Kind { line: 3 }),
            ("AGE-SECRET-KEY-PQ-1QQ\n".to_owned(), IdentityError::Kind { line: 1 }),
            ("\nAGE-SECRET-KEY-1QQ\n".to_owned(), IdentityError::Malformed { line: 2 }),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned(), IdentityError::Ssh),
            ("-----BEGIN AGE ENCRYPTED FILE-----\n".to_owned(), IdentityError::Encrypted),
        ] {
            assert_eq!(Identities::read(text.as_bytes()).err(), Some(why));
        }
        assert_eq!(Identities::read(b"\xff").err(), Some(IdentityError::NotText));
    }
}
