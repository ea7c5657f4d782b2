//! Whether each host runs what its file and the manifest say.

use std::collections::{BTreeMap, BTreeSet};

use crate::actual::{Activation, FileState, Generation, HostState, Installed, InstalledState, RbwState};
use crate::address::{Address, FileName, HostName};
use crate::digest::Digest;
use crate::manifest::{Access, BootDelivery, Host, Manifest, Placeholder, Switch, filled_in};
use crate::observation::{Cause, Observation};
use crate::plan::files::FileVerdict;
use crate::plan::index::IndexVerdict;
use crate::plan::scope::Scope;
use crate::plan::trust::Trust;
use crate::plan::units::{self, Restart};
use crate::plan::{Action, Blocked, Blocker, Change, Details, Difference, Group, Inputs, Note, Plan, Reason};
use crate::secret::SecretName;
use crate::sops::SopsFile;

/// What is done on hosts.
#[derive(Debug, Default)]
pub(super) struct HostsVerdict {
    /// Those to switch: each alone, or together where one command takes them.
    pub(super) switched: Vec<Group>,
    /// What restarts on which, once it is up to date.
    pub(super) restarts: BTreeMap<HostName, Restart>,
}

/// Decides for every host in scope.
pub(super) fn decide(
    inputs: Inputs<'_>,
    scope: &Scope,
    trusts: &BTreeMap<HostName, Trust>,
    files: &BTreeMap<FileName, FileVerdict>,
    index: &IndexVerdict,
    plan: &mut Plan,
) -> HostsVerdict {
    let mut verdict = HostsVerdict::default();
    let mut switched = BTreeMap::new();
    for (name, host) in inputs.manifest.hosts.iter().filter(|(name, _)| scope.has_host(name)) {
        let Some(file) = files.get(&host.sops_file) else { continue };
        // A host whose key is refused might not be able to decrypt what it would be switched to.
        if matches!(trusts.get(name), None | Some(Trust::Blocked(_))) {
            continue;
        }
        let standing = one(inputs, name, host, file, index, plan);
        let is_switched = matches!(standing, Standing::Behind(_));
        if standing != Standing::Left
            && let Some(restart) = units::of_host(inputs, name, host, file, is_switched)
        {
            if inputs.wishes.no_switch {
                plan.notes.insert(Note::SwitchWithheld { host: name.clone() });
            } else {
                verdict.restarts.insert(name.clone(), restart);
            }
        }
        if let Standing::Behind(reasons) = standing {
            switched.insert(name, reasons);
        }
    }
    verdict.switched = groups(inputs.manifest, switched.keys().copied());
    for (name, reasons) in &switched {
        let Some(switch) = inputs.manifest.hosts.get(*name).and_then(|host| host.switch.as_ref()) else { continue };
        let group = verdict.switched.iter().find(|group| group.hosts().contains(name));
        let details = Details::Host {
            switch: described(switch, &group.map(Group::hosts).unwrap_or_default()),
            everything: !matches!(switch, Switch::Activate { .. }),
            restarts: verdict.restarts.get(*name).map(|restart| restart.units.clone()).unwrap_or_default(),
        };
        let (address, reasons) = (Address::Host((*name).clone()), reasons.clone());
        plan.changes.push(Change { address, action: Action::Switch, reasons, details });
    }
    for (name, restart) in verdict.restarts.iter().filter(|(name, _)| !switched.contains_key(name)) {
        units::change(plan, name, restart);
    }
    verdict
}

/// How a host stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is switched, for these reasons.
    Behind(BTreeSet<Reason>),
    /// It shows what it should.
    Agrees,
    /// It was not seen, or is left as it is.
    Left,
}

/// Hosts whose command takes several, and is the same, are switched by it together.
fn groups<'a>(manifest: &Manifest, switched: impl Iterator<Item = &'a HostName>) -> Vec<Group> {
    let mut groups = Vec::new();
    // By their command, and by the sops file where the command names it.
    let mut known: BTreeMap<(&[String], Option<&FileName>), usize> = BTreeMap::new();
    for name in switched {
        let Some(host) = manifest.hosts.get(name) else { continue };
        let Some(Switch::Command(argv)) = host.switch.as_ref().filter(|switch| switch.takes_several()) else {
            groups.push(Group::Alone { host: name.clone() });
            continue;
        };
        let file = Placeholder::SopsFile.is_in(argv).then_some(&host.sops_file);
        let at = *known.entry((argv, file)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(Group::Together { hosts }) => drop(hosts.insert(name.clone())),
            _ => groups.push(Group::Together { hosts: BTreeSet::from([name.clone()]) }),
        }
    }
    groups
}

