//! `reconcile apply`: plans, asks once, and carries out exactly what was approved.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::apply::{self, Apply};
use crate::cli::arguments::{ApplyArguments, Global};
use crate::cli::error::Error;
use crate::cli::plan::{check_targets, context, print_json};
use crate::cli::progress::Progress;
use crate::cli::project::Project;
use crate::cli::saved::{SavedPlan, essence};
use crate::cli::session::{Keep, Planned, Session, warn};
use crate::cli::terminal::{Terminal, print, say};
use crate::observe::Observed;
use crate::render::{self, json, plan_text};
use crate::report::Report;
use crate::state::Dataset;

pub async fn run(global: &Global, terminal: &Terminal, arguments: &ApplyArguments) -> Result<ExitCode, Error> {
    if arguments.json && !arguments.auto_approve && arguments.plan.is_none() {
        return Err(Error::new("--json cannot ask", "add --auto-approve, or give a saved plan"));
    }
    let project = Project::open(global)?;
    warn(&project, terminal);
    check_targets(&project, &arguments.options.wishes())?;
    let saved = arguments.plan.as_deref().map(SavedPlan::read).transpose()?;
    let mut session = Session::open(&project, terminal, Keep::Yes)?;
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
        session.look_at_the_vault_anew();
        let again = session.plan(&wishes, refresh).await?;
        if essence(&again.plan) != essence(&planned.plan) {
            let what = "Something moved while you were asked: the plan is another one now. Nothing was done";
            return Err(Error::new(what, "reconcile apply"));
        }
        planned = again;
    }
    let report = carry_out(&project, &session, &planned, terminal, arguments).await?;
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

/// Even then what was proven unchanged is recorded, and the key of a host to which its file is encrypted already: seen
/// for the first time, it is the accepted one when the host is off. The lock is held by us.
fn nothing_to_do(session: &Session<'_>, planned: &mut Planned) -> Result<ExitCode, Error> {
    let Observed { receipt: there, desired, .. } = &planned.observed;
    let mut receipt = crate::plan::with_proven(there, desired).unwrap_or_else(|| there.clone());
    if planned.plan.blocked.is_empty() {
        for (host, key) in &planned.plan.accepts {
            receipt.hosts.entry(host.clone()).or_default().accepted = Some(key.clone());
        }
    }
    if receipt.hosts != there.hosts {
        session.state.write_receipt(&mut receipt)?;
    } else if receipt != *there {
        session.state.record_proven(&mut receipt)?;
    }
    let fine = planned.plan.blocked.is_empty() && planned.plan.unchecked.is_empty();
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn carry_out(
    project: &Project,
    session: &Session<'_>,
    planned: &Planned,
    terminal: &Terminal,
    arguments: &ApplyArguments,
) -> Result<Report, Error> {
    let json = arguments.json;
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
        parallelism: arguments.parallelism.unwrap_or(project.manifest().parallelism),
        stop: &stop,
    };
    let mut progress = Progress::new(&planned.plan, work.parallelism, terminal, json);
    let receipt = planned.observed.receipt.clone();
    let report = apply::run(&work, receipt, &planned.plan, &mut |event| progress.show(&event)).await;
    watching.abort();
    Ok(report)
}

/// The first interrupt lets the current step end; the second ends the program at once.
async fn watch_interrupts(stop: Arc<AtomicBool>) {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
    loop {
        let interrupted = tokio::select! {
            interrupt = tokio::signal::ctrl_c() => interrupt.is_ok(),
            terminate = terminated.recv() => terminate.is_some(),
        };
        if !interrupted {
            return;
        }
        if stop.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        // A switch that has our terminal hears an interrupt there by itself.
        say("Interrupted: nothing is begun after what runs now. Once more to stop at once.");
    }
}
