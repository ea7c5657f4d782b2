//! `reconcile activate`: decrypts a sops file into place on this machine. The index beside it says what belongs here.

use std::process::ExitCode;

use crate::address::FileName;
use crate::apply::activate::{ActivateError, ToInstall, activate};
use crate::cli::arguments::ActivateArguments;
use crate::cli::error::Error;
use crate::cli::terminal::say;
use crate::digest::Digest;
use crate::index::Index;
use crate::sops::Identities;
use crate::state::{Dataset, SOPS_FILE_LIMIT};

/// Runs it.
///
/// # Errors
/// When something is not there, does not decrypt, or cannot be written. The old secrets then stay.
pub fn run(arguments: &ActivateArguments) -> Result<ExitCode, Error> {
    let ActivateArguments { dataset, host, age_key_file, symlink_path } = arguments;
    let missing = |name: &str| {
        Error::new(format!("{}: there is no {name}", dataset.display()), "reconcile apply, where the manifest is")
    };
    let directory = Dataset::open(dataset)?.ok_or_else(|| missing("such directory"))?;
    let file = FileName::index();
    let index = directory.read(&file, SOPS_FILE_LIMIT)?.ok_or_else(|| missing(file.as_str()))?;
    let index: Index = serde_json::from_slice(&index).map_err(|error| Error::plain(format!("{file}: {error}")))?;
    let secrets = ToInstall::of_index(&index, host).map_err(Error::plain)?;
    let Some(name) = index.hosts.get(host) else { return Err(missing(host.as_str())) };
    let sops = directory.read(name, SOPS_FILE_LIMIT)?.ok_or_else(|| missing(name.as_str()))?;
    if index.files.get(name) != Some(&Digest::of(&sops)) {
        let what = format!("{name} and {file} are not of one apply");
        return Err(Error::new(what, "wait for the shared folder, or: reconcile apply"));
    }
    let failed = |error: &dyn std::fmt::Display| Error::plain(format!("{}: {error}", age_key_file.display()));
    let text = std::fs::read(age_key_file).map(zeroize::Zeroizing::new).map_err(|error| failed(&error))?;
    let identities = Identities::read(&text).map_err(|error| failed(&error))?;
    // In one line: of a host that is switched over ssh, the last is shown.
    let failed = |error: ActivateError| match error.next(name) {
        Some(next) => Error::plain(format!("{error}: {next}, where the manifest is")),
        None => Error::plain(error),
    };
    let activated = activate(&sops, &identities, &secrets, symlink_path).map_err(failed)?;
    say(&format!(
        "{} secrets in generation {} behind {}",
        activated.secrets,
        activated.generation,
        symlink_path.display()
    ));
    Ok(ExitCode::SUCCESS)
}
