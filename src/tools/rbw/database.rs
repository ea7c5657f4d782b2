//! rbw's configuration and its local database: what they tell without any key. Names and values stand there encrypted,
//! and an entry's ciphertexts stay the same until it is edited.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::desired::Revision;
use crate::digest::Digest;
use crate::manifest::{ItemField, Surroundings};

use super::agent::Ciphertext;

/// rbw does not replace its database at once: what was cut off is read again, often enough to find a moment between two
/// syncs that follow each other.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(23);
/// What was written later than this ago is read twice: a file system's clock may be as coarse as that.
const SETTLED: Duration = Duration::from_millis(10);

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

/// Where the agent has its socket.
pub(super) fn runtime_directory(surroundings: &Surroundings) -> PathBuf {
    let given = set(surroundings, "XDG_RUNTIME_DIR").filter(|path| cfg!(target_os = "linux") && path.starts_with('/'));
    match given {
        Some(base) => Path::new(base).join(directory(surroundings)),
        None => {
            let temporary = set(surroundings, "TMPDIR").unwrap_or("/tmp");
            let (profile, user) = (profile(surroundings), rustix::process::getuid().as_raw());
            Path::new(temporary).join(format!("{profile}-{user}"))
        }
    }
}

fn set<'a>(surroundings: &'a Surroundings, name: &str) -> Option<&'a str> {
    surroundings.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn profile(surroundings: &Surroundings) -> String {
    set(surroundings, "RBW_PROFILE").map_or_else(|| "rbw".to_owned(), |profile| format!("rbw-{profile}"))
}

/// The name of its directories.
fn directory(surroundings: &Surroundings) -> String {
    let profile = profile(surroundings);
    if cfg!(target_os = "linux") { profile.to_lowercase().split_whitespace().collect() } else { profile }
}

/// One of rbw's directories.
fn place(surroundings: &Surroundings, variable: &str, linux: &str, mac: &str) -> Option<PathBuf> {
    let profile = directory(surroundings);
    let home = || set(surroundings, "HOME").map(PathBuf::from).or_else(|| surroundings.home.clone());
    if cfg!(target_os = "macos") {
        return Some(home()?.join(mac).join(profile));
    }
    match set(surroundings, variable).filter(|path| path.starts_with('/')) {
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
    /// By id.
    pub(super) entries: BTreeMap<String, Sealed>,
}

/// An entry as it stands in the database: every text but the ids is a ciphertext.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Sealed {
    id: String,
    #[serde(rename = "org_id")]
    pub(super) organisation: Option<String>,
    pub(super) folder: Option<String>,
    pub(super) name: String,
    data: Data,
    #[serde(default)]
    pub(super) fields: Vec<Field>,
    notes: Option<String>,
    pub(super) key: Option<String>,
    /// Whether it asks for the master password at each use.
    #[serde(default, rename = "master_password_reprompt", deserialize_with = "asks")]
    pub(super) reprompt: bool,
}

/// A custom field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Field {
    pub(super) name: Option<String>,
    pub(super) value: Option<String>,
}

/// What an entry holds by its kind; of logins alone we need it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Data {
    /// Such as `Login`: an entry of another kind has its value in another place.
    kind: String,
    login: Option<Login>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Login {
    username: Option<String>,
    password: Option<String>,
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
        let unusable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Unusable::Absent,
            _ => Unusable::Unknown,
        };
        let before = std::fs::metadata(path).map_err(unusable)?;
        // It holds tokens in the clear.
        let text = Zeroizing::new(std::fs::read(path).map_err(unusable)?);
        let after = std::fs::metadata(path).map_err(unusable)?;
        // rbw writes over it, so that what is read meanwhile can be half of one and half of the other.
        if stamp(&before) != stamp(&after) || after.len() != text.len() as u64 {
            return Err(Unusable::Torn);
        }
        let written = after.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        // A time that is still to come tells nothing.
        if written.is_none_or(|ago| ago < SETTLED) {
            std::thread::sleep(SETTLED);
            if Zeroizing::new(std::fs::read(path).map_err(unusable)?) != text {
                return Err(Unusable::Torn);
            }
        }
        let file = serde_json::from_slice(&text);
        let file = file.map_err(|error| if error.is_data() { Unusable::Unknown } else { Unusable::Torn })?;
        Self::of(file, written.map(|ago| ago.as_secs())).ok_or(Unusable::Unknown)
    }

    fn of(file: Stored, synced: Option<u64>) -> Option<Self> {
        let logged_in = [&file.access_token, &file.refresh_token, &file.protected_key].iter().all(|it| it.is_some());
        let count = file.entries.len();
        let entries: BTreeMap<String, Sealed> =
            file.entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        // An id that stands there twice tells nothing about either.
        (entries.len() == count).then_some(Self { logged_in, synced, entries })
    }
}

