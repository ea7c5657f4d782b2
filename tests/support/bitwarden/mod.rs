//! A Bitwarden server of one account, for the real clients: what they are sent is sealed as theirs is, and what they
//! send is kept. It is on a port of the loopback interface until it is dropped.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part of a server")]

pub mod bw;
mod crypto;
mod http;
mod item;
pub mod rbw;
mod routes;
mod vault;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Listening, Response};
pub use item::{Field, Item, Kind};
use vault::Vault;

/// Who logs in.
pub const EMAIL: &str = "someone@example.invalid";

/// With what.
pub const PASSWORD: &str = "correct horse battery staple";

/// Of PBKDF2; the least that every client accepts.
const ROUNDS: u32 = 5000;

/// What names an item: a UUID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

impl Deref for Id {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

/// The server.
pub struct Server {
    state: Arc<Mutex<State>>,
    listening: Listening,
}

struct State {
    vault: Vault,
    requests: Vec<String>,
    /// Whether every request is refused.
    down: bool,
}

impl Server {
    /// With an empty vault.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State { vault: Vault::new(), requests: Vec::new(), down: false }));
        let shared = Arc::clone(&state);
        let listening = Listening::start(move |request| {
            let mut state = locked(&shared);
            state.requests.push(format!("{} {}", request.method, request.path));
            if state.down { Response::refused(503) } else { routes::answer(&mut state.vault, request) }
        });
        Self { state, listening }
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.listening.address)
    }

    /// Adds an item, as another client does.
    pub fn put(&self, item: Item) -> Id {
        self.locked().vault.put(&item)
    }

    /// Adds an item of an organisation that the account is a member of.
    pub fn share(&self, item: Item) -> Id {
        self.locked().vault.share(&item)
    }

    /// Changes an item, as another client does. What the change leaves alone keeps its bytes.
    pub fn edit(&self, id: &Id, change: impl FnOnce(&mut Item)) {
        self.locked().vault.edit(id, false, change);
    }

    /// Seals an item anew without changing it, as clients do when it is saved.
    pub fn save_again(&self, id: &Id) {
        self.locked().vault.edit(id, true, |_| {});
    }

    /// Removes an item for good.
    pub fn remove(&self, id: &Id) {
        assert!(self.locked().vault.remove(id), "no item {id}");
    }

    /// Moves an item to the trash.
    pub fn trash(&self, id: &Id) {
        assert!(self.locked().vault.trash(id, true), "no item {id}");
    }

    /// Takes an item out of the trash.
    pub fn restore(&self, id: &Id) {
        assert!(self.locked().vault.trash(id, false), "no item {id}");
    }

    /// Gives the account another key, as somebody does who fears for the old one.
    pub fn rotate_key(&self) {
        self.locked().vault.rotate();
    }

    /// Makes the name of an item one that nobody can open.
    pub fn damage(&self, id: &Id) {
        self.locked().vault.damage(id, "/name");
    }

    /// Makes the password of a login one that nobody can open.
    pub fn damage_password(&self, id: &Id) {
        self.locked().vault.damage(id, "/login/password");
    }

    /// An item as it is now, if it is there and can be opened.
    pub fn item(&self, id: &Id) -> Option<Item> {
        self.locked().vault.item(id)
    }

    /// Every item outside of the trash that can be opened.
    pub fn items(&self) -> Vec<(Id, Item)> {
        self.locked().vault.items()
    }

    /// What was asked, such as `GET /api/sync`, in order.
    pub fn requests(&self) -> Vec<String> {
        self.locked().requests.clone()
    }

    /// Whether it is out of order: every request gets a 503.
    pub fn set_down(&self, down: bool) {
        self.locked().down = down;
    }

    /// Refuses the access tokens given so far; they can be refreshed.
    pub fn expire_tokens(&self) {
        self.locked().vault.expire();
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// A test that panicked has no effect on what the next request gets.
fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
