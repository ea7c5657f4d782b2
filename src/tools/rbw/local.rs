//! What rbw's files tell without asking its agent, and which item is meant among the names that are known.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::desired::{Item, VaultFacts};
use crate::manifest::{ItemRef, Surroundings};
use crate::observation::Cause;
use crate::text::Untrusted;
use crate::tools::vault::{Entry, Listing, Revisions};

use super::command::Listed;
use super::database::{Account, Database};
use super::memory::{self, Memory};
use super::names::{self, Names};

/// What is known without asking the agent.
pub(super) struct Local {
    pub(super) account: Account,
    pub(super) place: Option<PathBuf>,
    pub(super) database: Option<Database>,
}

pub(super) fn facts(account: &str, database: Option<&Database>) -> VaultFacts {
    VaultFacts {
        kind: "rbw",
        account: Untrusted::new(account),
        items: database.map(|database| database.entries.len()),
        synced: database.and_then(|database| database.synced),
    }
}

impl Local {
    pub(super) fn memory(&self, surroundings: &Surroundings) -> Option<Memory> {
        self.database.as_ref()?;
        Memory::read(&memory::place(surroundings, self.place.as_deref()?)?)
    }

    /// What is known without decrypting any name.
    pub(super) fn unasked(&self, memory: Option<&Memory>, wanted: &[&ItemRef]) -> Vec<Option<Result<Item, Cause>>> {
        let by_name = wanted.iter().any(|wanted| !wanted.is_id_alone());
        let nothing_new = || {
            let (Some(database), Some(memory)) = (&self.database, memory) else { return false };
            let known = memory.known();
            names::namings(database).values().all(|naming| known.has(naming))
        };
        let memory = memory.filter(|_| by_name && nothing_new());
        wanted.iter().map(|wanted| self.unasked_one(memory, wanted)).collect()
    }

    fn unasked_one(&self, memory: Option<&Memory>, wanted: &ItemRef) -> Option<Result<Item, Cause>> {
        self.database.as_ref()?;
        let id = match &wanted.id {
            Some(id) if wanted.is_id_alone() => id.as_str(),
            _ => memory?.id(wanted)?,
        };
        let missing =
            || Cause::ItemMissing { wanted: Untrusted::new(wanted.name.as_deref().unwrap_or(id)), similar: Vec::new() };
        let entry = self.entry_of(id, wanted).ok_or_else(missing);
        Some(entry.and_then(|entry| {
            self.find(&self.listing(Names { entries: vec![entry], ..Names::default() }), &by_id(id, wanted))
        }))
    }

    /// An entry that is known to be the one that `wanted` means.
    fn entry_of(&self, id: &str, wanted: &ItemRef) -> Option<Entry> {
        let sealed = self.database.as_ref()?.entries.get(id)?;
        Some(Entry {
            id: id.to_owned(),
            name: wanted.name.clone().unwrap_or_else(|| id.to_owned()),
            user: wanted.user.clone(),
            folder: wanted.folder.clone(),
            reprompt: sealed.reprompt,
            revisions: Revisions::default(),
        })
    }

    /// Finds an item among the new entries and the one that was remembered, unless that is itself new.
    pub(super) fn find_among_new(
        &self,
        new: &Names,
        fresh: &BTreeSet<&str>,
        memory: &Memory,
        wanted: &ItemRef,
    ) -> Result<Item, Cause> {
        let remembered = memory.id(wanted).filter(|id| !fresh.contains(id));
        let mut entries: Vec<Entry> = new.entries.clone();
        entries.extend(remembered.and_then(|id| self.entry_of(id, wanted)));
        self.find(&self.listing(Names { entries, unreadable: new.unreadable, ..Names::default() }), wanted)
    }

    /// The items that are meant, with the revisions of their fields.
    pub(super) fn find_all(&self, listing: &Listing, wanted: &[ItemRef]) -> Vec<Result<Item, Cause>> {
        let found = listing.find_all(&wanted.iter().collect::<Vec<_>>());
        found.into_iter().zip(wanted).map(|(found, wanted)| found.map(|item| self.versioned(item, wanted))).collect()
    }

    fn find(&self, listing: &Listing, wanted: &ItemRef) -> Result<Item, Cause> {
        listing.find(wanted).map(|item| self.versioned(item, wanted))
    }

    fn versioned(&self, mut item: Item, wanted: &ItemRef) -> Item {
        let sealed = self.database.as_ref().and_then(|database| database.entries.get(item.identity.id.as_is()));
        item.revision = sealed.map(|sealed| sealed.revision(&wanted.field));
        item
    }

    pub(super) fn listing_of(&self, listed: Vec<Listed>) -> Listing {
        let entry = |listed: Listed| {
            let sealed = self.database.as_ref().and_then(|database| database.entries.get(&listed.id));
            Entry {
                id: listed.id,
                name: listed.name.unwrap_or_default(),
                user: listed.user,
                folder: listed.folder,
                reprompt: sealed.is_some_and(|sealed| sealed.reprompt),
                revisions: Revisions::default(),
            }
        };
        self.listing(Names { entries: listed.into_iter().map(entry).collect(), ..Names::default() })
    }

    pub(super) fn listing(&self, Names { entries, unreadable, .. }: Names) -> Listing {
        let synced = self.database.as_ref().and_then(|database| database.synced);
        Listing { kind: "rbw", account: self.account.text(), synced, entries, unreadable }
    }

    fn now(&self) -> Option<Database> {
        Database::read(self.place.as_deref()?).ok()
    }

    /// Whether the names are those that the command line listed meanwhile.
    pub(super) fn is_whole_again(&self) -> bool {
        let (Some(then), Some(now)) = (&self.database, self.now()) else { return false };
        names::namings(then) == names::namings(&now)
    }

    /// Whether an entry is still what it was when it was found; where there is no telling, it is.
    pub(super) fn is_unmoved(&self, id: &str) -> bool {
        let Some(then) = &self.database else { return true };
        self.now().is_some_and(|now| now.entries.get(id) == then.entries.get(id))
    }
}

fn by_id(id: &str, wanted: &ItemRef) -> ItemRef {
    ItemRef { id: Some(id.to_owned()), name: None, user: None, folder: None, field: wanted.field.clone() }
}
