//! Reads and replaces files of a directory that is held open: no path is resolved twice, no symlink is followed, and a
//! file is the old one or the new one, whenever the machine stops.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Why a file could not be read or replaced. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("{path}: {doing} failed: {error}{}", advice(*.error))]
    System {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: Errno,
    },
    /// It is a symlink, a directory or a device.
    #[error("{path} is {found}, and only a regular file is read or replaced; move it away")]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It is larger than anything that belongs there.
    #[error("{path} is larger than {limit} bytes: it is not read")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// It is not the file that was planned for.
    #[error("{path} was changed by somebody else in the meantime; it was left as it is, plan again")]
    Moved {
        /// The file.
        path: PathBuf,
    },
}

fn advice(error: Errno) -> &'static str {
    match error {
        Errno::NOSPC | Errno::DQUOT => "; make room and run again, nothing was changed",
        Errno::ROFS => "; it is mounted read-only, nothing was changed",
        Errno::ACCESS | Errno::PERM => "; nothing was changed",
        _ => "",
    }
}

/// A directory, held open.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) path: PathBuf,
    handle: File,
}

impl Held {
    /// Opens a directory; `None` when there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(handle) => Ok(Some(Self { path: path.to_path_buf(), handle: handle.into() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(system(path, "opening the directory", error)),
        }
    }

    /// Opens a directory, made with its parents when there is none.
    pub(super) fn open_or_create(path: &Path, mode: u32) -> Result<Self, FileError> {
        use std::os::unix::fs::DirBuilderExt;
        if let Some(held) = Self::open(path)? {
            return Ok(held);
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        made.map_err(|error| system(path, "making the directory", errno(&error)))?;
        Self::open(path)?.ok_or_else(|| system(path, "opening the directory", Errno::NOENT))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Reads a file; `None` when there is none.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.path.join(name);
        // Not blocking: a pipe that was put there would be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = match rustix::fs::openat(self.fd(), name, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(FileError::NotAFile { path, found: "a symlink" }),
            Err(error) => return Err(system(&path, "opening", error)),
        };
        let seen = rustix::fs::fstat(&file).map_err(|error| system(&path, "looking at it", error))?;
        regular(&path, FileType::from_raw_mode(seen.st_mode))?;
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| system(&path, "reading", errno(&error)))?;
        if bytes.len() as u64 > limit {
            return Err(FileError::TooLarge { path, limit });
        }
        Ok(Some(bytes))
    }

    /// Puts a file in place as a whole. `check` looks once more, at the last moment, whether it may be replaced.
    pub(super) fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        mode: u32,
        check: impl FnOnce() -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let path = self.path.join(name);
        self.check_target(name, &path)?;
        self.remove_leftovers(name);
        let temporary = temporary_name(name, &path)?;
        let placed = self.write_temporary(&temporary, bytes, mode, &path).and_then(|()| check()).and_then(|()| {
            let renamed = rustix::fs::renameat(self.fd(), temporary.as_str(), self.fd(), name);
            renamed.map_err(|error| system(&path, "replacing it", error))
        });
        if placed.is_err() {
            // What is left behind otherwise is removed by the next run.
            let _ = rustix::fs::unlinkat(self.fd(), temporary.as_str(), AtFlags::empty());
        }
        placed?;
        match rustix::fs::fsync(self.fd()) {
            // Some shared folders cannot sync a directory.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(error) => Err(system(&self.path, "syncing the directory", error)),
        }
    }

    /// Makes a file that must not be there yet; `false` when it is.
    pub(super) fn create(&self, name: &str, bytes: &[u8], mode: u32) -> Result<bool, FileError> {
        let path = self.path.join(name);
        self.remove_leftovers(name);
        let temporary = temporary_name(name, &path)?;
        let written = self.write_temporary(&temporary, bytes, mode, &path);
        let placed = written.map(|()| self.place_new(&temporary, name));
        if !matches!(placed, Ok(Ok(()))) {
            let _ = rustix::fs::unlinkat(self.fd(), temporary.as_str(), AtFlags::empty());
        }
        let _ = rustix::fs::fsync(self.fd());
        match placed? {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(system(&path, "making it", error)),
        }
    }

    /// Gives a temporary file its name, and never replaces what is there.
    fn place_new(&self, temporary: &str, name: &str) -> Result<(), Errno> {
        match rustix::fs::renameat_with(self.fd(), temporary, self.fd(), name, RenameFlags::NOREPLACE) {
            // Not every file system can. A link replaces nothing either; stopped here, it leaves both names.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(self.fd(), temporary, self.fd(), name, AtFlags::empty())?;
                rustix::fs::unlinkat(self.fd(), temporary, AtFlags::empty())
            }
            placed => placed,
        }
    }

    /// The names in the directory.
    pub(super) fn names(&self) -> Result<Vec<String>, FileError> {
        let failed = |error| system(&self.path, "listing the directory", error);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(self.fd()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            names
                .extend(entry.file_name().to_str().ok().filter(|name| !matches!(*name, "." | "..")).map(str::to_owned));
        }
        Ok(names)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), FileError> {
        match rustix::fs::unlinkat(self.fd(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(system(&self.path.join(name), "removing", error)),
        }
    }

    fn check_target(&self, name: &str, path: &Path) -> Result<(), FileError> {
        match rustix::fs::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(seen) => regular(path, FileType::from_raw_mode(seen.st_mode)),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(system(path, "looking at it", error)),
        }
    }

    fn write_temporary(&self, temporary: &str, bytes: &[u8], mode: u32, path: &Path) -> Result<(), FileError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let private = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(self.fd(), temporary, flags, private);
        let mut file: File = file.map_err(|error| system(path, "writing beside it", error))?.into();
        file.write_all(bytes).map_err(|error| system(path, "writing", errno(&error)))?;
        let mode = Mode::from_raw_mode(mode as rustix::fs::RawMode);
        rustix::fs::fchmod(&file, mode).map_err(|error| system(path, "setting the mode", error))?;
        rustix::fs::fsync(&file).map_err(|error| system(path, "syncing", error))
    }

    /// Removes what a run that was killed left beside the file `name`. The lock is held, so that no other run is
    /// writing now.
    pub(super) fn remove_leftovers(&self, name: &str) {
        let prefix = format!(".{name}{MARK}");
        self.remove_where(|there| there.starts_with(&prefix));
    }

    /// Removes what a run that was killed left beside any file but `except`. The lock is held.
    pub(super) fn remove_all_leftovers(&self, except: &str) {
        let except = format!(".{except}{MARK}");
        self.remove_where(|there| there.starts_with('.') && there.contains(MARK) && !there.starts_with(&except));
    }

    fn remove_where(&self, is_left: impl Fn(&str) -> bool) {
        for leftover in self.names().unwrap_or_default().iter().filter(|there| is_left(there)) {
            let _ = self.remove(leftover);
        }
    }
}

