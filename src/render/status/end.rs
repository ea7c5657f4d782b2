//! The last lines of a status: how much agrees, and what to do next.

use super::Mark;
use crate::observation::Cause;
use crate::plan::{Blocker, Standing, Status};
use crate::render::words;

/// The last line: what agrees, what does not, what is not known.
pub(super) fn sum(status: &Status) -> String {
    let marks = status.boot.iter().map(|line| Mark::of(&line.in_file).max(Mark::of(&line.on_host)));
    let marks: Vec<Mark> = marks.chain(status.runtime.iter().map(|line| Mark::of(&line.in_vault))).collect();
    let count = |wanted: Mark| marks.iter().filter(|mark| **mark == wanted).count();
    let all = marks.len();
    if status.is_complete() && !status.differs() {
        return match all {
            1 => "The one secret is up to date.".to_owned(),
            _ => format!("All {all} are up to date."),
        };
    }
    let mut parts = vec![format!("{} of {all} up to date", count(Mark::Current))];
    for (mark, what) in [(Mark::Differs, "not"), (Mark::Blocked, "blocked"), (Mark::Unknown, "not known")] {
        if count(mark) > 0 {
            parts.push(format!("{} {what}", count(mark)));
        }
    }
    let mut sentences = vec![parts.join(", ")];
    let undeclared: usize = status.undeclared.values().map(std::collections::BTreeSet::len).sum();
    if undeclared > 0 {
        sentences.push(format!("{undeclared} no longer declared, and still in a file"));
    }
    match status.pending.len() {
        0 => {}
        1 => sentences.push("1 other change".to_owned()),
        changes => sentences.push(format!("{changes} other changes")),
    }
    match status.files.len() {
        0 => {}
        1 => sentences.push("1 file of the dataset differs".to_owned()),
        files => sentences.push(format!("{files} files of the dataset differ")),
    }
    if !status.blocked.is_empty() {
        let by: Vec<String> = status.blocked.iter().map(|blocked| blocked.address.to_string()).collect();
        sentences.push(format!("The next apply is blocked by {}", by.join(", ")));
    }
    format!("{}.", sentences.join(". "))
}

/// What to do next, each once; what stands above with its host or file is not said again.
pub(super) fn nexts(status: &Status) -> Vec<String> {
    let mut nexts = Vec::new();
    if status.differs() {
        nexts.push("reconcile plan says what an apply would do".to_owned());
    }
    let told: Vec<_> = status.blocked.iter().map(|blocked| &blocked.address).collect();
    let mut of: Vec<(String, Vec<String>)> = Vec::new();
    for (address, standing) in status.placed().filter(|(address, _)| !told.contains(&address)) {
        let subject = address.to_string();
        let next = match standing {
            Standing::Unknown { cause } => cause.next(),
            Standing::Blocked { by } => words::blocker(&subject, by).1,
            Standing::Current | Standing::Differs { .. } => None,
        };
        let Some(next) = next else { continue };
        let subject = says_where(standing).then_some(subject);
        match of.iter_mut().find(|(known, _)| *known == next) {
            Some((_, subjects)) => subjects.extend(subject.filter(|subject| !subjects.contains(subject))),
            None => of.push((next, subject.into_iter().collect())),
        }
    }
    nexts.extend(of.into_iter().map(|(next, subjects)| match subjects.as_slice() {
        [] => next,
        subjects => format!("{}: {next}", subjects.join(", ")),
    }));
    nexts
}

/// Whether the advice needs to be told of what it is: a vault is unlocked for all that it holds.
fn says_where(standing: &Standing) -> bool {
    match standing {
        Standing::Unknown { cause } | Standing::Blocked { by: Blocker::Unknown(cause) } => {
            cause.is_of_the_item() || matches!(cause, Cause::NeedsRoot { .. })
        }
        Standing::Blocked { .. } => true,
        Standing::Current | Standing::Differs { .. } => false,
    }
}
