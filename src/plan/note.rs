//! What is worth a line in a plan and changes nothing.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::address::{Address, FileName, HostName};
use crate::observation::Cause;
use crate::secret::SecretName;
use crate::sops::Recipient;
use crate::text::Untrusted;

/// What is worth a line and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// A run-time secret cannot be had.
    RuntimeSecret {
        /// Which.
        secret: SecretName,
        /// Why.
        cause: Cause,
    },
    /// Approving the plan accepts the key of a host that the manifest does not name itself.
    KeyAccepted {
        /// Which host.
        host: HostName,
        /// Its key.
        key: Recipient,
        /// The one that was accepted before.
        instead_of: Option<Recipient>,
    },
    /// The key of a host could only be read by root: the accepted one is used unverified.
    HostKeyUnverified {
        /// Which host.
        host: HostName,
    },
    /// A host has no `switch`: bringing it up to date is left to its owner.
    SwitchByHand {
        /// Which host.
        host: HostName,
    },
    /// `--no-switch`: a host that would be switched.
    SwitchWithheld {
        /// Which host.
        host: HostName,
    },
    /// What `--target` did not name and comes along, since a file is encrypted whole.
    ComesAlong {
        /// What.
        address: Address,
    },
    /// `--target` is in effect.
    Targeted,
    /// The receipt was made under another fingerprint key.
    OtherFingerprintKey,
    /// There is a sops file and no receipt: what another machine applied is not known here, and could be.
    NotShared,
    /// A file that we published once is no longer declared; it stays.
    FileForgotten {
        /// Which.
        file: FileName,
    },
    /// A file reaches a host for which a secret in it was not declared.
    Overshared {
        /// Which secret.
        secret: SecretName,
        /// Which host can decrypt it.
        host: HostName,
    },
    /// A user of a host whose rbw the manifest configures, and which is not known to be: that user runs it there.
    RbwConfig {
        /// Which host.
        host: HostName,
        /// Whose rbw.
        user: String,
        /// Whether it was seen not to be configured.
        missing: bool,
        /// Where the host sees the dataset.
        dataset: String,
    },
    /// The rbw of a user of a host is configured and not logged in, so that no run-time secret is to be had there.
    RbwLoggedOut {
        /// Which host.
        host: HostName,
        /// Whose rbw.
        user: String,
        /// What logs it in, to be typed by somebody who knows the master password.
        command: String,
    },
    /// Whether the rbw of a user of a host is logged in cannot be seen.
    RbwUnseen {
        /// Which host.
        host: HostName,
        /// Whose rbw.
        user: String,
        /// Why not.
        cause: Cause,
    },
    /// A host does not see the sops file as it is: a shared folder lags, or is not shared.
    DatasetLags {
        /// Which host.
        host: HostName,
        /// The sops file.
        file: FileName,
        /// Where the host sees the dataset.
        place: String,
        /// Whether it sees an older file there, rather than none.
        older: bool,
    },
    /// The shell functions of this terminal are not those of the manifest.
    FunctionsStale {
        /// The line that evaluates them.
        line: String,
    },
    /// Commands that have a function in this terminal, and are no program.
    CommandsMissing {
        /// Which.
        commands: BTreeSet<String>,
    },
    /// What a host says of itself.
    Host {
        /// Which.
        host: HostName,
        /// What.
        text: Untrusted,
    },
}
