//! Bitwarden through its own command line, `bw`.
//!
//! Each start of bw takes seconds, so everything is asked for at once: one `bw list items` with its names, versions and
//! values. What was looked for is held from then on, and wiped when it is dropped; the rest is wiped at once. A value and
//! its version come from one answer. bw keeps no key between two runs: whoever has its session can read the whole vault,
//! so it is in the environment of the children that decrypt, and of nothing else.

mod item;
mod says;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;

use crate::desired::{Item, ItemIdentity, VaultFacts};
use crate::manifest::{ItemRef, Surroundings};
use crate::observation::Cause;
use crate::secret::SecretValue;
use crate::text::Untrusted;
use crate::tools::program::{self, Output};
use crate::tools::vault::{Entry, Listing, field_of};

use self::item::Printed;

/// The variable that holds the session of an unlocked vault, made by `bw unlock`.
pub const SESSION: &str = "BW_SESSION";

/// The listing of a large vault is not larger, in bytes.
const LIMIT: u64 = 256 << 20;
/// A large vault takes its time to be decrypted.
const PATIENCE: Duration = Duration::from_secs(180);
/// What bw needs of our environment besides what every program may see: where its data is, and a server's own CA.
const PASSED: [&str; 2] = ["BITWARDENCLI_APPDATA_DIR", "NODE_EXTRA_CA_CERTS"];

/// Bitwarden through `bw`.
pub struct Bw {
    surroundings: Surroundings,
    held: Mutex<Held>,
}

/// What was looked for last, with its values.
#[derive(Default)]
struct Held {
    account: String,
    items: BTreeMap<String, Printed>,
}

/// What one look at the vault shows.
struct Answer {
    status: Status,
    items: Vec<Printed>,
    /// The names of folders by their ids.
    folders: BTreeMap<String, String>,
}

/// What `bw status` says. It needs no key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    status: String,
    server_url: Option<String>,
    user_email: Option<String>,
    last_sync: Option<String>,
}

#[derive(Deserialize)]
struct Folder {
    id: Option<String>,
    name: String,
}

