//! What a plan cannot do, and what is in the way.

use serde::Serialize;

use crate::address::Address;
use crate::observation::Cause;
use crate::sops::Recipient;
use crate::text::Untrusted;

/// Something that would have to change or be known, and cannot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Blocked {
    /// What.
    pub address: Address,
    /// By what.
    pub by: Blocker,
}

/// What blocks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "blocked_by", rename_all = "snake_case")]
pub enum Blocker {
    /// Something that must be known is not.
    Unknown(Cause),
    /// A key that is not ours and not declared would be lost: declare it, or `--destroy-foreign` it.
    ForeignKey,
    /// A host's key is not the accepted one: `--accept-recipient` takes the new one.
    HostKeyChanged {
        /// The accepted one, which would go.
        accepted: Recipient,
        /// The one now seen; `None` when the host has lost its identity and a new one would be made.
        offered: Option<Recipient>,
        /// Where it was seen.
        seen: KeySeen,
    },
    /// The key of a host was never accepted and cannot be read now: a file alone is not believed.
    HostKeyUnverified {
        /// Why not; `None` when the host was seen, and has none.
        cause: Option<Cause>,
        /// The one in the dataset, which `--accept-recipient` would take: only where nobody but root sees the host's own.
        offered: Option<Recipient>,
    },
    /// The sops file is broken: `--replace` writes it anew.
    FileBroken {
        /// What is wrong with it.
        problem: Untrusted,
    },
    /// The file uses Shamir key groups: it is not ours to write.
    KeyGroups,
    /// It depends on something that is blocked.
    DependsOn {
        /// What.
        on: Address,
    },
}

/// Where another key than the accepted one was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySeen {
    /// On the host, just now.
    OnHost,
    /// In the dataset, while the host could not be asked.
    InDataset,
    /// The manifest names another than the one that was accepted or that the host has.
    InManifest,
}
