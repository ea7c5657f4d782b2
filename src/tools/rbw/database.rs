//! rbw's configuration and its local database: what they tell without any key. Names and values stand there encrypted,
//! and an entry's ciphertexts stay the same until it is edited.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::desired::Revision;
use crate::digest::Digest;
use crate::manifest::{ItemField, Surroundings};
use crate::tools::vault::Revisions;

/// rbw does not replace its database at once: what was cut off is read again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// The account that rbw is configured for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) email: String,
    server: Option<String>,
}

/// Why there is no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotConfigured;

impl Account {
    /// Reads rbw's configuration.
    pub(super) fn read(surroundings: &Surroundings) -> Result<Self, NotConfigured> {
        #[derive(Deserialize)]
        struct Config {
            email: Option<String>,
            base_url: Option<String>,
        }
        let path = configuration(surroundings).ok_or(NotConfigured)?;
        let text = std::fs::read(path).map_err(|_| NotConfigured)?;
        let config: Config = serde_json::from_slice(&text).map_err(|_| NotConfigured)?;
        Ok(Self { email: config.email.ok_or(NotConfigured)?, server: config.base_url })
    }

    /// The account as it is shown and told apart: the address, and the server unless it is Bitwarden's own.
    pub(super) fn text(&self) -> String {
        match &self.server {
            Some(server) => format!("{} ({})", self.email, without_userinfo(server)),
            None => self.email.clone(),
        }
    }

    /// Where rbw keeps the database of this account.
    pub(super) fn database(&self, surroundings: &Surroundings) -> Option<PathBuf> {
        let server = encoded(self.server.as_deref().unwrap_or("default"));
        let directory = place(surroundings, "XDG_CACHE_HOME", ".cache", "Library/Caches")?;
        Some(directory.join(format!("{server}:{}.json", self.email)))
    }
}

/// `https://name:password@host` is shown, and kept, as `https://host`.
fn without_userinfo(server: &str) -> String {
    let (scheme, rest) = server.split_once("://").unwrap_or(("", server));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

/// Where rbw reads its configuration.
pub(super) fn configuration(surroundings: &Surroundings) -> Option<PathBuf> {
    let directory = place(surroundings, "XDG_CONFIG_HOME", ".config", "Library/Application Support")?;
    Some(directory.join("config.json"))
}

/// One of rbw's directories.
fn place(surroundings: &Surroundings, variable: &str, linux: &str, mac: &str) -> Option<PathBuf> {
    let set = |name: &str| surroundings.variables.get(name).filter(|value| !value.is_empty());
    let mut profile = set("RBW_PROFILE").map_or_else(|| "rbw".to_owned(), |profile| format!("rbw-{profile}"));
    if cfg!(target_os = "linux") {
        profile = profile.to_lowercase().split_whitespace().collect();
    }
    let home = || set("HOME").map(PathBuf::from).or_else(|| surroundings.home.clone());
    if cfg!(target_os = "macos") {
        return Some(home()?.join(mac).join(profile));
    }
    match set(variable).filter(|path| path.starts_with('/')) {
        Some(base) => Some(Path::new(base).join(profile)),
        None => Some(home()?.join(linux).join(profile)),
    }
}

/// As rbw encodes a server's address in a file name: control characters, what is not ASCII, `/`, `:` and `%`.
fn encoded(server: &str) -> String {
    let one = |byte: u8| match byte {
        b'/' | b':' | b'%' | 0..=0x1f | 0x7f.. => format!("%{byte:02X}"),
        byte => char::from(byte).to_string(),
    };
    server.bytes().map(one).collect()
}

/// The local database, without the tokens that stand in it.
#[derive(Debug)]
pub(super) struct Database {
    /// Whether rbw could use it without logging in anew.
    pub(super) logged_in: bool,
    /// Seconds since it was written: at each sync.
    pub(super) synced: Option<u64>,
    pub(super) entries: BTreeMap<String, Sealed>,
    /// Changes when an entry comes or goes, or its name, user or folder changes.
    pub(super) names: Digest,
}

/// An entry as it stands in the database, encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Whether it asks for the master password at each use.
    pub(super) reprompt: bool,
    pub(super) revisions: Revisions,
}

/// Why the database could not be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There is none: rbw has not been logged in.
    Absent,
    /// It is cut off, and stays so. rbw takes that for not being logged in, and would ask for the master password.
    Torn,
    /// It cannot be read, or is of a shape that this version does not know.
    Unknown,
}

