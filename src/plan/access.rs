//! Who can decrypt each sops file, and who can read each secret where it is installed: what the manifest declares, with
//! what the files and the receipt show.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::actual::FileState;
use crate::address::{FileName, HostName, KeyPath};
use crate::manifest::{BootDelivery, DatasetFile, Host, Manifest, Mode, RecipientSource, Switch};
use crate::observation::{Cause, Observation};
use crate::receipt::Receipt;
use crate::secret::SecretName;
use crate::sops::{LeafKind, Recipient, SopsFile};
use crate::text::Untrusted;

/// Who has access to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Who can decrypt each sops file.
    pub files: BTreeMap<FileName, Decrypts>,
    /// Who can read each secret on each host, besides root, who can read all.
    pub hosts: BTreeMap<HostName, Vec<Readable>>,
    /// Who is given each secret at run time, such as `gh` or `git github.com`.
    pub runtime: BTreeMap<SecretName, Vec<String>>,
}

/// Who can decrypt a sops file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decrypts {
    /// Whether the file could be looked at.
    pub file: FileSeen,
    /// Whoever can, or should.
    pub keys: Vec<KeyHolder>,
    /// What it holds beside what is declared: secrets that no longer are, and keys of somebody else. Whoever decrypts
    /// it reads them, too.
    pub undeclared: BTreeSet<Untrusted>,
}

/// What there was to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "file", rename_all = "snake_case")]
pub enum FileSeen {
    /// The recipients are those that the file names.
    Present,
    /// It is not there: the recipients are those that it would have.
    Absent,
    /// It is there, and shows no recipients.
    Broken {
        /// What is wrong with it.
        problem: Untrusted,
    },
    /// It could not be read.
    Unknown {
        /// Why.
        cause: Cause,
    },
}

/// A key that decrypts a file, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyHolder {
    /// Whose it is.
    #[serde(flatten)]
    pub holder: Holder,
    /// Its public half; `None` when it is not known here.
    pub key: Option<Untrusted>,
    /// Whether the file is encrypted to it; `None` when there is no file that tells.
    pub in_file: Option<bool>,
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "holder", rename_all = "snake_case")]
pub enum Holder {
    /// A host's.
    Host {
        /// Which.
        host: HostName,
        /// Where it is there.
        key_file: String,
        /// How it is known here.
        known: KeyKnown,
        /// What it can decrypt although it is not declared for it: hosts share the file.
        overshared: BTreeSet<SecretName>,
    },
    /// One of `extra_recipients`, such as a recovery key.
    Extra {
        /// Of these hosts.
        of: BTreeSet<HostName>,
    },
    /// It is in the file, and nobody declares it.
    Undeclared,
}

/// How the key of a host is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKnown {
    /// It was accepted, and stands in the receipt.
    Accepted,
    /// The manifest names it.
    Declared,
    /// Only the dataset offers it: nothing is encrypted to it before it is accepted.
    Offered,
    /// It is not.
    Unknown,
}

/// A secret on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readable {
    /// Which.
    pub secret: SecretName,
    /// Where it is there.
    pub path: String,
    /// Its owner. When the manifest is silent: root, and with our own activation whoever activates, which is `None`.
    pub owner: Option<String>,
    /// Its group; its owner's when the manifest is silent.
    pub group: Option<String>,
    /// Its mode; 0400 when the manifest is silent.
    pub mode: Mode,
    /// What of it the manifest leaves to the defaults.
    pub defaults: BTreeSet<&'static str>,
    /// Who can read it besides root.
    pub readers: Vec<Reader>,
}

/// Who can read a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// A user.
    User(String),
    /// Whoever activates there.
    Activating,
    /// The members of a group.
    Group(String),
    /// The members of the group that its owner has.
    OwnersGroup,
    /// Every user of the host.
    Everybody,
}

