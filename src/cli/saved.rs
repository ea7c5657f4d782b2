//! A saved plan: what was approved, without recipients, paths or commands to be believed. Applying it plans again and
//! requires the same.

use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::{Address, HostName};
use crate::cli::arguments::PlanOptions;
use crate::cli::error::Error;
use crate::digest::Digest;
use crate::plan::{Plan, Wishes};
use crate::receipt::Receipt;

/// The version of the file's format.
const FORMAT: &str = "reconcile-plan-1";

/// What is saved.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedPlan {
    /// `reconcile-plan-1`.
    pub format: String,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// Of the manifest's text.
    pub manifest: Digest,
    /// Of the receipt.
    pub lineage: String,
    /// Of the receipt.
    pub serial: u64,
    /// What was asked for.
    pub wishes: SavedWishes,
    /// What was decided, for comparison.
    pub plan: Value,
    /// As `show` prints it.
    pub text: String,
    /// As `show --json` prints it.
    pub document: Value,
}

/// The options under which it was made, by which it is planned again.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedWishes {
    targets: Vec<String>,
    accept_recipients: Vec<String>,
    destroy_foreign: Vec<String>,
    replace: Vec<String>,
    no_switch: bool,
    /// Whether the vault was synced and hosts were asked.
    pub refresh: bool,
}

impl SavedWishes {
    /// The options as text.
    #[must_use]
    pub fn of(options: &PlanOptions) -> Self {
        let texts = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect();
        Self {
            targets: texts(&options.targets),
            accept_recipients: options.accept_recipients.iter().map(ToString::to_string).collect(),
            destroy_foreign: texts(&options.destroy_foreign),
            replace: texts(&options.replace),
            no_switch: options.no_switch,
            refresh: options.refresh,
        }
    }

    /// The options read back.
    ///
    /// # Errors
    /// When an address in the file is none.
    pub fn wishes(&self) -> Result<Wishes, Error> {
        let addresses = |texts: &[String]| texts.iter().map(|text| text.parse::<Address>()).collect::<Result<_, _>>();
        let hosts = self.accept_recipients.iter().map(|text| text.parse::<HostName>()).collect::<Result<_, _>>();
        let unread = |error: &dyn std::fmt::Display| Error::plain(format!("the saved plan: {error}"));
        Ok(Wishes {
            targets: addresses(&self.targets).map_err(|error| unread(&error))?,
            accept_recipients: hosts.map_err(|error| unread(&error))?,
            destroy_foreign: addresses(&self.destroy_foreign).map_err(|error| unread(&error))?,
            replace: addresses(&self.replace).map_err(|error| unread(&error))?,
            no_switch: self.no_switch,
        })
    }
}

/// What of a plan must be the same when it is carried out: everything but notes and what was not looked at.
#[must_use]
pub fn essence(plan: &Plan) -> Value {
    serde_json::json!({
        "changes": plan.changes,
        "blocked": plan.blocked,
        "accepts": plan.accepts,
        "steps": plan.steps,
    })
}

impl SavedPlan {
    /// What is saved of a plan.
    #[must_use]
    pub fn new(
        plan: &Plan,
        manifest: Digest,
        receipt: &Receipt,
        options: &PlanOptions,
        text: String,
        document: Value,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            made_at: jiff::Timestamp::now().to_string(),
            manifest,
            lineage: receipt.lineage.clone(),
            serial: receipt.serial,
            wishes: SavedWishes::of(options),
            plan: essence(plan),
            text,
            document,
        }
    }

    /// Writes it, 0600 and whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::plain(format!("{}: {error}", path.display()));
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|error| failed(&error))?;
        let bytes = serde_json::to_vec(self).map_err(|error| failed(&error))?;
        file.write_all(&bytes).map_err(|error| failed(&error))?;
        file.as_file().sync_all().map_err(|error| failed(&error))?;
        file.persist(path).map_err(|error| failed(&error.error))?;
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is not a saved plan of this version.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::new(format!("{}: {error}", path.display()), "reconcile plan --out FILE makes a saved plan")
        };
        let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
        let saved: Self = serde_json::from_slice(&bytes).map_err(|_| failed(&"it is not a saved plan"))?;
        if saved.format != FORMAT {
            return Err(failed(&"it was saved by another version"));
        }
        Ok(saved)
    }

    /// Whether `plan` is the one that was saved, of the same manifest and history. Writes of the receipt that changed
    /// nothing of the plan do not matter.
    #[must_use]
    pub fn is_same(&self, plan: &Plan, manifest: Digest, receipt: &Receipt) -> bool {
        let history = self.lineage == receipt.lineage || (self.serial == 0 && receipt.serial == 0);
        self.manifest == manifest && history && self.plan == essence(plan)
    }
}