impl Database {
    /// Reads it, again when it was just being written.
    pub(super) fn read(path: &Path) -> Result<Self, Unusable> {
        for _ in 1..TRIES {
            match Self::read_once(path) {
                Err(Unusable::Torn) => std::thread::sleep(PAUSE),
                done => return done,
            }
        }
        Self::read_once(path)
    }

    fn read_once(path: &Path) -> Result<Self, Unusable> {
        // It holds tokens in the clear.
        let text = match std::fs::read(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Unusable::Absent),
            Err(_) => return Err(Unusable::Unknown),
        };
        let synced = std::fs::metadata(path).and_then(|seen| seen.modified()).ok();
        let synced = synced.and_then(|at| SystemTime::now().duration_since(at).ok()).map(|ago| ago.as_secs());
        let file = serde_json::from_slice(&text);
        let file = file.map_err(|error| if error.is_data() { Unusable::Unknown } else { Unusable::Torn })?;
        Self::of(&file, synced).ok_or(Unusable::Unknown)
    }

    fn of(file: &Stored, synced: Option<u64>) -> Option<Self> {
        let tokens = [&file.access_token, &file.refresh_token, &file.protected_key];
        let mut names: Vec<_> = file.entries.iter().map(StoredEntry::naming).collect();
        names.sort();
        let names = Digest::of(&serde_json::to_vec(&names).ok()?);
        let sealed = file.entries.iter().map(|entry| Some((entry.id.clone(), entry.sealed()?)));
        let entries: BTreeMap<String, Sealed> = sealed.collect::<Option<_>>()?;
        // An id that stands there twice tells nothing about either.
        let whole = entries.len() == file.entries.len();
        whole.then(|| Self { logged_in: tokens.into_iter().all(Option::is_some), synced, entries, names })
    }
}

#[derive(Deserialize)]
struct Stored {
    access_token: Option<IgnoredAny>,
    refresh_token: Option<IgnoredAny>,
    protected_key: Option<IgnoredAny>,
    entries: Vec<StoredEntry>,
}

#[derive(Deserialize)]
struct StoredEntry {
    id: String,
    org_id: Option<String>,
    folder: Option<String>,
    name: String,
    data: Value,
    #[serde(default)]
    fields: Vec<Value>,
    notes: Option<String>,
    key: Option<String>,
    #[serde(default)]
    master_password_reprompt: Value,
}

impl StoredEntry {
    fn login(&self, field: &str) -> Option<&str> {
        self.data.get("Login")?.get(field)?.as_str()
    }

    fn naming(&self) -> [Option<&str>; 6] {
        let user = self.login("username");
        let (folder, key, org) = (self.folder.as_deref(), self.key.as_deref(), self.org_id.as_deref());
        [Some(&self.id), Some(&self.name), user, folder, key, org]
    }

    fn sealed(&self) -> Option<Sealed> {
        let kind = self.kind();
        let of = |field: &str, sealed: &[Option<&str>]| {
            // As JSON, so that no two lists of parts are the same text.
            let text = serde_json::to_vec(&(field, &kind, self.naming(), sealed)).ok()?;
            Some(Revision(format!("rbw1:{}", Digest::of(&text))))
        };
        let notes = self.notes.as_deref();
        let password = self.login("password");
        let custom = serde_json::to_string(&self.fields).ok()?;
        let revisions = BTreeMap::from([
            (ItemField::Default, of("default", &[password, notes])?),
            (ItemField::Password, of("password", &[password])?),
            (ItemField::Notes, of("notes", &[notes])?),
            (ItemField::Username, of("username", &[])?),
        ]);
        // Which custom field is which is encrypted too, so all of them count.
        let custom = Some(of("custom", &[Some(&custom)])?);
        Some(Sealed { reprompt: self.reprompts(), revisions: Revisions { fields: revisions, custom } })
    }

    /// Such as `Login`: an entry of another kind has its value in another place.
    fn kind(&self) -> String {
        match &self.data {
            Value::String(kind) => kind.clone(),
            Value::Object(kinds) => kinds.keys().cloned().collect::<Vec<_>>().join(","),
            _ => String::new(),
        }
    }

    fn reprompts(&self) -> bool {
        match &self.master_password_reprompt {
            Value::Null => false,
            Value::Number(number) => number.as_u64() != Some(0),
            Value::String(text) => text != "0" && !text.eq_ignore_ascii_case("none"),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
