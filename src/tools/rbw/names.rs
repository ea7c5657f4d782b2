//! What items are called: names are decrypted by the agent, as few as tell which item is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::manifest::ItemRef;
use crate::tools::vault::{Entry, Revisions};

use super::agent::{Agent, Ciphertext, Fault};
use super::database::{Database, Sealed};
use super::memory::Memory;

/// With more new names than this all are decrypted: then nothing is saved.
const FEW: usize = 200;

/// Items with their names decrypted.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) entries: Vec<Entry>,
    /// How many have a name that the agent could not decrypt.
    pub(super) unreadable: usize,
    /// Those of them that an unlock may make readable: they are of an organisation.
    pub(super) keyless: BTreeSet<String>,
}

/// Decrypts the names of all entries, or of those in `only`; users and folders of those that one of `asked` may mean, or
/// of all when nothing in particular is asked for.
pub(super) async fn decrypt(
    agent: &Arc<Agent>,
    database: &Database,
    only: Option<&BTreeSet<&str>>,
    asked: Option<&[ItemRef]>,
) -> Result<Names, Fault> {
    let sealed: Vec<(&String, &Sealed)> =
        database.entries.iter().filter(|(id, _)| only.is_none_or(|only| only.contains(id.as_str()))).collect();
    let decrypted = agent.decrypt(sealed.iter().map(|(_, sealed)| sealed.ciphertext(&sealed.name)).collect()).await?;
    let named: Vec<(&String, &Sealed, Zeroizing<String>)> =
        sealed.iter().zip(decrypted).filter_map(|((id, sealed), name)| Some((*id, *sealed, name.ok()?))).collect();
    let unreadable = sealed.len() - named.len();
    let readable: BTreeSet<&String> = named.iter().map(|(id, ..)| *id).collect();
    let keyless = sealed.iter().filter(|(id, sealed)| sealed.organisation.is_some() && !readable.contains(id));
    let keyless = keyless.map(|(id, _)| (*id).clone()).collect();
    let meant = |name: &str| match asked {
        None => true,
        Some(asked) => asked
            .iter()
            .any(|asked| asked.name.as_deref() == Some(name) && (asked.user.is_some() || asked.folder.is_some())),
    };
    let places: Vec<&Sealed> = named.iter().filter(|(.., name)| meant(name)).map(|(_, sealed, _)| *sealed).collect();
    let texts = users_and_folders(agent, &places).await?;
    let text = |ciphertext: Option<&str>| ciphertext.and_then(|ciphertext| texts.get(ciphertext)).cloned();
    let entry = |(id, sealed, name): &(&String, &Sealed, Zeroizing<String>)| Entry {
        id: (*id).clone(),
        name: name.to_string(),
        user: text(sealed.username()),
        folder: text(sealed.folder.as_deref()),
        reprompt: sealed.reprompt,
        revisions: Revisions::default(),
    };
    Ok(Names { entries: named.iter().map(entry).collect(), unreadable, keyless })
}

/// The users and folders of entries, by their ciphertexts. What cannot be decrypted is left out.
async fn users_and_folders(agent: &Arc<Agent>, entries: &[&Sealed]) -> Result<BTreeMap<String, String>, Fault> {
    let mut ciphertexts: BTreeMap<&str, Ciphertext> = BTreeMap::new();
    for sealed in entries {
        if let Some(user) = sealed.username() {
            ciphertexts.insert(user, sealed.ciphertext(user));
        }
        if let Some(folder) = sealed.folder.as_deref() {
            // A folder is the user's own, also of an organisation's item.
            ciphertexts.insert(folder, Ciphertext { text: folder.to_owned(), key: None, organisation: None });
        }
    }
    let texts: Vec<String> = ciphertexts.keys().map(|text| (*text).to_owned()).collect();
    let decrypted = agent.decrypt(ciphertexts.into_values().collect()).await?;
    Ok(texts.into_iter().zip(decrypted).filter_map(|(text, plain)| Some((text, plain.ok()?.to_string()))).collect())
}

/// The namings of all entries, by id.
pub(super) fn namings(database: &Database) -> BTreeMap<&str, Digest> {
    database.entries.iter().map(|(id, sealed)| (id.as_str(), sealed.naming())).collect()
}

/// The entries whose names must be decrypted to tell what `wanted` mean, when all of these are remembered and only few
/// entries are new.
pub(super) fn fresh<'a>(
    namings: &BTreeMap<&'a str, Digest>,
    memory: &Memory,
    wanted: &[&ItemRef],
) -> Option<BTreeSet<&'a str>> {
    if !wanted.iter().all(|wanted| wanted.is_id_alone() || memory.id(wanted).is_some()) {
        return None;
    }
    let known = memory.known();
    let fresh: BTreeSet<&str> = namings.iter().filter(|(_, naming)| !known.has(naming)).map(|(id, _)| *id).collect();
    (fresh.len() <= FEW).then_some(fresh)
}
