//! The steps of an apply, and which of them need, or may run beside, which.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::address::{FileName, HostName};
use crate::desired::Source;
use crate::digest::Digest;
use crate::secret::{Fingerprint, SecretName};
use crate::sops::Recipient;

/// One step of an apply. Each carries the state that it expects to find; a step that finds another does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Make an age identity on a host that has none; one that is there is never overwritten.
    MakeIdentity {
        /// Where.
        host: HostName,
    },
    /// Write a public file.
    Publish {
        /// Which.
        file: FileName,
        /// What it will hold.
        content: Source,
        /// The digest of what is there now.
        expects: Option<Digest>,
    },
    /// Read every value of a file into memory.
    Collect {
        /// For which file.
        file: FileName,
        /// Which values; each must be the one that was planned.
        items: Vec<Wanted>,
    },
    /// Encrypt the collected values and put the file in place.
    Encrypt {
        /// Which.
        file: FileName,
        /// To whom.
        recipients: Vec<EncryptTo>,
        /// The digest of what is there now.
        expects: Option<Digest>,
    },
    /// Write `reconcile.json`.
    Index {
        /// The digests of the sops files that this plan does not encrypt; apply adds those that it does.
        files: BTreeMap<FileName, Digest>,
        /// The digest of what is there now.
        expects: Option<Digest>,
    },
    /// Bring hosts to what their files say. It deploys everything pending in their configuration.
    Switch(Group),
    /// Look at a host until it shows the new file and every declared attribute; once, when its switch failed.
    Verify {
        /// Which.
        host: HostName,
        /// Seconds until that counts as failed.
        deadline: u64,
    },
    /// Restart units of users' own managers, and remember for which values.
    RestartUserUnits {
        /// Where.
        host: HostName,
        /// Which, by user.
        units: BTreeMap<String, BTreeSet<String>>,
        /// The secrets that they are restarted for.
        secrets: BTreeSet<SecretName>,
    },
}

/// The hosts that one switch takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Group {
    /// One, with a command of its own.
    Alone {
        /// Which.
        host: HostName,
    },
    /// All that one command takes, so that colmena or deploy-rs do the fan-out. It may be one alone.
    Together {
        /// Which.
        hosts: BTreeSet<HostName>,
    },
}

impl Group {
    /// The hosts, at least one.
    #[must_use]
    pub fn hosts(&self) -> Vec<&HostName> {
        match self {
            Self::Alone { host } => vec![host],
            Self::Together { hosts } => hosts.iter().collect(),
        }
    }
}

/// What a step needs of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it goes on whatever became of that.
    Nothing,
    /// That it was begun: how a host stands after a switch that failed is worth a look.
    Begun,
    /// That it did what it says.
    Done,
}

impl Step {
    /// What this step needs of `earlier`.
    #[must_use]
    pub fn needs(&self, earlier: &Self) -> Need {
        let done = match (self, earlier) {
            (Self::Publish { content: Source::MadeByApply(of), .. }, Self::MakeIdentity { host }) => of == host,
            (Self::Encrypt { file, .. }, Self::Collect { file: of, .. }) => file == of,
            (Self::Encrypt { recipients, .. }, Self::MakeIdentity { host }) => {
                recipients.contains(&EncryptTo::MadeByApply(host.clone()))
            }
            // An index that names what is not there would break a build, and a switch deploys the whole dataset.
            (Self::Index { .. }, Self::Encrypt { .. })
            | (Self::Switch(_), Self::Publish { .. } | Self::Encrypt { .. } | Self::Index { .. }) => true,
            // A unit that restarts before its secret is there has the old one.
            (Self::RestartUserUnits { host, .. }, Self::Verify { host: of, .. }) => host == of,
            (Self::Verify { host, .. }, Self::Switch(group)) if group.hosts().contains(&host) => return Need::Begun,
            _ => false,
        };
        if done { Need::Done } else { Need::Nothing }
    }

    /// Whether this step and `other`, which stand beside each other in a plan, may run at the same time.
    #[must_use]
    pub fn may_run_beside(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Switch(_), Self::Switch(_))
                | (Self::Verify { .. }, Self::Verify { .. })
                | (Self::RestartUserUnits { .. }, Self::RestartUserUnits { .. })
        )
    }
}

/// One value to collect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// Of which secret.
    pub secret: SecretName,
    /// The value that was planned; `None` when its revision proved it unchanged without reading it.
    pub fingerprint: Option<Fingerprint>,
}

/// A recipient of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EncryptTo {
    /// This one.
    Key(Recipient),
    /// The one that an earlier step makes on this host.
    MadeByApply(HostName),
}