/// Decides who has access to what.
#[must_use]
pub fn access(manifest: &Manifest, files: &BTreeMap<FileName, Observation<FileState>>, receipt: &Receipt) -> Access {
    let sources = Sources { manifest, files, receipt };
    let decrypts = manifest.sops_files().into_iter();
    let runtime = manifest.secrets.iter().filter_map(|(name, secret)| Some((name, secret.runtime.as_ref()?)));
    Access {
        files: decrypts.map(|(file, hosts)| (file.clone(), sources.decrypts(file, &hosts))).collect(),
        hosts: manifest.hosts.iter().map(|(name, host)| (name.clone(), readable(manifest, name, host))).collect(),
        runtime: runtime.map(|(name, runtime)| (name.clone(), super::status::consumers(runtime))).collect(),
    }
}

#[derive(Clone, Copy)]
struct Sources<'a> {
    manifest: &'a Manifest,
    files: &'a BTreeMap<FileName, Observation<FileState>>,
    receipt: &'a Receipt,
}

impl Sources<'_> {
    fn decrypts(self, file: &FileName, hosts: &BTreeSet<&HostName>) -> Decrypts {
        let (seen, sops) = match self.files.get(file) {
            Some(Observation::Known(FileState::Sops(sops))) => (FileSeen::Present, Some(sops.as_ref())),
            Some(Observation::Known(FileState::Absent)) => (FileSeen::Absent, None),
            Some(Observation::Known(FileState::Broken { problem, .. })) => {
                (FileSeen::Broken { problem: problem.clone() }, None)
            }
            Some(Observation::Known(FileState::Public { .. })) | None => {
                (FileSeen::Unknown { cause: Cause::NotLookedAt }, None)
            }
            Some(Observation::Unknown(cause)) => (FileSeen::Unknown { cause: cause.clone() }, None),
        };
        let mut keys: Vec<KeyHolder> = hosts.iter().filter_map(|name| self.of_host(file, name, sops)).collect();
        let mut extra: BTreeMap<&Recipient, BTreeSet<HostName>> = BTreeMap::new();
        for name in hosts {
            let declared = self.manifest.hosts.get(*name).into_iter().flat_map(|host| &host.extra_recipients);
            for key in declared {
                extra.entry(key).or_default().insert((*name).clone());
            }
        }
        keys.extend(extra.into_iter().map(|(key, of)| {
            let key = Untrusted::new(key.as_str());
            KeyHolder { holder: Holder::Extra { of }, in_file: is_in(sops, &key), key: Some(key) }
        }));
        let claimed: BTreeSet<Untrusted> = keys.iter().filter_map(|holder| holder.key.clone()).collect();
        let there = sops.into_iter().flat_map(|sops| sops.recipients.keys().chain(&sops.other_keys));
        let undeclared = there.filter(|key| !claimed.contains(*key));
        let undeclared: Vec<KeyHolder> = undeclared
            .map(|key| KeyHolder { holder: Holder::Undeclared, key: Some(key.clone()), in_file: Some(true) })
            .collect();
        keys.extend(undeclared);
        Decrypts { file: seen, keys, undeclared: sops.map(|sops| self.undeclared(file, sops)).unwrap_or_default() }
    }

    /// What a file holds and no declared secret claims, by its key or by a name that it had.
    fn undeclared(self, file: &FileName, sops: &SopsFile) -> BTreeSet<Untrusted> {
        let declared: Vec<_> = self.manifest.boot_secrets(file).collect();
        let written = self.receipt.written(file).map(|written| written.keys.as_slice()).unwrap_or_default();
        let leaves = sops.leaves.iter().filter(|(_, leaf)| leaf.kind != LeafKind::Comment);
        let unclaimed = leaves.filter(|(key, _)| !declared.iter().any(|(.., boot)| boot.key == **key));
        let name = |key: &KeyPath| match written.iter().find(|record| record.key == *key) {
            Some(record) => {
                let moved = &self.manifest.moved;
                let next = |name: &SecretName| moved.iter().find(|moved| moved.from == *name).map(|moved| &moved.to);
                let names = std::iter::successors(Some(&record.secret), |name| next(name)).take(moved.len() + 1);
                let is_declared = names.into_iter().any(|known| declared.iter().any(|(name, ..)| *name == known));
                (!is_declared).then(|| Untrusted::new(record.secret.as_str()))
            }
            None => Some(key.joined()),
        };
        unclaimed.filter_map(|(key, _)| name(key)).collect()
    }

    fn of_host(self, file: &FileName, name: &HostName, sops: Option<&SopsFile>) -> Option<KeyHolder> {
        let host = self.manifest.hosts.get(name)?;
        let (known, key) = self.key_of(name, host);
        let not_declared = self.manifest.boot_secrets(file).filter(|(_, _, boot)| !boot.hosts.contains(name));
        let holder = Holder::Host {
            host: name.clone(),
            key_file: match host.recipient {
                RecipientSource::SshHostKey => "its ssh host key".to_owned(),
                _ => host.age_key_file.as_written().to_owned(),
            },
            known,
            overshared: not_declared.map(|(secret, ..)| secret.clone()).collect(),
        };
        Some(KeyHolder { holder, in_file: key.as_ref().and_then(|key| is_in(sops, key)), key })
    }

    /// The key of a host as far as it is known without asking it.
    fn key_of(self, name: &HostName, host: &Host) -> (KeyKnown, Option<Untrusted>) {
        let text = |key: &Recipient| Some(Untrusted::new(key.as_str()));
        let declared = match &host.recipient {
            RecipientSource::Literal(key) => Some(key.clone()),
            RecipientSource::File(file) => match self.manifest.dataset.files.get(file) {
                Some(DatasetFile::Literal(text)) => text.trim().parse().ok(),
                _ => None,
            },
            RecipientSource::SshHostKey => None,
        };
        if let Some(key) = declared {
            return (KeyKnown::Declared, text(&key));
        }
        if let Some(key) = self.receipt.hosts.get(name).and_then(|record| record.accepted.as_ref()) {
            return (KeyKnown::Accepted, text(key));
        }
        let RecipientSource::File(file) = &host.recipient else { return (KeyKnown::Unknown, None) };
        match self.files.get(file).and_then(Observation::known) {
            Some(FileState::Public { content, .. }) => {
                let offered = std::str::from_utf8(content).ok().and_then(|text| text.trim().parse::<Recipient>().ok());
                offered.map_or((KeyKnown::Unknown, None), |key| (KeyKnown::Offered, text(&key)))
            }
            _ => (KeyKnown::Unknown, None),
        }
    }
}

