//! Bitwarden through `rbw`'s command line.
//!
//! rbw is never asked by name: it falls back to parts of names and takes the first of several. Names are listed once and
//! matched exactly here, and values are asked for by id. What its local database shows without a key says which values
//! are unchanged, and as long as no name changed a locked vault need not be asked at all.

mod config;
mod database;
mod item;
mod memory;
mod says;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Mutex, Semaphore};

use crate::desired::{Item, ItemIdentity, VaultFacts};
use crate::manifest::{ItemRef, Surroundings, Unlock};
use crate::observation::Cause;
use crate::secret::SecretValue;
use crate::text::Untrusted;
use crate::tools::program::{self, Output};
use crate::tools::vault::{Entry, Listing, Revisions, field_of};

pub use self::config::{Configuration, ConfigurationError, RbwSetting};
use self::database::{Account, Database, Unusable};
use self::item::Printed;
use self::memory::Memory;
use self::says::Fault;

/// How many values are asked for at a time: more gain nothing, rbw's agent decrypts one after the other.
const AT_ONCE: usize = 4;
/// An item, or the listing of a large vault, is not larger, in bytes.
const LIMIT: u64 = 64 << 20;
/// rbw's database is not replaced at once: what fails while it is written is tried again.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(150);
/// How long somebody may take to type the master password.
const TYPING: Duration = Duration::from_secs(300);

/// Bitwarden through `rbw`.
pub struct Rbw {
    surroundings: Surroundings,
    unlock: Unlock,
    may_prompt: bool,
    /// Whether the vault was to be unlocked already: nobody is asked twice.
    asked: Mutex<bool>,
    at_once: Semaphore,
}

/// What is known without asking the agent.
struct Local {
    account: Account,
    place: Option<PathBuf>,
    database: Option<Database>,
}

impl Rbw {
    /// Asks nothing yet. `may_prompt` says whether a run may ask anybody for anything.
    #[must_use]
    pub fn new(unlock: Unlock, may_prompt: bool, surroundings: Surroundings) -> Self {
        Self { surroundings, unlock, may_prompt, asked: Mutex::new(false), at_once: Semaphore::new(AT_ONCE) }
    }

    /// Fetches what was edited elsewhere. It works on a locked vault, too.
    ///
    /// # Errors
    /// When the server cannot be reached, or rbw is not ready for it.
    pub async fn sync(&self) -> Result<(), Cause> {
        // rbw would ask for the master password if it were not logged in.
        self.local().await?;
        let output = self.run(&["sync"], Duration::from_secs(60)).await?;
        match says::fault(&output) {
            None => Ok(()),
            Some(Fault::Other(what)) => Err(says::unavailable(format!("rbw sync failed: {what}"), "rbw sync")),
            Some(fault) => Err(fault.cause("rbw sync")),
        }
    }

    /// Lists every item with its name decrypted.
    ///
    /// # Errors
    /// When the vault is locked, or rbw cannot list it.
    pub async fn list(&self) -> Result<Listing, Cause> {
        let local = self.local().await?;
        self.listed(&local).await
    }

    /// Finds items: without the agent when nothing was renamed since names were last decrypted, else among all.
    pub async fn find(&self, wanted: &[&ItemRef]) -> (VaultFacts, Vec<Result<Item, Cause>>) {
        let local = match self.local().await {
            Ok(local) => local,
            Err(cause) => return (facts("", None), wanted.iter().map(|_| Err(cause.clone())).collect()),
        };
        let facts = facts(&local.account.text(), local.database.as_ref());
        let before = local.remembered(&self.surroundings);
        let known: Vec<_> = wanted.iter().map(|wanted| local.known(before.as_ref(), wanted)).collect();
        if known.iter().all(Option::is_some) {
            return (facts, known.into_iter().flatten().collect());
        }
        match self.listed(&local).await {
            Ok(listing) => {
                let found: Vec<_> = wanted.iter().map(|wanted| listing.find(wanted)).collect();
                self.remember(&local, before, wanted, &found).await;
                (VaultFacts { items: Some(listing.entries.len()), ..facts }, found)
            }
            Err(cause) => (facts, known.into_iter().map(|known| known.unwrap_or_else(|| Err(cause.clone()))).collect()),
        }
    }

