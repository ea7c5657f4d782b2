//! A plan as plain data: what will change and why, what is blocked and by what, and the steps in their order.
//! It holds no value and no length. Two plans are the same plan when they are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::address::{Address, FileName, HostName};
use crate::observation::Cause;
use crate::plan::{Blocked, Note, Step};
use crate::secret::SecretName;
use crate::sops::Recipient;
use crate::text::Untrusted;

/// What an apply would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What will change, in the order in which it is shown: files, secrets, keys, hosts.
    pub changes: Vec<Change>,
    /// What would have to change or be known, and cannot; each says by what. It is left as it is.
    pub blocked: Vec<Blocked>,
    /// What was not looked at or did not answer; nothing is said about it.
    pub unchecked: BTreeMap<Address, Cause>,
    /// What is worth a line and changes nothing.
    pub notes: BTreeSet<Note>,
    /// Host keys that approving this plan accepts: first sight, or `--accept-recipient`.
    pub accepts: BTreeMap<HostName, Recipient>,
    /// What will be done, in order.
    pub steps: Vec<Step>,
}

/// One thing that will change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What.
    pub address: Address,
    /// How.
    pub action: Action,
    /// Why; never empty. It explains and never decides.
    pub reasons: BTreeSet<Reason>,
    /// What a reader wants to know beside it.
    pub details: Details,
}

/// How a thing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is not there and will be.
    Create,
    /// It is there and will differ.
    Update,
    /// It will be gone.
    Destroy,
    /// A host is brought to what its file says.
    Switch,
    /// Units of users restart on a host.
    Restart,
}

/// Why something changes: one for each row of the decision table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The file is not there.
    FileMissing,
    /// The sops file has no such key.
    KeyMissing,
    /// It was there after the last apply: somebody removed it.
    RemovedOutside,
    /// The receipt knows the key as ours, and the manifest no longer declares it.
    KeyUndeclared,
    /// Somebody else's key, destroyed because `--destroy-foreign` names it.
    ForeignKey,
    /// The vault's value is another than the one we wrote.
    ValueChanged,
    /// The manifest names another item or field than the one we wrote it from, and that one has another value.
    OtherItem,
    /// No receipt knows it: what it holds cannot be told.
    NeverRecorded,
    /// The receipt was made under another fingerprint key: what it holds cannot be told.
    OtherFingerprintKey,
    /// Its ciphertext is not the one we wrote.
    EditedOutside,
    /// The file as a whole is not the one we wrote, though each of its values is: `lastmodified`, the MAC or the layout.
    FileEditedOutside,
    /// It holds a type that no host installs.
    WrongType,
    /// The file is cut off, has conflict markers or is none of sops; replaced because `--replace` names it.
    FileBroken,
    /// It is written anew because `--replace` names it, whatever it holds: what does not decrypt looks like what does.
    Replaced,
    /// What the manifest says of owner, mode, units or binding is not what the index says.
    DeclarationChanged,
    /// It had another name.
    Renamed {
        /// The old one.
        from: SecretName,
    },
    /// The file is encrypted to others than its hosts' accepted keys.
    RecipientsChanged {
        /// Recipients that come.
        added: BTreeSet<Recipient>,
        /// Recipients that go.
        removed: BTreeSet<Untrusted>,
    },
    /// A public file differs from its source, and is the one we wrote.
    SourceChanged,
    /// The index does not belong to the manifest and the file.
    IndexStale,
    /// The file or index that it installs from changes in this plan.
    FileChanges,
    /// It installs from an older file.
    HostBehind,
    /// A secret there is absent or has another owner, group, mode or size than declared.
    HostDrifted {
        /// Which, and what differs: `absent`, `owner`, `group`, `mode`, `size`.
        secrets: BTreeMap<SecretName, BTreeSet<Difference>>,
    },
    /// Its last activation failed: what is live is older than its system.
    ActivationFailed,
    /// Units of users were not restarted since these secrets changed there.
    UnitsBehind {
        /// Which.
        secrets: BTreeSet<SecretName>,
    },
}

/// What differs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It is not there.
    Absent,
    /// The owner.
    Owner,
    /// The group.
    Group,
    /// The mode.
    Mode,
    /// The size: it holds another value.
    Size,
    /// The key of the file: its configuration installs another one there.
    Key,
    /// It is a file of its own: no activation changes it.
    Stray,
    /// It is of another generation than the live one.
    Generation,
}

