//! Bitwarden through `rbw`: its local database, its agent's socket, and its command line where these do not do.
//!
//! rbw is never asked by name: it falls back to parts of names and takes the first of several. Names are decrypted once
//! and matched exactly here. What the database shows without a key says which values are unchanged, and as long as no
//! name changed a locked vault need not be asked at all. A value is decrypted from the very ciphertext that its
//! revision is a digest of.

mod agent;
mod command;
mod config;
mod database;
mod item;
mod local;
mod memory;
mod names;
mod says;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

use crate::desired::{Item, ItemIdentity, VaultFacts};
use crate::manifest::{ItemRef, Surroundings, Unlock};
use crate::observation::{Cause, Hidden};
use crate::secret::SecretValue;
use crate::tools::vault::{Listing, field_of};

use self::agent::Agent;
use self::command::{Attempt, CommandLine};
pub use self::config::{Configuration, ConfigurationError, RbwSetting};
use self::database::{Account, Database, Unusable};
use self::local::{Local, facts};
use self::memory::Memory;
use self::names::Names;

/// How many values are asked for at a time: more gain nothing, rbw's agent decrypts one after the other.
const AT_ONCE: usize = 4;
/// rbw's database is not replaced at once: what fails while it is written is tried again.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(150);

/// Bitwarden through `rbw`.
pub struct Rbw {
    surroundings: Surroundings,
    unlock: Unlock,
    may_prompt: bool,
    /// Whether the vault was to be unlocked already: nobody is asked twice.
    asked: Mutex<bool>,
    at_once: Semaphore,
    agent: Arc<Agent>,
    /// Why the agent is no longer asked directly.
    detour: std::sync::Mutex<Option<String>>,
    /// What items were last found in: values are read from there, so that they belong to their revisions.
    found_in: Mutex<Option<Arc<Local>>>,
}

impl Rbw {
    /// Asks nothing yet. `may_prompt` says whether a run may ask anybody for anything.
    #[must_use]
    pub fn new(unlock: Unlock, may_prompt: bool, surroundings: Surroundings) -> Self {
        let agent = Agent::of(&surroundings);
        Self {
            surroundings,
            unlock,
            may_prompt,
            asked: Mutex::new(false),
            at_once: Semaphore::new(AT_ONCE),
            agent,
            detour: std::sync::Mutex::new(None),
            found_in: Mutex::new(None),
        }
    }

    /// Why rbw's command line was used, which is slower, and not its agent's socket; `None` when it was not.
    #[must_use]
    pub fn detour(&self) -> Option<String> {
        self.detour.lock().ok()?.clone()
    }

    /// Fetches what was edited elsewhere. It works on a locked vault, too.
    ///
    /// # Errors
    /// When the server cannot be reached, or rbw is not ready for it.
    pub async fn sync(&self) -> Result<(), Cause> {
        // rbw would ask for the master password if it were not logged in.
        self.local().await?;
        if self.is_direct() {
            match self.agent.sync().await {
                Ok(()) => return Ok(()),
                Err(agent::Fault::Failed(what)) => return Err(says::sync_failed(&what)),
                // The command line starts one.
                Err(agent::Fault::NotRunning) => {}
                Err(fault) => self.leave(fault)?,
            }
        }
        self.command_line().sync().await
    }

    /// Lists every item with its name decrypted.
    ///
    /// # Errors
    /// When the vault is locked, or rbw cannot list it.
    pub async fn list(&self) -> Result<Listing, Cause> {
        let local = self.local().await?;
        self.ready(Hidden::Names).await?;
        match self.names(&local, None, None).await? {
            Some(names) => Ok(local.listing(names)),
            None => self.printed_list(&local).await,
        }
    }

    /// Finds items: without the agent when nothing was renamed since names were last decrypted, else among all.
    pub async fn find(&self, wanted: &[&ItemRef]) -> (VaultFacts, Vec<Result<Item, Cause>>) {
        let local = match self.local().await {
            Ok(local) => Arc::new(local),
            Err(cause) => return (facts("", None), wanted.iter().map(|_| Err(cause.clone())).collect()),
        };
        *self.found_in.lock().await = Some(Arc::clone(&local));
        let facts = facts(&local.account.text(), local.database.as_ref());
        let memory = local.memory(&self.surroundings);
        let unasked = local.unasked(memory.as_ref(), wanted);
        // Of a name whose item is gone, only the other names tell what may be meant.
        let suffices = |known: &Option<Result<Item, Cause>>, wanted: &ItemRef| match known {
            Some(known) => known.is_ok() || wanted.is_id_alone(),
            None => false,
        };
        if unasked.iter().zip(wanted).all(|(known, wanted)| suffices(known, wanted)) {
            return (facts, unasked.into_iter().flatten().collect());
        }
        let found = self.found(&local, memory, wanted).await;
        let decrypted = |number: usize| match &found {
            Ok(found) => found.get(number).cloned().unwrap_or(Err(Cause::NotLookedAt)),
            Err(cause) => Err(cause.clone()),
        };
        let each = unasked.into_iter().zip(wanted).enumerate().map(|(number, (known, wanted))| match known {
            Some(known) if found.is_err() || suffices(&Some(known.clone()), wanted) => known,
            _ => decrypted(number),
        });
        (facts, each.collect())
    }

