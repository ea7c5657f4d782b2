//! Carries out the steps of a plan, in their order. Every decision was made by the plan.
//!
//! What survives a crash at any point: the receipt first says what is about to be written, then the file is replaced as
//! a whole, then the receipt says that it was. [`Receipt::settle`] tells the two apart afterwards.

pub mod activate;
mod collect;
mod generation;
mod identity;
mod switch;
mod verify;
mod write;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::actual::{Actual, FileState};
use crate::address::{FileName, HostName};
use crate::desired::Desired;
use crate::manifest::{Access, Switch};
use crate::observation::Cause;
use crate::observe::Site;
use crate::plan::{Plan, Step};
use crate::receipt::Receipt;
use crate::report::{Event, Outcome, Report, StepResult};
use crate::secret::FingerprintKey;
use crate::sops::{Recipient, SopsFile};
use crate::state::{Dataset, Directory};
use crate::text::Untrusted;
use crate::tools::vault::Vault;

use self::collect::Collected;
use self::switch::Switching;

/// What an apply works on: the site, what was seen of it when the plan was made, and what is kept.
pub struct Apply<'a> {
    /// The manifest and its place.
    pub site: Site<'a>,
    /// Where values are read.
    pub vault: &'a Result<Vault, Cause>,
    /// Under which fingerprints are made.
    pub key: &'a FingerprintKey,
    /// Where the receipt and the replaced ciphertexts are kept. Its lock is held.
    pub state: &'a Directory,
    /// The dataset directory.
    pub dataset: &'a Dataset,
    /// What the vault said.
    pub desired: &'a Desired,
    /// What files and hosts showed.
    pub actual: &'a Actual,
    /// Whether a switch may use our terminal; else its lines become events.
    pub terminal: bool,
    /// Set by an interrupt: the step that runs is finished, and nothing is begun after it.
    pub stop: &'a AtomicBool,
}

/// Why a step failed, as the report says it.
#[derive(Debug)]
pub struct Failure {
    what: Untrusted,
    next: Option<String>,
}

impl Failure {
    fn new(what: impl Into<String>, next: Option<&str>) -> Self {
        Self { what: Untrusted::new(what), next: next.map(str::to_owned) }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut what = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !what.contains(&cause_text) {
                what = format!("{what}: {cause_text}");
            }
            source = cause.source();
        }
        Self::new(what, None)
    }
}

/// What earlier steps left for later ones.
struct Progress {
    receipt: Receipt,
    made: BTreeMap<HostName, Recipient>,
    collected: BTreeMap<FileName, Vec<Collected>>,
    encrypted: BTreeMap<FileName, SopsFile>,
}

