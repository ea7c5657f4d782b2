//! How a test host sees the dataset: as it is, late, or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a host sees of the dataset directory.
#[derive(Debug, Clone, Default)]
pub enum Dataset {
    /// The directory is not shared with it.
    #[default]
    Absent,
    /// The directory itself. Anyone on the host can read it only if its mode says so (a `TempDir` is 0700).
    Shared(PathBuf),
    /// A copy that follows the directory late; `Duration::MAX` is never, until [`super::Host::catch_up`].
    Lagging {
        /// The directory.
        path: PathBuf,
        /// How long after the directory.
        by: Duration,
    },
}

/// The files of a directory, by name.
type Snapshot = BTreeMap<std::ffi::OsString, Vec<u8>>;

/// Keeps a copy that follows a directory late, until it is dropped.
pub struct Lag {
    stop: Arc<AtomicBool>,
    hurry: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lag {
    /// Follows `source` in `copy`, late by `by`.
    pub fn start(source: PathBuf, copy: PathBuf, by: Duration) -> Self {
        let (stop, hurry) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut shown = snapshot(&source);
        show(&shown, &copy);
        let (stopped, hurried) = (Arc::clone(&stop), Arc::clone(&hurry));
        let thread = std::thread::spawn(move || {
            let mut since = None;
            while !stopped.load(Ordering::Relaxed) {
                let at_once = hurried.load(Ordering::Acquire);
                let now = snapshot(&source);
                if now == shown {
                    since = None;
                } else if at_once || since.get_or_insert_with(Instant::now).elapsed() >= by {
                    show(&now, &copy);
                    shown = now;
                    since = None;
                }
                if at_once {
                    hurried.store(false, Ordering::Release);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { stop, hurry, thread: Some(thread) }
    }

    /// Brings the copy up to date now.
    pub fn catch_up(&self) {
        self.hurry.store(true, Ordering::Release);
        while self.hurry.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn snapshot(directory: &Path) -> Snapshot {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| Some((entry.file_name(), fs::read(entry.path()).ok()?)))
        .collect()
}

fn show(files: &Snapshot, copy: &Path) {
    for name in snapshot(copy).keys().filter(|name| !files.contains_key(*name)) {
        let _ = fs::remove_file(copy.join(name));
    }
    for (name, bytes) in files {
        let partial = copy.with_extension("partial");
        fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, copy.join(name))).expect("the copy is written");
    }
}
