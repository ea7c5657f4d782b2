//! The quickstart in a directory of its own, and the program run on it as a user runs it: with no variable but those
//! that it is given.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;

/// A directory with the quickstart in `quickstart/`, the state in `state/`, and `home/`.
pub struct Quickstart {
    at: PathBuf,
}

impl Quickstart {
    /// The quickstart as it is committed, in the new directory `at`.
    pub fn new(at: &Path) -> io::Result<Self> {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/quickstart");
        for directory in ["quickstart", "home"] {
            std::fs::create_dir_all(at.join(directory))?;
        }
        for file in ["secrets.manifest.yaml", "vault.yaml"] {
            std::fs::copy(committed.join(file), at.join("quickstart").join(file))?;
        }
        Ok(Self { at: at.canonicalize()? })
    }

    /// The directory of all of it.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// A file or directory of the quickstart.
    pub fn path(&self, below: &str) -> PathBuf {
        self.at.join("quickstart").join(below)
    }

    /// What the vault holds, written anew.
    pub fn set_vault(&self, text: &str) -> io::Result<()> {
        std::fs::write(self.path("vault.yaml"), text)
    }

    /// The variables that the program is given; `PATH` is this process's.
    pub fn variables(&self) -> BTreeMap<&'static str, String> {
        let shown = |directory: &str| self.at.join(directory).display().to_string();
        [
            ("HOME", shown("home")),
            ("XDG_STATE_HOME", shown("state")),
            ("TMPDIR", shown("home")),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
        ]
        .into()
    }

    /// The program with `arguments`, on this manifest.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.under(&[], arguments)
    }

    /// The program with `arguments`, started by the command `outer`.
    pub fn under(&self, outer: &[&str], arguments: &[&str]) -> Command {
        let words: Vec<&str> = outer.iter().copied().chain([env!("CARGO_BIN_EXE_reconcile")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).arg("--manifest").arg(self.path("secrets.manifest.yaml"));
        command.env_clear().envs(self.variables()).current_dir(&self.at).stdin(Stdio::null());
        command
    }

    /// Runs the program, which must end with `code`.
    pub fn run(&self, arguments: &[&str], code: i32) -> Result<Output, Failed> {
        let output = self.command(arguments).output()?;
        if output.status.code() == Some(code) {
            return Ok(output);
        }
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Err(format!("{arguments:?}: {}, expected {code}\n{}{}", output.status, said[0], said[1]).into())
    }
}

/// Every regular file below `directory`, with its content. Symlinks are not followed.
pub fn files(directory: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.insert(entry.path(), std::fs::read(entry.path())?);
            }
        }
    }
    Ok(files)
}

/// Whether `needle` is in `bytes`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}