    /// Reads one value: from the ciphertext that the item was found with.
    ///
    /// # Errors
    /// When the vault is locked, or the item has no such value.
    pub async fn read(&self, item: &ItemIdentity) -> Result<SecretValue, Cause> {
        let _turn = self.at_once.acquire().await;
        let local = match self.found_in.lock().await.clone() {
            Some(local) => local,
            None => Arc::new(self.local().await?),
        };
        let account = local.account.text();
        if item.account.as_is() != account {
            let what = format!("rbw is configured for {account}, and this item is of {}", item.account.as_is());
            return Err(says::unavailable(what, "rbw config show"));
        }
        let (id, field) = (item.id.as_is(), field_of(item.field.as_is()));
        let sealed = local.database.as_ref().map(|database| database.entries.get(id));
        if let Some(None) = sealed {
            return Err(Cause::ItemMissing { wanted: item.id.clone(), similar: Vec::new() });
        }
        self.ready(Hidden::Value).await?;
        if let Some(sealed) = sealed.flatten().filter(|_| self.is_direct()) {
            match item::value_of(&self.agent, sealed, &field, &item.id).await {
                Ok(value) => return value,
                Err(fault) => self.leave(fault)?,
            }
        }
        let value = self.retried(async || self.command_line().get(id, &field).await, Hidden::Value).await?;
        local
            .is_unmoved(id)
            .then_some(value)
            .ok_or_else(|| says::unavailable("the vault was synced while it was read", "reconcile plan, once more"))
    }

