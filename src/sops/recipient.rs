//! Recipients: the public halves of age keys, to which a file is encrypted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A native age recipient, `age1…` (X25519).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(String);

/// Why a text is no recipient that a host can decrypt with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// sops takes these, and sops-nix fails on them at activation.
    #[error(
        "sops-nix cannot decrypt for an ssh key: use the host's age key, or `recipient: {{ssh_host_key: {{}}}}`, which converts it as sops-nix does"
    )]
    Ssh,
    /// A private key where a public one belongs.
    #[error("this is a private age key: use its public half (age-keygen -y)")]
    Private,
    /// A plugin's or post-quantum recipient.
    #[error("only native X25519 recipients (age1 and 58 more characters) can be encrypted to")]
    Plugin,
    /// Not a recipient.
    #[error("not an age recipient: it must be age1 and 58 more characters, with a correct checksum")]
    Malformed,
}

impl Recipient {
    /// The recipient as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that age made.
    pub(super) fn of(recipient: &age::x25519::Recipient) -> Self {
        Self(recipient.to_string())
    }

    /// `age1egx…qlvte`: enough for a person to tell two apart.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}…{}", &self.0[..7], &self.0[self.0.len() - 5..])
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        if text.starts_with("ssh-") || text.starts_with("ecdsa-") {
            return Err(RecipientError::Ssh);
        }
        if text.get(..15).is_some_and(|head| head.eq_ignore_ascii_case("age-secret-key-")) {
            return Err(RecipientError::Private);
        }
        if text.parse::<age::x25519::Recipient>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        // The part of bech32 in front of the last "1" names a plugin or another kind of key.
        match text.rsplit_once('1') {
            Some((kind, _)) if kind.starts_with("age1") => Err(RecipientError::Plugin),
            _ => Err(RecipientError::Malformed),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn only_native_recipients_are_taken() {
        assert_eq!(GOOD.parse::<Recipient>().map(|r| r.short()), Ok("age1ql3…cac8p".to_owned()));
        let flipped = GOOD.replace("ql3z", "ql3y");
        for (text, why) in [
            ("ssh-ed25519 AAAA", RecipientError::Ssh),
            ("AGE-SECRET-KEY-1QQ", RecipientError::Private),
            ("age1yubikey1qxxx", RecipientError::Plugin),
            (flipped.as_str(), RecipientError::Malformed),
            ("", RecipientError::Malformed),
        ] {
            assert_eq!(text.parse::<Recipient>(), Err(why), "{text}");
        }
    }
}
