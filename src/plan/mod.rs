//! The decisions: which values must be read, what changes and why, and in which order; how far each secret has come, and
//! who has access to it. Pure.
//!
//! The decision table, top down; each row is one [`Reason`] or [`Blocker`] and stands in the file named beside it:
//!
//! | observed | change | reason | file |
//! |---|---|---|---|
//! | file absent, key absent | create | `FileMissing`, `KeyMissing` | [`keys`](self) |
//! | file or key recorded, and gone | create (drift) | `RemovedOutside` | keys, public |
//! | key recorded as ours, no longer declared | destroy | `KeyUndeclared` | keys |
//! | key not ours and not declared | blocked, or destroy on request | `ForeignKey` | keys |
//! | revision and fingerprint differ | update | `ValueChanged` | keys |
//! | the same, and the item or field is another one | update | `OtherItem` | keys |
//! | no receipt for it, or under another key | update | `NeverRecorded`, `OtherFingerprintKey` | keys |
//! | ciphertext is not the one we wrote | update (drift) | `EditedOutside`, `WrongType` | keys |
//! | `moved`, or another `key:` | update | `Renamed` | keys |
//! | file is not the one we wrote, each key is | update (drift) | `FileEditedOutside` | files |
//! | file broken, or of key groups | blocked, or update on request | `FileBroken`, `KeyGroups` | files |
//! | file is as it should be | update on request | `Replaced` | files |
//! | recipients are not the hosts' accepted keys | update | `RecipientsChanged` | files |
//! | a host's key is not the accepted one | blocked | `HostKeyChanged`, `HostKeyUnverified` | trust |
//! | dataset file is not its source | update | `SourceChanged` | public |
//! | owner, mode, units, binding are not the index's | update | `DeclarationChanged`, `IndexStale` | index |
//! | host's live file or secrets are not ours | switch | `HostBehind`, `HostDrifted`, `ActivationFailed` | hosts |
//! | units of users last restarted for another value | restart | `UnitsBehind` | units |
//! | item missing, ambiguous, empty; vault locked; host unreachable | blocked | `Unknown` | keys, hosts |

mod access;
mod blocked;
mod files;
mod hosts;
mod index;
mod keys;
mod model;
mod note;
mod proven;
mod public;
mod scope;
mod status;
mod step;
mod steps;
mod trust;
mod units;

pub use access::{Access, Decrypts, FileSeen, Holder, KeyHolder, KeyKnown, Readable, Reader, access};
pub use blocked::{Blocked, Blocker, KeySeen};
pub use hosts::outstanding;
pub use model::{Action, Change, Counts, Details, Difference, Install, Plan, Reason};
pub use note::Note;
pub use proven::with_proven;
pub use status::{BootLine, RuntimeLine, Standing, Status, status};
pub use step::{EncryptTo, Group, Need, Step, Wanted};

use std::collections::BTreeSet;

use crate::actual::Actual;
use crate::address::{Address, HostName};
use crate::desired::Desired;
use crate::manifest::Manifest;
use crate::receipt::Receipt;
use crate::secret::SecretName;

use self::scope::Scope;

/// What the operator asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--target`: only these and what their files bring along; empty means everything.
    pub targets: BTreeSet<Address>,
    /// `--accept-recipient`: hosts whose new key is taken.
    pub accept_recipients: BTreeSet<HostName>,
    /// `--destroy-foreign`: keys of others that may be lost.
    pub destroy_foreign: BTreeSet<Address>,
    /// `--replace`: files that are written anew, broken or not.
    pub replace: BTreeSet<Address>,
    /// `--no-switch`: hosts are left as they are.
    pub no_switch: bool,
}

/// Everything that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What is declared.
    pub manifest: &'a Manifest,
    /// What the vault says.
    pub desired: &'a Desired,
    /// What files and hosts show.
    pub actual: &'a Actual,
    /// What the last apply wrote, settled against `actual`.
    pub receipt: &'a Receipt,
    /// What the operator asked for.
    pub wishes: &'a Wishes,
}

/// Which boot secrets' values must be read before [`plan`] can tell whether they changed: those that no revision proves
/// unchanged.
#[must_use]
pub fn reads(inputs: Inputs<'_>) -> BTreeSet<SecretName> {
    let scope = Scope::of(inputs);
    let files = inputs.manifest.sops_files();
    let mut names = BTreeSet::new();
    for file in files.keys().filter(|file| scope.has_file(file)) {
        let held = keys::Held::of(inputs, file);
        let declared = inputs.manifest.boot_secrets(file).map(|(name, ..)| name);
        names.extend(declared.filter(|name| keys::must_be_read(inputs, &held, name)).cloned());
    }
    names
}

/// Decides what changes, why, and in which steps.
#[must_use]
pub fn plan(inputs: Inputs<'_>) -> Plan {
    let scope = Scope::of(inputs);
    let mut plan = Plan::default();
    let trusts = trust::decide(inputs, &scope, &mut plan);
    let published = public::decide(inputs, &scope, &trusts, &mut plan);
    let verdicts = files::decide(inputs, &scope, &trusts, &mut plan);
    let index = index::decide(inputs, &verdicts, &mut plan);
    let hosts = hosts::decide(inputs, &scope, &trusts, &verdicts, &index, &mut plan);
    plan.steps = steps::in_order(&trusts, published, &verdicts, index, hosts);
    scope.add_notes(inputs, &mut plan);
    plan.blocked.sort();
    plan.blocked.dedup();
    plan
}

#[cfg(test)]
mod tests;
