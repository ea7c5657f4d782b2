//! Generations of secrets: directories beside a symlink that leads to the live one. They are reached through handles
//! that are held open, and nothing in them is followed if it is a link.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::activate::ActivateError;

/// How a directory is opened: never through a link.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Who may pass through the directories; their names are listed to nobody.
const PASSABLE: u32 = 0o751;

/// The generations behind one symlink, held open and locked.
pub(super) struct Generations {
    /// The directory that holds the symlink.
    parent: OwnedFd,
    /// The symlink's name in it.
    name: String,
    /// `NAME.d`.
    directory: OwnedFd,
    /// Its path, for messages.
    path: PathBuf,
}

/// What a file gets beside its bytes.
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Generations {
    /// Opens those of `symlink`, or makes room for the first.
    pub(super) fn open(symlink: &Path) -> Result<Self, ActivateError> {
        let relative = || ActivateError::InTheWay { path: symlink.to_path_buf(), found: "no absolute path" };
        let (parent_path, name) = split(symlink).ok_or_else(relative)?;
        std::fs::create_dir_all(parent_path)
            .map_err(|error| failed(parent_path, "making the directory")(errno(&error)))?;
        let parent = open_directory(parent_path)?;
        let path = parent_path.join(format!("{name}.d"));
        let directory = make_directory(parent.as_fd(), &format!("{name}.d"), &path)?;
        let seen = rustix::fs::fstat(&directory).map_err(failed(&path, "looking at it"))?;
        if seen.st_uid != rustix::process::geteuid().as_raw() || seen.st_mode & 0o022 != 0 {
            return Err(ActivateError::InTheWay { path, found: "a directory that others may write into" });
        }
        rustix::fs::flock(&directory, FlockOperation::LockExclusive).map_err(failed(&path, "locking it"))?;
        let generations = Self { parent, name: name.to_owned(), directory, path };
        generations.check_link(symlink)?;
        Ok(generations)
    }

    /// What is replaced must be a link to a generation of ours.
    fn check_link(&self, symlink: &Path) -> Result<(), ActivateError> {
        let found = match rustix::fs::readlinkat(&self.parent, self.name.as_str(), Vec::new()) {
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::INVAL) => "there, and no symlink",
            Err(error) => return Err(failed(symlink, "looking at it")(error)),
            Ok(target) => {
                let target = Path::new(target.to_str().unwrap_or_default());
                let above = target.parent().and_then(Path::file_name).and_then(|name| name.to_str());
                if above == Some(format!("{}.d", self.name).as_str()) {
                    return Ok(());
                }
                "a symlink to something else than its generations"
            }
        };
        Err(ActivateError::InTheWay { path: symlink.to_path_buf(), found })
    }

    /// Begins a new generation, which is removed again if it does not become the live one.
    pub(super) fn begin(&self) -> Result<Building<'_>, ActivateError> {
        let last = self.names()?.iter().filter_map(|name| number_of(name)).max().unwrap_or(0);
        let number = last.checked_add(1).ok_or_else(|| failed(&self.path, "counting")(Errno::OVERFLOW))?;
        let path = self.path.join(number.to_string());
        rustix::fs::mkdirat(&self.directory, number.to_string(), Mode::RWXU).map_err(failed(&path, "making it"))?;
        let mut building = Building { generations: self, number, root: None, live: false, path };
        let root = rustix::fs::openat(&self.directory, number.to_string(), DIRECTORY, Mode::empty());
        building.root = Some(root.map_err(failed(&building.path, "opening it"))?);
        Ok(building)
    }

    /// Removes every generation but `live`, and what was written beside them.
    pub(super) fn remove_others(&self, live: u64) -> Result<(), ActivateError> {
        let mut others = self.names()?.into_iter().filter(|name| number_of(name).is_some_and(|number| number != live));
        others.try_for_each(|name| self.remove(&name))
    }

    fn remove(&self, name: &str) -> Result<(), ActivateError> {
        remove_tree(self.directory.as_fd(), name).map_err(failed(&self.path.join(name), "removing it"))
    }

    fn names(&self) -> Result<Vec<String>, ActivateError> {
        names(self.directory.as_fd()).map_err(failed(&self.path, "listing it"))
    }
}

/// A generation that is not live yet.
pub(super) struct Building<'a> {
    generations: &'a Generations,
    pub(super) number: u64,
    root: Option<OwnedFd>,
    live: bool,
    path: PathBuf,
}

