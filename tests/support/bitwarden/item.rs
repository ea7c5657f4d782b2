//! An item as a person sees it, and the way between it and the JSON that the server keeps, where every text is sealed.

use serde_json::{Value, json};

use super::crypto::Key;

/// What a person sees of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Not unique.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Below it.
    pub notes: Option<String>,
    /// The custom ones, in order; names may repeat.
    pub fields: Vec<Field>,
    /// The name of the folder.
    pub folder: Option<String>,
    /// Whether the master password is asked for once more.
    pub reprompt: bool,
    /// Whether a key of its own seals it, which the account's key seals.
    pub own_key: bool,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// For a site.
    Login { username: Option<String>, password: Option<String>, totp: Option<String>, uris: Vec<String> },
    /// Text.
    Note,
    /// For a shop.
    Card { holder: Option<String>, number: Option<String>, code: Option<String> },
    /// For ssh.
    SshKey { private_key: String, public_key: String, fingerprint: String },
}

/// A custom field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Not unique.
    pub name: String,
    /// May be empty.
    pub value: String,
    /// Shown as dots.
    pub hidden: bool,
}

impl Item {
    fn of(name: &str, kind: Kind) -> Self {
        let (notes, fields, folder) = (None, Vec::new(), None);
        Self { name: name.to_owned(), kind, notes, fields, folder, reprompt: false, own_key: false }
    }

    /// A login without a totp or a URI.
    pub fn login(name: &str, username: &str, password: &str) -> Self {
        let (username, password) = (Some(username.to_owned()), Some(password.to_owned()));
        Self::of(name, Kind::Login { username, password, totp: None, uris: Vec::new() })
    }

    /// A secure note.
    pub fn note(name: &str, text: &str) -> Self {
        Self::of(name, Kind::Note).notes(text)
    }

    /// A card without a holder.
    pub fn card(name: &str, number: &str, code: &str) -> Self {
        Self::of(name, Kind::Card { holder: None, number: Some(number.to_owned()), code: Some(code.to_owned()) })
    }

    /// A key pair, as OpenSSH writes it.
    pub fn ssh_key(name: &str, private_key: &str, public_key: &str) -> Self {
        let fingerprint = "SHA256:unknown".to_owned();
        let (private_key, public_key) = (private_key.to_owned(), public_key.to_owned());
        Self::of(name, Kind::SshKey { private_key, public_key, fingerprint })
    }

    /// With notes.
    pub fn notes(self, notes: &str) -> Self {
        Self { notes: Some(notes.to_owned()), ..self }
    }

    /// With one more hidden custom field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push(Field { name: name.to_owned(), value: value.to_owned(), hidden: true });
        self
    }

    /// In a folder, which is made when there is none of that name.
    pub fn folder(self, folder: &str) -> Self {
        Self { folder: Some(folder.to_owned()), ..self }
    }

    /// Asking for the master password once more.
    pub fn reprompt(self) -> Self {
        Self { reprompt: true, ..self }
    }

    /// Sealed with a key of its own.
    pub fn with_own_key(self) -> Self {
        Self { own_key: true, ..self }
    }

    /// A login without a password.
    pub fn without_password(mut self) -> Self {
        self.set_password(None);
        self
    }

    /// A login without a user.
    pub fn without_username(mut self) -> Self {
        if let Kind::Login { username, .. } = &mut self.kind {
            *username = None;
        }
        self
    }

    /// Of a login; nothing else has one.
    pub fn password(&self) -> Option<&str> {
        if let Kind::Login { password, .. } = &self.kind { password.as_deref() } else { None }
    }

    /// Of a login; nothing else has one.
    pub fn set_password(&mut self, new: Option<&str>) {
        if let Kind::Login { password, .. } = &mut self.kind {
            *password = new.map(str::to_owned);
        }
    }

    /// Sealed. What `before` holds of it stays byte for byte; the rest is sealed anew.
    pub fn seal(&self, account: &Key, before: &Value) -> Value {
        let key = self
            .own_key
            .then(|| before["key"].as_str().map_or_else(|| account.seal(&Key::random().bytes()), str::to_owned));
        let own = key.as_deref().map(|key| own_key(key, account).expect("sealed with the account's key"));
        let sealing = Sealing { key: own.as_ref().unwrap_or(account), before };
        let fields: Vec<Value> = self.fields.iter().enumerate().map(|(at, field)| field.seal(&sealing, at)).collect();
        let mut sealed = json!({
            "key": key,
            "name": sealing.text("/name", Some(&self.name)),
            "notes": sealing.text("/notes", self.notes.as_deref()),
            "fields": fields,
            "reprompt": u8::from(self.reprompt),
        });
        let (number, name, data) = self.kind.seal(&sealing);
        sealed["type"] = number.into();
        sealed[name] = data;
        sealed
    }

    /// What `sealed` holds. `None` when something in it cannot be opened.
    pub fn open(sealed: &Value, account: &Key, folder: Option<String>) -> Option<Self> {
        let own = sealed["key"].as_str().map(|key| own_key(key, account));
        let key = if let Some(own) = &own { own.as_ref()? } else { account };
        let fields = sealed["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let fields = fields.iter().map(|field| Field::open(field, key)).collect::<Option<_>>()?;
        Some(Self {
            name: opened(&sealed["name"], key)??,
            kind: Kind::open(sealed, key)?,
            notes: opened(&sealed["notes"], key)?,
            fields,
            folder,
            reprompt: sealed["reprompt"] == 1,
            own_key: own.is_some(),
        })
    }
}

