//! What an apply says while it runs and at its end.

use std::time::Duration;

use crate::plan::{Counts, Plan, Step};
use crate::report::{Outcome, Report, StepResult};

use super::steps::step_text;
use super::{Style, Tone};

/// A finished step in one line; its text is filled up to `width` characters, so that the lines of an apply align.
#[must_use]
pub fn outcome_line(step: &Step, outcome: &Outcome, width: usize, style: Style) -> String {
    let text = step_text(step);
    match outcome {
        Outcome::Done { took, result } => {
            let extra = match result {
                StepResult::Wrote { digest } => format!("   {}…", digest.short()),
                StepResult::Restarted { idle } if !idle.is_empty() => {
                    let users: Vec<&str> = idle.iter().map(String::as_str).collect();
                    format!("   {} not logged in: nothing runs that would have to", users.join(", "))
                }
                StepResult::MadeIdentity { recipient } => format!("   {}", recipient.short()),
                _ => String::new(),
            };
            format!("{} {text:<width$} {:>8}{extra}", style.paint(Tone::Create, "✓"), time(*took))
        }
        Outcome::Failed { what, next } => {
            let next = next.as_ref().map(|next| format!("\n    → {next}")).unwrap_or_default();
            format!("{} {text}: {}{next}", style.paint(Tone::Destroy, "✗"), what.printable())
        }
        Outcome::Skipped => format!("{} {text} (not begun)", style.paint(Tone::Faint, "-")),
    }
}

fn time(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// The last lines of an apply.
#[must_use]
pub fn end_of_apply(report: &Report, plan: &Plan, style: Style) -> String {
    let mut out = headline(report, plan, style) + "\n";
    for (_, outcome) in &report.steps {
        if let Outcome::Done { result: StepResult::Verified { host, file, secrets, .. }, .. } = outcome {
            let plural = if *secrets == 1 { "" } else { "s" };
            out.push_str(&format!(
                "{host} runs {}…, {secrets} secret{plural} in place (declared owner, mode and size checked).\n",
                file.short()
            ));
        }
    }
    out
}

fn headline(report: &Report, plan: &Plan, style: Style) -> String {
    if !report.succeeded() {
        let done = report.steps.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Done { .. })).count();
        let word = if report.interrupted { "interrupted" } else { "failed" };
        let text = format!("Apply {word}: {done} of {} steps were done.", report.steps.len());
        let text = style.paint(Tone::Destroy, &text);
        return format!("{text} Nothing is rolled back; `reconcile plan` shows what is left.");
    }
    let Counts { add, change, destroy, .. } = plan.counts();
    let resources = format!("Resources: {add} added, {change} changed, {destroy} destroyed.");
    let left = match (plan.blocked.len(), plan.unchecked.len()) {
        (0, 0) => None,
        (0, unchecked) => Some(format!("{unchecked} not checked")),
        (blocked, 0) => Some(format!("{blocked} blocked")),
        (blocked, unchecked) => Some(format!("{blocked} blocked, {unchecked} not checked")),
    };
    match left {
        None => style.paint(Tone::Create, &format!("Apply complete! {resources}")),
        Some(left) => style.paint(Tone::Update, &format!("Applied in part: {left}, as said above. {resources}")),
    }
}
