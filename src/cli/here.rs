//! What this terminal has of the manifest's commands: shell functions, and the programs behind them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use crate::cli::project::Project;
use crate::launch::{self, Functions, LaunchError, STAMP, Shell};
use crate::plan::Note;

/// What is there and what is not.
#[derive(Debug)]
pub struct Here {
    /// The shell that evaluated functions of this manifest, and whether they are those that it has now.
    pub evaluated: Option<(Shell, bool)>,
    /// Commands that are given a secret and are not on the `PATH`.
    pub missing: BTreeSet<String>,
    /// How many commands are declared.
    pub commands: usize,
    /// Whether the manifest makes any function.
    pub has_functions: bool,
}

impl Here {
    /// Looks at the environment of this process.
    #[must_use]
    pub fn of(project: &Project) -> Self {
        let functions = Functions::of(project.manifest());
        let whole = std::fs::canonicalize(&project.path).ok();
        let is_this = |path: &str| whole.is_some() && std::fs::canonicalize(Path::new(path)).ok() == whole;
        let stamp = std::env::var(STAMP).unwrap_or_default();
        let is_missing = |name: &&str| matches!(launch::check_program(OsStr::new(name)), Err(LaunchError::NotFound(_)));
        Self {
            evaluated: functions.evaluated(&stamp, is_this),
            missing: functions.programs().filter(is_missing).map(str::to_owned).collect(),
            commands: functions.programs().count(),
            has_functions: functions != Functions::default(),
        }
    }

    /// What is worth a line in a plan: nothing on a machine where no functions were evaluated.
    #[must_use]
    pub fn notes(self) -> Vec<Note> {
        let Some((shell, current)) = self.evaluated else { return Vec::new() };
        let stale = (!current).then(|| Note::FunctionsStale { line: shell.line() });
        let missing = (!self.missing.is_empty()).then_some(Note::CommandsMissing { commands: self.missing });
        stale.into_iter().chain(missing).collect()
    }
}
