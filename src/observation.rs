//! An observation: known, or unknown with a cause. Unknown is data, not an error: it blocks only what depends on it.

use std::fmt;

use serde::Serialize;

use crate::address::HostName;
use crate::manifest::UnsetVariable;
use crate::text::Untrusted;

/// Something looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation<T> {
    /// What was seen.
    Known(T),
    /// It could not be seen.
    Unknown(Cause),
}

impl<T> Observation<T> {
    /// What was seen, if anything.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(seen) => Some(seen),
            Self::Unknown(_) => None,
        }
    }

    /// Why nothing was seen.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(cause) => Some(cause),
        }
    }
}

/// Why something is unknown. Rendering turns it into a sentence and the command that helps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// No item has exactly this name (or id).
    ItemMissing {
        /// What was looked for.
        wanted: Untrusted,
        /// The nearest names there are.
        similar: Vec<Untrusted>,
    },
    /// Several items have it.
    ItemAmbiguous {
        /// What was looked for.
        wanted: Untrusted,
        /// How many there are.
        count: usize,
    },
    /// The item is there and its field is empty.
    ItemEmpty {
        /// The item.
        item: Untrusted,
    },
    /// The item has no such field.
    FieldMissing {
        /// The item.
        item: Untrusted,
        /// The field.
        field: Untrusted,
    },
    /// The item asks for the master password at each use: not in the background.
    ItemReprompt {
        /// The item.
        item: Untrusted,
    },
    /// The vault could not decrypt the item or the read failed.
    ItemUnreadable {
        /// The item.
        item: Untrusted,
        /// What the program said, without any value.
        detail: Untrusted,
    },
    /// The item that is to hold the key of fingerprints holds something else.
    NoFingerprintKey {
        /// The item.
        item: Untrusted,
    },
    /// The vault is locked and may not be unlocked here.
    VaultLocked {
        /// The command that unlocks it.
        unlock: String,
        /// What cannot be told for that.
        hidden: Hidden,
    },
    /// The vault's program is not installed, not logged in, not running, or failed.
    VaultUnavailable {
        /// What failed.
        what: Untrusted,
        /// What to do next.
        next: String,
    },
    /// The host did not answer.
    HostUnreachable {
        /// The host.
        host: HostName,
        /// In a few words, such as `connection refused`.
        detail: Untrusted,
    },
    /// The host's ssh key is unknown or has changed.
    HostKeyRefused {
        /// The host.
        host: HostName,
        /// What ssh said.
        detail: Untrusted,
    },
    /// Only root can see it there, and `become: never`.
    NeedsRoot {
        /// The host.
        host: HostName,
    },
    /// The host answered something that is not understood.
    HostUnclear {
        /// The host.
        host: HostName,
        /// What.
        detail: Untrusted,
    },
    /// A file could not be read.
    FileUnreadable {
        /// Its path.
        path: Untrusted,
        /// The operating system's words.
        detail: Untrusted,
    },
    /// A file that is not taken: a symlink, a directory, too large, or a private key.
    FileRefused {
        /// Its path.
        path: Untrusted,
        /// Why.
        why: String,
    },
    /// A variable of the manifest is not set here.
    Unset(UnsetVariable),
    /// `--refresh=false`, or outside of what `--target` named: it was not looked at.
    NotLookedAt,
}

