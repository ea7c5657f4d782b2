//! Carries out the steps of a plan, in their order. Every decision was made by the plan.
//!
//! What survives a crash at any point: the receipt first says what is about to be written, then the file is replaced as
//! a whole, then the receipt says that it was. [`Receipt::settle`] tells the two apart afterwards.

pub mod activate;
mod collect;
mod generation;
mod identity;
mod switch;
mod units;
mod verify;
mod write;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::actual::{Actual, FileState};
use crate::address::{FileName, HostName};
use crate::desired::Desired;
use crate::observation::Cause;
use crate::observe::Site;
use crate::observe::key::Key;
use crate::plan::{Need, Plan, Step};
use crate::receipt::Receipt;
use crate::report::{Event, Outcome, Report, StepResult};
use crate::sops::{Recipient, SopsFile};
use crate::state::{Dataset, Directory};
use crate::text::Untrusted;
use crate::tools::together;
use crate::tools::vault::Vault;

use self::collect::Collected;

/// How many hosts are looked at together, so that many hundreds do not exhaust this machine.
const LOOKS_AT_ONCE: usize = 64;
/// How long a signal takes at most from the terminal to us.
const HEARING: Duration = Duration::from_millis(200);

/// What an apply works on: the site, what was seen of it when the plan was made, and what is kept.
pub struct Apply<'a> {
    /// The manifest and its place.
    pub site: Site<'a>,
    /// Where values are read.
    pub vault: &'a Result<Vault, Cause>,
    /// Under which fingerprints are made.
    pub key: &'a Key,
    /// Where the receipt and the replaced ciphertexts are kept. Its lock is held.
    pub state: &'a Directory,
    /// The dataset directory.
    pub dataset: &'a Dataset,
    /// What the vault said.
    pub desired: &'a Desired,
    /// What files and hosts showed.
    pub actual: &'a Actual,
    /// Whether a switch that runs alone may use our terminal; else its lines become events.
    pub terminal: bool,
    /// How many switches may run at once.
    pub parallelism: NonZeroUsize,
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

    /// Several as one; `None` when there are none.
    fn all_of(failures: Vec<Self>) -> Option<Self> {
        failures.into_iter().reduce(|one, other| Self {
            what: Untrusted::new(format!("{}; {}", one.what.as_is(), other.what.as_is())),
            next: one.next.or(other.next),
        })
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

/// What the steps that run share. Nothing of it is held while something is waited for.
struct Running<'a> {
    apply: &'a Apply<'a>,
    progress: RefCell<Progress>,
    events: RefCell<&'a mut dyn FnMut(Event)>,
    /// The places of switches that run at once, and of other steps.
    switches: Semaphore,
    looks: Semaphore,
    /// Whether a switch has the terminal: several at once cannot.
    terminal: bool,
}

impl Running<'_> {
    fn tell(&self, event: Event) {
        (self.events.borrow_mut())(event);
    }
}

/// Carries out `plan`, tells `events` what happens, and returns their sum. What could be done is done: a step is skipped
/// only when one that it needs was not.
pub async fn run(apply: &Apply<'_>, receipt: Receipt, plan: &Plan, events: &mut dyn FnMut(Event)) -> Report {
    let mut progress =
        Progress { receipt, made: BTreeMap::new(), collected: BTreeMap::new(), encrypted: BTreeMap::new() };
    let accepted = accept(apply, plan, &mut progress);
    let running = Running {
        apply,
        progress: RefCell::new(progress),
        events: RefCell::new(events),
        switches: Semaphore::new(apply.parallelism.get()),
        looks: Semaphore::new(LOOKS_AT_ONCE),
        terminal: apply.terminal && !plan.switches_at_once(apply.parallelism),
    };
    let mut report = Report::default();
    for beside in plan.steps.chunk_by(Step::may_run_beside) {
        let first = report.steps.len();
        let outcomes = beside.iter().zip(first..).map(|(step, number)| {
            let ahead = match &accepted {
                Err(failure) if number == 0 => Err(failed(failure)),
                Err(_) => Err(Outcome::Skipped),
                Ok(()) => Ahead::of(step, &report).ok_or(Outcome::Skipped),
            };
            one(&running, number, step, ahead)
        });
        let outcomes = together::all(outcomes).await;
        report.steps.extend(beside.iter().cloned().zip(outcomes));
    }
    report.interrupted = report.steps.iter().any(|(_, outcome)| *outcome == Outcome::Skipped) && is_stopped(apply);
    report
}

fn is_stopped(apply: &Apply<'_>) -> bool {
    apply.stop.load(Ordering::SeqCst)
}

/// How those before a step ended, as far as it matters to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    AllDone,
    /// One of which it only needs that it was begun.
    SomeFailed,
}