/// In the name of every temporary file.
const MARK: &str = ".reconcile-";

fn temporary_name(name: &str, path: &Path) -> Result<String, FileError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| system(path, "getting random bytes", Errno::IO))?;
    Ok(format!(".{name}{MARK}{:016x}", u64::from_ne_bytes(random)))
}

fn regular(path: &Path, found: FileType) -> Result<(), FileError> {
    let found = match found {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => "a symlink",
        FileType::Directory => "a directory",
        _ => "a device, pipe or socket",
    };
    Err(FileError::NotAFile { path: path.to_path_buf(), found })
}

pub(super) fn system(path: &Path, doing: &'static str, error: Errno) -> FileError {
    FileError::System { path: path.to_path_buf(), doing, error }
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn held() -> (tempfile::TempDir, Held) {
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let held = Held::open(directory.path()).ok().flatten().unwrap_or_else(|| panic!("not there"));
        (directory, held)
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_nothing_beside_it() -> Result<(), FileError> {
        let (directory, held) = held();
        held.replace("a", b"one", 0o644, || Ok(()))?;
        held.replace("a", b"two", 0o644, || Ok(()))?;
        assert_eq!(held.read("a", 10)?.as_deref(), Some(&b"two"[..]));
        assert_eq!(held.names()?, ["a"]);
        let mode = std::fs::metadata(directory.path().join("a")).map(|seen| seen.permissions().mode() & 0o777);
        assert_eq!(mode.ok(), Some(0o644));
        Ok(())
    }

    #[test]
    fn a_refused_check_leaves_the_old_file_and_nothing_beside_it() -> Result<(), FileError> {
        let (_directory, held) = held();
        held.replace("a", b"one", 0o600, || Ok(()))?;
        let refused = held.replace("a", b"two", 0o600, || Err(FileError::Moved { path: "a".into() }));
        assert!(matches!(refused, Err(FileError::Moved { .. })));
        assert_eq!(held.read("a", 10)?.as_deref(), Some(&b"one"[..]));
        assert_eq!(held.names()?, ["a"]);
        Ok(())
    }

    #[test]
    fn symlinks_and_directories_are_refused() -> Result<(), FileError> {
        let (directory, held) = held();
        assert!(symlink("/etc/passwd", directory.path().join("link")).is_ok());
        assert!(std::fs::create_dir(directory.path().join("dir")).is_ok());
        for name in ["link", "dir"] {
            assert!(matches!(held.read(name, 10), Err(FileError::NotAFile { .. })), "{name}");
            assert!(matches!(held.replace(name, b"", 0o600, || Ok(())), Err(FileError::NotAFile { .. })), "{name}");
        }
        Ok(())
    }

    #[test]
    fn what_a_killed_run_left_is_removed() -> Result<(), FileError> {
        let (directory, held) = held();
        assert!(std::fs::write(directory.path().join(".a.reconcile-0000"), "left").is_ok());
        held.replace("a", b"one", 0o600, || Ok(()))?;
        assert_eq!(held.names()?, ["a"]);
        Ok(())
    }

    #[test]
    fn a_file_is_created_once() -> Result<(), FileError> {
        let (_directory, held) = held();
        assert!(held.create("key", b"one", 0o600)?);
        assert!(!held.create("key", b"two", 0o600)?);
        assert_eq!(held.read("key", 10)?.as_deref(), Some(&b"one"[..]));
        assert_eq!(held.names()?, ["key"]);
        Ok(())
    }

    #[test]
    fn too_large_is_not_cut() {
        let (directory, held) = held();
        assert!(std::fs::write(directory.path().join("a"), "12345").is_ok());
        assert!(matches!(held.read("a", 4), Err(FileError::TooLarge { .. })));
        assert!(matches!(held.read("a", 5), Ok(Some(_))));
    }
}
