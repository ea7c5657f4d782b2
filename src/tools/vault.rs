//! A vault: its items are listed once, names are matched exactly, and values are read one by one.

use std::collections::{BTreeMap, HashMap};

use crate::desired::{Item, ItemIdentity, Revision, VaultFacts};
use crate::manifest::{self, ItemField, ItemRef, Surroundings};
use crate::observation::Cause;
use crate::secret::{FingerprintKey, SecretValue};
use crate::text::Untrusted;
use crate::tools::bw::{self, Bw};
use crate::tools::file_vault::FileVault;
use crate::tools::rbw::Rbw;

/// How many similar names are offered.
const SIMILAR: usize = 3;

/// Where values come from.
pub enum Vault {
    /// Bitwarden through `rbw`.
    Rbw(Rbw),
    /// Bitwarden through its own `bw`.
    Bw(Bw),
    /// A YAML file.
    File(FileVault),
}

/// An entry of a vault, without its values.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its user name, if the vault tells.
    pub user: Option<String>,
    /// Its folder, if it is in one.
    pub folder: Option<String>,
    /// Whether it asks for the master password at each use.
    pub reprompt: bool,
    /// A token of the version of each of its fields.
    pub revisions: Revisions,
}

/// Tokens of the versions of an entry's fields; none when the vault gives none, or gives them to items that are found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Of single fields.
    pub fields: BTreeMap<ItemField, Revision>,
    /// Of all custom fields together, where they cannot be told apart.
    pub custom: Option<Revision>,
}

impl Revisions {
    /// The token of a field.
    #[must_use]
    pub fn of(&self, field: &ItemField) -> Option<&Revision> {
        let together = self.custom.as_ref().filter(|_| matches!(field, ItemField::Custom(_)));
        self.fields.get(field).or(together)
    }
}

/// Everything in a vault.
#[derive(Debug)]
pub struct Listing {
    /// `rbw`, `bw` or `file`.
    pub kind: &'static str,
    /// The account or path.
    pub account: String,
    /// Seconds since the last sync, if there are any.
    pub synced: Option<u64>,
    /// The entries.
    pub entries: Vec<Entry>,
    /// How many more there are whose names could not be decrypted.
    pub unreadable: usize,
}

impl Vault {
    /// Opens the vault that is declared. Nothing is asked yet, and nobody ever is unless `may_prompt`; `unlock:` in the
    /// manifest can narrow that.
    ///
    /// # Errors
    /// When its path cannot be resolved, or its file cannot be read.
    pub fn open(
        declared: &manifest::Vault,
        surroundings: &Surroundings,
        may_prompt: bool,
        key: Option<&FingerprintKey>,
    ) -> Result<Self, Cause> {
        match declared {
            manifest::Vault::Rbw { unlock } => Ok(Self::Rbw(Rbw::new(*unlock, may_prompt, surroundings.clone()))),
            manifest::Vault::File { path } => {
                let path = path.path(surroundings).map_err(Cause::Unset)?;
                FileVault::open(&path, key).map(Self::File)
            }
            manifest::Vault::Bw => Ok(Self::Bw(Bw::new(surroundings.clone()))),
        }
    }

