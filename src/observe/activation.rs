//! What a host's answer says about its last activation: from which sops file it installs, and whether that worked.
//!
//! NixOS runs the activation before it moves `/run/current-system`, which moves even when the activation failed, and
//! the profile was moved before both. So the running system is what was meant; that the link to the live generation was
//! moved no earlier than the profile shows that it came about. Numbers of generations begin anew with each boot, and
//! say nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::actual::{Activation, Generation};
use crate::address::FileName;
use crate::digest::Digest;
use crate::observe::answer::{Answer, Changed, Installer, Kind, Unit};

/// What our own activation writes beside a generation, `N.json`: no value, and nothing that tells one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// [`Record::VERSION`].
    pub(crate) version: u32,
    /// The sops file that it was installed from.
    pub(crate) sops_file: Digest,
}

impl Record {
    /// The version that this program writes.
    pub(crate) const VERSION: u32 = 1;

    /// Reads one; `None` when it is of another version, or none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|record: &Self| record.version == Self::VERSION)
    }
}

/// The number of a generation's directory, such as 41 of `/run/secrets.d/41`.
pub(super) fn generation(directory: &str) -> Option<u64> {
    directory.trim_end_matches('/').rsplit('/').next()?.parse().ok()
}

/// The generation that a file is of, by where it really is: `…/secrets.d/41/tailscale/auth-key`.
pub(super) fn generation_of(path: &str) -> Generation {
    let components: Vec<&str> = path.split('/').collect();
    let numbers = components.windows(2).filter(|pair| pair[0].ends_with(".d")).map(|pair| pair[1].parse());
    numbers.flatten().next().map_or(Generation::None, Generation::Number)
}

/// The digest of the sops file that the running system installs from. It has the name of the host's file, alone in the
/// store or in a directory of it; a system that installs from one file alone leaves no doubt.
pub(super) fn installs(answer: &Answer, file: &FileName) -> Option<Digest> {
    let named = |path: &str| path.strip_suffix(file.as_str()).is_some_and(|rest| rest.ends_with(['/', '-']));
    let digests = |all: bool| -> BTreeSet<Digest> {
        let files = answer.installs.iter().filter(|(_, path)| all || named(path));
        files.map(|(digest, _)| *digest).collect()
    };
    let found = Some(digests(false)).filter(|found| !found.is_empty()).unwrap_or_else(|| digests(true));
    found.iter().next().copied().filter(|_| found.len() == 1)
}

/// Which key of its sops file the running system installs at each path, as the manifests of sops-nix say. A manifest that
/// is not understood says nothing.
pub(super) fn keys(answer: &Answer) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Manifest {
        secrets: Vec<Declared>,
    }
    #[derive(Deserialize)]
    struct Declared {
        path: String,
        key: String,
    }
    let manifests = answer.manifests.iter().filter_map(|bytes| serde_json::from_slice::<Manifest>(bytes).ok());
    manifests.flat_map(|manifest| manifest.secrets).map(|declared| (declared.path, declared.key)).collect()
}

/// How our own activation ended: it moves the link last, so that a generation with a record is whole.
pub(super) fn of_record(record: Option<&Record>) -> Activation {
    record.map_or(Activation::Unclear, |_| Activation::Succeeded)
}

/// How the activation of the running system ended.
pub(super) fn of_system(answer: &Answer) -> Activation {
    let each: Vec<Activation> = answer.installers.iter().map(|(kind, how)| of_kind(answer, *kind, *how)).collect();
    if each.contains(&Activation::Failed) {
        Activation::Failed
    } else if each.is_empty() || each.contains(&Activation::Unclear) {
        Activation::Unclear
    } else {
        Activation::Succeeded
    }
}

