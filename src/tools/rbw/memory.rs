//! Which item a name of a manifest stood for when names were last decrypted, and among which entries. As long as none
//! came and none changed its name since, it stands for the same one, and a locked vault need not be asked.
//!
//! Only names that a manifest has in the clear are kept, in the cache directory; without it names are asked for again.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::manifest::{ItemField, ItemRef, Surroundings};

/// How much is kept of a digest of an entry's name, in hexadecimal characters.
const KEPT: usize = 32;

/// What a manifest calls an item: its name, user and folder, and its id where that is given as well, for then others may
/// have the same name.
type Called = (Option<String>, Option<String>, Option<String>, Option<String>);

fn called(wanted: &ItemRef) -> Called {
    let ItemRef { id, name, user, folder, .. } = wanted.clone();
    (name, user, folder, id)
}

/// Names and their items.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    version: u32,
    /// The beginnings of the digests of the names among which each was the only one, one after the other.
    among: String,
    #[serde(with = "as_list")]
    items: BTreeMap<Called, String>,
}

/// JSON has no keys but texts.
mod as_list {
    use super::{BTreeMap, Called};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(items: &BTreeMap<Called, String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(items)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Called, String>, D::Error> {
        Vec::<(Called, String)>::deserialize(deserializer).map(|items| items.into_iter().collect())
    }
}

/// The entries that a [`Memory`] knows.
pub(super) struct Known<'a>(HashSet<&'a str>);

impl Known<'_> {
    /// Whether an entry with this digest of its name was among them.
    pub(super) fn has(&self, naming: &Digest) -> bool {
        self.0.contains(beginning(naming).as_str())
    }
}

fn beginning(naming: &Digest) -> String {
    let mut text = naming.to_string();
    text.truncate(KEPT);
    text
}

impl Memory {
    /// Nothing yet, among these entries.
    pub(super) fn among<'a>(namings: impl Iterator<Item = &'a Digest>) -> Self {
        Self { version: 2, among: namings.map(beginning).collect(), items: BTreeMap::new() }
    }

    /// What is remembered.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let memory: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let whole = memory.among.is_ascii() && memory.among.len().is_multiple_of(KEPT);
        (memory.version == 2 && whole).then_some(memory)
    }

    /// Among which entries.
    pub(super) fn known(&self) -> Known<'_> {
        let each = (0..self.among.len()).step_by(KEPT);
        Known(each.filter_map(|at| self.among.get(at..at + KEPT)).collect())
    }

    /// The item that `wanted` stood for.
    pub(super) fn id(&self, wanted: &ItemRef) -> Option<&str> {
        self.items.get(&called(wanted)).map(String::as_str)
    }

    /// Everything that stood for something.
    pub(super) fn all(&self) -> impl Iterator<Item = ItemRef> {
        self.items.keys().cloned().map(|(name, user, folder, id)| ItemRef {
            id,
            name,
            user,
            folder,
            field: ItemField::Default,
        })
    }

    pub(super) fn add(&mut self, wanted: &ItemRef, id: &str) {
        self.items.insert(called(wanted), id.to_owned());
    }

    /// Keeps it, for the user alone.
    ///
    /// # Errors
    /// When it cannot be written: then names are asked for again.
    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory)?;
        // A temporary file is made 0600.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.persist(path)?;
        Ok(())
    }
}

/// Where it is kept for the account with this database.
pub(super) fn place(surroundings: &Surroundings, database: &Path) -> Option<PathBuf> {
    let given = surroundings.variables.get("XDG_CACHE_HOME").filter(|path| path.starts_with('/'));
    let base = match given {
        Some(base) => PathBuf::from(base),
        None => surroundings.home.as_ref()?.join(".cache"),
    };
    let account = Digest::of(database.as_os_str().as_encoded_bytes()).short();
    Some(base.join("reconcile").join(format!("rbw-{account}.json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ItemRef {
        ItemRef { id: None, name: Some(name.to_owned()), user: None, folder: None, field: ItemField::Default }
    }

    #[test]
    fn a_name_is_remembered_among_the_entries_there_were() -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("reconcile/rbw.json");
        let (one, two, later) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"later"));
        let mut memory = Memory::among([&one, &two].into_iter());
        memory.add(&named("a"), "1");
        memory.add(&named("a"), "2");
        memory.write(&path)?;
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        let read = Memory::read(&path).unwrap_or_else(|| panic!("it is not read"));
        assert_eq!(read.id(&named("a")), Some("2"));
        assert_eq!(read.id(&named("b")), None);
        let with_user = ItemRef { user: Some("m".to_owned()), ..named("a") };
        assert_eq!(read.id(&with_user), None);
        // Told apart by its id, it says nothing about the name alone.
        let given = |id: &str| ItemRef { id: Some(id.to_owned()), ..named("c") };
        memory.add(&given("3"), "3");
        assert_eq!([named("c"), given("3"), given("4")].map(|wanted| memory.id(&wanted)), [None, Some("3"), None]);
        let known = read.known();
        assert_eq!([one, two, later].map(|naming| known.has(&naming)), [true, true, false]);
        assert_eq!(read.all().collect::<Vec<_>>(), [named("a")]);
        std::fs::write(&path, r#"{"version":2,"among":"abc","items":[]}"#)?;
        assert!(Memory::read(&path).is_none());
        Ok(())
    }
}
