//! Reads the dataset: sops files without a key, public files, the index; and the local sources of public files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::actual::{FileState, IndexState};
use crate::address::FileName;
use crate::desired::Source;
use crate::digest::Digest;
use crate::index::Index;
use crate::manifest::{DatasetFile, Manifest, Surroundings};
use crate::observation::{Cause, Observation};
use crate::sops::SopsFile;
use crate::state::{Dataset, FileError, PUBLIC_FILE_LIMIT, SOPS_FILE_LIMIT};
use crate::text::Untrusted;

/// What the dataset and this machine's files show.
#[derive(Debug)]
pub struct Files {
    /// Each sops file and public file that the manifest names.
    pub files: BTreeMap<FileName, Observation<FileState>>,
    /// `reconcile.json`.
    pub index: Observation<IndexState>,
    /// Sources that are literal or on this machine.
    pub sources: BTreeMap<FileName, Observation<Source>>,
}

/// Looks at the dataset directory and the local sources.
#[must_use]
pub fn look(manifest: &Manifest, surroundings: &Surroundings, dataset: &Path) -> Files {
    let directory = Dataset::open(dataset);
    let read = |file: &FileName, limit| match &directory {
        Ok(None) => Observation::Known(None),
        Ok(Some(directory)) => match directory.read(file, limit) {
            Ok(bytes) => Observation::Known(bytes),
            Err(error) => Observation::Unknown(cause(&error)),
        },
        Err(error) => Observation::Unknown(cause(error)),
    };
    let mut files = BTreeMap::new();
    for file in manifest.dataset.files.keys() {
        files.insert(file.clone(), map(read(file, PUBLIC_FILE_LIMIT), |bytes| bytes.map_or(FileState::Absent, public)));
    }
    for file in manifest.sops_files().into_keys() {
        files.insert(file.clone(), map(read(file, SOPS_FILE_LIMIT), |bytes| bytes.map_or(FileState::Absent, sops)));
    }
    let index = read(&FileName::index(), SOPS_FILE_LIMIT);
    let index = map(index, |bytes| bytes.map_or(IndexState::Absent, index_state));
    let sources = manifest.dataset.files.iter();
    let sources =
        sources.filter_map(|(file, declared)| Some((file.clone(), source(declared, surroundings)?))).collect();
    Files { files, index, sources }
}

fn map<T, U>(seen: Observation<T>, f: impl FnOnce(T) -> U) -> Observation<U> {
    match seen {
        Observation::Known(seen) => Observation::Known(f(seen)),
        Observation::Unknown(cause) => Observation::Unknown(cause),
    }
}

fn public(content: Vec<u8>) -> FileState {
    FileState::Public { digest: Digest::of(&content), content }
}

fn sops(bytes: Vec<u8>) -> FileState {
    match SopsFile::read(&bytes) {
        Ok(sops) => FileState::Sops(Box::new(sops)),
        Err(error) => FileState::Broken { digest: Digest::of(&bytes), problem: Untrusted::new(error.to_string()) },
    }
}

fn index_state(bytes: Vec<u8>) -> IndexState {
    let digest = Digest::of(&bytes);
    match Index::read(&bytes) {
        Some(index) => IndexState::Present { digest, index: Box::new(index) },
        None => IndexState::Broken { digest },
    }
}

fn cause(error: &FileError) -> Cause {
    match error {
        FileError::System { path, doing, error } => {
            Cause::FileUnreadable { path: shown(path), detail: Untrusted::new(format!("{doing} failed: {error}")) }
        }
        FileError::NotAFile { path, found } => Cause::FileRefused { path: shown(path), why: format!("it is {found}") },
        FileError::TooLarge { path, limit } => {
            Cause::FileRefused { path: shown(path), why: format!("it is larger than {limit} bytes") }
        }
        FileError::Moved { path } => Cause::FileRefused { path: shown(path), why: "it changed".to_owned() },
    }
}

fn shown(path: &Path) -> Untrusted {
    Untrusted::new(path.to_string_lossy())
}

/// The content of a public file that does not come from a host.
fn source(declared: &DatasetFile, surroundings: &Surroundings) -> Option<Observation<Source>> {
    match declared {
        DatasetFile::AgeKeyOf(_) | DatasetFile::Read { .. } => None,
        DatasetFile::Literal(text) => {
            let newline = if text.ends_with('\n') { "" } else { "\n" };
            Some(Observation::Known(Source::Content(format!("{text}{newline}").into_bytes())))
        }
        DatasetFile::Copy(place) => Some(match place.path(surroundings) {
            Ok(path) => copy(&path),
            Err(unset) => Observation::Unknown(Cause::Unset(unset)),
        }),
    }
}

/// A copy follows symlinks, as home directories are full of them; a private key is never copied.
fn copy(path: &Path) -> Observation<Source> {
    let refused = |why: &str| Observation::Unknown(Cause::FileRefused { path: shown(path), why: why.to_owned() });
    let unread = |error: &std::io::Error| {
        Observation::Unknown(Cause::FileUnreadable { path: shown(path), detail: Untrusted::new(error.to_string()) })
    };
    match fs::metadata(path) {
        Err(error) => return unread(&error),
        Ok(seen) if !seen.is_file() => return refused("it is not a file"),
        Ok(seen) if seen.len() > PUBLIC_FILE_LIMIT => return refused("it is larger than 64 KiB"),
        Ok(_) => {}
    }
    match fs::read(path) {
        Err(error) => unread(&error),
        Ok(bytes) if is_private_key(&bytes) => refused("it is a private key, and the dataset is public: copy the .pub"),
        Ok(bytes) => Observation::Known(Source::Content(bytes)),
    }
}

