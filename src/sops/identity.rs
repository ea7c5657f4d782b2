//! Identities: the private halves of age keys. They are read from a file on the host that owns them, and go nowhere.

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::recipient::Recipient;

/// The native age identities of a key file.
pub struct Identities(Vec<age::x25519::Identity>);

/// Why a text is no key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not text.
    #[error("it is not text")]
    NotText,
    /// A line that is neither a comment nor a native identity.
    #[error("line {0} is no age identity (AGE-SECRET-KEY-1…)")]
    Line(usize),
    /// Nothing in it.
    #[error("there is no identity in it")]
    Empty,
}

impl Identities {
    /// Reads a key file as `age-keygen` writes it.
    ///
    /// # Errors
    /// When a line of it is no identity, or none is.
    pub fn read(text: &[u8]) -> Result<Self, IdentityError> {
        let text = std::str::from_utf8(text).map_err(|_| IdentityError::NotText)?;
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                keys.push(line.parse().map_err(|_| IdentityError::Line(number + 1))?);
            }
        }
        if keys.is_empty() { Err(IdentityError::Empty) } else { Ok(Self(keys)) }
    }

    /// Their public halves.
    #[must_use]
    pub fn recipients(&self) -> Vec<Recipient> {
        self.0.iter().filter_map(|key| key.to_public().to_string().parse().ok()).collect()
    }

    /// Makes an identity: the text of a key file, and its public half.
    #[must_use]
    pub fn generate() -> (Zeroizing<String>, Option<Recipient>) {
        let key = age::x25519::Identity::generate();
        let public = key.to_public().to_string();
        let private = key.to_string();
        let text = Zeroizing::new(format!("# public key: {public}\n{}\n", private.expose_secret()));
        (text, public.parse().ok())
    }

    pub(super) fn keys(&self) -> &[age::x25519::Identity] {
        &self.0
    }
}
