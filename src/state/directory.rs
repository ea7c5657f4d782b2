//! The state directory, `$XDG_STATE_HOME/reconcile/<name>-<hash of the dataset path>/`, for its owner alone.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::{Zeroize, Zeroizing};

use crate::address::FileName;
use crate::digest::Digest;
use crate::manifest::{Manifest, Surroundings, UnsetVariable};
use crate::secret::FingerprintKey;

use super::lock::{Holder, Lock};
use super::shared::Conflict;
use super::whole::{FileError, Held};

/// Beside which a shared one is another.
pub(super) const RECEIPT_FILE: &str = "receipt.json";
const KEY_FILE: &str = "fingerprint.key";
/// How many ciphertexts of a file are kept.
const KEPT: usize = 3;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file could not be read or replaced.
    #[error(transparent)]
    File(#[from] FileError),
    /// Where state is kept cannot be told.
    #[error("{0}; it is needed to find the state directory: set HOME or XDG_STATE_HOME")]
    Nowhere(UnsetVariable),
    /// The receipt is of a newer version.
    #[error("{path} was written by a newer reconcile (version {version}); use that one")]
    NewerReceipt {
        /// The receipt.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// The receipt cannot be understood. It is never overwritten.
    #[error(
        "{path} is not a receipt ({problem}); restore it, or move it away: then every secret counts as never recorded"
    )]
    BrokenReceipt {
        /// The receipt.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The receipt is about another dataset.
    #[error("{path} is the receipt of the dataset {of}, not of this one; give each its own `receipt: {{path: …}}`")]
    OtherDataset {
        /// The receipt.
        path: PathBuf,
        /// Its dataset.
        of: PathBuf,
    },
    /// The receipt is shared, and not one to build on.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The fingerprint key is not 32 bytes long.
    #[error("{0} is no fingerprint key; restore it, or remove it: values are then read and compared anew")]
    BrokenKey(PathBuf),
    /// The system gave no random bytes.
    #[error("no random bytes from the system: {0}")]
    Random(getrandom::Error),
    /// Another run holds the lock.
    #[error("another run is in the way: {}; wait for it with --lock-timeout 60s", who(.holder.as_ref(), path))]
    Locked {
        /// What is locked.
        path: PathBuf,
        /// By whom, if it says so.
        holder: Option<Holder>,
    },
}

fn who(holder: Option<&Holder>, path: &Path) -> String {
    holder.map_or_else(|| format!("{} is locked", path.display()), ToString::to_string)
}

/// The state directory of one manifest and dataset.
#[derive(Debug)]
pub struct Directory {
    pub(super) path: PathBuf,
    pub(super) dataset: PathBuf,
    /// Where the receipt is: its directory and name.
    pub(super) receipt: (PathBuf, String),
    /// The dataset as the manifest writes it, where the receipt is shared: on another machine its path may differ.
    pub(super) shared: Option<PathBuf>,
}

impl Directory {
    /// Finds it, and makes nothing yet.
    ///
    /// # Errors
    /// When there is no home directory.
    pub fn of(manifest: &Manifest, surroundings: &Surroundings, dataset: &Path) -> Result<Self, StateError> {
        let given = surroundings.variables.get("XDG_STATE_HOME").filter(|path| path.starts_with('/'));
        let base = match (given, &surroundings.home) {
            (Some(base), _) => PathBuf::from(base),
            (None, Some(home)) => home.join(".local/state"),
            (None, None) => {
                let missing = UnsetVariable { variable: "HOME".to_owned(), text: "~/.local/state".to_owned() };
                return Err(StateError::Nowhere(missing));
            }
        };
        let hash = Digest::of(dataset.as_os_str().as_bytes()).short();
        let path = base.join("reconcile").join(format!("{}-{hash}", manifest.name));
        let receipt = match &manifest.receipt {
            None => (path.clone(), RECEIPT_FILE.to_owned()),
            Some(place) => split(&place.path(surroundings).map_err(StateError::Nowhere)?),
        };
        let shared = manifest.receipt.as_ref().map(|_| PathBuf::from(manifest.dataset.path.as_written()));
        Ok(Self { path, dataset: dataset.to_path_buf(), receipt, shared })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the fingerprint key; `None` when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn fingerprint_key(&self) -> Result<Option<FingerprintKey>, StateError> {
        let Some(held) = Held::open(&self.path)? else { return Ok(None) };
        let Some(bytes) = held.read(KEY_FILE, 1024)?.map(Zeroizing::new) else { return Ok(None) };
        let Ok(mut key) = <[u8; 32]>::try_from(bytes.as_slice()) else {
            return Err(StateError::BrokenKey(self.path.join(KEY_FILE)));
        };
        Ok(Some(FingerprintKey::new(&mut key)))
    }

    /// Makes a fingerprint key, unless another run was faster: then that one is taken.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make_fingerprint_key(&self) -> Result<FingerprintKey, StateError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(StateError::Random)?;
        let made = Held::open_or_create(&self.path, 0o700)?.create(KEY_FILE, &bytes, 0o600);
        bytes.zeroize();
        made?;
        self.fingerprint_key()?.ok_or_else(|| StateError::BrokenKey(self.path.join(KEY_FILE)))
    }

