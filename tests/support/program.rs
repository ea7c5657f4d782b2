//! `reconcile` as its user runs it: the built program, with an environment of listed variables only.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;

/// A directory with a manifest, a home of its own, and what the program is run with.
pub struct Place {
    /// Where the manifest is.
    pub repository: PathBuf,
    /// `$HOME`.
    pub home: PathBuf,
    /// Further variables, over those that are set anyway.
    pub variables: BTreeMap<String, OsString>,
    _directory: tempfile::TempDir,
}

/// What it printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Place {
    /// With `manifest` as the manifest.
    pub fn new(manifest: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("reconcile-site-").tempdir().expect("a directory");
        let (repository, home) = (directory.path().join("repository"), directory.path().join("home"));
        for made in [&repository, &home] {
            std::fs::create_dir(made).expect("a directory");
        }
        let place = Self { repository, home, variables: BTreeMap::new(), _directory: directory };
        place.write_manifest(manifest);
        place
    }

    /// Where the manifest is.
    pub fn manifest(&self) -> PathBuf {
        self.repository.join("secrets.manifest.yaml")
    }

    /// Replaces the manifest.
    pub fn write_manifest(&self, text: &str) {
        std::fs::write(self.manifest(), text).expect("the manifest is written");
    }

    /// Replaces `from`, which is there once, in the manifest.
    pub fn edit_manifest(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.manifest()).expect("the manifest");
        assert_eq!(text.matches(from).count(), 1, "{from} is once in the manifest");
        self.write_manifest(&text.replace(from, to));
    }

    /// A program to be run there as the user would.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().current_dir(&self.repository).env("HOME", &self.home);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(&self.variables).stdin(Stdio::null());
        command
    }

    /// `reconcile`, to be run there.
    pub fn reconcile(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_reconcile"))
    }

    /// Runs `reconcile` with `arguments`, separated by spaces.
    pub fn run(&self, arguments: &str) -> Ran {
        let output = self.reconcile().args(arguments.split_whitespace()).output().expect("it runs");
        Ran::from(output)
    }

    /// Every file below the state directory and the home, to be compared later.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for root in [&self.repository, &self.home] {
            collect(root, &mut files);
        }
        files
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() {
            collect(&path, files);
        } else if kind.is_file() {
            files.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Ran {
    /// Fails, with everything that was printed, unless it ended with `code`.
    pub fn ended(self, code: i32) -> Result<Self, Failed> {
        if self.code == code { Ok(self) } else { Err(format!("code {}, not {code}\n{}", self.code, self.all()).into()) }
    }

    /// Fails unless it printed every one of `words`.
    pub fn says(self, words: &[&str]) -> Result<Self, Failed> {
        let all = self.all();
        match words.iter().find(|word| !all.contains(**word)) {
            None => Ok(self),
            Some(word) => Err(format!("{word:?} is not in:\n{all}").into()),
        }
    }

    /// Fails if it printed one of `words`.
    pub fn hides(self, words: &[&str]) -> Result<Self, Failed> {
        let all = self.all();
        match words.iter().find(|word| all.contains(**word)) {
            None => Ok(self),
            Some(word) => Err(format!("{word:?} is in:\n{all}").into()),
        }
    }

    /// Both streams.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// The lines of its standard output, each as JSON.
    pub fn json(&self) -> Result<Vec<serde_json::Value>, Failed> {
        self.out.lines().map(|line| serde_json::from_str(line).map_err(|e| format!("{e}: {line}").into())).collect()
    }
}

/// Runs a line that the program advised, as somebody types it, with the program on the `PATH`.
pub fn typed(place: &Place, line: &str) -> Result<Ran, Failed> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_reconcile"));
    let mut command = place.command("sh");
    let before = place.variables.get("PATH").cloned().or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    let places = program.parent().map(PathBuf::from).into_iter().chain(std::env::split_paths(&before));
    command.env("PATH", std::env::join_paths(places)?).args(["-c", line]);
    Ok(Ran::from(command.output()?))
}
