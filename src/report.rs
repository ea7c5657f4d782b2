//! What an apply did: its events while it runs, and their sum.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::address::HostName;
use crate::digest::Digest;
use crate::plan::Step;
use crate::text::Untrusted;

/// Something that happened during an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step begins.
    Started {
        /// Its place in the plan's steps.
        step: usize,
    },
    /// A step goes on: how many of how many, such as values collected.
    Progress {
        /// Its place in the plan's steps.
        step: usize,
        /// Done so far.
        done: usize,
        /// Of all.
        total: usize,
    },
    /// The terminal is the step's from now on: its program reads from it and writes to it.
    TookTerminal {
        /// Its place in the plan's steps.
        step: usize,
    },
    /// A line of a switch, when it does not own the terminal.
    Output {
        /// Its place in the plan's steps.
        step: usize,
        /// The line.
        line: Untrusted,
    },
    /// A step ended.
    Ended {
        /// Its place in the plan's steps.
        step: usize,
        /// How.
        outcome: Outcome,
    },
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it says.
    Done {
        /// How long it took.
        #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
        took: Duration,
        /// What there is to say of it.
        result: StepResult,
    },
    /// It failed; nothing after it that depends on it is done.
    Failed {
        /// What failed and where.
        what: Untrusted,
        /// What to do next.
        next: Option<String>,
    },
    /// It was not begun, since an earlier one failed or the apply was interrupted.
    Skipped,
}

/// What there is to say of a step that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StepResult {
    /// A file was written.
    Wrote {
        /// Its digest.
        digest: Digest,
    },
    /// Values are in memory.
    Collected {
        /// How many.
        values: usize,
    },
    /// A host was switched.
    Switched,
    /// A host shows what it should.
    Verified {
        /// Which.
        host: HostName,
        /// The sops file that it installs from.
        file: Digest,
        /// How many secrets were checked.
        secrets: usize,
        /// The live generation, if it tells.
        generation: Option<u64>,
    },
    /// Units of users were restarted.
    Restarted {
        /// Users whose manager does not run: their units begin with the new secrets.
        idle: BTreeSet<String>,
    },
    /// An identity was made on a host.
    MadeIdentity {
        /// Its public half.
        recipient: crate::sops::Recipient,
    },
}

/// The sum of an apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each step of the plan with its end.
    pub steps: Vec<(Step, Outcome)>,
    /// Whether an interrupt ended it early.
    pub interrupted: bool,
}

impl Report {
    /// Whether every step did what it says.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        !self.interrupted && self.steps.iter().all(|(_, outcome)| matches!(outcome, Outcome::Done { .. }))
    }
}

fn milliseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(took.as_millis().try_into().unwrap_or(u64::MAX))
}
