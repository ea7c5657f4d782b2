//! What the server keeps of its one account: sealed items and folders, and who may ask for them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::crypto::{self, Key, Master};
use super::item::Item;
use super::{EMAIL, Id, PASSWORD, ROUNDS};

/// An RSA key in PKCS #8, for sharing with organisations.
const SHARING: &[u8] = include_bytes!("account-key.der");

/// Its public half, as a SubjectPublicKeyInfo.
const SHARING_PUBLIC: &[u8] = include_bytes!("account-key.public.der");

/// What seals the items of an organisation.
const ORGANISATION: &[u8] = include_bytes!("organisation-key");

/// The same, sealed with the public half of the account's RSA key as a cipherstring of type 4.
const ORGANISATION_SEALED: &str = include_str!("organisation-key.sealed");

/// The account.
pub struct Vault {
    pub(super) master: Master,
    key: Key,
    /// The account's key, sealed with the master key.
    pub(super) sealed_key: String,
    pub(super) sealed_sharing: String,
    pub(super) public_sharing: String,
    pub(super) account: String,
    ciphers: Vec<Value>,
    folders: Vec<Value>,
    revision: Timestamp,
    /// Access tokens of earlier ones are refused.
    generation: u32,
    /// The id of the organisation that it is a member of, once something was shared with it.
    organisation: Option<String>,
}

impl Vault {
    pub(super) fn new() -> Self {
        let (master, key) = (Master::derive(EMAIL, PASSWORD, ROUNDS), Key::random());
        let (sealed_key, sealed_sharing) = (master.key.seal(&key.bytes()), key.seal(SHARING));
        let (ciphers, folders, account) = (Vec::new(), Vec::new(), crypto::uuid());
        let revision = Timestamp::now();
        let public_sharing = STANDARD.encode(SHARING_PUBLIC);
        Self {
            master,
            key,
            sealed_key,
            sealed_sharing,
            public_sharing,
            account,
            ciphers,
            folders,
            revision,
            generation: 1,
            organisation: None,
        }
    }

    /// The access token of now: a JWT whose signature nobody checks.
    pub(super) fn token(&self) -> String {
        let expires = Timestamp::now().as_second() + 7200;
        let head = json!({ "alg": "none", "typ": "JWT" });
        let claims = json!({
            "sub": self.account, "email": EMAIL, "email_verified": true, "name": "Someone", "premium": true,
            "iss": "test", "nbf": 0, "exp": expires, "scope": ["api", "offline_access"], "amr": ["Application"],
            "sstamp": "stamp", "device": "device", "generation": self.generation,
        });
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.{}", part(head), part(claims), URL_SAFE_NO_PAD.encode("unsigned"))
    }

    /// Whether `token` is of this generation.
    pub(super) fn admits(&self, token: &str) -> bool {
        let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claims: Value = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
        claims["generation"] == self.generation
    }

    pub(super) fn expire(&mut self) {
        self.generation += 1;
    }

    /// When the account was last changed.
    pub(super) fn revision(&self) -> Timestamp {
        self.revision
    }

    pub(super) fn ciphers(&self) -> &[Value] {
        &self.ciphers
    }

    pub(super) fn folders(&self) -> &[Value] {
        &self.folders
    }

    fn touch(&mut self) -> String {
        // later than before even when the clock is not
        self.revision = Timestamp::now().max(self.revision + jiff::SignedDuration::from_millis(1));
        self.revision.to_string()
    }

    /// Keeps a sealed item: a new one, or in place of the one that `id` names. `None` when there is none.
    pub(super) fn keep(&mut self, id: Option<&str>, sealed: &Value) -> Option<Value> {
        let place = match id {
            Some(id) => Some(self.place(id)?),
            None => None,
        };
        let now = self.touch();
        let old = place.map_or(Value::Null, |at| self.ciphers[at].clone());
        let created = old["creationDate"].as_str().unwrap_or(&now);
        let mut kept = json!({
            "object": "cipherDetails",
            "id": id.map_or_else(crypto::uuid, str::to_owned),
            "organizationId": null, "collectionIds": [], "organizationUseTotp": false,
            "favorite": sealed["favorite"].as_bool().unwrap_or(false),
            "edit": true, "viewPassword": true, "permissions": { "delete": true, "restore": true },
            "attachments": null, "archivedDate": null,
            "creationDate": created, "revisionDate": now, "deletedDate": old["deletedDate"],
            "reprompt": sealed["reprompt"].as_u64().unwrap_or(0),
        });
        let as_sent = ["type", "folderId", "key", "name", "notes", "fields", "passwordHistory"];
        for name in as_sent.iter().chain(&["login", "card", "identity", "secureNote", "sshKey"]) {
            kept[*name] = sealed[*name].clone();
        }
        match place {
            Some(at) => self.ciphers[at] = kept.clone(),
            None => self.ciphers.push(kept.clone()),
        }
        Some(kept)
    }

    /// Removes it for good. Whether there was one.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(at) = self.place(id) else { return false };
        self.ciphers.remove(at);
        self.touch();
        true
    }

    /// Into the trash, or out of it. Whether there was one.
    pub(super) fn trash(&mut self, id: &str, trashed: bool) -> bool {
        let Some(at) = self.place(id) else { return false };
        let now = self.touch();
        self.ciphers[at]["revisionDate"] = now.clone().into();
        self.ciphers[at]["deletedDate"] = if trashed { now.into() } else { Value::Null };
        true
    }

    /// A new folder of that sealed name.
    pub(super) fn add_folder(&mut self, sealed_name: &Value) -> Value {
        let now = self.touch();
        let folder = json!({ "object": "folder", "id": crypto::uuid(), "name": sealed_name, "revisionDate": now });
        self.folders.push(folder.clone());
        folder
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.ciphers.iter().position(|cipher| cipher["id"] == id)
    }
}