fn of_kind(answer: &Answer, kind: Kind, how: Installer) -> Activation {
    match how {
        Installer::Systemd(Unit::Succeeded) => return Activation::Succeeded,
        Installer::Systemd(Unit::Failed) => return Activation::Failed,
        Installer::Systemd(Unit::Other) => return Activation::Unclear,
        Installer::Activation => {}
    }
    let Some(installed) = answer.changed.get(&Changed::Link(kind)) else { return Activation::Failed };
    let (Some(profile), Some(system)) = (answer.changed.get(&Changed::Profile), answer.changed.get(&Changed::System))
    else {
        return Activation::Unclear;
    };
    // After `nixos-rebuild test` or `boot` the profile says nothing of the running system; and no activation of a
    // profile comes before it, unless the clock was moved.
    if answer.profile.is_none() || answer.profile != answer.system || system < profile {
        Activation::Unclear
    } else if installed < profile {
        Activation::Failed
    } else {
        Activation::Succeeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(profile: i64, link: Option<i64>, system: i64) -> Answer {
        let times =
            [(Changed::Profile, Some(profile)), (Changed::System, Some(system)), (Changed::Link(Kind::Secrets), link)];
        Answer {
            system: Some("/nix/store/a".to_owned()),
            profile: Some("/nix/store/a".to_owned()),
            installers: [(Kind::Secrets, Installer::Activation)].into(),
            changed: times.into_iter().filter_map(|(what, time)| Some((what, (time?, 0)))).collect(),
            ..Answer::default()
        }
    }

    #[test]
    fn a_generation_older_than_its_profile_is_of_a_failed_activation() {
        for (what, answer, expected) in [
            ("switched", system(100, Some(103), 105), Activation::Succeeded),
            ("booted", system(100, Some(900), 901), Activation::Succeeded),
            ("failed", system(200, Some(103), 205), Activation::Failed),
            ("failed at boot", system(100, None, 900), Activation::Failed),
            ("the clock was set back", system(200, Some(50), 51), Activation::Unclear),
            ("nothing to install", Answer::default(), Activation::Unclear),
        ] {
            assert_eq!(of_system(&answer), expected, "{what}");
        }
        let other = Answer { profile: Some("/nix/store/b".to_owned()), ..system(200, Some(103), 205) };
        assert_eq!(of_system(&other), Activation::Unclear);
    }

    #[test]
    fn one_failed_set_of_two_is_a_failure() {
        let mut answer = system(100, Some(103), 105);
        answer.installers.insert(Kind::ForUsers, Installer::Systemd(Unit::Failed));
        assert_eq!(of_system(&answer), Activation::Failed);
        answer.installers.insert(Kind::ForUsers, Installer::Systemd(Unit::Other));
        assert_eq!(of_system(&answer), Activation::Unclear);
        answer.installers.insert(Kind::ForUsers, Installer::Systemd(Unit::Succeeded));
        assert_eq!(of_system(&answer), Activation::Succeeded);
    }

    #[test]
    fn the_file_of_the_host_is_told_from_others() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let told = |files: &[(Digest, &str)]| {
            let installs = files.iter().map(|(digest, path)| (*digest, (*path).to_owned())).collect();
            let file: FileName = "secrets.yaml".parse().unwrap_or_else(|error| panic!("{error}"));
            super::installs(&Answer { installs, ..Answer::default() }, &file)
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[(a, "/nix/store/x-source/secrets.yaml"), (b, "/nix/store/x-source/other.yaml")]), Some(a));
        assert_eq!(told(&[(a, "/nix/store/x-secrets.yaml"), (b, "/nix/store/y-not-secrets.yaml.d")]), Some(a));
        assert_eq!(told(&[(b, "/nix/store/x-web.yaml"), (b, "/nix/store/y-web.yaml")]), Some(b));
        assert_eq!(told(&[(a, "/nix/store/x/secrets.yaml"), (b, "/nix/store/y/secrets.yaml")]), None);
    }

    #[test]
    fn generations_and_records_are_read() {
        assert_eq!(generation("/run/secrets.d/41"), Some(41));
        assert_eq!(generation("secrets.d/1"), Some(1));
        assert_eq!(generation("/run/secrets.d/x"), None);
        assert_eq!(generation_of("/run/secrets.d/41/tailscale/auth-key"), Generation::Number(41));
        assert_eq!(generation_of("/run/secrets-for-users.d/3/user"), Generation::Number(3));
        assert_eq!(generation_of("/etc/profile.d/x/auth-key"), Generation::None);
        assert_eq!(generation_of("/var/lib/db/email"), Generation::None);
        let record = Record { version: Record::VERSION, sops_file: Digest::of(b"a") };
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        assert_eq!(Record::read(&bytes), Some(record));
        assert_eq!(Record::read(b"{\"version\":2}"), None);
    }
}