impl Difference {
    /// What differs, as a sentence says it.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Absent => "it is not there",
            Self::Owner => "another owner",
            Self::Group => "another group",
            Self::Mode => "another mode",
            Self::Size => "another size than its value",
            Self::Key => "another key of the file, as the host's own configuration says",
            Self::Generation => "of another generation than the live one",
            Self::Stray => "a file of its own in its place, which no activation changes",
        }
    }
}

impl Reason {
    /// Whether it tells that something moved behind our back, rather than that the wish changed.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        matches!(
            self,
            Self::RemovedOutside
                | Self::EditedOutside
                | Self::FileEditedOutside
                | Self::WrongType
                | Self::FileBroken
                | Self::HostDrifted { .. }
                | Self::ActivationFailed
        )
    }
}

/// What a reader wants to know beside a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Details {
    /// Of a secret.
    Secret {
        /// The item it comes from.
        item: Untrusted,
        /// The file that carries it.
        file: FileName,
        /// Where it arrives.
        installs: Vec<Install>,
        /// The option that takes its path, dotted.
        bind: Option<String>,
        /// Units that restart or reload when it changes.
        units: Vec<String>,
        /// When its item was changed, seconds since 1970.
        changed_at: Option<i64>,
    },
    /// Of a key that goes.
    Key {
        /// The file that loses it.
        file: FileName,
    },
    /// Of a public file.
    Public {
        /// Such as `read from host vm` or `copy of ~/.ssh/id_ed25519.pub`.
        source: String,
        /// Its one line, cut; `None` when it is known after apply.
        content: Option<Untrusted>,
    },
    /// Of a sops file, counted on its own only where no secret in it explains it.
    Sops {
        /// To whom it will be encrypted.
        hosts: BTreeSet<HostName>,
    },
    /// Of the index, counted on its own only where no other change brings it along.
    Index,
    /// Of a host.
    Host {
        /// The switch in a few words, such as `bash docs/vm.sh switch`.
        switch: String,
        /// Whether it deploys whatever else is pending in the host's configuration.
        everything: bool,
        /// The units of users that restart afterwards, by user.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        restarts: BTreeMap<String, BTreeSet<String>>,
    },
    /// Of a host on which only units of users restart.
    Units {
        /// Which, by user.
        units: BTreeMap<String, BTreeSet<String>>,
    },
}

/// Where a secret arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Install {
    /// The host.
    pub host: HostName,
    /// The path there.
    pub path: String,
    /// The declared owner.
    pub owner: Option<String>,
    /// The declared group.
    pub group: Option<String>,
    /// The declared mode.
    pub mode: Option<String>,
}

/// The numbers of the summary line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Secrets and files to add.
    pub add: usize,
    /// Secrets and files to change.
    pub change: usize,
    /// Secrets and keys to destroy.
    pub destroy: usize,
    /// Files to encrypt.
    pub encrypt: usize,
    /// Hosts to switch.
    pub switch: usize,
    /// Hosts on which only units of users restart.
    #[serde(default)]
    pub restart: usize,
}

impl Plan {
    /// Whether there is nothing to do and nothing in the way. Only with nothing unchecked is that `No changes.`
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.blocked.is_empty() && self.steps.is_empty()
    }

    /// Whether everything was looked at and nothing is left to somebody's hand.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let left = |note: &Note| matches!(note, Note::SwitchByHand { .. } | Note::SwitchWithheld { .. });
        self.unchecked.is_empty() && self.blocked.is_empty() && !self.notes.iter().any(left)
    }

    /// Whether several switches run at the same time when so many may: then none of them has the terminal.
    #[must_use]
    pub fn switches_at_once(&self, parallelism: NonZeroUsize) -> bool {
        let switches = self.steps.iter().filter(|step| matches!(step, Step::Switch(_)));
        parallelism.get().min(switches.count()) > 1
    }

    /// The numbers of the summary line: secrets and dataset files; hosts and encryptions apart.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counted = |action: Action| self.changes.iter().filter(|change| change.action == action).count();
        let switched = |step: &Step| if let Step::Switch(group) = step { group.hosts().len() } else { 0 };
        Counts {
            add: counted(Action::Create),
            change: counted(Action::Update),
            destroy: counted(Action::Destroy),
            encrypt: self.steps.iter().filter(|step| matches!(step, Step::Encrypt { .. })).count(),
            switch: self.steps.iter().map(switched).sum(),
            restart: counted(Action::Restart),
        }
    }
}
