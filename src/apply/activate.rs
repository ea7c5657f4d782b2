//! Our own activation, for machines without sops-nix: decrypts into a new generation and switches to it at once. A
//! failure leaves the old generation live and nothing of the new one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::address::{FileName, HostName, KeyPath};
use crate::digest::Digest;
use crate::index::Index;
use crate::manifest::{Manifest, Mode, Surroundings};
use crate::observation::Cause;
use crate::observe::activation::Record;
use crate::observe::hosts::path_on_host;
use crate::secret::{SecretName, SecretValue};
use crate::sops::{DecryptError, Identities, decrypt};
use crate::tools::accounts::{self, NoSuchAccount};

use super::generation::{Attributes, Building, Generations, check_free, link};

/// The mode of a secret that declares none.
const MODE: Mode = Mode(0o400);

/// A secret to put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToInstall {
    /// Its name: its path below the symlink.
    pub name: SecretName,
    /// Its key in the sops file.
    pub key: KeyPath,
    /// A symlink to it, where it is wanted somewhere else as well; absolute.
    pub path: Option<PathBuf>,
    /// Its owner; else whoever activates.
    pub owner: Option<String>,
    /// Its group; else the owner's first, or that of whoever activates.
    pub group: Option<String>,
    /// Its mode; else 0400.
    pub mode: Option<Mode>,
}

/// What was put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// The number of the live generation.
    pub generation: u64,
    /// How many secrets are in it.
    pub secrets: usize,
}

/// Why nothing was put in place.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// The file could not be decrypted.
    #[error(transparent)]
    Decrypt(#[from] DecryptError),
    /// The file lacks a secret.
    #[error("the sops file has no key {key} for secret.{name}: reconcile apply")]
    KeyMissing {
        /// The secret.
        name: SecretName,
        /// Its key, as it may be shown.
        key: String,
    },
    /// An owner or group that is not there.
    #[error("secret.{name}: {source}")]
    Account {
        /// The secret.
        name: SecretName,
        /// Which.
        source: NoSuchAccount,
    },
    /// Something that is not ours stands where something should be put.
    #[error("{path} is {found}: it was left as it is, move it away")]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The operating system refused.
    #[error("{path}: {doing} failed: {error}{}", advice(*.error))]
    System {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: Errno,
    },
}

impl ActivateError {
    /// What mends it where `file` is at fault; only who has its key can see that.
    #[must_use]
    pub fn next(&self, file: &FileName) -> Option<String> {
        match self {
            Self::Decrypt(error) if error.is_of_the_content() => Some(format!("reconcile apply --replace file.{file}")),
            _ => None,
        }
    }
}

fn advice(error: Errno) -> &'static str {
    match error {
        Errno::PERM | Errno::ACCESS => "; only root may do this: use sudo",
        Errno::ROFS => "; it is on a read-only file system",
        Errno::NOSPC | Errno::DQUOT => "; free some space there",
        _ => "",
    }
}

/// Why an index does not say what belongs on a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It does not know the host.
    #[error("reconcile.json does not name host {0}: reconcile apply")]
    Host(HostName),
    /// A mode that is none.
    #[error("reconcile.json gives secret.{0} a mode that is none: reconcile apply")]
    Mode(SecretName),
}

impl ToInstall {
    /// What the manifest delivers to a host.
    ///
    /// # Errors
    /// When a path needs a variable that is not set here, or is not absolute.
    pub fn of_manifest(manifest: &Manifest, host: &HostName, surroundings: &Surroundings) -> Result<Vec<Self>, Cause> {
        let Some(declared) = manifest.hosts.get(host) else { return Ok(Vec::new()) };
        let boots = manifest.secrets.iter().filter_map(|(name, secret)| Some((name, secret.boot.as_ref()?)));
        let here = boots.filter(|(_, boot)| boot.hosts.contains(host));
        here.map(|(name, boot)| {
            let place = boot.path.as_ref().map(crate::manifest::Place::new);
            let path = place.map(|place| path_on_host(declared, &place, surroundings)).transpose()?;
            Ok(Self {
                name: name.clone(),
                key: boot.key.clone(),
                path: path.map(PathBuf::from),
                owner: boot.owner.clone(),
                group: boot.group.clone(),
                mode: boot.mode,
            })
        })
        .collect()
    }

