//! Reasons, blockers and notes as sentences, each with what can be done about it.

use crate::observation::Cause;
use crate::plan::{Action, Blocker, Details, KeySeen, Note, Reason};

/// Why something changes, after a colon.
pub(super) fn reason(reason: &Reason) -> String {
    match reason {
        Reason::FileMissing => "it is not there yet".to_owned(),
        Reason::KeyMissing => "the sops file does not have it".to_owned(),
        Reason::RemovedOutside => "it was removed outside of reconcile".to_owned(),
        Reason::KeyUndeclared => "it is no longer declared".to_owned(),
        Reason::ForeignKey => "somebody else put it there; you asked to destroy it".to_owned(),
        Reason::ValueChanged => "its value changed in the vault".to_owned(),
        Reason::OtherItem => "it comes from another item or field of the vault than before".to_owned(),
        Reason::NeverRecorded => "never recorded here, so what it holds cannot be told".to_owned(),
        Reason::OtherFingerprintKey => "recorded under another fingerprint key".to_owned(),
        Reason::EditedOutside => "edited outside of reconcile".to_owned(),
        Reason::FileEditedOutside => "the file was edited outside of reconcile".to_owned(),
        Reason::WrongType => "it is no text there, and no host would install it".to_owned(),
        Reason::FileBroken => "the file is broken; you asked to replace it".to_owned(),
        Reason::Replaced => "you asked to write it anew".to_owned(),
        Reason::DeclarationChanged => "its declaration changed; nothing is encrypted for that".to_owned(),
        Reason::Renamed { from } => format!("it was called {from}"),
        Reason::RecipientsChanged { added, removed } => recipients(added, removed),
        Reason::SourceChanged => "its source changed".to_owned(),
        Reason::IndexStale => "it does not say what the manifest says".to_owned(),
        Reason::FileChanges => "what it installs from changes".to_owned(),
        Reason::HostBehind => "it runs an older file".to_owned(),
        Reason::HostDrifted { secrets } => {
            let one = |(secret, differences): (
                &crate::secret::SecretName,
                &std::collections::BTreeSet<crate::plan::Difference>,
            )| {
                let what: Vec<&str> = differences.iter().map(|difference| difference.in_words()).collect();
                format!("{secret}: {}", what.join(", "))
            };
            format!("it is not as declared ({})", secrets.iter().map(one).collect::<Vec<_>>().join("; "))
        }
        Reason::UnitsBehind { secrets } => {
            let names: Vec<&str> = secrets.iter().map(crate::secret::SecretName::as_str).collect();
            format!("they were not restarted since {} changed there", names.join(", "))
        }
        Reason::ActivationFailed => "its last activation failed, and the old secrets are live".to_owned(),
    }
}

fn recipients(
    added: &std::collections::BTreeSet<crate::sops::Recipient>,
    removed: &std::collections::BTreeSet<crate::text::Untrusted>,
) -> String {
    let mut parts = Vec::new();
    if !added.is_empty() {
        let keys: Vec<String> = added.iter().map(crate::sops::Recipient::short).collect();
        parts.push(format!("encrypted to {} as well", keys.join(", ")));
    }
    if !removed.is_empty() {
        let keys: Vec<String> = removed.iter().map(|key| shortened(&key.printable())).collect();
        parts.push(format!("no longer to {}", keys.join(", ")));
    }
    if parts.is_empty() { "its recipients change".to_owned() } else { parts.join(", ") }
}

pub(super) fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= 24 {
        return text.to_owned();
    }
    let head: String = text.chars().take(7).collect();
    let tail: String = text.chars().skip(count - 5).collect();
    format!("{head}…{tail}")
}

/// What will happen to something, after its address.
pub(super) fn action(action: Action, details: &Details) -> &'static str {
    match (action, details) {
        (Action::Create, _) => "will be created",
        (Action::Update, _) => "will be updated",
        (Action::Destroy, _) => "will be destroyed",
        (Action::Switch, _) => "will be switched",
        (Action::Restart, _) => "has units to restart",
    }
}

