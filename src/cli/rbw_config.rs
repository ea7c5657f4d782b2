//! `reconcile rbw-config`: on a host, as the user whose rbw it is. The manifest's `rbw_config` comes with the index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::address::FileName;
use crate::cli::arguments::RbwConfigArguments;
use crate::cli::error::Error;
use crate::cli::project::surroundings_of;
use crate::cli::terminal::say;
use crate::index::Index;
use crate::secret::SecretValue;
use crate::state::{Dataset, SOPS_FILE_LIMIT, replace_private};
use crate::tools::rbw::{Configuration, RbwSetting};

/// No configuration is larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// Runs it.
///
/// # Errors
/// When the address is not there, or the configuration cannot be written. What is there then stays.
pub fn run(arguments: &RbwConfigArguments) -> Result<ExitCode, Error> {
    let (email_file, mut settings) = match (&arguments.dataset, &arguments.email_file) {
        (Some(dataset), _) => declared(arguments, dataset)?,
        (None, Some(file)) => (file.clone(), BTreeMap::new()),
        (None, None) => return Err(Error::new("nothing says where the address is", "--email-file FILE")),
    };
    settings.extend(arguments.settings.iter().cloned().map(|RbwSetting { name, value }| (name, value)));
    let at = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let email = std::fs::read(&email_file).map_err(|error| {
        let next = "is it this user's, and has the host been switched? reconcile plan, where the manifest is";
        Error::new(at(&email_file, &error), next)
    })?;
    let email = SecretValue::new(email);
    let here = surroundings_of(PathBuf::new());
    let path = Configuration::path(&here).ok_or_else(|| Error::new("no home directory is known", "export HOME=…"))?;
    // Written through it, a store would be written to; put in its place, its owner would find the file in the way.
    if std::fs::symlink_metadata(&path).is_ok_and(|there| there.is_symlink()) {
        let next = "let it leave the file (home-manager: programs.rbw.settings = null), and remove the link";
        return Err(Error::new(at(&path, &"it is a symlink, so another program keeps it"), next));
    }
    let mut other_account = false;
    let written: Result<bool, Error> = replace_private(&path, LIMIT, |there| {
        let made = Configuration::new(there, &email, &settings).map_err(|error| {
            let of = if error == crate::tools::rbw::ConfigurationError::Address { &email_file } else { &path };
            Error::plain(at(of, &error))
        })?;
        other_account = made.other_account;
        Ok(made.bytes)
    });
    match written? {
        true => say(&format!("{} written", path.display())),
        false => say(&format!("{} is as it should be", path.display())),
    }
    if other_account {
        say("  → rbw stop-agent, then rbw login: it was configured for another account");
    }
    Ok(ExitCode::SUCCESS)
}

/// What the index says for this host: where the address is, and the settings.
fn declared(arguments: &RbwConfigArguments, dataset: &Path) -> Result<(PathBuf, BTreeMap<String, Value>), Error> {
    let apply = "reconcile apply, where the manifest is";
    let missing = |what: &str| Error::new(format!("{}: {what}", dataset.display()), apply);
    let file = FileName::index();
    let directory = Dataset::open(dataset)?.ok_or_else(|| missing("there is no such directory"))?;
    let bytes = directory.read(&file, SOPS_FILE_LIMIT)?.ok_or_else(|| missing("there is no reconcile.json"))?;
    let index = Index::read(&bytes).ok_or_else(|| missing("reconcile.json is none of this version"))?;
    let host = arguments.host.as_ref().ok_or_else(|| Error::plain("--dataset needs --host"))?;
    let declared = index.rbw.get(host);
    let config = declared.ok_or_else(|| missing(&format!("nothing is said of rbw on host {host}")))?;
    let runs_as = std::env::var("USER").ok().filter(|user| !user.is_empty());
    if let Some(user) = runs_as.filter(|user| *user != config.user) {
        let what = format!("this runs as {}, and the manifest configures the rbw of {}", printed(&user), config.user);
        return Err(Error::new(what, format!("run it as {}", config.user)));
    }
    let given = index.secrets.get(&config.email).and_then(|secret| secret.path.as_ref()).map(PathBuf::from);
    let email = given.unwrap_or_else(|| arguments.symlink_path.join(config.email.as_str()));
    Ok((email, config.settings.clone()))
}

fn printed(text: &str) -> String {
    crate::text::Untrusted::new(text).printable()
}
