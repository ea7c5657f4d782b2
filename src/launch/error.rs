//! Why a program was not started, or a value not given: what, and what to do about it.

use crate::observation::Cause;
use crate::secret::SecretName;

/// Why nothing was launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No such secret in the manifest.
    #[error("the manifest declares no secret {0}")]
    NotDeclared(SecretName),
    /// It goes through sops only.
    #[error("secret.{0} is delivered at boot only")]
    NotAtRunTime(SecretName),
    /// Nothing says which variable carries it.
    #[error("nothing says which variable secret.{0} is given as")]
    NoVariable(SecretName),
    /// Two secrets in one variable.
    #[error("secret.{0} and secret.{1} are both given as {2}")]
    SameVariable(SecretName, SecretName, String),
    /// No secret names this command.
    #[error("no secret of the manifest has {0} among its `{1}`")]
    CommandNotDeclared(String, &'static str),
    /// `--as-file VARIABLE` with several secrets, or of one that is not given.
    #[error("{0}")]
    AsFile(String),
    /// The value cannot be had.
    #[error("{}{cause}", prefix(.secret, .cause))]
    Value {
        /// The secret.
        secret: SecretName,
        /// Why.
        cause: Cause,
    },
    /// The vault cannot be opened.
    #[error("{0}")]
    Vault(Cause),
    /// An environment cannot carry it.
    #[error("the value of secret.{0} holds a NUL byte, which no variable can")]
    Nul(SecretName),
    /// git's protocol cannot carry it.
    #[error("the value of secret.{0} holds a line break or a NUL byte, which git cannot take")]
    NotOneLine(SecretName),
    /// What git sent is not its protocol.
    #[error("this is not git's credential protocol: {0}")]
    NotGit(&'static str),
    /// The file that holds it could not be made.
    #[error("the file for secret.{secret}: {error}")]
    File {
        /// The secret.
        secret: SecretName,
        /// What the system said.
        error: std::io::Error,
    },
    /// There is no such program.
    #[error("{0}")]
    NotFound(String),
    /// It is there and cannot be run.
    #[error("{0}")]
    NotRunnable(String),
}

/// What concerns the whole vault is not about one secret.
fn prefix(secret: &SecretName, cause: &Cause) -> String {
    match cause {
        Cause::VaultLocked { .. } | Cause::VaultUnavailable { .. } | Cause::Unset(_) => String::new(),
        _ => format!("secret.{secret}: "),
    }
}

impl LaunchError {
    /// What to do next, if there is something.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        Some(match self {
            Self::NotDeclared(_) => "reconcile list".to_owned(),
            Self::NotAtRunTime(_) | Self::NoVariable(_) => {
                "add it in the manifest: delivery: {runtime: {env: VARIABLE}}".to_owned()
            }
            Self::SameVariable(..) => "give one of them another variable, or run them apart".to_owned(),
            Self::CommandNotDeclared(..) => {
                "declare it, or evaluate `reconcile shell-init` again: its function then goes".to_owned()
            }
            Self::AsFile(_) => "--as-file NAME=VARIABLE".to_owned(),
            Self::Value { cause, .. } | Self::Vault(cause) => return cause.next(),
            Self::Nul(_) => "--as-file VARIABLE".to_owned(),
            Self::NotOneLine(_) => "correct the item in the vault: a token in one line".to_owned(),
            Self::NotGit(_) | Self::File { .. } | Self::NotFound(..) | Self::NotRunnable(..) => return None,
        })
    }

    /// The exit code of `exec`, as of env(1): 127 not found, 126 not to be run, 125 anything before that.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(..) => 127,
            Self::NotRunnable(..) => 126,
            _ => 125,
        }
    }
}