    /// The variable of our environment that opens the whole vault, if it has one: no program that we become gets it.
    #[must_use]
    pub fn opened_by(&self) -> Option<&'static str> {
        match self {
            Self::Bw(_) => Some(bw::SESSION),
            Self::Rbw(_) | Self::File(_) => None,
        }
    }

    /// Brings the local copy up to date, where there is one.
    ///
    /// # Errors
    /// When that failed: what is there is then as old as the last time.
    pub async fn sync(&self) -> Result<(), Cause> {
        match self {
            Self::Rbw(rbw) => rbw.sync().await,
            Self::Bw(bw) => bw.sync().await,
            Self::File(_) => Ok(()),
        }
    }

    /// Why a slower way was taken than there is, if it was.
    #[must_use]
    pub fn detour(&self) -> Option<String> {
        match self {
            Self::Rbw(rbw) => rbw.detour(),
            Self::File(_) | Self::Bw(_) => None,
        }
    }

    /// Lists everything once.
    ///
    /// # Errors
    /// When the vault is locked or cannot be asked.
    pub async fn list(&self) -> Result<Listing, Cause> {
        match self {
            Self::Rbw(rbw) => rbw.list().await,
            Self::Bw(bw) => bw.list().await,
            Self::File(file) => Ok(file.list()),
        }
    }

    /// Finds the items that are wanted, in their order, and says what there is to say of the vault. Names are matched
    /// exactly; no value is read.
    pub async fn find(&self, wanted: &[&ItemRef]) -> (VaultFacts, Vec<Result<Item, Cause>>) {
        match self {
            Self::Rbw(rbw) => rbw.find(wanted).await,
            Self::Bw(bw) => bw.find(wanted).await,
            Self::File(file) => {
                let listing = file.list();
                let facts = VaultFacts {
                    kind: listing.kind,
                    account: Untrusted::new(listing.account.clone()),
                    items: Some(listing.entries.len()),
                    synced: None,
                };
                (facts, listing.find_all(wanted))
            }
        }
    }

    /// Reads one value. It is never empty.
    ///
    /// # Errors
    /// When the item is gone, has no such field, is empty there, or cannot be read.
    pub async fn read(&self, item: &ItemIdentity) -> Result<SecretValue, Cause> {
        let value = match self {
            Self::Rbw(rbw) => rbw.read(item).await?,
            Self::Bw(bw) => bw.read(item).await?,
            Self::File(file) => file.read(item)?,
        };
        if value.is_empty() { Err(Cause::ItemEmpty { item: item.id.clone() }) } else { Ok(value) }
    }
}

impl Listing {
    /// The one item that is meant: by id, or by exact name among those of the user and folder that are given.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, wanted: &ItemRef) -> Result<Item, Cause> {
        self.among(self.entries.iter(), wanted)
    }

    /// Likewise for many, without going through all entries for each of them.
    #[must_use]
    pub fn find_all(&self, wanted: &[&ItemRef]) -> Vec<Result<Item, Cause>> {
        let (mut ids, mut names) = (HashMap::<&str, Vec<&Entry>>::new(), HashMap::<&str, Vec<&Entry>>::new());
        for entry in &self.entries {
            ids.entry(&entry.id).or_default().push(entry);
            names.entry(&entry.name).or_default().push(entry);
        }
        let one = |wanted: &&ItemRef| {
            let called = match (&wanted.id, &wanted.name) {
                (Some(id), _) => ids.get(id.as_str()),
                (None, Some(name)) => names.get(name.as_str()),
                (None, None) => return self.find(wanted),
            };
            self.among(called.into_iter().flatten().copied(), wanted)
        };
        wanted.iter().map(one).collect()
    }

    fn among<'e>(&self, entries: impl Iterator<Item = &'e Entry>, wanted: &ItemRef) -> Result<Item, Cause> {
        let fits = |entry: &&Entry| {
            let same = |wanted: &Option<String>, there: Option<&String>| wanted.is_none() || wanted.as_ref() == there;
            same(&wanted.id, Some(&entry.id))
                && same(&wanted.name, Some(&entry.name))
                && same(&wanted.user, entry.user.as_ref())
                && same(&wanted.folder, entry.folder.as_ref())
        };
        let found: Vec<&Entry> = entries.filter(fits).collect();
        match found.as_slice() {
            [entry] if entry.reprompt => Err(Cause::ItemReprompt { item: Untrusted::new(entry.name.clone()) }),
            [entry] => Ok(self.item(entry, &wanted.field)),
            [] if self.unreadable > 0 => Err(self.not_among_the_readable(wanted)),
            [] => Err(Cause::ItemMissing { wanted: called(wanted), similar: self.similar(wanted) }),
            several => Err(Cause::ItemAmbiguous { wanted: called(wanted), count: several.len() }),
        }
    }

    fn not_among_the_readable(&self, wanted: &ItemRef) -> Cause {
        let (name, count) = (called(wanted), self.unreadable);
        let what = match count {
            1 => format!("no item is called \"{}\", and one has a name that cannot be decrypted", name.as_is()),
            _ => format!("no item is called \"{}\", and {count} have names that cannot be decrypted", name.as_is()),
        };
        let next = "name it by its id in the manifest: item: {id: …}".to_owned();
        Cause::VaultUnavailable { what: Untrusted::new(what), next }
    }

    /// The names that may have been meant: alike, or longer.
    fn similar(&self, wanted: &ItemRef) -> Vec<Untrusted> {
        let Some(text) = wanted.name.as_ref().map(|name| name.to_lowercase()) else { return Vec::new() };
        let names: BTreeMap<String, &str> =
            self.entries.iter().map(|entry| (entry.name.to_lowercase(), entry.name.as_str())).collect();
        let lower: Vec<&str> = names.keys().map(String::as_str).collect();
        let mut near = similar::get_close_matches(text.as_str(), &lower, SIMILAR, 0.6);
        let longer = lower.iter().copied().filter(|name| !text.is_empty() && name.contains(&text));
        for name in longer.take(SIMILAR) {
            if !near.contains(&name) {
                near.push(name);
            }
        }
        near.truncate(SIMILAR);
        near.into_iter().filter_map(|name| names.get(name)).map(|name| Untrusted::new(*name)).collect()
    }

    fn item(&self, entry: &Entry, field: &ItemField) -> Item {
        Item {
            identity: ItemIdentity {
                scheme: self.kind.to_owned(),
                account: Untrusted::new(self.account.clone()),
                id: Untrusted::new(entry.id.clone()),
                field: Untrusted::new(field_text(field)),
            },
            name: Untrusted::new(entry.name.clone()),
            revision: entry.revisions.of(field).cloned(),
            changed_at: None,
            value: None,
        }
    }
}