impl Bw {
    /// Asks nothing yet, and never asks anybody for anything: `bw unlock` is the user's to run.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, held: Mutex::default() }
    }

    /// Fetches what was edited elsewhere. It works on a locked vault, too.
    ///
    /// # Errors
    /// When the server cannot be reached, or nobody is logged in.
    pub async fn sync(&self) -> Result<(), Cause> {
        match says::fault(&self.run(&["sync"], None).await?) {
            None => Ok(()),
            Some(fault) => Err(fault.cause("bw sync")),
        }
    }

    /// Finds items among all, by exact name. What is found is held with its values until it is read.
    pub async fn find(&self, wanted: &[&ItemRef]) -> (VaultFacts, Vec<Result<Item, Cause>>) {
        let by_folder = wanted.iter().any(|wanted| wanted.folder.is_some());
        let answer = match self.look(by_folder).await {
            Ok(answer) => answer,
            Err(cause) => {
                *self.held.lock().await = Held::default();
                let facts = VaultFacts { kind: "bw", account: Untrusted::new(""), items: None, synced: None };
                return (facts, wanted.iter().map(|_| Err(cause.clone())).collect());
            }
        };
        let listing = answer.listing();
        let facts = VaultFacts {
            kind: listing.kind,
            account: Untrusted::new(listing.account.clone()),
            items: Some(listing.entries.len()),
            synced: listing.synced,
        };
        let mut found = listing.find_all(wanted);
        let mut items: BTreeMap<String, Printed> =
            answer.items.into_iter().map(|item| (item.id.clone(), item)).collect();
        for item in found.iter_mut().flatten() {
            item.changed_at = items.get(item.identity.id.as_is()).and_then(Printed::changed_at);
        }
        items.retain(|id, _| found.iter().flatten().any(|item| item.identity.id.as_is() == id));
        *self.held.lock().await = Held { account: listing.account, items };
        (facts, found)
    }

    /// Lists every item.
    ///
    /// # Errors
    /// When the vault is locked, or bw cannot list it.
    pub async fn list(&self) -> Result<Listing, Cause> {
        Ok(self.look(true).await?.listing())
    }

    /// The value of an item that was found.
    ///
    /// # Errors
    /// When it was not, or has no such value.
    pub async fn read(&self, item: &ItemIdentity) -> Result<SecretValue, Cause> {
        let held = self.held.lock().await;
        let there = held.items.get(item.id.as_is()).filter(|_| held.account == item.account.as_is());
        match there {
            Some(printed) => printed.value(&field_of(item.field.as_is())),
            None => Err(Cause::ItemMissing { wanted: item.id.clone(), similar: Vec::new() }),
        }
    }

    async fn look(&self, with_folders: bool) -> Result<Answer, Cause> {
        let session = self.surroundings.variables.get(SESSION).filter(|session| !session.is_empty());
        let Some(session) = session else {
            // Without one there is nothing that bw could decrypt; it may not even be logged in.
            return Err(self.status().await?.fault().unwrap_or_else(says::locked));
        };
        let folders =
            async { if with_folders { self.printed::<Folder>("folders", session).await } else { Ok(Vec::new()) } };
        let (status, items, folders) = tokio::join!(self.status(), self.printed("items", session), folders);
        let status = status?;
        if let Some(fault) = status.fault() {
            return Err(fault);
        }
        let folders = folders?.into_iter().filter_map(|Folder { id, name }| Some((id?, name))).collect();
        let items = items?.into_iter().filter(|item: &Printed| !item.is_in_trash()).collect();
        Ok(Answer { status, items, folders })
    }

    async fn status(&self) -> Result<Status, Cause> {
        let output = self.run(&["status"], None).await?;
        if let Some(fault) = says::fault(&output) {
            return Err(fault.cause("bw status"));
        }
        serde_json::from_slice(&output.stdout).map_err(|_| says::not_understood("bw status"))
    }

    async fn printed<T: for<'de> Deserialize<'de>>(&self, what: &str, session: &str) -> Result<Vec<T>, Cause> {
        let output = self.run(&["list", what], Some(session)).await?;
        if let Some(fault) = says::fault(&output) {
            return Err(fault.cause(&format!("bw list {what}")));
        }
        // What the parser says could quote a value.
        serde_json::from_slice(&output.stdout).map_err(|_| says::not_understood(&format!("bw list {what}")))
    }

    async fn run(&self, arguments: &[&str], session: Option<&str>) -> Result<Output, Cause> {
        let mut command = program::command_in("bw", &self.surroundings.variables);
        let ours = |name: &str| Some((name.to_owned(), self.surroundings.variables.get(name)?));
        command.args(arguments).envs(PASSED.into_iter().filter_map(ours)).env("BW_NOINTERACTION", "true");
        command.envs(session.map(|session| (SESSION, session)));
        program::run(command, b"", LIMIT, PATIENCE).await.map_err(|error| says::not_run(&error))
    }
}

impl Answer {
    fn listing(&self) -> Listing {
        let entry = |item: &Printed| Entry {
            id: item.id.clone(),
            name: item.name.clone(),
            user: item.user(),
            folder: item.folder_id.as_ref().and_then(|id| self.folders.get(id)).cloned(),
            reprompt: item.reprompts(),
            revisions: item.revisions(),
        };
        Listing {
            kind: "bw",
            account: self.status.account(),
            synced: self.status.synced(),
            entries: self.items.iter().map(entry).collect(),
            unreadable: 0,
        }
    }
}

impl Status {
    fn fault(&self) -> Option<Cause> {
        (self.status == "unauthenticated").then(says::logged_out)
    }

    /// As it is shown and told apart: the address, and the server unless it is Bitwarden's own.
    fn account(&self) -> String {
        let email = self.user_email.as_deref().unwrap_or_default();
        match &self.server_url {
            Some(server) => format!("{email} ({server})"),
            None => email.to_owned(),
        }
    }

    fn synced(&self) -> Option<u64> {
        let at: jiff::Timestamp = self.last_sync.as_ref()?.parse().ok()?;
        u64::try_from(jiff::Timestamp::now().as_second() - at.as_second()).ok()
    }
}