fn one(
    inputs: Inputs<'_>,
    name: &HostName,
    host: &Host,
    verdict: &FileVerdict,
    index: &IndexVerdict,
    plan: &mut Plan,
) -> Standing {
    let address = Address::Host(name.clone());
    let (mut reasons, mut agrees) = (BTreeSet::new(), false);
    let redeclared = |secret: &SecretName| {
        let boot = inputs.manifest.secrets.get(secret).and_then(|secret| secret.boot.as_ref());
        boot.is_some_and(|boot| boot.hosts.contains(name))
    };
    if matches!(verdict, FileVerdict::Encrypt { .. }) || index.redeclared.iter().any(redeclared) {
        reasons.insert(Reason::FileChanges);
    }
    match inputs.actual.hosts.get(name) {
        Some(Observation::Known(state)) => {
            let notes = state.notes.iter().map(|text| Note::Host { host: name.clone(), text: text.clone() });
            plan.notes.extend(notes);
            plan.notes.extend(rbw_note(inputs, name, host, state));
            if let FileVerdict::Unchanged(Some(digest)) = verdict {
                plan.notes.extend(lag_note(name, host, state, *digest));
            }
            if let (true, FileVerdict::Unchanged(Some(_))) = (reasons.is_empty(), verdict) {
                reasons.extend(compare(inputs, name, host, state, plan));
                agrees = reasons.is_empty();
            }
        }
        Some(Observation::Unknown(cause)) if reasons.is_empty() || inputs.wishes.no_switch => {
            plan.unchecked.insert(address.clone(), cause.clone());
        }
        Some(Observation::Unknown(cause)) => {
            plan.blocked.push(Blocked { address, by: Blocker::Unknown(cause.clone()) });
            return Standing::Left;
        }
        None => {}
    }
    let boots = inputs.manifest.boot_secrets(&host.sops_file).next().is_some();
    if !boots || (reasons.is_empty() && (!agrees || host.switch.is_none())) {
        return Standing::Left;
    }
    if host.switch.is_none() {
        plan.notes.insert(Note::SwitchByHand { host: name.clone() });
        return Standing::Left;
    }
    if inputs.wishes.no_switch && !reasons.is_empty() {
        plan.notes.insert(Note::SwitchWithheld { host: name.clone() });
        return Standing::Left;
    }
    if reasons.is_empty() { Standing::Agrees } else { Standing::Behind(reasons) }
}

/// What is to be done about the rbw of the user whom the manifest names. What cannot be seen is left to `status`.
fn rbw_note(inputs: Inputs<'_>, name: &HostName, declared: &Host, state: &HostState) -> Option<Note> {
    let config = declared.rbw_config.as_ref()?;
    let (host, user) = (name.clone(), config.user.clone());
    match state.rbw.as_ref()?.known()? {
        RbwState::LoggedIn => None,
        RbwState::LoggedOut => {
            let command = on_host(declared, &user, "rbw login");
            Some(Note::RbwLoggedOut { host, user, command })
        }
        RbwState::Unconfigured => {
            let dataset = declared.path_on_host.as_ref().unwrap_or(&inputs.manifest.dataset.path);
            let dataset = dataset.as_written().to_owned();
            Some(Note::RbwConfig { host, user, dataset, missing: true })
        }
    }
}

/// How a person runs `command` as `user` of a host.
fn on_host(host: &Host, user: &str, command: &str) -> String {
    let Access::Ssh { to, port } = &host.access else { return command.to_owned() };
    let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let to = match to.as_written().rsplit_once('@') {
        Some((_, machine)) => format!("{user}@{machine}"),
        // A variable may hold a user, too.
        None if to.as_written().starts_with('$') => to.as_written().to_owned(),
        None => format!("{user}@{}", to.as_written()),
    };
    format!("ssh -t {port}{to} {command}")
}

/// Whether a host sees the sops file as it is in the dataset.
fn lag_note(name: &HostName, declared: &Host, state: &HostState, digest: Digest) -> Option<Note> {
    let seen = state.sees.as_ref()?.known()?;
    let place = declared.path_on_host.as_ref().filter(|_| *seen != Some(digest))?;
    let (host, file, place) = (name.clone(), declared.sops_file.clone(), place.as_written().to_owned());
    Some(Note::DatasetLags { host, file, place, older: seen.is_some() })
}

/// What a host that answered shows against the file that is there.
fn compare(inputs: Inputs<'_>, name: &HostName, host: &Host, state: &HostState, plan: &mut Plan) -> BTreeSet<Reason> {
    let Some(Observation::Known(FileState::Sops(sops))) = inputs.actual.files.get(&host.sops_file) else {
        return BTreeSet::new();
    };
    let switched = inputs.receipt.hosts.get(name).and_then(|host| host.switched.as_ref());
    match outstanding(inputs.manifest, name, state, sops, switched.map(|switched| switched.file)) {
        Ok(reasons) => reasons,
        Err(unseen) => {
            let unseen = unseen.into_iter().map(|(secret, cause)| (Address::Secret(secret), cause));
            plan.unchecked.extend(unseen);
            BTreeSet::new()
        }
    }
}