    /// What the index of a dataset delivers to a host: there is no manifest there.
    ///
    /// # Errors
    /// When it does not name the host, or gives a mode that is none.
    pub fn of_index(index: &Index, host: &HostName) -> Result<Vec<Self>, IndexError> {
        if !index.hosts.contains_key(host) {
            return Err(IndexError::Host(host.clone()));
        }
        let here = index.secrets.iter().filter(|(_, declared)| declared.hosts.contains(host));
        here.map(|(name, declared)| {
            let mode = declared.mode.as_deref().map(|mode| u16::from_str_radix(mode, 8).ok().filter(|m| *m <= 0o777));
            let mode = mode.map(|mode| mode.map(Mode).ok_or_else(|| IndexError::Mode(name.clone()))).transpose()?;
            Ok(Self {
                name: name.clone(),
                key: declared.key.clone(),
                path: declared.path.as_ref().map(PathBuf::from),
                owner: declared.owner.clone(),
                group: declared.group.clone(),
                mode,
            })
        })
        .collect()
    }
}

/// A secret with all that is needed to write it.
struct Ready<'a> {
    secret: &'a ToInstall,
    value: &'a SecretValue,
    attributes: Attributes,
}

/// Decrypts `sops` and puts `secrets` behind `symlink`, which is absolute: into `<symlink>.d/N`, in its directories of
/// mode 0751. The generation that was live before is removed.
///
/// # Errors
/// When the file does not decrypt, lacks a secret, or something cannot be written. Then the old generation stays live.
pub fn activate(
    sops: &[u8],
    identities: &Identities,
    secrets: &[ToInstall],
    symlink: &Path,
) -> Result<Activated, ActivateError> {
    let values: BTreeMap<KeyPath, SecretValue> = decrypt(sops, identities)?.into_iter().collect();
    let ready = secrets.iter().map(|secret| prepare(secret, &values)).collect::<Result<Vec<_>, _>>()?;
    for path in secrets.iter().filter_map(|secret| secret.path.as_deref()) {
        check_free(path)?;
    }
    let generations = Generations::open(symlink)?;
    let building = generations.begin()?;
    for Ready { secret, value, attributes } in &ready {
        install(&building, secret, value, attributes)?;
    }
    let generation = building.number;
    let record = Record { version: Record::VERSION, sops_file: Digest::of(sops) };
    let record = serde_json::to_vec(&record).unwrap_or_else(|error| unreachable!("a record is plain data: {error}"));
    building.make_live(&record)?;
    for secret in secrets {
        if let Some(path) = &secret.path {
            link(path, &symlink.join(secret.name.as_str()))?;
        }
    }
    generations.remove_others(generation)?;
    Ok(Activated { generation, secrets: secrets.len() })
}

fn prepare<'a>(secret: &'a ToInstall, values: &'a BTreeMap<KeyPath, SecretValue>) -> Result<Ready<'a>, ActivateError> {
    let name = || secret.name.clone();
    let missing = || ActivateError::KeyMissing { name: name(), key: secret.key.joined().printable() };
    let value = values.get(&secret.key).ok_or_else(missing)?;
    let unknown = |source| ActivateError::Account { name: name(), source };
    let owner = secret.owner.as_deref().map(accounts::user).transpose().map_err(unknown)?;
    let group = secret.group.as_deref().map(accounts::group).transpose().map_err(unknown)?;
    let attributes = Attributes {
        mode: secret.mode.unwrap_or(MODE).0.into(),
        uid: owner.map(|owner| owner.uid),
        gid: group.or(owner.map(|owner| owner.gid)),
    };
    Ok(Ready { secret, value, attributes })
}

fn install(
    building: &Building<'_>,
    secret: &ToInstall,
    value: &SecretValue,
    attributes: &Attributes,
) -> Result<(), ActivateError> {
    value.expose(|bytes| building.write(secret.name.components(), bytes, attributes))
}

#[cfg(test)]
mod tests;
