//! The public files of the dataset: what each should hold, and whether it does.

use std::collections::{BTreeMap, BTreeSet};

use crate::actual::FileState;
use crate::address::{Address, FileName, HostName};
use crate::desired::Source;
use crate::digest::Digest;
use crate::manifest::DatasetFile;
use crate::observation::{Cause, Observation};
use crate::plan::scope::Scope;
use crate::plan::trust::Trust;
use crate::plan::{Action, Blocked, Blocker, Change, Details, Inputs, Plan, Reason};
use crate::text::Untrusted;

/// A file to publish.
pub(super) struct Publication {
    pub(super) file: FileName,
    pub(super) content: Source,
    pub(super) expects: Option<Digest>,
}

/// What a file should hold.
enum Wanted {
    Known(Source),
    Unknown(Cause),
    DependsOn(Address),
}

pub(super) fn decide(
    inputs: Inputs<'_>,
    scope: &Scope,
    trusts: &BTreeMap<HostName, Trust>,
    plan: &mut Plan,
) -> Vec<Publication> {
    let mut published = Vec::new();
    for (file, declared) in inputs.manifest.dataset.files.iter().filter(|(file, _)| scope.has_file(file)) {
        let address = Address::File(file.clone());
        let state = match inputs.actual.files.get(file) {
            Some(Observation::Known(state)) => state,
            Some(Observation::Unknown(cause)) => {
                plan.blocked.push(Blocked { address, by: Blocker::Unknown(cause.clone()) });
                continue;
            }
            None => {
                plan.unchecked.insert(address, Cause::NotLookedAt);
                continue;
            }
        };
        match (wanted(inputs, trusts, file, declared), state) {
            (Wanted::Known(content), state) => {
                let Some((action, reason)) = compare(inputs, file, &content, state) else { continue };
                let details = Details::Public { source: described(declared), content: first_line(&content) };
                plan.changes.push(Change { address, action, reasons: BTreeSet::from([reason]), details });
                published.push(Publication { file: file.clone(), content, expects: state.digest() });
            }
            (Wanted::Unknown(cause), FileState::Absent) => {
                plan.blocked.push(Blocked { address, by: Blocker::Unknown(cause) });
            }
            (Wanted::Unknown(cause), _) => {
                plan.unchecked.insert(address, cause);
            }
            (Wanted::DependsOn(host), _) => plan.blocked.push(Blocked { address, by: Blocker::DependsOn { on: host } }),
        }
    }
    published
}

fn wanted(inputs: Inputs<'_>, trusts: &BTreeMap<HostName, Trust>, file: &FileName, declared: &DatasetFile) -> Wanted {
    let DatasetFile::AgeKeyOf(host) = declared else {
        return match inputs.desired.sources.get(file) {
            Some(Observation::Known(source)) => Wanted::Known(source.clone()),
            Some(Observation::Unknown(cause)) => Wanted::Unknown(cause.clone()),
            None => Wanted::Unknown(Cause::NotLookedAt),
        };
    };
    match trusts.get(host) {
        Some(Trust::Key(key)) => Wanted::Known(Source::Content(format!("{key}\n").into_bytes())),
        Some(Trust::MadeByApply) => Wanted::Known(Source::MadeByApply(host.clone())),
        Some(Trust::Blocked(_)) => Wanted::DependsOn(Address::Host(host.clone())),
        None => Wanted::Unknown(Cause::NotLookedAt),
    }
}

fn compare(inputs: Inputs<'_>, file: &FileName, content: &Source, state: &FileState) -> Option<(Action, Reason)> {
    let Some(there) = state.digest() else {
        let recorded = inputs.receipt.written(file).is_some();
        let reason = if recorded { Reason::RemovedOutside } else { Reason::FileMissing };
        return Some((Action::Create, reason));
    };
    if matches!(content, Source::Content(bytes) if Digest::of(bytes) == there) {
        return None;
    }
    let reason = match inputs.receipt.written(file) {
        None => Reason::NeverRecorded,
        Some(written) if written.digest == there => Reason::SourceChanged,
        Some(_) => Reason::EditedOutside,
    };
    Some((Action::Update, reason))
}

fn described(declared: &DatasetFile) -> String {
    match declared {
        DatasetFile::AgeKeyOf(host) => format!("the age key of host {host}"),
        DatasetFile::Copy(place) => format!("copy of {}", place.as_written()),
        DatasetFile::Literal(_) => "literal".to_owned(),
        DatasetFile::Read { host, path } => format!("{path} of host {host}"),
    }
}

fn first_line(content: &Source) -> Option<Untrusted> {
    match content {
        Source::Content(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            Some(Untrusted::new(text.lines().next().unwrap_or_default()))
        }
        Source::MadeByApply(_) => None,
    }
}
