//! What ends a command: what failed, where, and what to do next.

use std::fmt;

use crate::manifest::ManifestError;

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

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

impl From<crate::state::StateError> for Error {
    fn from(error: crate::state::StateError) -> Self {
        Self::plain(error)
    }
}

impl From<crate::state::FileError> for Error {
    fn from(error: crate::state::FileError) -> Self {
        Self::plain(error)
    }
}