/// What a person does in another client.
impl Vault {
    pub(super) fn put(&mut self, item: &Item) -> Id {
        let mut sealed = item.seal(&self.key, &Value::Null);
        sealed["folderId"] = self.folder_id(item.folder.as_deref());
        let kept = self.keep(None, &sealed).expect("a new one is kept");
        Id(kept["id"].as_str().expect("an id").to_owned())
    }

    /// Shares an item with the account, as somebody else of its organisation does.
    pub(super) fn share(&mut self, item: &Item) -> Id {
        let organisation = self.organisation.get_or_insert_with(crypto::uuid).clone();
        let kept = self.keep(None, &item.seal(&organisation_key(), &Value::Null)).expect("a new one is kept");
        let shared = self.ciphers.last_mut().expect("the one that was kept");
        shared["organizationId"] = organisation.into();
        shared["collectionIds"] = json!([COLLECTION]);
        Id(kept["id"].as_str().expect("an id").to_owned())
    }

    /// The organisations, as the profile lists them.
    pub(super) fn organisations(&self) -> Value {
        let listed = |id: &String| {
            json!({
                "object": "profileOrganization", "id": id, "name": "Ours", "key": ORGANISATION_SEALED, "status": 2, "type": 2,
                "enabled": true, "userId": self.account, "usePasswordManager": true, "permissions": {},
                "hasPublicAndPrivateKeys": false, "userIsManagedByOrganization": false, "productTierType": 3,
            })
        };
        self.organisation.iter().map(listed).collect()
    }

    pub(super) fn item(&self, id: &str) -> Option<Item> {
        self.opened(&self.ciphers[self.place(id)?])
    }

    pub(super) fn items(&self) -> Vec<(Id, Item)> {
        let here = self.ciphers.iter().filter(|cipher| cipher["deletedDate"].is_null());
        let id = |cipher: &Value| Id(cipher["id"].as_str().expect("an id").to_owned());
        here.filter_map(|cipher| Some((id(cipher), self.opened(cipher)?))).collect()
    }

    pub(super) fn edit(&mut self, id: &str, anew: bool, change: impl FnOnce(&mut Item)) {
        let before = self.ciphers[self.place(id).expect("an item of that id")].clone();
        let mut item = self.opened(&before).expect("an item that can be opened");
        change(&mut item);
        assert!(before["organizationId"].is_null(), "an organisation's item is not edited here");
        let mut sealed = item.seal(&self.key, if anew { &Value::Null } else { &before });
        sealed["folderId"] = self.folder_id(item.folder.as_deref());
        sealed["passwordHistory"] = before["passwordHistory"].clone();
        self.keep(Some(id), &sealed);
    }

    /// Gives the account another key, and seals everything of it anew.
    pub(super) fn rotate(&mut self) {
        let own: Vec<(Id, Item)> = self
            .items()
            .into_iter()
            .filter(|(id, _)| self.place(id).is_some_and(|at| self.ciphers[at]["organizationId"].is_null()))
            .collect();
        let folders: Vec<Option<String>> = self.folders.iter().map(|folder| self.folder_name(folder)).collect();
        self.key = Key::random();
        self.sealed_key = self.master.key.seal(&self.key.bytes());
        self.sealed_sharing = self.key.seal(SHARING);
        for (folder, name) in self.folders.iter_mut().zip(folders) {
            folder["name"] = self.key.seal(name.expect("a name").as_bytes()).into();
        }
        for (id, item) in own {
            let mut sealed = item.seal(&self.key, &Value::Null);
            sealed["folderId"] = self.folder_id(item.folder.as_deref());
            self.keep(Some(&id), &sealed);
        }
    }

    /// Breaks the MAC of what is at `pointer` in it.
    pub(super) fn damage(&mut self, id: &str, pointer: &str) {
        let at = self.place(id).expect("an item of that id");
        let sealed = self.ciphers[at].pointer_mut(pointer).expect("such a text");
        let (intact, _) = sealed.as_str().expect("a text").rsplit_once('|').expect("a MAC");
        *sealed = format!("{intact}|{}", STANDARD.encode([0; 32])).into();
        self.touch();
    }

    fn opened(&self, cipher: &Value) -> Option<Item> {
        let folder = self.folders.iter().find(|folder| folder["id"] == cipher["folderId"]);
        let folder = folder.and_then(|folder| self.folder_name(folder));
        let organisation = organisation_key();
        let key = if cipher["organizationId"].is_null() { &self.key } else { &organisation };
        Item::open(cipher, key, folder)
    }

    fn folder_name(&self, folder: &Value) -> Option<String> {
        String::from_utf8(self.key.open(folder["name"].as_str()?)?).ok()
    }

    fn folder_id(&mut self, name: Option<&str>) -> Value {
        let Some(name) = name else { return Value::Null };
        if let Some(folder) = self.folders.iter().find(|folder| self.folder_name(folder).as_deref() == Some(name)) {
            return folder["id"].clone();
        }
        let sealed = self.key.seal(name.as_bytes()).into();
        self.add_folder(&sealed)["id"].clone()
    }
}

/// Where everything is that is shared.
const COLLECTION: &str = "4d2f6a0e-2b0c-4a3e-9f57-0c8a4c1d7b11";

fn organisation_key() -> Key {
    Key::from_bytes(ORGANISATION).expect("64 bytes")
}
