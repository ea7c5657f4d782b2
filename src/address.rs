//! Addresses: what a plan, a receipt and `--target` call the things that are reconciled.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::{NameError, SecretName};
use crate::text::Untrusted;

/// Defines a name of one path component, checked when it is parsed.
macro_rules! component {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ComponentError;

            fn from_str(text: &str) -> Result<Self, ComponentError> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

component! {
    /// A file directly in the dataset directory, such as `secrets.yaml`.
    FileName
}
impl FileName {
    /// What the index is called; nothing else in the dataset may be.
    pub const INDEX: &str = "reconcile.json";

    /// The name of the index: what Nix reads of the manifest.
    #[must_use]
    pub fn index() -> Self {
        Self(Self::INDEX.to_owned())
    }
}

component! {
    /// A host as the manifest calls it.
    HostName
}

/// Why a text is no file or host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// Nothing at all.
    #[error("a name is empty")]
    Empty,
    /// A character that has no place in a file name.
    #[error("{0:?} cannot stand in a name: use letters, digits and _ . -, and begin with a letter, a digit or _")]
    Character(char),
}

fn check(text: &str) -> Result<(), ComponentError> {
    let first = text.chars().next().ok_or(ComponentError::Empty)?;
    if !first.is_ascii_alphanumeric() && first != '_' {
        return Err(ComponentError::Character(first));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_.-".contains(*c)) {
        Some(c) => Err(ComponentError::Character(c)),
        None => Ok(()),
    }
}

/// The path of a key in a sops file, one component a level of nesting. It may come from a file that somebody
/// else wrote, so it is shown through [`Untrusted`] alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// A path from its components.
    pub fn new(components: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(components.into_iter().map(Into::into).collect())
    }

    /// The components, outermost first.
    #[must_use]
    pub fn components(&self) -> &[String] {
        &self.0
    }

    /// The components joined by `/`, as the manifest's `key:` and sops-nix write it.
    #[must_use]
    pub fn joined(&self) -> Untrusted {
        Untrusted::new(self.0.join("/"))
    }
}

impl From<&SecretName> for KeyPath {
    fn from(name: &SecretName) -> Self {
        Self::new(name.components())
    }
}

/// What is reconciled: `secret.tailscale/auth-key`, `file.secrets.yaml`, `host.vm`; `key.secrets.yaml/old` is a key
/// of a sops file that is no secret of the manifest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Address {
    /// A public or encrypted file of the dataset.
    File(FileName),
    /// A secret of the manifest, or one that used to be.
    Secret(SecretName),
    /// A key that somebody else put into a sops file.
    Key(FileName, KeyPath),
    /// A machine that decrypts.
    Host(HostName),
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No kind in front.
    #[error("an address is secret.NAME, file.NAME, host.NAME or key.FILE/PATH")]
    Kind,
    /// The name of a secret is malformed.
    #[error(transparent)]
    Secret(#[from] NameError),
    /// The name of a file or host is malformed.
    #[error(transparent)]
    Component(#[from] ComponentError),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once('.') {
            Some(("secret", name)) => Ok(Self::Secret(name.parse()?)),
            Some(("file", name)) => Ok(Self::File(name.parse()?)),
            Some(("host", name)) => Ok(Self::Host(name.parse()?)),
            Some(("key", name)) => {
                let (file, path) = name.split_once('/').ok_or(AddressError::Kind)?;
                Ok(Self::Key(file.parse()?, KeyPath::new(path.split('/'))))
            }
            _ => Err(AddressError::Kind),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file.{name}"),
            Self::Secret(name) => write!(f, "secret.{name}"),
            Self::Key(file, path) => write!(f, "key.{file}/{}", path.joined().printable()),
            Self::Host(name) => write!(f, "host.{name}"),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in ["secret.tailscale/auth-key", "file.secrets.yaml", "host.vm", "key.secrets.yaml/old/one"] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(text.to_owned()));
        }
        for text in ["vm", "disk.a", "file.a/b", "host.", "secret.a//b", "file...", "host.-x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