/// Whether bytes look like a private key of ssh, TLS or age.
pub(super) fn is_private_key(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_uppercase();
    ["PRIVATE KEY", "AGE-SECRET-KEY-", "PUTTY-USER-KEY-FILE"].iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source_of(text: &str, surroundings: &Surroundings) -> Observation<Source> {
        let manifest = format!(
            "version: 1\nname: t\nvault: {{rbw: {{}}}}\ndataset:\n  path: dataset\n  files:\n    key: {text}\n"
        );
        let checked = crate::manifest::parse("t", &manifest).unwrap_or_else(|error| panic!("{error:?}"));
        let files = look(&checked.manifest, surroundings, &surroundings.directory.join("dataset"));
        files.sources.into_values().next().unwrap_or_else(|| panic!("no source"))
    }

    fn scene() -> (tempfile::TempDir, Surroundings) {
        let at = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let surroundings = Surroundings { directory: at.path().to_path_buf(), ..Surroundings::default() };
        (at, surroundings)
    }

    #[test]
    fn a_literal_ends_with_a_newline() {
        let (_at, surroundings) = scene();
        for literal in ["{literal: ssh-ed25519 A}", "{literal: \"ssh-ed25519 A\\n\"}"] {
            let expected = Source::Content(b"ssh-ed25519 A\n".to_vec());
            assert_eq!(source_of(literal, &surroundings), Observation::Known(expected), "{literal}");
        }
    }

    #[test]
    fn a_private_key_is_never_copied() -> std::io::Result<()> {
        let (at, surroundings) = scene();
        for (content, taken) in [
            ("ssh-ed25519 AAAA me\n", true),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n", false),
            ("# public key: age1x\nAGE-SECRET-KEY-1X\n", false),
            ("age-secret-key-1x\n", false),
        ] {
            std::fs::write(at.path().join("key.source"), content)?;
            let source = source_of("{copy: key.source}", &surroundings);
            assert_eq!(source.known().is_some(), taken, "{content}");
            assert_eq!(matches!(source.cause(), Some(Cause::FileRefused { .. })), !taken, "{content}");
        }
        Ok(())
    }

    #[test]
    fn a_source_that_cannot_be_read_says_why() {
        let (at, surroundings) = scene();
        let absent = source_of("{copy: absent}", &surroundings);
        assert!(matches!(absent.cause(), Some(Cause::FileUnreadable { .. })), "{absent:?}");
        assert!(std::fs::create_dir(at.path().join("directory")).is_ok());
        let directory = source_of("{copy: directory}", &surroundings);
        assert!(matches!(directory.cause(), Some(Cause::FileRefused { .. })), "{directory:?}");
        let unset = source_of("{copy: $NOWHERE/x}", &surroundings);
        assert!(matches!(unset.cause(), Some(Cause::Unset(_))), "{unset:?}");
    }

    #[test]
    fn what_stands_in_the_dataset_is_told_apart() -> std::io::Result<()> {
        let (at, surroundings) = scene();
        let manifest = "version: 1\nname: t\nvault: {rbw: {}}\ndataset:\n  path: dataset\n  files:\n    key: {literal: x}\n\
            hosts:\n  vm: {ssh: vm, age_key_file: /key.txt, recipient: {ssh_host_key: {}}}\n\
            secrets:\n  a: {item: a, delivery: {sops: {}}}\n";
        let checked = crate::manifest::parse("t", manifest).unwrap_or_else(|error| panic!("{error:?}"));
        let dataset = at.path().join("dataset");
        let seen = || look(&checked.manifest, &surroundings, &dataset);
        let (key, sops) = ("key".parse(), "secrets.yaml".parse());
        let (Ok(key), Ok(sops)) = (key, sops) else { panic!("names") };
        // Without a directory there are no files, and that is known.
        assert_eq!(seen().files.get(&sops), Some(&Observation::Known(FileState::Absent)));
        assert_eq!(seen().index, Observation::Known(IndexState::Absent));
        std::fs::create_dir(&dataset)?;
        std::fs::write(dataset.join("secrets.yaml"), "<<<<<<< ours\n")?;
        std::fs::write(dataset.join("reconcile.json"), "{}")?;
        std::os::unix::fs::symlink("/etc/passwd", dataset.join("key"))?;
        let files = seen();
        let broken = files.files.get(&sops).and_then(|seen| seen.known());
        assert!(matches!(broken, Some(FileState::Broken { .. })), "{broken:?}");
        assert!(matches!(files.index.known(), Some(IndexState::Broken { .. })));
        let linked = files.files.get(&key).and_then(|seen| seen.cause());
        assert!(matches!(linked, Some(Cause::FileRefused { .. })), "{linked:?}");
        Ok(())
    }
}
