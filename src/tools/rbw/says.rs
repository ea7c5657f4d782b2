//! What rbw says when it fails, told apart by the words of its versions 1.10 to 1.15. What it says holds names at most.

use crate::observation::{Cause, Hidden};
use crate::text::Untrusted;
use crate::tools::program::{Output, RunError};

use super::agent;

/// Why rbw did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The vault is locked, or was not unlocked when somebody was asked to.
    Locked,
    /// There is no agent, so there are no keys.
    NotRunning,
    /// The agent cannot be started or asked.
    NoAgent(String),
    /// It does not know the account.
    NotConfigured,
    /// No such entry. While a sync writes the database this can be wrong.
    NoEntry,
    /// Something could not be decrypted.
    Undecrypted(String),
    /// The database cannot be read: most likely it was being written.
    Broken(String),
    /// It does not know an option that we need.
    TooOld,
    /// Anything else.
    Other(String),
}

/// What went wrong, if the program did not succeed.
pub(super) fn fault(output: &Output) -> Option<Fault> {
    if output.code == Some(0) {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing about why");
    let last = last.trim().to_owned();
    Some(match () {
        () if has(&["unexpected argument", "Found argument"]) => Fault::TooOld,
        () if has(&["agent is locked", "pinentry cancelled", "in-memory state"]) => Fault::Locked,
        () if has(&["agent not running"]) => Fault::NotRunning,
        () if has(&[
            "failed to run rbw-agent",
            "failed to connect to rbw-agent",
            "message to agent",
            "message from agent",
        ]) =>
        {
            Fault::NoAgent(last)
        }
        () if has(&["failed to load config", "email address not set"]) => Fault::NotConfigured,
        () if has(&["failed to load db", "token in db"]) => Fault::Broken(last),
        () if has(&["no entry found"]) => Fault::NoEntry,
        () if has(&["failed to decrypt", "invalid mac", "invalid cipherstring"]) => Fault::Undecrypted(last),
        () => Fault::Other(last),
    })
}

/// Whether rbw complained of something that it could not decrypt, and printed the rest.
pub(super) fn undecrypted(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("failed to decrypt")
}

impl Fault {
    /// What it means for what was wanted. `again` is the command that shows or mends what has no better advice.
    pub(super) fn cause(self, again: &str) -> Cause {
        match self {
            Self::Locked => locked(),
            Self::NotRunning => not_running(),
            Self::NoAgent(what) => unavailable(what, "rbw stop-agent, then: rbw unlock"),
            Self::NotConfigured => {
                unavailable("rbw is not configured", "rbw config set email ADDRESS, then: rbw login")
            }
            Self::TooOld => unavailable("this rbw is older than 1.14: it has no `rbw list --raw`", "update rbw"),
            Self::NoEntry => unavailable("rbw has no such entry", again),
            Self::Undecrypted(what) | Self::Broken(what) | Self::Other(what) => unavailable(what, again),
        }
    }
}

fn locked() -> Cause {
    Cause::VaultLocked { unlock: "rbw unlock".to_owned(), hidden: Hidden::Anything }
}

pub(super) fn not_running() -> Cause {
    unavailable("rbw's agent is not running", "rbw unlock")
}

pub(super) fn sync_failed(what: &str) -> Cause {
    unavailable(format!("rbw sync failed: {what}"), "rbw sync")
}

/// What a fault of the agent means that is no reason to ask otherwise.
pub(super) fn of_agent(fault: agent::Fault) -> Cause {
    match fault {
        agent::Fault::NotRunning => not_running(),
        agent::Fault::Locked => locked(),
        agent::Fault::Silent => {
            let what = "rbw's agent does not answer: a pinentry may be waiting for somebody";
            unavailable(what, "answer it; or: rbw stop-agent, then: rbw unlock")
        }
        agent::Fault::Undecrypted(what) | agent::Fault::Failed(what) | agent::Fault::Strange(what) => {
            unavailable(what, "rbw list")
        }
    }
}

pub(super) fn unavailable(what: impl Into<String>, next: &str) -> Cause {
    Cause::VaultUnavailable { what: Untrusted::new(what), next: next.to_owned() }
}

/// Why there is no output at all.
pub(super) fn not_run(error: &RunError) -> Cause {
    let next = match error {
        RunError::NotFound(_) => "install it: https://github.com/doy/rbw, or pkgs.rbw of nixpkgs",
        RunError::TimedOut { .. } => "rbw stop-agent, then: rbw unlock",
        RunError::System { .. } | RunError::TooMuch { .. } => "rbw list",
    };
    unavailable(error.to_string(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, stderr: &str) -> Option<Fault> {
        fault(&Output { code: Some(code), stdout: Default::default(), stderr: stderr.as_bytes().to_vec() })
    }

    #[test]
    fn the_words_of_rbw_are_told_apart() {
        assert_eq!(said(0, "agent is locked"), None);
        assert_eq!(said(1, "rbw unlocked: agent is locked\n"), Some(Fault::Locked));
        assert_eq!(said(1, "rbw unlocked: agent not running\n"), Some(Fault::NotRunning));
        let cancelled = "rbw unlock: failed to read password from pinentry: pinentry cancelled\n";
        assert_eq!(said(1, cancelled), Some(Fault::Locked));
        assert_eq!(said(1, "rbw get: couldn't find entry for 'x': no entry found\n"), Some(Fault::NoEntry));
        let old = "error: unexpected argument '--raw' found\n\nUsage: rbw list [OPTIONS]\n";
        assert_eq!(said(2, old), Some(Fault::TooOld));
        let undecrypted = said(1, "rbw list: failed to decrypt: failed to decrypt encrypted secret: invalid mac\n");
        assert!(matches!(undecrypted, Some(Fault::Undecrypted(_))));
        assert_eq!(said(1, ""), Some(Fault::Other("it says nothing about why".to_owned())));
    }
}