/// What was looked for, with all that was asked of it.
fn called(wanted: &ItemRef) -> Untrusted {
    let mut text = wanted.name.as_ref().or(wanted.id.as_ref()).cloned().unwrap_or_default();
    for (what, value) in [("user", &wanted.user), ("folder", &wanted.folder)] {
        if let Some(value) = value {
            text = format!("{text}, {what} {value}");
        }
    }
    Untrusted::new(text)
}

/// A field as an identity names it.
#[must_use]
pub fn field_text(field: &ItemField) -> String {
    match field {
        ItemField::Default => "default".to_owned(),
        ItemField::Password => "password".to_owned(),
        ItemField::Notes => "notes".to_owned(),
        ItemField::Username => "username".to_owned(),
        ItemField::Custom(name) => format!("custom:{name}"),
    }
}

/// A field from its text in an identity.
#[must_use]
pub fn field_of(text: &str) -> ItemField {
    match text {
        "password" => ItemField::Password,
        "notes" => ItemField::Notes,
        "username" => ItemField::Username,
        _ => text.strip_prefix("custom:").map_or(ItemField::Default, |name| ItemField::Custom(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, name: &str, user: Option<&str>) -> Entry {
        let (id, name, user) = (id.to_owned(), name.to_owned(), user.map(str::to_owned));
        Entry { id, name, user, folder: None, reprompt: false, revisions: Revisions::default() }
    }

    #[test]
    fn many_are_found_as_each_is_found_alone() {
        let entries = vec![entry("1", "a", None), entry("2", "dup", Some("x")), entry("3", "dup", Some("y"))];
        let listing = Listing { kind: "file", account: String::new(), synced: None, entries, unreadable: 0 };
        let text = |text: Option<&str>| text.map(str::to_owned);
        let of = |id, name, user| ItemRef {
            id: text(id),
            name: text(name),
            user: text(user),
            folder: None,
            field: ItemField::Default,
        };
        let wanted = [
            of(None, Some("a"), None),
            of(Some("1"), None, None),
            of(Some("1"), Some("dup"), None),
            of(None, Some("dup"), None),
            of(None, Some("dup"), Some("y")),
            of(None, Some("b"), None),
            of(Some("9"), None, None),
        ];
        let alone: Vec<_> = wanted.iter().map(|wanted| listing.find(wanted)).collect();
        assert_eq!(listing.find_all(&wanted.iter().collect::<Vec<_>>()), alone);
        assert_eq!(alone.iter().filter(|found| found.is_ok()).count(), 3);
    }
}