    /// Waits for other runs to end. `waiting` is told of a wait that is not short.
    ///
    /// # Errors
    /// With the holder, when the lock was not free in time.
    pub fn lock(
        &self,
        dataset: &Path,
        operation: &str,
        timeout: Duration,
        waiting: &mut dyn FnMut(&Holder),
    ) -> Result<Lock, StateError> {
        Held::open_or_create(&self.path, 0o700)?;
        let shared = self.is_shared().then(|| self.receipt.0.join(format!(".{}.lock", self.receipt.1)));
        let lock = Lock::take(&self.path.join("lock"), dataset, shared.as_deref(), operation, timeout, waiting)?;
        self.remove_leftovers(dataset);
        Ok(lock)
    }

    /// What a run that was killed left behind, wherever runs under this lock write. The fingerprint key is made before
    /// there is a lock, perhaps right now.
    fn remove_leftovers(&self, dataset: &Path) {
        for directory in [&self.path, &self.path.join("replaced"), dataset] {
            if let Ok(Some(held)) = Held::open(directory) {
                held.remove_all_leftovers(KEY_FILE);
            }
        }
        // It may be anywhere, beside the receipts of others.
        if let Ok(Some(held)) = Held::open(&self.receipt.0) {
            held.remove_leftovers(&self.receipt.1);
        }
    }

    /// Keeps a ciphertext that is about to be replaced; the last three of each file stay.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, file: &FileName, bytes: &[u8]) -> Result<(), StateError> {
        let held = Held::open_or_create(&self.path.join("replaced"), 0o700)?;
        let digest = Digest::of(bytes).short();
        let prefix = format!("{file}.");
        let mut there: Vec<String> = held.names()?.into_iter().filter(|name| is_kept(name, &prefix)).collect();
        if there.iter().any(|name| name.ends_with(&digest)) {
            return Ok(());
        }
        let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        held.create(&format!("{prefix}{at}-{digest}"), bytes, 0o600)?;
        there.sort();
        let old = there.len().saturating_sub(KEPT - 1);
        for name in &there[..old] {
            held.remove(name)?;
        }
        Ok(())
    }
}

/// `secrets.yaml.20261123T231500.123456Z-3f9c2a71`, and not of a file whose name begins the same.
fn is_kept(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains("Z-"))
}

