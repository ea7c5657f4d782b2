//! rbw's command line: what is asked of it where its agent is not asked directly.

use std::time::Duration;

use serde::Deserialize;

use crate::manifest::{ItemField, Surroundings};
use crate::observation::Cause;
use crate::secret::SecretValue;
use crate::text::Untrusted;
use crate::tools::program::{self, Output};

use super::item::Printed;
use super::says::{self, Fault};

/// An item, or the listing of a large vault, is not larger, in bytes.
const LIMIT: u64 = 64 << 20;
/// How long somebody may take to type the master password.
const TYPING: Duration = Duration::from_secs(300);

/// Starts `rbw` with the listed variables of these surroundings.
pub(super) struct CommandLine<'a>(pub(super) &'a Surroundings);

/// How one try ended.
pub(super) enum Attempt<T> {
    Done(T),
    /// It may do better in a moment: rbw does not replace its database at once.
    Again(Cause),
    Failed(Cause),
}

/// An item as `rbw list --raw` prints it.
#[derive(Deserialize)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) folder: Option<String>,
}

impl CommandLine<'_> {
    pub(super) async fn run(&self, arguments: &[&str], timeout: Duration) -> Result<Output, Cause> {
        let mut command = program::command_in("rbw", &self.0.variables);
        command.args(arguments);
        program::run(command, b"", LIMIT, timeout).await.map_err(|error| says::not_run(&error))
    }

    /// Whether it is installed.
    ///
    /// # Errors
    /// When it is not.
    pub(super) async fn is_there(&self) -> Result<(), Cause> {
        self.run(&["--version"], Duration::from_secs(10)).await.map(drop)
    }

    /// Whether the agent has the keys. Nobody is asked for anything.
    pub(super) async fn unlocked(&self) -> Result<Option<Fault>, Cause> {
        let output = self.run(&["unlocked"], Duration::from_secs(10)).await?;
        Ok(says::fault(&output))
    }

    /// Has a pinentry ask for the master password.
    pub(super) async fn unlock(&self) -> Result<(), Cause> {
        let mut command = program::command_in("rbw", &self.0.variables);
        command.arg("unlock");
        // A pinentry in the terminal finds it by our standard input.
        let output = program::run_attended(command, TYPING).await.map_err(|error| says::not_run(&error))?;
        match says::fault(&output) {
            None => Ok(()),
            Some(Fault::Other(what)) => Err(says::unavailable(format!("rbw unlock failed: {what}"), "rbw unlock")),
            Some(fault) => Err(fault.cause("rbw unlock")),
        }
    }

    pub(super) async fn sync(&self) -> Result<(), Cause> {
        let output = self.run(&["sync"], Duration::from_secs(60)).await?;
        match says::fault(&output) {
            None => Ok(()),
            Some(Fault::Other(what)) => Err(says::sync_failed(&what)),
            Some(fault) => Err(fault.cause("rbw sync")),
        }
    }

    pub(super) async fn list(&self) -> Attempt<Vec<Listed>> {
        let output = match self.run(&["list", "--raw"], Duration::from_secs(120)).await {
            Ok(output) => output,
            Err(cause) => return Attempt::Failed(cause),
        };
        match says::fault(&output) {
            None => match serde_json::from_slice(&output.stdout) {
                Ok(entries) => Attempt::Done(entries),
                Err(_) => Attempt::Again(says::unavailable(
                    "what `rbw list --raw` printed is not understood",
                    "rbw --version",
                )),
            },
            Some(Fault::Undecrypted(detail)) => {
                let what = format!("rbw cannot decrypt the name of one of your items ({detail}), so it lists none");
                let next = "rbw sync; if that does not help, name items by id in the manifest: item: {id: …}";
                Attempt::Failed(says::unavailable(what, next))
            }
            Some(fault @ Fault::Broken(_)) => Attempt::Again(fault.cause("rbw list")),
            Some(fault) => Attempt::Failed(fault.cause("rbw list")),
        }
    }

    pub(super) async fn get(&self, id: &str, field: &ItemField) -> Attempt<SecretValue> {
        let output = match self.run(&["get", "--raw", "--", id], Duration::from_secs(30)).await {
            Ok(output) => output,
            Err(cause) => return Attempt::Failed(cause),
        };
        let missing = || Cause::ItemMissing { wanted: Untrusted::new(id), similar: Vec::new() };
        match says::fault(&output) {
            // For an id that it does not have rbw falls back to names, and to parts of them.
            None => match Printed::read(&output.stdout).filter(|printed| printed.id.eq_ignore_ascii_case(id)) {
                Some(printed) => match printed.value(field, says::undecrypted(&output)) {
                    Ok(value) => Attempt::Done(value),
                    Err(cause) => Attempt::Failed(cause),
                },
                None => Attempt::Again(missing()),
            },
            Some(Fault::NoEntry) => Attempt::Again(missing()),
            Some(Fault::Undecrypted(detail) | Fault::Other(detail)) => {
                Attempt::Failed(Cause::ItemUnreadable { item: Untrusted::new(id), detail: Untrusted::new(detail) })
            }
            Some(fault) => Attempt::Again(fault.cause("rbw sync")),
        }
    }
}
