//! Finds the manifest, reads it, and resolves what it names: what every command but a few begins with.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::arguments::Global;
use crate::cli::error::Error;
use crate::launch::LaunchError;
use crate::manifest::{self, Checked, Manifest, Surroundings};
use crate::observe::Site;
use crate::secret::SecretName;

/// The name of a manifest that is found without being named.
const FILE: &str = "secrets.manifest.yaml";
/// No manifest is larger.
const LIMIT: u64 = 8 << 20;

/// A checked manifest at its place.
#[derive(Debug)]
pub struct Project {
    /// The manifest and its warnings.
    pub checked: Checked,
    /// Where it was read from.
    pub path: PathBuf,
    /// What its paths are resolved against.
    pub surroundings: Surroundings,
    /// The dataset directory.
    pub dataset: PathBuf,
}

impl Project {
    /// Reads the manifest that is named, or found.
    ///
    /// # Errors
    /// When there is none, or it is not valid.
    pub fn open(global: &Global) -> Result<Self, Error> {
        let path = find(global)?;
        let text = read(&path)?;
        let checked = manifest::parse(&path.display().to_string(), &text)?;
        let surroundings = surroundings(&path)?;
        let dataset = checked.manifest.dataset.path.path(&surroundings);
        let dataset = dataset.map_err(|unset| Error::new(&unset, format!("export {}=…", unset.variable)))?;
        Ok(Self { checked, path, surroundings, dataset })
    }

    /// What is declared.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.checked.manifest
    }

    /// The manifest and where it is carried out.
    #[must_use]
    pub fn site(&self) -> Site<'_> {
        Site { manifest: self.manifest(), surroundings: &self.surroundings, dataset: &self.dataset }
    }
}

/// The manifest that run-time commands take: one at an absolute place, never one that lies about where somebody works.
#[derive(Debug)]
pub struct Trusted {
    /// What is declared.
    pub manifest: Manifest,
    /// Where it was read from, absolute.
    pub path: PathBuf,
    /// What its paths are resolved against.
    pub surroundings: Surroundings,
}

impl Trusted {
    /// Reads the manifest that is named by an absolute path, or the user's own.
    ///
    /// # Errors
    /// When there is none, others could have written it, or it is not valid.
    pub fn open(global: &Global) -> Result<Self, Error> {
        let path = match &global.manifest {
            Some(path) if path.is_absolute() => path.clone(),
            Some(path) => {
                let what = format!("{} is a relative path: at run time it could be anybody's", path.display());
                return Err(Error::new(what, "give --manifest or RECONCILE_MANIFEST an absolute path"));
            }
            None => own_manifest()?,
        };
        let whole = fs::canonicalize(&path).map_err(|error| {
            let what = format!("{}: {error}", path.display());
            Error::new(what, "put the manifest, or a link to it, there, or set RECONCILE_MANIFEST")
        })?;
        let uid = rustix::process::getuid().as_raw();
        if ![whole.as_path(), whole.parent().unwrap_or(&whole)].into_iter().all(|place| is_trusted(place, uid)) {
            let what = format!("{} could have been written by another user", whole.display());
            return Err(Error::new(what, "it and its directory must be yours or root's, and not writable by others"));
        }
        let text = read(&whole)?;
        let manifest = manifest::parse(&path.display().to_string(), &text)?.manifest;
        Ok(Self { manifest, surroundings: surroundings(&whole)?, path })
    }
}

impl Trusted {
    /// That it declares no such secret. The manifest that lies about where somebody works may well, and is not meant.
    #[must_use]
    pub fn not_declared(&self, name: &SecretName) -> Error {
        let what = LaunchError::NotDeclared(name.clone());
        Error::new(what, format!("reconcile list --manifest {}", self.path.display()))
    }
}

/// `$XDG_CONFIG_HOME/reconcile/secrets.manifest.yaml`, also on a Mac.
fn own_manifest() -> Result<PathBuf, Error> {
    let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = match given {
        Some(config) => config,
        None => {
            etcetera::home_dir().map_err(|_| Error::new("no home directory is known", "export HOME=…"))?.join(".config")
        }
    };
    Ok(config.join("reconcile").join(FILE))
}

/// The manifest's text and where it was found.
///
/// # Errors
/// When there is none.
pub fn text(global: &Global) -> Result<(PathBuf, String), Error> {
    let path = find(global)?;
    let text = read(&path)?;
    Ok((path, text))
}

fn find(global: &Global) -> Result<PathBuf, Error> {
    if let Some(path) = &global.manifest {
        return Ok(path.clone());
    }
    let here = std::env::current_dir().map_err(|error| Error::plain(format!("the current directory: {error}")))?;
    let uid = rustix::process::getuid().as_raw();
    for directory in here.ancestors() {
        if !is_trusted(directory, uid) {
            break;
        }
        let path = directory.join(FILE);
        if path.is_file() {
            return Ok(path.strip_prefix(&here).map(Path::to_path_buf).unwrap_or(path));
        }
    }
    let what = format!("there is no {FILE} in {} or above", here.display());
    Err(Error::new(what, "--manifest FILE, or set RECONCILE_MANIFEST"))
}

/// What is another owner's, or writable by others, may have been put there for us to run.
fn is_trusted(place: &Path, uid: u32) -> bool {
    fs::metadata(place).is_ok_and(|found| (found.uid() == uid || found.uid() == 0) && found.mode() & 0o002 == 0)
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::plain(format!("{}: {error}", path.display()));
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(format!("there is no {}", path.display()), "--manifest FILE, or set RECONCILE_MANIFEST")
        }
        _ => failed(&error),
    })?;
    if !found.is_file() {
        return Err(failed(&"it is not a file"));
    }
    if found.len() > LIMIT {
        return Err(failed(&"it is larger than 8 MiB: this cannot be a manifest"));
    }
    let bytes = fs::read(path).map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8"))
}

fn surroundings(manifest: &Path) -> Result<Surroundings, Error> {
    let whole = fs::canonicalize(manifest).map_err(|error| Error::plain(format!("{}: {error}", manifest.display())))?;
    Ok(surroundings_of(whole.parent().map(Path::to_path_buf).unwrap_or_else(|| PathBuf::from("/"))))
}

/// The home directory and the variables of this process, with `directory` as that of a manifest.
pub(super) fn surroundings_of(directory: PathBuf) -> Surroundings {
    // A variable that is no text cannot be named in the manifest.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Surroundings {
        directory,
        home: etcetera::home_dir().ok(),
        variables: std::env::vars_os().filter_map(text).collect(),
    }
}
