//! The steps of a plan in few words: each alone, and all of them in a line.

use crate::address::HostName;
use crate::plan::{EncryptTo, Step};

/// A step in a few words, such as `encrypt secrets.yaml`.
#[must_use]
pub fn step_text(step: &Step) -> String {
    match step {
        Step::MakeIdentity { host } => format!("make an age key on {host}"),
        Step::Publish { file, .. } => format!("publish {file}"),
        Step::Collect { items, .. } => {
            format!("collect {} item{}", items.len(), if items.len() == 1 { "" } else { "s" })
        }
        Step::Encrypt { file, recipients, .. } => {
            let made = recipients.iter().any(|to| matches!(to, EncryptTo::MadeByApply(_)));
            let to = if made { ", with the new key".to_owned() } else { String::new() };
            format!(
                "encrypt {file} to {} recipient{}{to}",
                recipients.len(),
                if recipients.len() == 1 { "" } else { "s" }
            )
        }
        Step::Index { .. } => "index".to_owned(),
        Step::Switch(group) => format!("switch {}", names(&group.hosts())),
        Step::Verify { host, .. } => format!("verify {host}"),
        Step::RestartUserUnits { host, units, .. } => {
            let count: usize = units.values().map(std::collections::BTreeSet::len).sum();
            format!("restart {count} user unit{} on {host}", if count == 1 { "" } else { "s" })
        }
    }
}

/// A few names; of many the first ones and how many more.
pub(super) fn names(hosts: &[&HostName]) -> String {
    let shown = if hosts.len() > 4 { 3 } else { hosts.len() };
    let first: Vec<&str> = hosts.iter().take(shown).map(|host| host.as_str()).collect();
    let more = hosts.len() - shown;
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}

/// The hosts of a step that runs beside others, as the lines of its program begin.
#[must_use]
pub fn step_label(step: &Step) -> String {
    match step {
        Step::Switch(group) => names(&group.hosts()),
        other => step_text(other),
    }
}

/// All steps, in as many lines as they need. Hosts on which the same is done stand together.
pub(super) fn steps_text(steps: &[Step], width: usize) -> String {
    let alike = |one: &Step, other: &Step| of_one_host(one).is_some() && of_one_host(one) == of_one_host(other);
    let parts = steps.chunk_by(alike).map(|steps| match steps {
        [step] => step_text(step),
        several => {
            let hosts: Vec<&HostName> = several.iter().filter_map(host_of).collect();
            format!("{} {}", of_one_host(&several[0]).unwrap_or_default(), names(&hosts))
        }
    });
    wrapped("Steps: ", &parts.collect::<Vec<_>>(), width)
}

/// What is done with one host at a time, without its name.
fn of_one_host(step: &Step) -> Option<String> {
    let name = host_of(step)?.to_string();
    step_text(step).strip_suffix(&name).map(|rest| rest.trim_end().to_owned())
}

fn host_of(step: &Step) -> Option<&HostName> {
    match step {
        Step::MakeIdentity { host } | Step::Verify { host, .. } | Step::RestartUserUnits { host, .. } => Some(host),
        _ => None,
    }
}

/// `parts` after `label`, in as many lines as they need.
fn wrapped(label: &str, parts: &[String], width: usize) -> String {
    let (mut out, mut column) = (label.to_owned(), label.len());
    for (number, part) in parts.iter().enumerate() {
        let long = part.chars().count() + 3;
        if number > 0 && column + long > width {
            out.push_str(" ·\n");
            out.push_str(&" ".repeat(label.len()));
            column = label.len();
        } else if number > 0 {
            out.push_str(" · ");
        }
        out.push_str(part);
        column += long;
    }
    out
}