fn split(path: &Path) -> (PathBuf, String) {
    let name = path.file_name().map_or_else(|| RECEIPT_FILE.to_owned(), |name| name.to_string_lossy().into_owned());
    (path.parent().map(Path::to_path_buf).unwrap_or_else(|| PathBuf::from("/")), name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Receipt;

    fn directory(at: &Path) -> Directory {
        let manifest = "version: 1\nname: t\nvault: {rbw: {}}\ndataset: {path: /d}\n";
        let manifest = crate::manifest::parse("t", manifest).map(|checked| checked.manifest);
        let variables = [("XDG_STATE_HOME".to_owned(), at.display().to_string())].into();
        let surroundings = Surroundings { variables, ..Surroundings::default() };
        manifest
            .map_err(|error| error.to_string())
            .and_then(|manifest| Directory::of(&manifest, &surroundings, Path::new("/d")).map_err(|e| e.to_string()))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn scene() -> (tempfile::TempDir, Directory) {
        let at = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let directory = directory(at.path());
        (at, directory)
    }

    #[test]
    fn a_receipt_comes_back_and_counts_its_writes() -> Result<(), StateError> {
        let (_at, state) = scene();
        assert_eq!(state.receipt()?, None);
        let mut receipt = Receipt::new("lineage".to_owned(), "/d".into());
        state.write_receipt(&mut receipt)?;
        state.write_receipt(&mut receipt)?;
        assert_eq!(state.receipt()?.map(|read| read.serial), Some(2));
        assert_eq!(state.receipt()?, Some(receipt));
        Ok(())
    }

    #[test]
    fn a_newer_or_broken_receipt_is_refused_and_left() -> Result<(), StateError> {
        let (_at, state) = scene();
        let held = Held::open_or_create(state.path(), 0o700)?;
        for (text, refusal) in [
            (r#"{"version": 2, "whatever": 1}"#, "newer"),
            (r#"{"version": 1}"#, "not a receipt"),
            ("", "not a receipt"),
            (r#"{"version":1,"lineage":"l","serial":1,"dataset":"/other","files":{},"hosts":{}}"#, "/other"),
        ] {
            held.replace("receipt.json", text.as_bytes(), 0o600, || Ok(()))?;
            let said = state.receipt().map_err(|error| error.to_string()).err().unwrap_or_default();
            assert!(said.contains(refusal), "{text}: {said}");
            assert_eq!(held.read("receipt.json", 1000)?.as_deref(), Some(text.as_bytes()));
        }
        Ok(())
    }

    #[test]
    fn a_receipt_that_is_not_the_one_before_is_never_overwritten() -> Result<(), StateError> {
        let (_at, state) = scene();
        let mut ours = Receipt::new("ours".to_owned(), "/d".into());
        state.write_receipt(&mut ours)?;
        let mut stale = ours.clone();
        state.write_receipt(&mut ours)?;
        let mut other = Receipt { lineage: "other".to_owned(), ..ours.clone() };
        for wrong in [&mut stale, &mut other] {
            let refused = state.write_receipt(wrong);
            assert!(matches!(refused, Err(StateError::Conflict(Conflict::Moved { .. }))), "{refused:?}");
        }
        assert_eq!(state.receipt()?, Some(ours.clone()));
        Held::open_or_create(state.path(), 0o700)?.replace("receipt.json", b"{", 0o600, || Ok(()))?;
        assert!(matches!(state.write_receipt(&mut ours), Err(StateError::BrokenReceipt { .. })));
        assert_eq!(ours.serial, 2);
        Ok(())
    }

    #[test]
    fn the_key_is_made_once_and_private() -> Result<(), StateError> {
        use std::os::unix::fs::PermissionsExt;
        let (_at, state) = scene();
        assert!(state.fingerprint_key()?.is_none());
        let made = state.make_fingerprint_key()?.id();
        assert_eq!(state.make_fingerprint_key()?.id(), made);
        assert_eq!(state.fingerprint_key()?.map(|key| key.id()), Some(made));
        for (name, expected) in [("", 0o700), ("fingerprint.key", 0o600)] {
            let mode = std::fs::metadata(state.path().join(name)).map(|seen| seen.permissions().mode() & 0o777);
            assert_eq!(mode.ok(), Some(expected), "{name}");
        }
        Ok(())
    }

    #[test]
    fn the_second_of_two_runs_is_told_who_is_first() -> Result<(), StateError> {
        let (at, state) = scene();
        let first = state.lock(at.path(), "apply", Duration::ZERO, &mut |_| {})?;
        let refused = state.lock(at.path(), "plan", Duration::ZERO, &mut |_| {}).map(drop);
        match refused {
            Err(StateError::Locked { holder: Some(holder), .. }) => assert_eq!(holder.operation, "apply"),
            other => panic!("{other:?}"),
        }
        drop(first);
        state.lock(at.path(), "plan", Duration::ZERO, &mut |_| {}).map(drop)
    }

    #[test]
    fn the_last_three_ciphertexts_are_kept() -> Result<(), Box<dyn std::error::Error>> {
        let (_at, state) = scene();
        let file = "secrets.yaml".parse()?;
        for number in 0..5_u8 {
            state.keep(&file, &[number])?;
        }
        let held = Held::open(&state.path().join("replaced"))?.ok_or("not there")?;
        let mut kept = Vec::new();
        for name in held.names()? {
            kept.extend(held.read(&name, 10)?.ok_or("gone")?);
        }
        kept.sort_unstable();
        assert_eq!(kept, [2, 3, 4]);
        Ok(())
    }
}
