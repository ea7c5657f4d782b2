//! What bw says when it fails. What it says holds names at most.

use crate::observation::{Cause, Hidden};
use crate::text::Untrusted;
use crate::tools::program::{Output, RunError};

/// Makes a session of a vault that is locked, in the shell that then runs us.
const UNLOCK: &str = "export BW_SESSION=\"$(bw unlock --raw)\"";
/// The same for who is not logged in.
const LOG_IN: &str = "export BW_SESSION=\"$(bw login --raw)\"";

/// Why bw did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The vault is locked, or the session that we have is of an earlier unlock.
    Locked,
    /// Nobody is logged in.
    LoggedOut,
    /// Anything else.
    Other(String),
}

/// What went wrong, if the program did not succeed.
pub(super) fn fault(output: &Output) -> Option<Fault> {
    if output.code == Some(0) {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    Some(match () {
        () if text.contains("You are not logged in") => Fault::LoggedOut,
        () if text.contains("ault is locked") => Fault::Locked,
        () => {
            let why = last.unwrap_or("it says nothing about why");
            Fault::Other(why.strip_prefix("Syncing failed: ").unwrap_or(why).to_owned())
        }
    })
}

impl Fault {
    /// What it means for what was wanted; `what` is the command that failed.
    pub(super) fn cause(self, what: &str) -> Cause {
        match self {
            Self::Locked => locked(),
            Self::LoggedOut => logged_out(),
            Self::Other(why) => unavailable(format!("{what} failed: {why}"), what),
        }
    }
}

pub(super) fn locked() -> Cause {
    Cause::VaultLocked { unlock: UNLOCK.to_owned(), hidden: Hidden::Anything }
}

pub(super) fn logged_out() -> Cause {
    unavailable("bw is not logged in", LOG_IN)
}

pub(super) fn not_understood(what: &str) -> Cause {
    unavailable(format!("what `{what}` printed is not understood"), "bw --version")
}

fn unavailable(what: impl Into<String>, next: &str) -> Cause {
    Cause::VaultUnavailable { what: Untrusted::new(what), next: next.to_owned() }
}

/// Why there is no output at all.
pub(super) fn not_run(error: &RunError) -> Cause {
    let next = match error {
        RunError::NotFound(_) => "install it: https://bitwarden.com/help/cli, or pkgs.bitwarden-cli of nixpkgs",
        RunError::TimedOut { .. } | RunError::System { .. } | RunError::TooMuch { .. } => "bw status",
    };
    unavailable(error.to_string(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_bw_are_told_apart() {
        let said = |code, text: &str| {
            fault(&Output { code: Some(code), stdout: Default::default(), stderr: text.as_bytes().to_vec() })
        };
        assert_eq!(said(0, "(node:1) Warning: Vault is locked."), None);
        assert_eq!(said(1, "You are not logged in."), Some(Fault::LoggedOut));
        assert_eq!(said(1, "mac failed.\nVault is locked."), Some(Fault::Locked));
        assert_eq!(said(1, "Syncing failed: down\n\n"), Some(Fault::Other("down".to_owned())));
        assert_eq!(said(1, ""), Some(Fault::Other("it says nothing about why".to_owned())));
    }
}
