//! The actual state: what the dataset's files and the hosts show without any key. Plain data, filled by `observe`.

use std::collections::BTreeMap;

use crate::address::{FileName, HostName};
use crate::digest::Digest;
use crate::index::Index;
use crate::observation::Observation;
use crate::secret::SecretName;
use crate::sops::{Recipient, SopsFile};
use crate::text::Untrusted;

/// What the dataset and the hosts show.
#[derive(Debug, Clone)]
pub struct Actual {
    /// Each sops file and public file that the manifest names.
    pub files: BTreeMap<FileName, Observation<FileState>>,
    /// `reconcile.json`.
    pub index: Observation<IndexState>,
    /// Each host.
    pub hosts: BTreeMap<HostName, Observation<HostState>>,
}

/// A file of the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// There is none.
    Absent,
    /// A sops file that could be read.
    Sops(Box<SopsFile>),
    /// Where a sops file belongs there is something else: cut off, with conflict markers, of another tool.
    Broken {
        /// Of its bytes.
        digest: Digest,
        /// What is wrong with it.
        problem: Untrusted,
    },
    /// A public file.
    Public {
        /// Of its bytes.
        digest: Digest,
        /// Its bytes, at most 64 KiB.
        content: Vec<u8>,
    },
}

impl FileState {
    /// The digest of the file's bytes, if there is a file.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Absent => None,
            Self::Sops(file) => Some(file.digest),
            Self::Broken { digest, .. } | Self::Public { digest, .. } => Some(*digest),
        }
    }
}

/// The index as it stands in the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// There is none.
    Absent,
    /// One that could be read.
    Present {
        /// Of its bytes.
        digest: Digest,
        /// What it says.
        index: Box<Index>,
    },
    /// Something that is no index of a version we know.
    Broken {
        /// Of its bytes.
        digest: Digest,
    },
}

/// A host that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// Its age identity.
    pub identity: Observation<IdentityState>,
    /// Where the running system is, such as the target of `/run/current-system`.
    pub system: Option<Untrusted>,
    /// The number of the live generation of secrets, such as 41 for `/run/secrets.d/41`.
    pub generation: Option<u64>,
    /// The digest of the sops file that the running system (or our own activation) installs from. `None` when the host
    /// does not say: then what the receipt recorded counts.
    pub installs: Option<Digest>,
    /// The digest of the sops file as the host sees the dataset, if `path_on_host` is declared.
    pub sees: Option<Observation<Option<Digest>>>,
    /// Each secret that the manifest delivers to it.
    pub secrets: BTreeMap<SecretName, Observation<InstalledState>>,
    /// The rbw of the user whom `rbw_config` names; `None` where it names none.
    pub rbw: Option<Observation<RbwState>>,
    /// Whether the last activation put in place what it was meant to; unknown activations count as `Unclear`.
    pub activation: Activation,
    /// Things worth a line, such as that `sudo` is refused there.
    pub notes: Vec<Untrusted>,
}

/// The age identity of a host. The private half never leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityState {
    /// Its public half, read live.
    Present(Recipient),
    /// It has none.
    Absent,
}

/// One secret on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstalledState {
    /// It is not there.
    Absent,
    /// It is there.
    Present(Installed),
}

/// What any user who knows the name can see of an installed secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The owner's name.
    pub owner: Untrusted,
    /// The group's name.
    pub group: Untrusted,
    /// The permission bits.
    pub mode: u16,
    /// The size in bytes, compared with what the ciphertext shows and never displayed.
    pub size: u64,
    /// Which key of its file the host's configuration puts there; `None` when it does not tell.
    pub key: Option<Untrusted>,
    /// Whether it is of a generation, such as 41 for `/run/secrets.d/41`; `None` when the host cannot tell.
    pub generation: Option<Generation>,
}

/// Where an installed secret comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// It is of this generation.
    Number(u64),
    /// It is a file of its own, which no activation will change.
    None,
}

/// The rbw of a user of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RbwState {
    /// It is configured, and logged in.
    LoggedIn,
    /// It is configured, and its user has to log in.
    LoggedOut,
    /// It does not know its account.
    Unconfigured,
}

/// How the last activation of secrets on a host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The live generation is of the running system.
    Succeeded,
    /// The system names a newer file than the generation that is live: it failed.
    Failed,
    /// The host does not tell.
    Unclear,
}
