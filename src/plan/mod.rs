//! The decisions: which values must be read, what changes and why, and in which order. Pure.

mod model;

pub use model::{
    Action, Blocked, Blocker, Change, Counts, Details, Difference, EncryptTo, Install, KeySeen, Note, Plan, Reason,
    Step, Wanted,
};

use std::collections::BTreeSet;

use crate::actual::Actual;
use crate::address::{Address, HostName};
use crate::desired::Desired;
use crate::manifest::Manifest;
use crate::receipt::Receipt;
use crate::secret::SecretName;

/// What the operator asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--target`: only these and what their files bring along; empty means everything.
    pub targets: BTreeSet<Address>,
    /// `--accept-recipient`: hosts whose new key is taken.
    pub accept_recipients: BTreeSet<HostName>,
    /// `--destroy-foreign`: keys of others that may be lost.
    pub destroy_foreign: BTreeSet<Address>,
    /// `--replace`: broken files that may be written anew.
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

/// Which boot secrets' values must be read before [`plan`] can tell whether they changed: those whose revision does not
/// prove them unchanged.
#[must_use]
pub fn reads(inputs: Inputs<'_>) -> BTreeSet<SecretName> {
    todo!("{inputs:?}")
}

/// Decides what changes, why, and in which steps.
#[must_use]
pub fn plan(inputs: Inputs<'_>) -> Plan {
    todo!("{inputs:?}")
}
