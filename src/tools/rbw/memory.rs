//! Which item a name of a manifest stood for when names were last decrypted. As long as no entry came, went or changed
//! its name since, it stands for the same one, and a locked vault need not be asked.
//!
//! Only names that a manifest has in the clear are kept, in the cache directory; without it names are asked for again.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::manifest::{ItemRef, Surroundings};

/// What a manifest calls an item, and the item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    name: Option<String>,
    user: Option<String>,
    folder: Option<String>,
    id: String,
}

impl Named {
    fn is_called(&self, wanted: &ItemRef) -> bool {
        self.name == wanted.name && self.user == wanted.user && self.folder == wanted.folder
    }
}

/// Names and their items, of one state of the database.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    version: u32,
    names: Digest,
    items: Vec<Named>,
}

impl Memory {
    /// Nothing yet, about the state `names`.
    pub(super) fn of(names: Digest) -> Self {
        Self { version: 1, names, items: Vec::new() }
    }

    /// What is remembered about the state `names`, if that is the state it is about.
    pub(super) fn read(path: &Path, names: Digest) -> Option<Self> {
        let memory: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (memory.version == 1 && memory.names == names).then_some(memory)
    }

    /// The item that `wanted` stood for.
    pub(super) fn id(&self, wanted: &ItemRef) -> Option<&str> {
        self.items.iter().find(|named| named.is_called(wanted)).map(|named| named.id.as_str())
    }

    pub(super) fn add(&mut self, wanted: &ItemRef, id: &str) {
        let ItemRef { name, user, folder, .. } = wanted.clone();
        self.items.retain(|named| !named.is_called(wanted));
        self.items.push(Named { name, user, folder, id: id.to_owned() });
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
    use crate::manifest::ItemField;

    fn called(name: &str) -> ItemRef {
        ItemRef { id: None, name: Some(name.to_owned()), user: None, folder: None, field: ItemField::Default }
    }

    #[test]
    fn a_name_is_remembered_until_any_name_changes() -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("reconcile/rbw.json");
        let (now, later) = (Digest::of(b"now"), Digest::of(b"later"));
        let mut memory = Memory::of(now);
        memory.add(&called("a"), "1");
        memory.add(&called("a"), "2");
        memory.write(&path)?;
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        let read = Memory::read(&path, now);
        assert_eq!(read.as_ref().and_then(|memory| memory.id(&called("a"))), Some("2"));
        assert_eq!(read.as_ref().and_then(|memory| memory.id(&called("b"))), None);
        let with_user = ItemRef { user: Some("m".to_owned()), ..called("a") };
        assert_eq!(read.as_ref().and_then(|memory| memory.id(&with_user)), None);
        assert!(Memory::read(&path, later).is_none());
        Ok(())
    }
}
