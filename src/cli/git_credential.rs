//! `reconcile git-credential`: answers git for the hosts that the manifest names, and is silent for all others.

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::cli::arguments::{GitCredentialArguments, Global};
use crate::cli::error::Error;
use crate::cli::exec::vault;
use crate::cli::on_runtime;
use crate::cli::project::Trusted;
use crate::cli::session::tell_detour;
use crate::cli::terminal::{say, unbuffered};
use crate::launch::{self, Asked};

/// git sends a few lines.
const LIMIT: u64 = 64 << 10;

pub fn run(global: &Global, options: &GitCredentialArguments) -> ExitCode {
    // Values live in the vault: nothing is stored or erased, and what git may ask one day is not ours.
    if options.operation != "get" {
        return ExitCode::SUCCESS;
    }
    match answered(global) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("reconcile: git was not answered: {}", error.in_one_line()));
            ExitCode::FAILURE
        }
    }
}

fn answered(global: &Global) -> Result<(), Error> {
    // What was sent may hold a password that another helper knew.
    let mut input = zeroize::Zeroizing::new(Vec::new());
    let read = std::io::stdin().lock().take(LIMIT + 1).read_to_end(&mut input);
    read.map_err(|error| Error::plain(format!("standard input: {error}")))?;
    if input.len() as u64 > LIMIT {
        return Err(Error::plain("git sent more than 64 KiB"));
    }
    let asked = Asked::read(&input)?;
    let trusted = Trusted::open(global)?;
    let Some((name, item, git)) = launch::credential(&trusted.manifest, &asked) else { return Ok(()) };
    let vault = vault(&trusted, global)?;
    let value = on_runtime(async { Ok(launch::value(&vault, name, item).await) })?;
    tell_detour(&vault, global.verbose > 0);
    let value = value?;
    let answer = launch::answer(name, git, &value)?;
    unbuffered()?.write_all(&answer).map_err(|error| Error::plain(format!("standard output: {error}")))
}
