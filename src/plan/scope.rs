//! What `--target` means: a named secret or host widens to its whole file, since a file is encrypted whole.

use std::collections::BTreeSet;

use crate::actual::HostState;
use crate::address::{Address, FileName, HostName};
use crate::manifest::{DatasetFile, RecipientSource};
use crate::observation::Observation;
use crate::plan::{Group, Inputs, Note, Plan, Reason, Step};

/// Which files and hosts a plan is about.
pub(super) struct Scope {
    files: BTreeSet<FileName>,
    hosts: BTreeSet<HostName>,
    /// Whose public keys are in those files.
    keys_of: BTreeSet<HostName>,
    targeted: bool,
}

impl Scope {
    pub(super) fn of(inputs: Inputs<'_>) -> Self {
        let manifest = inputs.manifest;
        let targets = &inputs.wishes.targets;
        let targeted = !targets.is_empty();
        let mut scope = Self { files: BTreeSet::new(), hosts: BTreeSet::new(), keys_of: BTreeSet::new(), targeted };
        let named = |address: Address| targets.is_empty() || targets.contains(&address);
        for (file, hosts) in manifest.sops_files() {
            let by_secret = || manifest.boot_secrets(file).any(|(name, ..)| named(Address::Secret(name.clone())));
            let by_host = hosts.iter().any(|host| named(Address::Host((*host).clone())));
            let by_key = targets.iter().any(|target| matches!(target, Address::Key(of, _) if of == file));
            let gone = || recorded_secret_is_named(inputs, file);
            if named(Address::File(file.clone())) || by_host || by_key || by_secret() || gone() {
                scope.files.insert(file.clone());
                scope.hosts.extend(hosts.into_iter().cloned());
            }
        }
        for (file, source) in &manifest.dataset.files {
            let of_host = matches!(source, DatasetFile::AgeKeyOf(host) if scope.hosts.contains(host));
            if named(Address::File(file.clone())) || of_host || scope.is_recipient_file(inputs, file) {
                scope.files.insert(file.clone());
                scope.keys_of.extend(if let DatasetFile::AgeKeyOf(host) = source { Some(host.clone()) } else { None });
            }
        }
        scope
    }

    fn is_recipient_file(&self, inputs: Inputs<'_>, file: &FileName) -> bool {
        let hosts = inputs.manifest.hosts.iter().filter(|(name, _)| self.hosts.contains(*name));
        hosts.into_iter().any(|(_, host)| matches!(&host.recipient, RecipientSource::File(of) if of == file))
    }

    pub(super) fn has_file(&self, file: &FileName) -> bool {
        self.files.contains(file)
    }

    pub(super) fn has_host(&self, host: &HostName) -> bool {
        self.hosts.contains(host)
    }

    /// Whether it must be decided which key of a host is the right one.
    pub(super) fn needs_key_of(&self, host: &HostName) -> bool {
        self.has_host(host) || self.keys_of.contains(host)
    }

    /// Says that targeting is in effect and what comes along, and what is worth a line about the rest of the manifest.
    pub(super) fn add_notes(&self, inputs: Inputs<'_>, plan: &mut Plan) {
        if self.targeted {
            plan.notes.insert(Note::Targeted);
            let changes = plan.changes.iter().map(|change| &change.address);
            let along = changes.filter(|address| !inputs.wishes.targets.contains(*address));
            let along: Vec<Note> = along.map(|address| Note::ComesAlong { address: address.clone() }).collect();
            plan.notes.extend(along);
        }
        for (name, secret) in &inputs.manifest.secrets {
            if secret.boot.is_some() {
                continue;
            }
            let cause = inputs.desired.items.get(name).and_then(|item| item.cause());
            if let Some(cause) = cause.filter(|cause| cause.is_of_the_item()) {
                plan.notes.insert(Note::RuntimeSecret { secret: name.clone(), cause: cause.clone() });
            }
        }
        let groups =
            plan.steps.iter().filter_map(|step| if let Step::Switch(group) = step { Some(group) } else { None });
        for host in groups.flat_map(Group::hosts) {
            let declared = inputs.manifest.hosts.get(host);
            let Some((declared, config)) = declared.and_then(|host| Some((host, host.rbw_config.as_ref()?))) else {
                continue;
            };
            // What was seen of it is told as such.
            if inputs.actual.hosts.get(host).is_some_and(rbw_was_seen) {
                continue;
            }
            let dataset = declared.path_on_host.as_ref().unwrap_or(&inputs.manifest.dataset.path);
            let (user, dataset) = (config.user.clone(), dataset.as_written().to_owned());
            plan.notes.insert(Note::RbwConfig { host: host.clone(), user, dataset, missing: false });
        }
        how_to_share(inputs, plan);
        for file in inputs.receipt.files.keys() {
            let declared = inputs.manifest.dataset.files.contains_key(file)
                || inputs.manifest.hosts.values().any(|host| host.sops_file == *file)
                || file.as_str() == FileName::INDEX;
            if !declared {
                plan.notes.insert(Note::FileForgotten { file: file.clone() });
            }
        }
    }
}

/// Says how machines share what one of them recorded, where it shows that they do not.
fn how_to_share(inputs: Inputs<'_>, plan: &mut Plan) {
    let reasons = || plan.changes.iter().flat_map(|change| &change.reasons);
    let other_key = reasons().any(|reason| *reason == Reason::OtherFingerprintKey);
    let never = reasons().any(|reason| *reason == Reason::NeverRecorded);
    if other_key && inputs.manifest.fingerprint_key.is_none() {
        plan.notes.insert(Note::OtherFingerprintKey);
    }
    if never && inputs.receipt.serial == 0 && inputs.manifest.receipt.is_none() {
        plan.notes.insert(Note::NotShared);
    }
}

fn rbw_was_seen(seen: &Observation<HostState>) -> bool {
    seen.known().and_then(|state| state.rbw.as_ref()?.known()).is_some()
}

fn recorded_secret_is_named(inputs: Inputs<'_>, file: &FileName) -> bool {
    let keys = inputs.receipt.written(file).map(|written| written.keys.as_slice()).unwrap_or_default();
    keys.iter().any(|key| inputs.wishes.targets.contains(&Address::Secret(key.secret.clone())))
}
