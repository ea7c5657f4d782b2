//! Fills desired and actual: the vault, the files and the hosts, all at once. It looks and changes nothing.

pub(crate) mod activation;
mod answer;
pub mod files;
pub mod hosts;
pub mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::actual::Actual;
use crate::address::HostName;
use crate::desired::{Desired, VaultFacts};
use crate::manifest::{self, Access, Manifest, Surroundings};
use crate::observation::{Cause, Observation};
use crate::plan::{Inputs, Wishes, reads};
use crate::receipt::Receipt;
use crate::secret::FingerprintKey;
use crate::text::Untrusted;
use crate::tools::vault::Vault;

/// A manifest and where it is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// What is declared.
    pub manifest: &'a Manifest,
    /// What its paths are resolved against.
    pub surroundings: &'a Surroundings,
    /// The dataset directory, resolved.
    pub dataset: &'a Path,
}

/// What there is to be compared, with the receipt settled against it.
#[derive(Debug)]
pub struct Observed {
    /// What the vault and the sources say.
    pub desired: Desired,
    /// What files and hosts show.
    pub actual: Actual,
    /// What the last apply wrote.
    pub receipt: Receipt,
    /// A sync of the vault that failed: what is used is as old as the last one.
    pub stale: Option<Cause>,
}

/// Looks at everything that a plan is made from. Without `refresh` the vault is not synced and no ssh is used: the
/// local database, the files and a local host are still read.
pub async fn everything(
    site: Site<'_>,
    vault: &Result<Vault, Cause>,
    key: &FingerprintKey,
    receipt: Receipt,
    wishes: &Wishes,
    refresh: bool,
) -> Observed {
    let local = site.manifest.hosts.iter().filter(|(_, host)| host.access == Access::Local);
    let only: Option<BTreeSet<HostName>> = (!refresh).then(|| local.map(|(name, _)| name.clone()).collect());
    let (hosts, (facts, items, stale)) = tokio::join!(
        hosts::look(site.manifest, site.surroundings, site.dataset, only.as_ref()),
        listed(site.manifest, vault, refresh),
    );
    let files = files::look(site.manifest, site.surroundings, site.dataset);
    let mut sources = files.sources;
    let mut states = BTreeMap::new();
    for (name, seen) in hosts {
        sources.extend(seen.files);
        states.insert(name, seen.state);
    }
    for name in site.manifest.hosts.keys() {
        states.entry(name.clone()).or_insert(Observation::Unknown(Cause::NotLookedAt));
    }
    let actual = Actual { files: files.files, index: files.index, hosts: states };
    let receipt = receipt.settle(&actual);
    let mut desired = Desired { vault: facts, items, sources };
    if let Ok(vault) = vault {
        let inputs = Inputs { manifest: site.manifest, desired: &desired, actual: &actual, receipt: &receipt, wishes };
        let names = reads(inputs);
        vault::read_values(vault, key, &names, &mut desired.items).await;
    }
    Observed { desired, actual, receipt, stale }
}

async fn listed(
    manifest: &Manifest,
    vault: &Result<Vault, Cause>,
    refresh: bool,
) -> (VaultFacts, vault::Items, Option<Cause>) {
    match vault {
        Ok(vault) => {
            let stale = if refresh { vault.sync().await.err() } else { None };
            let (facts, items) = vault::look(vault, manifest).await;
            (facts, items, stale)
        }
        Err(cause) => {
            let unknown = |name: &crate::secret::SecretName| (name.clone(), Observation::Unknown(cause.clone()));
            (unseen(&manifest.vault), manifest.secrets.keys().map(unknown).collect(), None)
        }
    }
}

fn unseen(declared: &manifest::Vault) -> VaultFacts {
    let (kind, account) = match declared {
        manifest::Vault::Rbw { .. } => ("rbw", ""),
        manifest::Vault::Bw => ("bw", ""),
        manifest::Vault::File { path } => ("file", path.as_written()),
    };
    VaultFacts { kind, account: Untrusted::new(account), items: None, synced: None }
}