fn is_in(sops: Option<&SopsFile>, key: &Untrusted) -> Option<bool> {
    sops.map(|sops| sops.recipients.contains_key(key))
}

fn readable(manifest: &Manifest, name: &HostName, host: &Host) -> Vec<Readable> {
    let boot = manifest.secrets.iter().filter_map(|(secret, declared)| Some((secret, declared.boot.as_ref()?)));
    let here = boot.filter(|(_, boot)| boot.hosts.contains(name));
    here.map(|(secret, boot)| one(secret, boot, host)).collect()
}

fn one(secret: &SecretName, boot: &BootDelivery, host: &Host) -> Readable {
    let ours = matches!(host.switch, Some(Switch::Activate { .. }));
    let owner = boot.owner.clone().or_else(|| (!ours).then(|| "root".to_owned()));
    let mode = boot.mode.unwrap_or(Mode(0o400));
    let silent = [("owner", boot.owner.is_none()), ("group", boot.group.is_none()), ("mode", boot.mode.is_none())];
    let mut readers = Vec::new();
    if mode.0 & 0o400 != 0 && owner.as_deref() != Some("root") {
        readers.push(owner.clone().map_or(Reader::Activating, Reader::User));
    }
    if mode.0 & 0o040 != 0 {
        readers.push(boot.group.clone().map_or(Reader::OwnersGroup, Reader::Group));
    }
    if mode.0 & 0o004 != 0 {
        readers.push(Reader::Everybody);
    }
    Readable {
        secret: secret.clone(),
        path: host.installed_path(secret, boot).as_written().to_owned(),
        owner,
        group: boot.group.clone(),
        mode,
        defaults: silent.into_iter().filter_map(|(what, silent)| silent.then_some(what)).collect(),
        readers,
    }
}