/// What keeps a host from showing what its file and the manifest say: nothing, when it has arrived there. A host that
/// does not say what it installs from is believed to run `recorded`, what was last brought there.
///
/// # Errors
/// With the secrets that could not be looked at, when nothing else is outstanding.
pub fn outstanding(
    manifest: &Manifest,
    name: &HostName,
    state: &HostState,
    sops: &SopsFile,
    recorded: Option<Digest>,
) -> Result<BTreeSet<Reason>, BTreeMap<SecretName, Cause>> {
    let mut reasons = BTreeSet::new();
    if state.installs.or(recorded) != Some(sops.digest) {
        reasons.insert(Reason::HostBehind);
        return Ok(reasons);
    }
    if state.activation == Activation::Failed {
        reasons.insert(Reason::ActivationFailed);
    }
    let (secrets, unseen) = differences(manifest, name, state, sops);
    if !secrets.is_empty() {
        reasons.insert(Reason::HostDrifted { secrets });
    }
    if reasons.is_empty() && !unseen.is_empty() { Err(unseen) } else { Ok(reasons) }
}

/// The secrets that are not as declared, and those that could not be looked at.
fn differences(
    manifest: &Manifest,
    name: &HostName,
    state: &HostState,
    sops: &SopsFile,
) -> (BTreeMap<SecretName, BTreeSet<Difference>>, BTreeMap<SecretName, Cause>) {
    let (mut found, mut unseen) = (BTreeMap::new(), BTreeMap::new());
    let delivered = manifest.secrets.iter().filter_map(|(secret, declared)| Some((secret, declared.boot.as_ref()?)));
    for (secret, boot) in delivered.filter(|(_, boot)| boot.hosts.contains(name)) {
        match differences_of(boot, state, secret, sops) {
            Ok(differs) if differs.is_empty() => {}
            Ok(differs) => drop(found.insert(secret.clone(), differs)),
            Err(cause) => drop(unseen.insert(secret.clone(), cause)),
        }
    }
    (found, unseen)
}

/// What of one secret on a host is not as declared.
///
/// # Errors
/// When it could not be looked at.
pub(super) fn differences_of(
    boot: &BootDelivery,
    state: &HostState,
    secret: &SecretName,
    sops: &SopsFile,
) -> Result<BTreeSet<Difference>, Cause> {
    match state.secrets.get(secret) {
        Some(Observation::Known(InstalledState::Present(installed))) => {
            // Those that users need have generations of their own.
            let live = state.generation.filter(|_| !boot.needed_for_users);
            Ok(attributes(boot, installed, live, sops))
        }
        Some(Observation::Known(InstalledState::Absent)) => Ok(BTreeSet::from([Difference::Absent])),
        Some(Observation::Unknown(cause)) => Err(cause.clone()),
        None => Err(Cause::NotLookedAt),
    }
}

/// What of an installed secret is not as declared. What the manifest leaves open is not compared.
fn attributes(boot: &BootDelivery, installed: &Installed, live: Option<u64>, sops: &SopsFile) -> BTreeSet<Difference> {
    let mut differs = BTreeSet::new();
    if boot.owner.as_ref().is_some_and(|owner| owner != installed.owner.as_is()) {
        differs.insert(Difference::Owner);
    }
    if boot.group.as_ref().is_some_and(|group| group != installed.group.as_is()) {
        differs.insert(Difference::Group);
    }
    if boot.mode.is_some_and(|mode| mode.0 != installed.mode) {
        differs.insert(Difference::Mode);
    }
    if sops.leaves.get(&boot.key).is_some_and(|leaf| leaf.length as u64 != installed.size) {
        differs.insert(Difference::Size);
    }
    if installed.key.as_ref().is_some_and(|key| *key != boot.key.joined()) {
        differs.insert(Difference::Key);
    }
    match installed.generation {
        Some(Generation::None) => drop(differs.insert(Difference::Stray)),
        Some(Generation::Number(number)) if live.is_some_and(|live| live != number) => {
            differs.insert(Difference::Generation);
        }
        Some(Generation::Number(_)) | None => {}
    }
    differs
}

fn described(switch: &Switch, hosts: &[&HostName]) -> String {
    match switch {
        Switch::Command(argv) => {
            filled_in(argv, hosts, &|_| None).iter().map(|word| shown(word)).collect::<Vec<_>>().join(" ")
        }
        Switch::NixosRebuild(rebuild) => format!("nixos-rebuild switch --flake {}", rebuild.flake),
        Switch::Activate { symlink_path } => format!("activate {}", symlink_path.as_written()),
    }
}

/// A word of a command that is approved: where it ends is seen, and nothing in it can hide the rest.
fn shown(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:=@%+,~{}#$".contains(c));
    if plain { word.to_owned() } else { format!("{word:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_cannot_hide_a_part_of_itself() {
        let argv = ["bash", "docs/vm.sh", "a b", "", "x\u{1b}[2K\ry\u{202e}"].map(str::to_owned).to_vec();
        let host: HostName = "vm".parse().unwrap_or_else(|error| panic!("{error}"));
        let text = described(&Switch::Command(argv), &[&host]);
        assert_eq!(text, r#"bash docs/vm.sh "a b" "" "x\u{1b}[2K\ry\u{202e}""#);
    }
}