/// What blocks, and the way out.
#[must_use]
pub fn blocker(address: &str, by: &Blocker) -> (String, Option<String>) {
    match by {
        Blocker::Unknown(cause) => (cause.to_string(), cause.next()),
        Blocker::ForeignKey => (
            "somebody else put it there, and encrypting the file anew would lose it".to_owned(),
            Some(format!("declare it in the manifest, or: reconcile apply --destroy-foreign {address}")),
        ),
        Blocker::HostKeyChanged { accepted, offered, seen } => {
            let accepted = accepted.short();
            let key = offered.as_ref().map_or_else(|| "none".to_owned(), crate::sops::Recipient::short);
            let accept = format!("reconcile apply --accept-recipient {address}");
            let (what, next) = match (seen, offered) {
                (KeySeen::OnHost, Some(_)) => (
                    format!("its age key is {key}, not the accepted {accepted}"),
                    format!("was it reinstalled? then: {accept}"),
                ),
                (KeySeen::OnHost, None) => (
                    format!("it has no age key any more; the accepted one is {accepted}"),
                    format!("restore it, or let one be made: {accept}"),
                ),
                (KeySeen::InDataset, _) => (
                    format!("the dataset offers {key} as its key, not the accepted {accepted}, and it cannot be asked"),
                    format!(
                        "let its key be read (start it; `become: sudo`); where only root can, and you know it: {accept}"
                    ),
                ),
                (KeySeen::InManifest, _) => (
                    format!("the manifest says {accepted}, and the host has {key}"),
                    "correct the recipient in the manifest".to_owned(),
                ),
            };
            (what, Some(next))
        }
        Blocker::HostKeyUnverified { cause: None, .. } => (
            "it has no key that a file could be encrypted to".to_owned(),
            Some("make its ssh host key there, as root: ssh-keygen -A".to_owned()),
        ),
        Blocker::HostKeyUnverified { cause: Some(cause), offered } => {
            let accept =
                format!("where you know it, take {{}} of the dataset: reconcile apply --accept-recipient {address}");
            let accept = offered.as_ref().map(|key| accept.replace("{}", &key.short()));
            let read = match cause {
                Cause::HostUnreachable { .. } => Some("start it, or see to it that ssh reaches it".to_owned()),
                cause => cause.next(),
            };
            let nexts: Vec<String> = read.into_iter().chain(accept).collect();
            let next = (!nexts.is_empty()).then(|| nexts.join("; "));
            (format!("its age key was never accepted here, and cannot be read now: {cause}"), next)
        }
        Blocker::FileBroken { problem } => {
            (problem.printable(), Some(format!("restore it, or write it anew: reconcile apply --replace {address}")))
        }
        Blocker::KeyGroups => (
            "it uses key groups of sops (Shamir): it is not ours to write".to_owned(),
            Some("give it another `sops_file`".to_owned()),
        ),
        Blocker::DependsOn { on } => (format!("waits for {on}"), None),
    }
}

/// A note, and whether it is a warning.
pub(super) fn note(note: &Note) -> (bool, String) {
    match note {
        Note::RuntimeSecret { secret, cause } => (true, format!("secret.{secret}, wanted at run time: {cause}")),
        Note::KeyAccepted { host, key, instead_of: None } => {
            (false, format!("host.{host}: applying this accepts its age key, seen for the first time: {key}"))
        }
        Note::KeyAccepted { host, key, instead_of: Some(old) } => {
            (true, format!("host.{host}: applying this accepts another age key than {}: {key}", old.short()))
        }
        Note::HostKeyUnverified { host } => (
            false,
            format!("host.{host}: only root sees its age key; the accepted one is used unverified (become: sudo)"),
        ),
        Note::SwitchByHand { host } => (false, format!("host.{host} has no `switch`: bring it up to date by hand")),
        Note::SwitchWithheld { host } => (false, format!("host.{host} is not switched (--no-switch)")),
        Note::ComesAlong { address } => (false, format!("{address} comes along: a file is encrypted as a whole")),
        Note::Targeted => (true, "--target is in effect: this may not be everything".to_owned()),
        Note::OtherFingerprintKey => (
            true,
            "the receipt was made under the fingerprint key of another machine: `fingerprint_key: {item: …}` in the \
             manifest shares one"
                .to_owned(),
        ),
        Note::NotShared => (
            false,
            "what another machine applied is not known here: `receipt: {path: …}` and `fingerprint_key: {item: …}` share it"
                .to_owned(),
        ),
        Note::FileForgotten { file } => (false, format!("{file} is no longer declared; it stays in the dataset")),
        Note::Overshared { secret, host } => {
            (true, format!("host.{host} can decrypt secret.{secret}, which is not declared for it: they share a file"))
        }
        Note::RbwConfig { host, user, dataset, missing } => {
            let not_yet = if *missing { format!("rbw of {user} is not configured there yet; ") } else { String::new() };
            let command = format!("reconcile rbw-config --dataset {dataset} --host {host}");
            (false, format!("host.{host}: {not_yet}a unit of {user} configures rbw: {command}"))
        }
        Note::RbwLoggedOut { host, user, command } => {
            (false, format!("host.{host}: rbw of {user} is not logged in there: {command}"))
        }
        Note::RbwUnseen { host, user, cause } => {
            (false, format!("host.{host}: whether rbw of {user} is logged in there is not known: {cause}"))
        }
        Note::DatasetLags { host, file, place, older: true } => {
            (false, format!("host.{host} still sees an older {file} in {place}; a switch waits for this one"))
        }
        Note::DatasetLags { host, file, place, older: false } => {
            (true, format!("host.{host} sees no {file} in {place}: is the dataset shared with it?"))
        }
        Note::FunctionsStale { line } => {
            (true, format!("the shell functions of this terminal are not those of the manifest: {line}"))
        }
        Note::CommandsMissing { commands } => {
            let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
            (false, format!("not on the PATH of this terminal, and given a secret: {}", commands.join(", ")))
        }
        Note::Host { host, text } => (false, format!("host.{host}: {}", text.printable())),
    }
}
