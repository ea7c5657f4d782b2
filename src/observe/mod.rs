//! Fills desired and actual: the vault, the files and the hosts, all at once. It looks and changes nothing.

pub(crate) mod activation;
mod answer;
pub mod files;
pub mod hosts;
pub mod key;
pub mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::actual::Actual;
use crate::address::HostName;
use crate::desired::{Desired, VaultFacts};
use crate::manifest::{self, Access, Manifest, Surroundings};
use crate::observation::{Cause, Observation};
use crate::plan::{Inputs, Wishes, reads};
use crate::receipt::Receipt;
use crate::text::Untrusted;
use crate::tools::vault::Vault;

use self::key::Key;

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
    /// Why the key of fingerprints, which was needed, could not be had.
    pub keyless: Option<Cause>,
    /// A sync of the vault that failed: what is used is as old as the last one.
    pub stale: Option<Cause>,
    /// What looking cost.
    pub cost: Cost,
}

/// What looking cost. Vault and hosts are looked at together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// To sync the vault and to find the items.
    pub vault: Duration,
    /// To hear of the last host.
    pub hosts: Duration,
    /// How many values were read, and so had to be decrypted.
    pub values: usize,
}

/// Looks at everything that a plan is made from. Without `refresh` the vault is not synced and no ssh is used: the
/// local database, the files and a local host are still read.
pub async fn everything(
    site: Site<'_>,
    vault: &Result<Vault, Cause>,
    key: &Key,
    receipt: Receipt,
    wishes: &Wishes,
    refresh: bool,
) -> Observed {
    let local = site.manifest.hosts.iter().filter(|(_, host)| host.access == Access::Local);
    let only: Option<BTreeSet<HostName>> = (!refresh).then(|| local.map(|(name, _)| name.clone()).collect());
    let ((hosts, hosts_took), ((found, stale), vault_took)) = tokio::join!(
        timed(hosts::look(site.manifest, site.surroundings, site.dataset, only.as_ref())),
        timed(listed(site.manifest, vault, refresh)),
    );
    let mut cost = Cost { vault: vault_took, hosts: hosts_took, values: 0 };
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
    let vault::Found { facts, items, fingerprint_key } = found;
    let mut desired = Desired { vault: facts, items, fingerprint_key, sources };
    let mut keyless = None;
    if let Ok(vault) = vault {
        let inputs = Inputs { manifest: site.manifest, desired: &desired, actual: &actual, receipt: &receipt, wishes };
        let names = reads(inputs);
        cost.values = names.len();
        if !names.is_empty() {
            match key.get(vault, desired.fingerprint_key.as_ref()).await {
                Ok(key) => vault::read_values(vault, key, &names, &mut desired.items).await,
                Err(cause) => {
                    vault::leave_unread(&names, &mut desired.items, &cause);
                    keyless = Some(cause);
                }
            }
        }
    }
    Observed { desired, actual, receipt, keyless, stale, cost }
}

async fn timed<T>(look: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let seen = look.await;
    (seen, began.elapsed())
}

async fn listed(manifest: &Manifest, vault: &Result<Vault, Cause>, refresh: bool) -> (vault::Found, Option<Cause>) {
    match vault {
        Ok(vault) => {
            let stale = if refresh { vault.sync().await.err() } else { None };
            (vault::look(vault, manifest).await, stale)
        }
        Err(cause) => (vault::unseen(manifest, unseen(&manifest.vault), cause), None),
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
