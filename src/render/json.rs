//! Plan, events and report as JSON: one object a line, as Terraform does it, and one versioned document.

use serde_json::{Value, json};

use crate::plan::{Access, Counts, Plan, Status, Step};
use crate::report::{Event, Outcome, Report};

use super::steps::step_text;
use super::words;

/// The version of the document and the lines.
pub const FORMAT_VERSION: &str = "1.0";

/// The plan as one document.
#[must_use]
pub fn document(plan: &Plan) -> Value {
    json!({"format_version": FORMAT_VERSION, "complete": plan.is_complete(), "summary": plan.counts(), "plan": plan})
}

/// How far everything has come, as one document.
#[must_use]
pub fn status(status: &Status) -> Value {
    let up_to_date = status.is_complete() && !status.differs();
    json!({
        "format_version": FORMAT_VERSION,
        "complete": status.is_complete(),
        "up_to_date": up_to_date,
        "status": status,
    })
}

/// Who has access to what, as one document.
#[must_use]
pub fn access(name: &str, access: &Access) -> Value {
    json!({"format_version": FORMAT_VERSION, "name": name, "access": access})
}

/// A line: `now` is RFC 3339.
fn line(level: &str, kind: &str, message: &str, now: &str, body: Value) -> Value {
    let mut line = json!({
        "@level": level,
        "@message": message,
        "@module": "reconcile.ui",
        "@timestamp": now,
        "type": kind,
    });
    if let (Some(line), Value::Object(body)) = (line.as_object_mut(), body) {
        line.extend(body);
    }
    line
}

/// The first line.
#[must_use]
pub fn version(program: &str, now: &str) -> Value {
    line("info", "version", &format!("reconcile {program}"), now, json!({"reconcile": program, "ui": FORMAT_VERSION}))
}

/// The lines of a plan.
#[must_use]
pub fn plan(plan: &Plan, now: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    for change in &plan.changes {
        let why: Vec<String> = change.reasons.iter().map(words::reason).collect();
        let message =
            format!("{} {}: {}", change.address, words::action(change.action, &change.details), why.join("; "));
        if change.reasons.iter().any(crate::plan::Reason::is_drift) {
            lines.push(line("info", "drift", &message, now, json!({"change": change})));
        }
        lines.push(line("info", "planned_change", &message, now, json!({"change": change})));
    }
    for blocked in &plan.blocked {
        let (what, next) = words::blocker(&blocked.address.to_string(), &blocked.by);
        let message = format!("{}: {what}", blocked.address);
        lines.push(line("error", "blocked", &message, now, json!({"blocked": blocked, "next": next})));
    }
    for (address, cause) in &plan.unchecked {
        let body = json!({"address": address, "unchecked": cause, "next": cause.next()});
        lines.push(line("warn", "unchecked", &format!("{address}: {cause}"), now, body));
    }
    for note in &plan.notes {
        let (warning, text) = words::note(note);
        lines.push(line(if warning { "warn" } else { "info" }, "note", &text, now, json!({"note": note})));
    }
    lines.push(summary(plan.counts(), plan.is_complete(), now));
    lines
}

fn summary(counts: Counts, complete: bool, now: &str) -> Value {
    let Counts { add, change, destroy, .. } = counts;
    let message = format!("Plan: {add} to add, {change} to change, {destroy} to destroy.");
    line("info", "change_summary", &message, now, json!({"changes": counts, "complete": complete}))
}

/// The line of an event of an apply.
#[must_use]
pub fn event(steps: &[Step], event: &Event, now: &str) -> Option<Value> {
    let number = match event {
        Event::Started { step }
        | Event::Progress { step, .. }
        | Event::TookTerminal { step }
        | Event::Output { step, .. }
        | Event::Ended { step, .. } => *step,
    };
    let step = steps.get(number)?;
    let text = step_text(step);
    let body = |more: Value| {
        let mut body = json!({"step": step, "number": number});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        body
    };
    Some(match event {
        Event::Started { .. } => line("info", "apply_start", &format!("{text}: started"), now, body(json!({}))),
        Event::Progress { done, total, .. } => {
            let message = format!("{text}: {done} of {total}");
            line("info", "apply_progress", &message, now, body(json!({"done": done, "total": total})))
        }
        Event::TookTerminal { .. } => return None,
        Event::Output { line: text, .. } => line("info", "apply_output", &text.printable(), now, body(json!({}))),
        Event::Ended { outcome, .. } => match outcome {
            Outcome::Done { .. } => {
                line("info", "apply_complete", &format!("{text}: complete"), now, body(json!({"result": outcome})))
            }
            Outcome::Failed { what, .. } => {
                let message = format!("{text}: {}", what.printable());
                line("error", "apply_errored", &message, now, body(json!({"result": outcome})))
            }
            Outcome::Skipped => {
                line("warn", "apply_skipped", &format!("{text}: not begun"), now, body(json!({"result": outcome})))
            }
        },
    })
}

/// The last line of an apply.
#[must_use]
pub fn end(report: &Report, counts: Counts, now: &str) -> Value {
    let message = if report.succeeded() { "Apply complete!" } else { "Apply failed" };
    let level = if report.succeeded() { "info" } else { "error" };
    line(level, "apply_summary", message, now, json!({"changes": counts, "interrupted": report.interrupted}))
}

/// Anything that ended a command.
#[must_use]
pub fn diagnostic(message: &str, next: Option<&str>, now: &str) -> Value {
    line(
        "error",
        "diagnostic",
        message,
        now,
        json!({"diagnostic": {"severity": "error", "summary": message, "next": next}}),
    )
}