/// What changes when a file is written over.
fn stamp(seen: &std::fs::Metadata) -> (u64, u64, i64, i64) {
    (seen.ino(), seen.len(), seen.mtime(), seen.mtime_nsec())
}

#[derive(Deserialize)]
struct Stored {
    access_token: Option<IgnoredAny>,
    refresh_token: Option<IgnoredAny>,
    protected_key: Option<IgnoredAny>,
    entries: Vec<Sealed>,
}

impl Sealed {
    /// A ciphertext of it with its key.
    pub(super) fn ciphertext(&self, text: &str) -> Ciphertext {
        Ciphertext { text: text.to_owned(), key: self.key.clone(), organisation: self.organisation.clone() }
    }

    /// The ciphertext of the user name, of a login.
    pub(super) fn username(&self) -> Option<&str> {
        self.data.login.as_ref()?.username.as_deref()
    }

    /// The ciphertext of a field that is no custom one.
    pub(super) fn sealed_field(&self, field: &ItemField) -> Option<&str> {
        let password = || self.data.login.as_ref()?.password.as_deref();
        match field {
            ItemField::Default if self.data.kind == "SecureNote" => self.notes.as_deref(),
            // The number of a card, or the public half of a key: nobody means these without saying so.
            ItemField::Default | ItemField::Password => password(),
            ItemField::Username => self.username(),
            ItemField::Notes => self.notes.as_deref(),
            ItemField::Custom(_) => None,
        }
    }

    /// Whether the default of such an entry has a meaning: the password of a login, or the text of a note.
    pub(super) fn has_default(&self) -> bool {
        self.data.login.is_some() || self.data.kind == "SecureNote"
    }

    /// Changes when its name, user or folder does, or the key that they are encrypted with.
    pub(super) fn naming(&self) -> Digest {
        let (user, folder) = (self.username(), self.folder.as_deref());
        digest(&[Some(&self.id), Some(&self.name), user, folder, self.key.as_deref(), self.organisation.as_deref()])
    }

    /// A token of the version of a field. Which custom field is which is encrypted too, so all of them count.
    pub(super) fn revision(&self, field: &ItemField) -> Revision {
        let (key, organisation) = (self.key.as_deref(), self.organisation.as_deref());
        let mut parts = vec![Some(self.id.as_str()), Some(&self.data.kind), key, organisation];
        match field {
            ItemField::Custom(_) => {
                parts.extend(self.fields.iter().flat_map(|field| [field.name.as_deref(), field.value.as_deref()]));
            }
            field => parts.push(self.sealed_field(field)),
        }
        let tag = match field {
            ItemField::Custom(_) => "custom",
            ItemField::Username => "username",
            ItemField::Notes => "notes",
            ItemField::Password => "password",
            ItemField::Default => "default",
        };
        parts.push(Some(tag));
        Revision(format!("rbw1:{}", digest(&parts)))
    }
}

/// Of parts that are told apart by their lengths, and missing ones from empty ones.
fn digest(parts: &[Option<&str>]) -> Digest {
    let mut text = Vec::with_capacity(parts.iter().flatten().map(|part| part.len()).sum::<usize>() + 9 * parts.len());
    for part in parts {
        text.push(u8::from(part.is_some()));
        text.extend((part.unwrap_or_default().len() as u64).to_le_bytes());
        text.extend(part.unwrap_or_default().as_bytes());
    }
    Digest::of(&text)
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kinds;
        impl<'de> Visitor<'de> for Kinds {
            type Value = Data;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a kind of entry")
            }
            fn visit_str<E>(self, kind: &str) -> Result<Data, E> {
                Ok(Data { kind: kind.to_owned(), login: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
                let mut data = Data { kind: String::new(), login: None };
                while let Some(kind) = map.next_key::<String>()? {
                    if kind == "Login" {
                        data.login = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                    data.kind = kind;
                }
                Ok(data)
            }
        }
        deserializer.deserialize_any(Kinds)
    }
}

/// Whatever is not known to mean "no" asks.
fn asks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => false,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => text != "0" && !text.eq_ignore_ascii_case("none"),
        _ => true,
    })
}

#[cfg(test)]
mod tests;