impl Ahead {
    /// `None` when something that `step` needs was not done.
    fn of(step: &Step, report: &Report) -> Option<Self> {
        let mut ahead = Self::AllDone;
        for (earlier, outcome) in &report.steps {
            match (step.needs(earlier), outcome) {
                (Need::Nothing, _) | (_, Outcome::Done { .. }) => {}
                (Need::Begun, Outcome::Failed { .. }) => ahead = Self::SomeFailed,
                _ => return None,
            }
        }
        Some(ahead)
    }
}

fn failed(failure: &Failure) -> Outcome {
    Outcome::Failed { what: failure.what.clone(), next: failure.next.clone() }
}

/// Approving the plan accepted these host keys: that is recorded before anything is encrypted to them. Units that are to
/// restart are remembered from now on, whatever keeps them from it.
fn accept(apply: &Apply<'_>, plan: &Plan, progress: &mut Progress) -> Result<(), Failure> {
    let before = progress.receipt.hosts.clone();
    for (host, key) in &plan.accepts {
        progress.receipt.hosts.entry(host.clone()).or_default().accepted = Some(key.clone());
    }
    for step in &plan.steps {
        let Step::RestartUserUnits { host, secrets, .. } = step else { continue };
        let restarted = &mut progress.receipt.hosts.entry(host.clone()).or_default().restarted;
        restarted.extend(secrets.iter().map(|secret| (secret.clone(), None)));
    }
    if progress.receipt.hosts != before {
        apply.state.write_receipt(&mut progress.receipt)?;
    }
    Ok(())
}

async fn one(running: &Running<'_>, number: usize, step: &Step, ahead: Result<Ahead, Outcome>) -> Outcome {
    let place = match step {
        Step::Switch(_) => running.switches.acquire().await.ok(),
        _ => running.looks.acquire().await.ok(),
    };
    let outcome = match ahead {
        Ok(_) if is_stopped(running.apply) => Outcome::Skipped,
        Ok(ahead) => {
            running.tell(Event::Started { step: number });
            let began = Instant::now();
            match carry_out(running, number, step, ahead).await {
                Ok(result) => Outcome::Done { took: began.elapsed(), result },
                Err(failure) => {
                    // At the terminal an interrupt reaches the switch and us: it is heard before another one begins.
                    if running.terminal && matches!(step, Step::Switch(_)) {
                        tokio::time::sleep(HEARING).await;
                    }
                    failed(&failure)
                }
            }
        }
        Err(outcome) => outcome,
    };
    running.tell(Event::Ended { step: number, outcome: outcome.clone() });
    drop(place);
    outcome
}

async fn carry_out(running: &Running<'_>, number: usize, step: &Step, ahead: Ahead) -> Result<StepResult, Failure> {
    let Running { apply, progress, .. } = running;
    match step {
        Step::MakeIdentity { host } => make_identity(running, host).await,
        Step::Publish { file, content, expects } => {
            write::publish(apply, file, content, *expects, &mut progress.borrow_mut())
        }
        Step::Collect { file, items } => collect::all(running, number, file, items).await,
        Step::Encrypt { file, recipients, expects } => {
            write::encrypt(apply, file, recipients, *expects, &mut progress.borrow_mut())
        }
        Step::Index { files, expects } => write::index(apply, files, *expects, &mut progress.borrow_mut()),
        Step::Switch(group) => switch::group(running, number, group).await,
        Step::Verify { host, deadline } => verify::arrived(running, host, Duration::from_secs(*deadline), ahead).await,
        Step::RestartUserUnits { host, units, secrets } => units::restart(running, host, units, secrets).await,
    }
}

async fn make_identity(running: &Running<'_>, host: &HostName) -> Result<StepResult, Failure> {
    let apply = running.apply;
    let recipient = identity::make(host, declared(apply, host)?, apply.site.surroundings).await?;
    let mut progress = running.progress.borrow_mut();
    progress.made.insert(host.clone(), recipient.clone());
    progress.receipt.hosts.entry(host.clone()).or_default().accepted = Some(recipient.clone());
    apply.state.write_receipt(&mut progress.receipt)?;
    Ok(StepResult::MadeIdentity { recipient })
}

fn declared<'a>(apply: &Apply<'a>, host: &HostName) -> Result<&'a crate::manifest::Host, Failure> {
    apply.site.manifest.hosts.get(host).ok_or_else(|| Failure::new(format!("host {host} is not declared"), None))
}

/// The sops file of a host, as this apply wrote it or as it was found.
fn sops_of(running: &Running<'_>, host: &HostName) -> Option<SopsFile> {
    let apply = running.apply;
    let file = &apply.site.manifest.hosts.get(host)?.sops_file;
    if let Some(sops) = running.progress.borrow().encrypted.get(file) {
        return Some(sops.clone());
    }
    match apply.actual.files.get(file)?.known()? {
        FileState::Sops(sops) => Some((**sops).clone()),
        _ => None,
    }
}

/// Now, RFC 3339 in UTC and whole seconds: what sops takes, too.
fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
