//! `reconcile apply`: plans, asks once, and carries out exactly what was approved.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use crate::apply::{self, Apply};
use crate::cli::arguments::{ApplyArguments, Global};
use crate::cli::error::Error;
use crate::cli::plan::{check_targets, context, print_json};
use crate::cli::project::Project;
use crate::cli::saved::{SavedPlan, essence};
use crate::cli::session::{Keep, Planned, Session, warn};
use crate::cli::terminal::{Terminal, print, say};
use crate::plan::{Plan, Step};
use crate::render::{self, json, outcome_line, plan_text, step_text};
use crate::report::{Event, Report};
use crate::state::Dataset;

pub async fn run(global: &Global, terminal: &Terminal, arguments: &ApplyArguments) -> Result<ExitCode, Error> {
    if arguments.json && !arguments.auto_approve && arguments.plan.is_none() {
        return Err(Error::new("--json cannot ask", "add --auto-approve, or give a saved plan"));
    }
    let project = Project::open(global)?;
    warn(&project, terminal);
    check_targets(&project, &arguments.options.wishes())?;
    let saved = arguments.plan.as_deref().map(SavedPlan::read).transpose()?;
    let session = Session::open(&project, terminal, Keep::Yes)?;
    let lock = session.lock("apply", global)?;
    let (wishes, refresh) = match &saved {
        Some(saved) => (saved.wishes.wishes()?, saved.wishes.refresh),
        None => (arguments.options.wishes(), arguments.options.refresh),
    };
    check_targets(&project, &wishes)?;
    let mut planned = session.plan(&wishes, refresh).await?;
    if let Some(saved) = &saved
        && !saved.is_same(&planned.plan, project.manifest().digest, &planned.observed.receipt)
    {
        let what = "Saved plan is stale: the manifest, the vault, a file or a host is not as it was";
        return Err(Error::new(what, "reconcile plan --out FILE, and look at it again"));
    }
    if arguments.json {
        print_json(&planned.plan)?;
    } else {
        print(&plan_text(&planned.plan, &context(&project, &planned), terminal.style))?;
    }
    if planned.plan.steps.is_empty() {
        return nothing_to_do(&session, &mut planned);
    }
    if saved.is_none() && !arguments.auto_approve {
        let question = "Do you want to perform these actions?";
        if !terminal.confirm(question, "--auto-approve, or: reconcile plan --out FILE and reconcile apply FILE")? {
            say("Apply cancelled.");
            return Ok(ExitCode::FAILURE);
        }
        // The world may have moved while the question stood.
        let again = session.plan(&wishes, refresh).await?;
        if essence(&again.plan) != essence(&planned.plan) {
            let what = "Something moved while you were asked: the plan is another one now. Nothing was done";
            return Err(Error::new(what, "reconcile apply"));
        }
        planned = again;
    }
    let report = carry_out(&project, &session, &planned, terminal, arguments.json).await?;
    drop(lock);
    let counts = planned.plan.counts();
    if arguments.json {
        print(&format!("{}\n", json::end(&report, counts, &jiff::Timestamp::now().to_string())))?;
    } else {
        print(&format!("\n{}", render::end_of_apply(&report, &planned.plan, terminal.style)))?;
    }
    let all = report.succeeded() && planned.plan.blocked.is_empty() && planned.plan.unchecked.is_empty();
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Even then what was proven unchanged is recorded. The lock is held by us.
fn nothing_to_do(session: &Session<'_>, planned: &mut Planned) -> Result<ExitCode, Error> {
    let observed = &planned.observed;
    if let Some(mut proven) = crate::plan::with_proven(&observed.receipt, &observed.desired) {
        session.state.write_receipt(&mut proven)?;
    }
    let fine = planned.plan.blocked.is_empty() && planned.plan.unchecked.is_empty();
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn carry_out(
    project: &Project,
    session: &Session<'_>,
    planned: &Planned,
    terminal: &Terminal,
    json: bool,
) -> Result<Report, Error> {
    let dataset = Dataset::open_or_create(&project.dataset)?;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch_interrupts(Arc::clone(&stop)));
    let work = Apply {
        site: project.site(),
        vault: &session.vault,
        key: &session.key,
        state: &session.state,
        dataset: &dataset,
        desired: &planned.observed.desired,
        actual: &planned.observed.actual,
        terminal: terminal.animated && !json,
        stop: &stop,
    };
    let mut progress = Progress::new(&planned.plan, terminal, json);
    let receipt = planned.observed.receipt.clone();
    let report = apply::run(&work, receipt, &planned.plan, &mut |event| progress.show(&event)).await;
    watching.abort();
    Ok(report)
}

/// The first interrupt lets the current step end; the second ends the program at once.
async fn watch_interrupts(stop: Arc<AtomicBool>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if stop.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        say("Interrupted: the current step is finished first. Once more to stop at once.");
    }
}

/// Shows the steps as they go: a spinner on a terminal, a line at the end of each elsewhere.
struct Progress<'a> {
    steps: &'a [Step],
    terminal: &'a Terminal,
    json: bool,
    /// Of the longest step.
    width: usize,
    /// The step whose heading was printed last.
    headed: Option<usize>,
    spinner: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    fn new(plan: &'a Plan, terminal: &'a Terminal, json: bool) -> Self {
        let width = plan.steps.iter().map(|step| step_text(step).chars().count()).max().unwrap_or_default();
        Self { steps: &plan.steps, terminal, json, width, headed: None, spinner: None }
    }

    fn show(&mut self, event: &Event) {
        if self.json {
            let now = jiff::Timestamp::now().to_string();
            if let Some(line) = json::event(self.steps, event, &now) {
                // A reader that went away does not stop an apply half-way.
                let _ = print(&format!("{line}\n"));
            }
            return;
        }
        match event {
            Event::Started { step } => self.start(*step),
            Event::Progress { step, done, total } => {
                if let (Some(spinner), Some(step)) = (&self.spinner, self.steps.get(*step)) {
                    spinner.set_message(format!("{} ({done} of {total})", step_text(step)));
                }
            }
            Event::TookTerminal { step } => self.head(*step),
            Event::Output { step, line } => {
                self.head(*step);
                say(&format!("  │ {}", line.printable()));
            }
            Event::Ended { step, outcome } => {
                self.end_spinner();
                if let Some(step) = self.steps.get(*step) {
                    let _ = print(&format!("{}\n", outcome_line(step, outcome, self.width, self.terminal.style)));
                }
            }
        }
    }

    fn start(&mut self, number: usize) {
        let Some(step) = self.steps.get(number).filter(|_| self.terminal.animated) else { return };
        let spinner = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            spinner.set_style(style);
        }
        spinner.set_message(step_text(step));
        spinner.enable_steady_tick(std::time::Duration::from_millis(120));
        self.spinner = Some(spinner);
    }

    /// The heading above what a step's program prints, once.
    fn head(&mut self, number: usize) {
        self.end_spinner();
        if self.headed != Some(number)
            && let Some(step) = self.steps.get(number)
        {
            self.headed = Some(number);
            say(&format!("── {}", step_text(step)));
        }
    }

    fn end_spinner(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}