/// What a locked vault does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// Nothing of it was to be seen.
    Anything,
    /// What its new items are called, and so which one is meant.
    Names,
    /// A value that no revision proves unchanged.
    Value,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ItemMissing { wanted, similar } => {
                write!(f, "no item is called \"{}\"", wanted.printable())?;
                match similar.first() {
                    Some(near) => write!(f, " (did you mean \"{}\"?)", near.printable()),
                    None => Ok(()),
                }
            }
            Self::ItemAmbiguous { wanted, count } => {
                write!(f, "{count} items are called \"{}\"", wanted.printable())
            }
            Self::ItemEmpty { item } => write!(f, "the item \"{}\" is empty there", item.printable()),
            Self::FieldMissing { item, field } => {
                write!(f, "the item \"{}\" has no field {}", item.printable(), field.printable())
            }
            Self::ItemReprompt { item } => {
                write!(f, "the item \"{}\" asks for the master password at each use", item.printable())
            }
            Self::ItemUnreadable { item, detail } => {
                write!(f, "the item \"{}\" cannot be read: {}", item.printable(), detail.printable())
            }
            Self::NoFingerprintKey { item } => {
                write!(f, "what the item \"{}\" holds is no fingerprint key", item.printable())
            }
            Self::VaultLocked { hidden: Hidden::Anything, .. } => f.write_str("the vault is locked"),
            Self::VaultLocked { hidden: Hidden::Names, .. } => {
                f.write_str("it may have changed: items were added or renamed, and the vault is locked")
            }
            Self::VaultLocked { hidden: Hidden::Value, .. } => {
                f.write_str("it may have changed: its item was saved anew or never read, and the vault is locked")
            }
            Self::VaultUnavailable { what, .. } => f.write_str(&what.printable()),
            Self::HostUnreachable { detail, .. } => write!(f, "unreachable ({})", detail.printable()),
            Self::HostKeyRefused { detail, .. } => write!(f, "its ssh key was refused ({})", detail.printable()),
            Self::NeedsRoot { .. } => f.write_str("only root can see it there"),
            Self::HostUnclear { detail, .. } => {
                write!(f, "it answered what is not understood ({})", detail.printable())
            }
            Self::FileUnreadable { path, detail } => {
                write!(f, "{} cannot be read: {}", path.printable(), detail.printable())
            }
            Self::FileRefused { path, why } => write!(f, "{} is not taken: {why}", path.printable()),
            Self::Unset(unset) => unset.fmt(f),
            Self::NotLookedAt => f.write_str("not looked at"),
        }
    }
}

impl Cause {
    /// The same, of `name`: a vault that was asked by id speaks of the id, and the name says more.
    #[must_use]
    pub fn about(self, id: &Untrusted, name: &Untrusted) -> Self {
        let better = |item: Untrusted| if item == *id { name.clone() } else { item };
        match self {
            Self::ItemMissing { wanted, similar } => Self::ItemMissing { wanted: better(wanted), similar },
            Self::ItemEmpty { item } => Self::ItemEmpty { item: better(item) },
            Self::FieldMissing { item, field } => Self::FieldMissing { item: better(item), field },
            Self::ItemUnreadable { item, detail } => Self::ItemUnreadable { item: better(item), detail },
            cause => cause,
        }
    }

    /// Whether the vault was seen and the item itself is at fault, rather than that the vault could not be seen.
    #[must_use]
    pub fn is_of_the_item(&self) -> bool {
        matches!(
            self,
            Self::ItemMissing { .. }
                | Self::ItemAmbiguous { .. }
                | Self::ItemEmpty { .. }
                | Self::FieldMissing { .. }
                | Self::ItemReprompt { .. }
                | Self::ItemUnreadable { .. }
        )
    }

    /// What to do next, if there is something: a command, or a hint in a few words.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        match self {
            Self::ItemMissing { .. } | Self::FieldMissing { .. } => {
                Some("correct `item:` in the manifest, or add it to the vault".to_owned())
            }
            Self::ItemAmbiguous { .. } => {
                Some("tell them apart in the manifest: item: {id: …}, or {name: …, user: …, folder: …}".to_owned())
            }
            Self::ItemEmpty { .. } => {
                Some("fill it in the vault, or name another field: item: {…, field: notes}".to_owned())
            }
            Self::ItemReprompt { .. } => {
                Some("switch off \"master password re-prompt\" for it in the vault".to_owned())
            }
            Self::VaultLocked { unlock, .. } => Some(unlock.clone()),
            Self::VaultUnavailable { next, .. } => Some(next.clone()),
            Self::HostKeyRefused { host, .. } => {
                Some(format!("compare the key of {host} on its console, then: ssh-keygen -R, and connect once by hand"))
            }
            Self::NeedsRoot { .. } => Some("become: sudo".to_owned()),
            Self::Unset(unset) => Some(format!("export {}=…", unset.variable)),
            Self::ItemUnreadable { .. }
            | Self::NoFingerprintKey { .. }
            | Self::HostUnreachable { .. }
            | Self::HostUnclear { .. }
            | Self::FileUnreadable { .. }
            | Self::FileRefused { .. }
            | Self::NotLookedAt => None,
        }
    }
}