impl Kind {
    /// With the number and the name of its type.
    fn seal(&self, sealing: &Sealing<'_>) -> (u8, &'static str, Value) {
        let text = |at: &str, value: Option<&str>| sealing.text(at, value);
        match self {
            Self::Login { username, password, totp, uris } => {
                let uris: Vec<Value> = uris.iter().enumerate().map(|(at, uri)| sealing.uri(at, uri)).collect();
                let data = json!({
                    "username": text("/login/username", username.as_deref()),
                    "password": text("/login/password", password.as_deref()),
                    "totp": text("/login/totp", totp.as_deref()),
                    "uris": uris,
                });
                (1, "login", data)
            }
            Self::Note => (2, "secureNote", json!({ "type": 0 })),
            Self::Card { holder, number, code } => {
                let data = json!({
                    "cardholderName": text("/card/cardholderName", holder.as_deref()),
                    "number": text("/card/number", number.as_deref()),
                    "code": text("/card/code", code.as_deref()),
                });
                (3, "card", data)
            }
            Self::SshKey { private_key, public_key, fingerprint } => {
                let data = json!({
                    "privateKey": text("/sshKey/privateKey", Some(private_key)),
                    "publicKey": text("/sshKey/publicKey", Some(public_key)),
                    "keyFingerprint": text("/sshKey/keyFingerprint", Some(fingerprint)),
                });
                (5, "sshKey", data)
            }
        }
    }

    fn open(sealed: &Value, key: &Key) -> Option<Self> {
        let text = |at: &str| sealed.pointer(at).map_or(Some(None), |value| opened(value, key));
        Some(match sealed["type"].as_u64()? {
            1 => {
                let uris = sealed["login"]["uris"].as_array().map(Vec::as_slice).unwrap_or_default();
                Self::Login {
                    username: text("/login/username")?,
                    password: text("/login/password")?,
                    totp: text("/login/totp")?,
                    uris: uris.iter().map(|uri| opened(&uri["uri"], key)?).collect::<Option<_>>()?,
                }
            }
            2 => Self::Note,
            3 => Self::Card {
                holder: text("/card/cardholderName")?,
                number: text("/card/number")?,
                code: text("/card/code")?,
            },
            5 => Self::SshKey {
                private_key: text("/sshKey/privateKey")??,
                public_key: text("/sshKey/publicKey")??,
                fingerprint: text("/sshKey/keyFingerprint")??,
            },
            _ => return None,
        })
    }
}

impl Field {
    fn seal(&self, sealing: &Sealing<'_>, at: usize) -> Value {
        json!({
            "type": u8::from(self.hidden),
            "name": sealing.text(&format!("/fields/{at}/name"), Some(&self.name)),
            "value": sealing.text(&format!("/fields/{at}/value"), Some(&self.value)),
            "linkedId": null,
        })
    }

    fn open(sealed: &Value, key: &Key) -> Option<Self> {
        let name = opened(&sealed["name"], key)?.unwrap_or_default();
        let value = opened(&sealed["value"], key)?.unwrap_or_default();
        Some(Self { name, value, hidden: sealed["type"] == 1 })
    }
}

/// Seals with a key what is not yet so in what was before.
struct Sealing<'a> {
    key: &'a Key,
    before: &'a Value,
}

impl Sealing<'_> {
    fn text(&self, at: &str, text: Option<&str>) -> Value {
        let Some(text) = text else { return Value::Null };
        let before = self.before.pointer(at).and_then(Value::as_str);
        let same = before.filter(|before| self.key.open(before).as_deref() == Some(text.as_bytes()));
        same.map_or_else(|| self.key.seal(text.as_bytes()), str::to_owned).into()
    }

    fn uri(&self, at: usize, uri: &str) -> Value {
        json!({ "uri": self.text(&format!("/login/uris/{at}/uri"), Some(uri)), "match": null })
    }
}

/// The key that `account` sealed into `sealed`.
fn own_key(sealed: &str, account: &Key) -> Option<Key> {
    Key::from_bytes(&account.open(sealed)?)
}

/// `Some(None)` where there is no text, `None` where it cannot be opened.
fn opened(sealed: &Value, key: &Key) -> Option<Option<String>> {
    let Some(sealed) = sealed.as_str() else { return Some(None) };
    Some(Some(String::from_utf8(key.open(sealed)?).ok()?))
}
