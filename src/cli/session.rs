//! What `plan`, `apply` and `adopt` share: the state is opened, everything is looked at, and a plan is made.

use std::time::Duration;

use crate::cli::arguments::Global;
use crate::cli::error::Error;
use crate::cli::fingerprint_key::{is_fault, keyless};
use crate::cli::here::Here;
use crate::cli::project::Project;
use crate::cli::terminal::{Terminal, say};
use crate::observation::{Cause, Observation};
use crate::observe::key::Key;
use crate::observe::{self, Observed};
use crate::plan::{Inputs, Plan, Step, Wishes, plan};
use crate::receipt::Receipt;
use crate::render::ago;
use crate::secret::FingerprintKey;
use crate::state::{Directory, Lock};
use crate::text::Untrusted;
use crate::tools::vault::Vault;

/// A project with what is kept of it, ready to be looked at.
pub struct Session<'a> {
    /// The manifest at its place.
    pub project: &'a Project,
    /// What is kept.
    pub state: Directory,
    /// Under which fingerprints are made.
    pub key: Key,
    /// Where values are read.
    pub vault: Result<Vault, Cause>,
    terminal: &'a Terminal,
}

/// A plan with what it was made from.
pub struct Planned {
    /// What was seen.
    pub observed: Observed,
    /// What follows.
    pub plan: Plan,
}

/// Whether this run may leave a fingerprint key behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It may: what it writes is compared later.
    Yes,
    /// It may not: a first plan leaves nothing.
    No,
}

impl<'a> Session<'a> {
    /// Opens the state and the vault.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn open(project: &'a Project, terminal: &'a Terminal, keep: Keep) -> Result<Self, Error> {
        let manifest = project.manifest();
        let state = Directory::of(manifest, &project.surroundings, &project.dataset)?;
        let key = match (&manifest.fingerprint_key, keep) {
            (Some(_), _) => Key::in_vault(),
            (None, keep) => Key::held(match (state.fingerprint_key()?, keep) {
                (Some(key), _) => key,
                (None, Keep::Yes) => state.make_fingerprint_key()?,
                (None, Keep::No) => throwaway_key()?,
            }),
        };
        let vault = vault(project, terminal, &key);
        Ok(Self { project, state, key, vault, terminal })
    }

    /// Has the next plan look at the vault as it is then. A file and bw are read once, and stay as they were; rbw is looked
    /// at anew by itself, and the same one asks nobody twice.
    pub fn look_at_the_vault_anew(&mut self) {
        if !matches!(self.vault, Ok(Vault::Rbw(_))) {
            self.vault = vault(self.project, self.terminal, &self.key);
        }
    }

    /// The receipt of the last apply, or an empty one of a new lineage.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn receipt(&self) -> Result<Receipt, Error> {
        match self.state.receipt()? {
            Some(receipt) => Ok(receipt),
            None => Ok(Receipt::new(new_lineage()?, self.project.dataset.clone())),
        }
    }

    /// Waits for other runs to end, and keeps further ones out.
    ///
    /// # Errors
    /// With the holder, when another run has not ended in time.
    pub fn lock(&self, operation: &str, global: &Global) -> Result<Lock, Error> {
        let mut waiting = |holder: &crate::state::Holder| say(&format!("waiting for another run: {holder}"));
        Ok(self.state.lock(&self.project.dataset, operation, global.lock_timeout, &mut waiting)?)
    }

    /// Looks at everything and plans.
    ///
    /// # Errors
    /// When the receipt cannot be read, or the item of the fingerprint key holds none.
    pub async fn plan(&self, wishes: &Wishes, refresh: bool) -> Result<Planned, Error> {
        let receipt = self.receipt()?;
        let site = self.project.site();
        let looking = observe::everything(site, &self.vault, &self.key, receipt, wishes, refresh);
        let observed = self.with_patience(looking).await;
        let mut plan = plan(Inputs {
            manifest: site.manifest,
            desired: &observed.desired,
            actual: &observed.actual,
            receipt: &observed.receipt,
            wishes,
        });
        if let Some(cause) = without_key(&observed, &plan) {
            return Err(keyless(site.manifest, site.surroundings, cause));
        }
        plan.notes.extend(Here::of(self.project).notes());
        for copy in self.state.conflicted_copies() {
            let (copy, path) = (Untrusted::new(copy).printable(), self.state.receipt_path());
            let what =
                "two machines wrote the receipt at once. What this plan shows as changed outside may be the other's";
            self.terminal
                .warning(&format!("{copy} is beside {}: {what}; remove the copy when it agrees", path.display()));
        }
        if let Some(cause) = &observed.stale {
            let age = observed.desired.vault.synced.map(|seconds| format!("; it is as it was {} ago", ago(seconds)));
            self.terminal.warning(&format!("the vault was not synced: {cause}{}", age.unwrap_or_default()));
        }
        if let Ok(vault) = &self.vault {
            tell_detour(vault, self.terminal.style.verbose);
        }
        Ok(Planned { observed, plan })
    }

    /// Says what is waited for, once it takes longer than is noticed. A line that stays: a pinentry may draw below it.
    async fn with_patience(&self, looking: impl Future<Output = Observed>) -> Observed {
        let mut looking = std::pin::pin!(looking);
        if let Ok(observed) = tokio::time::timeout(Duration::from_millis(500), &mut looking).await {
            return observed;
        }
        if self.terminal.animated {
            let hosts = self.project.manifest().hosts.len();
            say(&format!("Looking at the vault, the dataset and {hosts} host{} …", if hosts == 1 { "" } else { "s" }));
        }
        looking.await
    }

    /// Records what was proven unchanged, so that the next plan need not read it. That it could not be is no failure:
    /// another run may hold the lock.
    pub fn record_proven(&self, observed: &Observed) {
        let Some(mut proven) = crate::plan::with_proven(&observed.receipt, &observed.desired) else { return };
        if self.state.is_shared() {
            let _ = self.state.record_proven(&mut proven);
            return;
        }
        let mut quietly = |_: &crate::state::Holder| {};
        let Ok(_lock) = self.state.lock(&self.project.dataset, "plan", Duration::ZERO, &mut quietly) else { return };
        // Only what was read is built upon: an apply in between has written another serial.
        if matches!(self.state.receipt(), Ok(Some(there)) if there.serial == proven.serial) {
            let _ = self.state.record_proven(&mut proven);
        }
    }
}