    fn command_line(&self) -> CommandLine<'_> {
        CommandLine(&self.surroundings)
    }

    fn is_direct(&self) -> bool {
        self.detour.lock().is_ok_and(|detour| detour.is_none())
    }

    /// What a fault of the agent means. One that it speaks otherwise than we know is none: the command line is used from
    /// then on.
    fn leave(&self, fault: agent::Fault) -> Result<(), Cause> {
        match fault {
            agent::Fault::Strange(why) => {
                if let Ok(mut detour) = self.detour.lock() {
                    *detour = Some(why);
                }
                Ok(())
            }
            fault => Err(says::of_agent(fault)),
        }
    }

    /// The names of all entries, or of those in `only`, by the agent; `None` when it cannot be asked directly.
    async fn names(
        &self,
        local: &Local,
        only: Option<&BTreeSet<&str>>,
        asked: Option<&[ItemRef]>,
    ) -> Result<Option<Names>, Cause> {
        let Some(database) = local.database.as_ref().filter(|_| self.is_direct()) else { return Ok(None) };
        match names::decrypt(&self.agent, database, only, asked).await {
            Ok(names) if only.is_none() && names.entries.is_empty() && names.unreadable > 0 => {
                let what = "rbw's agent can decrypt no name: its keys are not those of the vault that it last synced";
                Err(says::unavailable(what, "rbw lock, then: rbw unlock; if that does not help: rbw purge, rbw login"))
            }
            Ok(names) => Ok(Some(names)),
            Err(fault) => self.leave(fault).map(|()| None),
        }
    }

    /// Finds items by decrypting names: those of new entries where that is enough, else all.
    async fn found(
        &self,
        local: &Local,
        memory: Option<Memory>,
        wanted: &[&ItemRef],
    ) -> Result<Vec<Result<Item, Cause>>, Cause> {
        self.ready(Hidden::Names).await?;
        // Whatever else is remembered is looked at again, so that it stays true.
        let mut asked: Vec<ItemRef> = wanted.iter().map(|wanted| (*wanted).clone()).collect();
        asked.extend(memory.iter().flat_map(Memory::all));
        if let (Some(database), Some(memory)) = (&local.database, &memory) {
            let namings = names::namings(database);
            if let Some(fresh) = names::fresh(&namings, memory, wanted)
                && let Some(names) = self.names(local, Some(&fresh), Some(&asked)).await?
            {
                let find = |asked: &ItemRef| local.find_among_new(&names, &fresh, memory, asked);
                let mut found: Vec<_> = asked.iter().map(find).collect();
                if found.iter().take(wanted.len()).all(Result::is_ok) {
                    self.remember(local, &asked, &found, &names.keyless);
                    found.truncate(wanted.len());
                    return Ok(found);
                }
            }
        }
        let (listing, keyless) = match self.names(local, None, Some(&asked)).await? {
            Some(mut names) => {
                let keyless = std::mem::take(&mut names.keyless);
                (local.listing(names), keyless)
            }
            None => (self.printed_list(local).await?, BTreeSet::new()),
        };
        let mut found = local.find_all(&listing, &asked);
        if self.is_direct() || local.is_whole_again() {
            self.remember(local, &asked, &found, &keyless);
        }
        found.truncate(wanted.len());
        Ok(found)
    }

    async fn printed_list(&self, local: &Local) -> Result<Listing, Cause> {
        let listed = self.retried(async || self.command_line().list().await, Hidden::Names).await?;
        Ok(local.listing_of(listed))
    }

    /// Tries again what fails while rbw writes its database.
    async fn retried<T>(&self, ask: impl AsyncFn() -> Attempt<T>, hidden: Hidden) -> Result<T, Cause> {
        let mut tries = 1;
        loop {
            self.ready(hidden).await?;
            match ask().await {
                Attempt::Done(done) => return Ok(done),
                Attempt::Failed(cause) => return Err(cause),
                Attempt::Again(cause) if tries == TRIES => return Err(cause),
                Attempt::Again(_) => {}
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Makes sure that the agent has the keys, and that rbw will not ask for the master password by itself: it would do
    /// so for every value. `hidden` is what a locked vault does not show.
    async fn ready(&self, hidden: Hidden) -> Result<(), Cause> {
        let mut asked = self.asked.lock().await;
        let cause = match self.locked().await? {
            None => return Ok(()),
            Some(Cause::VaultLocked { unlock, .. }) => Cause::VaultLocked { unlock, hidden },
            Some(cause) => cause,
        };
        let by_unlocking = matches!(&cause, Cause::VaultLocked { .. }) || cause == says::not_running();
        if *asked || !self.may_ask() || !by_unlocking {
            return Err(cause);
        }
        *asked = true;
        self.command_line().unlock().await
    }

    /// Why the agent cannot decrypt now, if it cannot.
    async fn locked(&self) -> Result<Option<Cause>, Cause> {
        if self.is_direct() {
            match self.agent.check().await {
                Ok(()) => return Ok(None),
                // Whoever has not even installed it is told so first.
                Err(agent::Fault::NotRunning) => {
                    self.command_line().is_there().await?;
                    return Ok(Some(says::not_running()));
                }
                Err(fault @ agent::Fault::Strange(_)) => self.leave(fault)?,
                Err(fault) => return Ok(Some(says::of_agent(fault))),
            }
        }
        Ok(self.command_line().unlocked().await?.map(|fault| fault.cause("rbw unlock")))
    }

    fn may_ask(&self) -> bool {
        use std::io::IsTerminal;
        match self.unlock {
            Unlock::Pinentry => self.may_prompt,
            Unlock::Terminal => self.may_prompt && std::io::stdin().is_terminal(),
            Unlock::Never => false,
        }
    }

    async fn account(&self) -> Result<Account, Cause> {
        match Account::read(&self.surroundings) {
            Ok(account) => Ok(account),
            Err(_) => {
                self.command_line().is_there().await?;
                let next = "rbw config set email ADDRESS, then: rbw login";
                Err(says::unavailable("rbw is not configured: it does not know your account", next))
            }
        }
    }

    async fn local(&self) -> Result<Local, Cause> {
        let account = self.account().await?;
        let place = account.database(&self.surroundings);
        let database = match place.as_deref().map(Database::read) {
            None | Some(Err(Unusable::Unknown)) => None,
            Some(Ok(database)) if database.logged_in => Some(database),
            Some(Err(Unusable::Torn)) => return Err(says::unavailable("rbw's local database is cut off", "rbw sync")),
            Some(Ok(_) | Err(Unusable::Absent)) => {
                self.command_line().is_there().await?;
                return Err(says::unavailable(format!("rbw is not logged in as {}", account.text()), "rbw login"));
            }
        };
        Ok(Local { account, place, database })
    }

    /// Keeps what names stood for, among all entries but those in `keyless`: once these are readable, one may be called
    /// the same.
    fn remember(&self, local: &Local, asked: &[ItemRef], found: &[Result<Item, Cause>], keyless: &BTreeSet<String>) {
        let (Some(place), Some(database)) = (&local.place, &local.database) else { return };
        let namings = names::namings(database);
        let read = namings.iter().filter(|(id, _)| !keyless.contains(**id)).map(|(_, naming)| naming);
        let mut memory = Memory::among(read);
        for (asked, found) in asked.iter().zip(found).filter(|(asked, _)| !asked.is_id_alone()) {
            if let Ok(item) = found {
                memory.add(asked, item.identity.id.as_is());
            }
        }
        if let Some(path) = memory::place(&self.surroundings, place) {
            // Without it, names are asked for again.
            let _ = memory.write(&path);
        }
    }
}
