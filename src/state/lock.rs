//! One run at a time: a lock in the state directory, one on the dataset directory for runs with another state, and one
//! beside a receipt that is shared, as far as its file system tells other machines of it.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::directory::StateError;
use super::whole::{FileError, Held, errno, system};
use crate::text::Untrusted;

/// How long a wait is kept silent.
const SILENT: Duration = Duration::from_millis(400);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Of the process.
    pub id: u32,
    /// Such as `apply`.
    pub operation: String,
    /// `user@machine`.
    pub who: String,
    /// Since when, RFC 3339.
    pub created: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, operation, who, created } = self;
        let [operation, who, created] = [operation, who, created].map(|text| Untrusted::new(text.clone()).printable());
        write!(f, "{operation} by {who} (process {id}) since {created}")
    }
}

/// Held until it is dropped, or the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _state: File,
    _dataset: Option<File>,
    _receipt: Option<File>,
}

impl Lock {
    pub(super) fn take(
        path: &Path,
        dataset: &Path,
        receipt: Option<&Path>,
        operation: &str,
        timeout: Duration,
        waiting: &mut dyn FnMut(&Holder),
    ) -> Result<Self, StateError> {
        let began = Instant::now();
        let mut wait = Wait { began, timeout, told: false, waiting };
        let failed = |path: &Path, error: &std::io::Error| StateError::from(system(path, "locking", errno(error)));
        let mut state = opened(path).map_err(|error| failed(path, &error))?;
        wait.until_locked(&state, path, || holder(path))?;
        let dataset = match File::open(dataset) {
            Ok(directory) => {
                wait.until_locked(&directory, dataset, || None)?;
                Some(directory)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(dataset, &error)),
        };
        let receipt = receipt.map(|path| wait.beside_receipt(path)).transpose()?;
        let text = serde_json::to_vec(&us(operation)).unwrap_or_default();
        // Only shown to others: that it cannot be written is no reason to stop.
        let _ = state.set_len(0).and_then(|()| state.rewind()).and_then(|()| state.write_all(&text));
        Ok(Self { _state: state, _dataset: dataset, _receipt: receipt })
    }
}

/// The file of a lock, made when there is none, and never another one through a link.
fn opened(path: &Path) -> std::io::Result<File> {
    let not_followed = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).custom_flags(not_followed).open(path)
}

struct Wait<'a> {
    began: Instant,
    timeout: Duration,
    told: bool,
    waiting: &'a mut dyn FnMut(&Holder),
}

impl Wait<'_> {
    /// A file of its own that stays empty: what is synced must not change with each run.
    fn beside_receipt(&mut self, path: &Path) -> Result<File, StateError> {
        if let Some(directory) = path.parent() {
            Held::open_or_create(directory, 0o700)?;
        }
        let file = opened(path).map_err(|error| system(path, "locking", errno(&error)))?;
        match self.until_locked(&file, path, || None) {
            // A file system that has no locks: what is left is that every write looks at what is there.
            Err(StateError::File(FileError::System { error: Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS, .. })) => {
                Ok(file)
            }
            locked => locked.map(|()| file),
        }
    }

    fn until_locked(
        &mut self,
        file: &File,
        path: &Path,
        holder: impl Fn() -> Option<Holder>,
    ) -> Result<(), StateError> {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => return Err(system(path, "locking", errno(&error)).into()),
                Err(TryLockError::WouldBlock) if self.began.elapsed() >= self.timeout => {
                    return Err(StateError::Locked { path: path.to_path_buf(), holder: holder() });
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if !self.told && self.began.elapsed() >= SILENT {
                self.told = true;
                if let Some(holder) = holder() {
                    (self.waiting)(&holder);
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn holder(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn us(operation: &str) -> Holder {
    let now = jiff::Timestamp::now();
    let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
    let user = std::env::var("USER").unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string());
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Holder {
        id: std::process::id(),
        operation: operation.to_owned(),
        who: format!("{user}@{machine}"),
        created: now.to_string(),
    }
}