impl Building<'_> {
    /// Writes one file, in directories made as its path needs them.
    pub(super) fn write<'n>(
        &self,
        components: impl Iterator<Item = &'n str>,
        bytes: &[u8],
        attributes: &Attributes,
    ) -> Result<(), ActivateError> {
        let mut components: Vec<&str> = components.collect();
        let (Some(name), Some(root)) = (components.pop(), &self.root) else {
            return Err(failed(&self.path, "naming a file in it")(Errno::INVAL));
        };
        let mut path = self.path.clone();
        let mut directory: Option<OwnedFd> = None;
        for component in components {
            path.push(component);
            let parent = directory.as_ref().unwrap_or(root);
            directory = Some(make_directory(parent.as_fd(), component, &path)?);
        }
        path.push(name);
        write_new(directory.as_ref().unwrap_or(root).as_fd(), name, bytes, attributes, &path)
    }

    /// Makes it the live one, with `record` beside it. Before this nobody sees it, and from then on it stays.
    pub(super) fn make_live(mut self, record: &[u8]) -> Result<(), ActivateError> {
        let Generations { parent, name, directory, path } = self.generations;
        if let Some(root) = &self.root {
            let done = rustix::fs::fchmod(root, Mode::from_raw_mode(PASSABLE)).and_then(|()| rustix::fs::fsync(root));
            done.map_err(failed(&self.path, "finishing it"))?;
        }
        let readable = Attributes { mode: 0o644, uid: None, gid: None };
        let beside = format!("{}.json", self.number);
        write_new(directory.as_fd(), &beside, record, &readable, &path.join(&beside))?;
        let target = format!("{name}.d/{}", self.number);
        replace_link(parent.as_fd(), name, &target).map_err(failed(path, "switching the symlink"))?;
        self.live = true;
        Ok(())
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        if !self.live {
            // What cannot be removed now is removed by the next activation.
            let _ = self.generations.remove(&self.number.to_string());
            let _ = self.generations.remove(&format!("{}.json", self.number));
        }
    }
}

/// Puts a symlink at an absolute path in place of another, or of nothing.
pub(super) fn link(at: &Path, target: &Path) -> Result<(), ActivateError> {
    let in_the_way = |found| ActivateError::InTheWay { path: at.to_path_buf(), found };
    let (parent, name) = split(at).ok_or_else(|| in_the_way("no absolute path"))?;
    check_free(at)?;
    std::fs::create_dir_all(parent).map_err(|error| failed(parent, "making the directory")(errno(&error)))?;
    let target = target.to_str().ok_or_else(|| in_the_way("no UTF-8"))?;
    replace_link(open_directory(parent)?.as_fd(), name, target).map_err(failed(at, "making the symlink"))
}

/// Fails when something else than a symlink is at `path`: it is somebody's own.
pub(super) fn check_free(path: &Path) -> Result<(), ActivateError> {
    match std::fs::symlink_metadata(path) {
        Ok(seen) if !seen.is_symlink() => {
            Err(ActivateError::InTheWay { path: path.to_path_buf(), found: "there, and no symlink" })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path, "looking at it")(errno(&error))),
    }
}

fn split(path: &Path) -> Option<(&Path, &str)> {
    Some((path.parent()?, path.file_name()?.to_str()?)).filter(|_| path.is_absolute())
}

fn open_directory(path: &Path) -> Result<OwnedFd, ActivateError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(failed(path, "opening the directory"))
}

/// Opens a directory, made if there is none.
fn make_directory(parent: BorrowedFd<'_>, name: &str, path: &Path) -> Result<OwnedFd, ActivateError> {
    let made = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(PASSABLE)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(failed(path, "making the directory")(error)),
    };
    let opened = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty());
    let directory = opened.map_err(failed(path, "opening the directory"))?;
    if made {
        // Whatever the umask left of it.
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(PASSABLE)).map_err(failed(path, "setting its mode"))?;
    }
    Ok(directory)
}

fn write_new(
    directory: BorrowedFd<'_>,
    name: &str,
    bytes: &[u8],
    attributes: &Attributes,
    path: &Path,
) -> Result<(), ActivateError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR);
    let mut file: File = file.map_err(failed(path, "making it"))?.into();
    file.write_all(bytes).map_err(|error| failed(path, "writing it")(errno(&error)))?;
    if attributes.uid.is_some() || attributes.gid.is_some() {
        let (uid, gid) = (attributes.uid.map(Uid::from_raw), attributes.gid.map(Gid::from_raw));
        rustix::fs::fchown(&file, uid, gid).map_err(failed(path, "giving it to its owner"))?;
    }
    let mode = Mode::from_raw_mode(attributes.mode);
    rustix::fs::fchmod(&file, mode).map_err(failed(path, "setting its mode"))?;
    rustix::fs::fsync(&file).map_err(failed(path, "syncing it"))
}

/// Replaces a symlink at once: a reader finds the old target or the new one.
fn replace_link(directory: BorrowedFd<'_>, name: &str, target: &str) -> Result<(), Errno> {
    let beside = format!(".{name}.reconcile-link");
    match rustix::fs::unlinkat(directory, beside.as_str(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    rustix::fs::symlinkat(target, directory, beside.as_str())?;
    let renamed = rustix::fs::renameat(directory, beside.as_str(), directory, name);
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(directory, beside.as_str(), AtFlags::empty());
    }
    renamed?;
    match rustix::fs::fsync(directory) {
        // Some file systems cannot sync a directory.
        Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The number of `N` and of `N.json`.
fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".json").unwrap_or(name).parse().ok()
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        names.extend(entry.file_name().to_str().ok().filter(|name| !matches!(*name, "." | "..")).map(str::to_owned));
    }
    Ok(names)
}

/// Removes a file, or a directory with all that is in it; no link is followed. What is gone already is fine.
fn remove_tree(directory: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let kind = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(seen) => FileType::from_raw_mode(seen.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind != FileType::Directory {
        return rustix::fs::unlinkat(directory, name, AtFlags::empty());
    }
    let inner = rustix::fs::openat(directory, name, DIRECTORY, Mode::empty())?;
    for inside in names(inner.as_fd())? {
        remove_tree(inner.as_fd(), &inside)?;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(Errno) -> ActivateError {
    let path = path.to_path_buf();
    move |error| ActivateError::System { path, doing, error }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
