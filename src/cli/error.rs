//! What ends a command: what failed, where, and what to do next.

use std::fmt;

use crate::launch::LaunchError;
use crate::manifest::{ManifestError, Severity};

/// Ends a command with exit code 1.
#[derive(Debug)]
pub enum Error {
    /// The manifest is not valid; shown with its source.
    Manifest(Box<ManifestError>),
    /// Anything else, in one sentence.
    Other {
        /// What failed and where.
        what: String,
        /// What to do next, if there is something.
        next: Option<String>,
    },
    /// Everything was said already.
    Said,
}

impl Error {
    /// What failed, with what to do about it.
    pub fn new(what: impl fmt::Display, next: impl Into<String>) -> Self {
        Self::Other { what: what.to_string(), next: Some(next.into()) }
    }

    /// What failed, where nothing can be advised.
    pub fn plain(what: impl fmt::Display) -> Self {
        Self::Other { what: what.to_string(), next: None }
    }
}

impl Error {
    /// All of it in one line, for a program's standard error. Nothing when it was said already.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        match self {
            Self::Manifest(error) => {
                // The place stands in what the finding says.
                let first = error.findings().find(|finding| finding.severity == Severity::Error);
                let first = first.map_or_else(String::new, |finding| format!(": {finding}"));
                format!("{error}{first} (reconcile validate shows all)")
            }
            Self::Other { what, next: Some(next) } => format!("{what} ({next})"),
            Self::Other { what, next: None } => what.clone(),
            Self::Said => String::new(),
        }
    }
}

impl From<&LaunchError> for Error {
    fn from(error: &LaunchError) -> Self {
        Self::Other { what: error.to_string(), next: error.next() }
    }
}

impl From<LaunchError> for Error {
    fn from(error: LaunchError) -> Self {
        Self::from(&error)
    }
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

impl From<crate::state::StateError> for Error {
    fn from(error: crate::state::StateError) -> Self {
        match error {
            crate::state::StateError::Conflict(conflict) => Self::new(&conflict, conflict.next()),
            error => Self::plain(error),
        }
    }
}

impl From<crate::state::FileError> for Error {
    fn from(error: crate::state::FileError) -> Self {
        Self::plain(error)
    }
}