    /// Reads one value.
    ///
    /// # Errors
    /// When the vault is locked, or the item has no such value.
    pub async fn read(&self, item: &ItemIdentity) -> Result<SecretValue, Cause> {
        let _turn = self.at_once.acquire().await;
        let account = self.account().await?.text();
        if item.account.as_is() != account {
            let what = format!("rbw is configured for {account}, and this item is of {}", item.account.as_is());
            return Err(says::unavailable(what, "rbw config show"));
        }
        let (id, field) = (item.id.as_is(), field_of(item.field.as_is()));
        let mut tries = 1;
        loop {
            self.ready().await?;
            let output = self.run(&["get", "--raw", "--", id], Duration::from_secs(30)).await?;
            let missing = Cause::ItemMissing { wanted: item.id.clone(), similar: Vec::new() };
            let fault = match says::fault(&output) {
                // For an id that it does not have rbw falls back to names, and to parts of them.
                None => match Printed::read(&output.stdout).filter(|printed| printed.id.eq_ignore_ascii_case(id)) {
                    Some(printed) => return printed.value(&field, says::undecrypted(&output)),
                    None => missing,
                },
                Some(Fault::NoEntry) => missing,
                Some(Fault::Undecrypted(detail) | Fault::Other(detail)) => {
                    return Err(Cause::ItemUnreadable { item: item.id.clone(), detail: Untrusted::new(detail) });
                }
                Some(fault) => fault.cause("rbw sync"),
            };
            if tries == TRIES {
                return Err(fault);
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn run(&self, arguments: &[&str], timeout: Duration) -> Result<Output, Cause> {
        let mut command = program::command_in("rbw", &self.surroundings.variables);
        command.args(arguments);
        program::run(command, b"", LIMIT, timeout).await.map_err(|error| says::not_run(&error))
    }

    async fn account(&self) -> Result<Account, Cause> {
        match Account::read(&self.surroundings) {
            Ok(account) => Ok(account),
            Err(_) => {
                // Whoever has not even installed it is told so first.
                self.run(&["--version"], Duration::from_secs(10)).await?;
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
                self.run(&["--version"], Duration::from_secs(10)).await?;
                return Err(says::unavailable(format!("rbw is not logged in as {}", account.text()), "rbw login"));
            }
        };
        Ok(Local { account, place, database })
    }

    /// Makes sure that rbw will not ask for the master password by itself: it would do so for every value.
    async fn ready(&self) -> Result<(), Cause> {
        let mut asked = self.asked.lock().await;
        let output = self.run(&["unlocked"], Duration::from_secs(10)).await?;
        let Some(fault) = says::fault(&output) else { return Ok(()) };
        if *asked || !self.may_ask() || !matches!(fault, Fault::Locked | Fault::NotRunning) {
            return Err(fault.cause("rbw unlock"));
        }
        *asked = true;
        let mut command = program::command_in("rbw", &self.surroundings.variables);
        command.arg("unlock");
        // A pinentry in the terminal finds it by our standard input.
        let output = program::run_attended(command, TYPING).await.map_err(|error| says::not_run(&error))?;
        match says::fault(&output) {
            None => Ok(()),
            Some(Fault::Other(what)) => Err(says::unavailable(format!("rbw unlock failed: {what}"), "rbw unlock")),
            Some(fault) => Err(fault.cause("rbw unlock")),
        }
    }

    fn may_ask(&self) -> bool {
        use std::io::IsTerminal;
        match self.unlock {
            Unlock::Pinentry => self.may_prompt,
            Unlock::Terminal => self.may_prompt && std::io::stdin().is_terminal(),
            Unlock::Never => false,
        }
    }

    async fn listed(&self, local: &Local) -> Result<Listing, Cause> {
        let mut tries = 1;
        loop {
            self.ready().await?;
            let output = self.run(&["list", "--raw"], Duration::from_secs(120)).await?;
            match says::fault(&output) {
                None => match serde_json::from_slice::<Vec<Listed>>(&output.stdout) {
                    Ok(entries) => return Ok(local.listing(entries)),
                    Err(_) if tries == TRIES => {
                        return Err(says::unavailable(
                            "what `rbw list --raw` printed is not understood",
                            "rbw --version",
                        ));
                    }
                    Err(_) => {}
                },
                Some(Fault::Broken(_)) if tries < TRIES => {}
                Some(Fault::Undecrypted(detail)) => {
                    let what = format!("rbw cannot decrypt the name of one of your items ({detail}), so it lists none");
                    let next = "rbw sync; if that does not help, name items by id in the manifest: item: {id: …}";
                    return Err(says::unavailable(what, next));
                }
                Some(fault) => return Err(fault.cause("rbw list")),
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Keeps what names stood for, if they were the same before and after they were listed.
    async fn remember(
        &self,
        local: &Local,
        before: Option<Memory>,
        wanted: &[&ItemRef],
        found: &[Result<Item, Cause>],
    ) {
        let (Some(place), Some(database)) = (&local.place, &local.database) else { return };
        if !matches!(Database::read(place), Ok(now) if now.names == database.names) {
            return;
        }
        let mut memory = before.unwrap_or_else(|| Memory::of(database.names));
        for (wanted, found) in wanted.iter().zip(found) {
            if let Ok(item) = found {
                memory.add(wanted, item.identity.id.as_is());
            }
        }
        if let Some(path) = memory::place(&self.surroundings, place) {
            // Without it, names are asked for again.
            let _ = memory.write(&path);
        }
    }
}

fn facts(account: &str, database: Option<&Database>) -> VaultFacts {
    VaultFacts {
        kind: "rbw",
        account: Untrusted::new(account),
        items: database.map(|database| database.entries.len()),
        synced: database.and_then(|database| database.synced),
    }
}

/// An item as `rbw list --raw` prints it.
#[derive(Deserialize)]
struct Listed {
    id: String,
    name: Option<String>,
    user: Option<String>,
    folder: Option<String>,
}

impl Local {
    fn remembered(&self, surroundings: &Surroundings) -> Option<Memory> {
        Memory::read(&memory::place(surroundings, self.place.as_deref()?)?, self.database.as_ref()?.names)
    }

    /// The item that is meant, if that is known without decrypting names.
    fn known(&self, memory: Option<&Memory>, wanted: &ItemRef) -> Option<Result<Item, Cause>> {
        let database = self.database.as_ref()?;
        let id = match &wanted.id {
            Some(id) if wanted.name.is_none() && wanted.user.is_none() && wanted.folder.is_none() => id.as_str(),
            given => memory?.id(wanted).filter(|id| given.as_ref().is_none_or(|given| given == id))?,
        };
        let Some(sealed) = database.entries.get(id) else {
            let wanted = Untrusted::new(id);
            return Some(Err(Cause::ItemMissing { wanted, similar: Vec::new() }));
        };
        let entry = Entry {
            id: id.to_owned(),
            name: wanted.name.clone().unwrap_or_else(|| id.to_owned()),
            user: wanted.user.clone(),
            folder: wanted.folder.clone(),
            reprompt: sealed.reprompt,
            revisions: sealed.revisions.clone(),
        };
        let id_alone =
            ItemRef { id: Some(id.to_owned()), name: None, user: None, folder: None, field: wanted.field.clone() };
        Some(self.with(vec![entry]).find(&id_alone))
    }

    fn listing(&self, listed: Vec<Listed>) -> Listing {
        let entry = |listed: Listed| {
            let sealed = self.database.as_ref().and_then(|database| database.entries.get(&listed.id));
            Entry {
                id: listed.id,
                name: listed.name.unwrap_or_default(),
                user: listed.user,
                folder: listed.folder,
                reprompt: sealed.is_some_and(|sealed| sealed.reprompt),
                revisions: sealed.map_or_else(Revisions::default, |sealed| sealed.revisions.clone()),
            }
        };
        self.with(listed.into_iter().map(entry).collect())
    }

    fn with(&self, entries: Vec<Entry>) -> Listing {
        let synced = self.database.as_ref().and_then(|database| database.synced);
        Listing { kind: "rbw", account: self.account.text(), synced, entries }
    }
}