/// Carries out `plan`, tells `events` what happens, and returns their sum. What could be done is done: a step is skipped
/// only when one that it needs was not.
pub async fn run(apply: &Apply<'_>, receipt: Receipt, plan: &Plan, events: &mut dyn FnMut(Event)) -> Report {
    let mut progress =
        Progress { receipt, made: BTreeMap::new(), collected: BTreeMap::new(), encrypted: BTreeMap::new() };
    let mut report = Report::default();
    let accepted = accept(apply, plan, &mut progress);
    for (number, step) in plan.steps.iter().enumerate() {
        let stopped = apply.stop.load(Ordering::SeqCst);
        report.interrupted |= stopped;
        let undone = |(earlier, outcome): &(Step, Outcome)| !is_done(outcome) && step.needs(earlier);
        let outcome = match &accepted {
            Err(failure) if number == 0 => failed(failure),
            _ if stopped || accepted.is_err() || report.steps.iter().any(undone) => Outcome::Skipped,
            _ => {
                events(Event::Started { step: number });
                one(apply, number, step, &mut progress, events).await
            }
        };
        events(Event::Ended { step: number, outcome: outcome.clone() });
        report.steps.push((step.clone(), outcome));
    }
    report
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

fn failed(failure: &Failure) -> Outcome {
    Outcome::Failed { what: failure.what.clone(), next: failure.next.clone() }
}

/// Approving the plan accepted these host keys: that is recorded before anything is encrypted to them.
fn accept(apply: &Apply<'_>, plan: &Plan, progress: &mut Progress) -> Result<(), Failure> {
    for (host, key) in &plan.accepts {
        progress.receipt.hosts.entry(host.clone()).or_default().accepted = Some(key.clone());
    }
    if !plan.accepts.is_empty() {
        apply.state.write_receipt(&mut progress.receipt)?;
    }
    Ok(())
}

async fn one(
    apply: &Apply<'_>,
    number: usize,
    step: &Step,
    progress: &mut Progress,
    events: &mut dyn FnMut(Event),
) -> Outcome {
    let began = Instant::now();
    let result = match step {
        Step::MakeIdentity { host } => make_identity(apply, host, progress).await,
        Step::Publish { file, content, expects } => write::publish(apply, file, content, *expects, progress),
        Step::Collect { file, items } => collect::all(apply, number, file, items, progress, events).await,
        Step::Encrypt { file, recipients, expects } => write::encrypt(apply, file, recipients, *expects, progress),
        Step::Index { files, expects } => write::index(apply, files, *expects, progress),
        Step::Switch { host } => switch(apply, number, host, progress, events).await,
        Step::Verify { host, deadline } => verify::arrived(apply, host, Duration::from_secs(*deadline), progress).await,
    };
    match result {
        Ok(result) => Outcome::Done { took: began.elapsed(), result },
        Err(failure) => failed(&failure),
    }
}

async fn make_identity(apply: &Apply<'_>, host: &HostName, progress: &mut Progress) -> Result<StepResult, Failure> {
    let declared = declared(apply, host)?;
    let recipient = identity::make(host, declared, apply.site.surroundings).await?;
    progress.made.insert(host.clone(), recipient.clone());
    progress.receipt.hosts.entry(host.clone()).or_default().accepted = Some(recipient.clone());
    apply.state.write_receipt(&mut progress.receipt)?;
    Ok(StepResult::MadeIdentity { recipient })
}

async fn switch(
    apply: &Apply<'_>,
    number: usize,
    host: &HostName,
    progress: &mut Progress,
    events: &mut dyn FnMut(Event),
) -> Result<StepResult, Failure> {
    if let Some(sops) = sops_of(apply, host, progress) {
        verify::seen_by_host(apply, host, sops).await?;
    }
    let target = declared(apply, host)?;
    let silent = target.access == Access::Local && matches!(target.switch, Some(Switch::Activate { .. }));
    if apply.terminal && !silent {
        events(Event::TookTerminal { step: number });
    }
    let mut line = |line: Untrusted| events(Event::Output { step: number, line });
    let output = if apply.terminal { switch::Output::Inherit } else { switch::Output::Lines(&mut line) };
    let Site { manifest, surroundings, dataset } = apply.site;
    let switching = Switching { name: host, host: target, manifest, surroundings, dataset };
    switching.run(output).await?;
    Ok(StepResult::Switched)
}

fn declared<'a>(apply: &Apply<'a>, host: &HostName) -> Result<&'a crate::manifest::Host, Failure> {
    apply.site.manifest.hosts.get(host).ok_or_else(|| Failure::new(format!("host {host} is not declared"), None))
}

/// The sops file of a host, as this apply wrote it or as it was found.
fn sops_of<'a>(apply: &'a Apply<'_>, host: &HostName, progress: &'a Progress) -> Option<&'a SopsFile> {
    let file = &apply.site.manifest.hosts.get(host)?.sops_file;
    if let Some(sops) = progress.encrypted.get(file) {
        return Some(sops);
    }
    match apply.actual.files.get(file)?.known()? {
        FileState::Sops(sops) => Some(sops),
        _ => None,
    }
}

/// Now, RFC 3339 in UTC and whole seconds: what sops takes, too.
fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
