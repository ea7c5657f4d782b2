//! The index, `reconcile.json`: what Nix reads of the manifest. It holds no value, no length and no time, so that it
//! changes only when what it says changes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::address::{FileName, HostName, KeyPath};
use crate::digest::Digest;
use crate::manifest::{BootDelivery, Manifest, RbwConfig};
use crate::secret::SecretName;

/// What the index says, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 1.
    pub version: u32,
    /// The manifest's name.
    pub name: String,
    /// SHA-256 of the manifest's text, for `builtins.hashFile`.
    pub manifest: Digest,
    /// SHA-256 of each sops file that belongs with this index.
    pub files: BTreeMap<FileName, Digest>,
    /// The sops file of each host.
    pub hosts: BTreeMap<HostName, FileName>,
    /// The boot secrets.
    pub secrets: BTreeMap<SecretName, Declaration>,
    /// What rbw is to be configured with, on the hosts that declare it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub rbw: BTreeMap<HostName, RbwDeclaration>,
}

/// The configuration of rbw of one user of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RbwDeclaration {
    /// Whose.
    pub user: String,
    /// The boot secret that is the account's address.
    pub email: SecretName,
    /// Further settings, as rbw writes them.
    pub settings: BTreeMap<String, serde_json::Value>,
}

/// A boot secret as Nix declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Declaration {
    /// The hosts it goes to.
    pub hosts: BTreeSet<HostName>,
    /// Its key in the sops file.
    pub key: KeyPath,
    /// Its path, if not the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its mode, four octal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Restarted when it changes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub restart_units: Vec<String>,
    /// Reloaded when it changes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reload_units: Vec<String>,
    /// Units of users, restarted after a switch.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub restart_user_units: BTreeMap<String, Vec<String>>,
    /// Needed before users exist.
    pub needed_for_users: bool,
    /// The option that takes its path, as components: dotted strings break on quoted names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<Vec<String>>,
}

impl From<&BootDelivery> for Declaration {
    fn from(boot: &BootDelivery) -> Self {
        Self {
            hosts: boot.hosts.clone(),
            key: boot.key.clone(),
            path: boot.path.clone(),
            owner: boot.owner.clone(),
            group: boot.group.clone(),
            mode: boot.mode.map(|mode| mode.to_string()),
            restart_units: boot.restart_units.clone(),
            reload_units: boot.reload_units.clone(),
            restart_user_units: boot.restart_user_units.clone(),
            needed_for_users: boot.needed_for_users,
            bind: boot.bind.clone(),
        }
    }
}

impl Index {
    /// The index that belongs to `manifest` and sops files of these digests.
    #[must_use]
    pub fn of(manifest: &Manifest, files: BTreeMap<FileName, Digest>) -> Self {
        let boot = |(name, secret): (&SecretName, &crate::manifest::Secret)| {
            secret.boot.as_ref().map(|boot| (name.clone(), Declaration::from(boot)))
        };
        let rbw = |(name, host): (&HostName, &crate::manifest::Host)| {
            let RbwConfig { user, email, settings } = host.rbw_config.clone()?;
            Some((name.clone(), RbwDeclaration { user, email, settings }))
        };
        Self {
            version: 1,
            name: manifest.name.clone(),
            manifest: manifest.digest,
            files,
            hosts: manifest.hosts.iter().map(|(name, host)| (name.clone(), host.sops_file.clone())).collect(),
            secrets: manifest.secrets.iter().filter_map(boot).collect(),
            rbw: manifest.hosts.iter().filter_map(rbw).collect(),
        }
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, maps with text keys and booleans always serialize.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads an index; `None` when it is not one of version 1.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|index| index.version == 1)
    }
}