fn vault(project: &Project, terminal: &Terminal, key: &Key) -> Result<Vault, Cause> {
    Vault::open(&project.manifest().vault, &project.surroundings, terminal.interactive, key.at_hand())
}

/// Says, to whoever wants to be told more, why a slower way to the vault was taken than there is.
pub fn tell_detour(vault: &Vault, verbose: bool) {
    if let Some(why) = vault.detour().filter(|_| verbose) {
        say(&format!("rbw's agent was not asked directly ({why}); its command line is slower"));
    }
}

/// Warnings of the manifest, on standard error.
pub fn warn(project: &Project, terminal: &Terminal) {
    for warning in &project.checked.warnings {
        terminal.warning(&warning.to_string());
    }
}

/// What is wrong with the item of the fingerprint key, if the key is needed now. That the vault could not be asked is
/// none of it: the plan says so.
fn without_key<'a>(observed: &'a Observed, plan: &Plan) -> Option<&'a Cause> {
    let collects = plan.steps.iter().any(|step| matches!(step, Step::Collect { .. }));
    let missing = || observed.desired.fingerprint_key.as_ref().and_then(Observation::cause).filter(|_| collects);
    observed.keyless.as_ref().or_else(missing).filter(|cause| is_fault(cause))
}

/// A key that is not kept.
pub fn throwaway_key() -> Result<FingerprintKey, Error> {
    Ok(FingerprintKey::new(&mut random::<32>()?))
}

fn new_lineage() -> Result<String, Error> {
    Ok(random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::plain(format!("no random bytes from the system: {error}")))?;
    Ok(bytes)
}
