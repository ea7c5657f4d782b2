//! `reconcile exec`: fetches a few secrets and becomes the program that needs them. When anything is wrong the program is
//! not started, and one line says why.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use crate::cli::arguments::{ExecArguments, Global};
use crate::cli::error::Error;
use crate::cli::on_runtime;
use crate::cli::project::Trusted;
use crate::cli::session::tell_detour;
use crate::cli::terminal::say;
use crate::launch::{self, LaunchError, Request};
use crate::text::Untrusted;
use crate::tools::harden::Hardened;
use crate::tools::vault::Vault;

/// Our own failure, as of env(1).
pub const NOT_STARTED: u8 = 125;

pub fn run(global: &Global, options: &ExecArguments, hardened: Hardened) -> ExitCode {
    let (program, arguments) = match (&options.command, options.program.split_first()) {
        (Some(command), _) => (OsStr::new(command), options.program.as_slice()),
        (None, Some((program, arguments))) => (program.as_os_str(), arguments),
        (None, None) => {
            let call = options.with_command.as_deref().unwrap_or("reconcile exec NAME… --");
            say(&format!("reconcile: nothing to run ({call} PROGRAM ARGUMENT…)"));
            return ExitCode::from(NOT_STARTED);
        }
    };
    let (line, code) = match started(global, options, program, arguments, hardened) {
        Ok(never) => match never {},
        Err(Failed::Before(error)) => (error.in_one_line(), NOT_STARTED),
        Err(Failed::Launch(error)) => (Error::from(&error).in_one_line(), error.exit_code()),
    };
    let program = Untrusted::new(program.to_string_lossy());
    say(&format!("reconcile: {} not started: {line}", program.printable()));
    ExitCode::from(code)
}

enum Failed {
    Before(Error),
    Launch(LaunchError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Before(error)
    }
}

impl From<LaunchError> for Failed {
    fn from(error: LaunchError) -> Self {
        Self::Launch(error)
    }
}

fn started(
    global: &Global,
    options: &ExecArguments,
    program: &OsStr,
    arguments: &[OsString],
    hardened: Hardened,
) -> Result<Infallible, Failed> {
    let trusted = Trusted::open(global)?;
    let request = match (&options.command, &options.with_command) {
        (Some(command), _) => Request::Command(command),
        (None, Some(with)) => Request::With(with),
        (None, None) => Request::Names(&options.names),
    };
    let given = launch::given(&trusted.manifest, request, program, &options.as_file).map_err(|error| match error {
        LaunchError::NotDeclared(name) => Failed::Before(trusted.not_declared(&name)),
        error => Failed::Launch(error),
    })?;
    launch::check_program(program)?;
    let vault = vault(&trusted, global)?;
    let wanted: Vec<_> = given.iter().map(|given| (given.secret, given.item)).collect();
    let values = on_runtime(async { Ok(launch::values(&vault, &wanted).await) })?;
    tell_detour(&vault, global.verbose > 0);
    let values = values?;
    let given: Vec<_> = given.into_iter().zip(values).collect();
    Ok(launch::become_program(program, arguments, &given, vault.opened_by(), || hardened.undo())?)
}

/// The vault, opened so that it may ask as the manifest says: a pinentry of its own needs no terminal of ours.
pub fn vault(trusted: &Trusted, global: &Global) -> Result<Vault, LaunchError> {
    Vault::open(&trusted.manifest.vault, &trusted.surroundings, !global.no_input, None).map_err(LaunchError::Vault)
}

/// Whether these arguments, that could not be understood, were meant for `exec`.
pub fn is_named(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--manifest" | "--lock-timeout") => drop(arguments.next()),
            Some(option) if option.starts_with('-') && option != "--" => {}
            other => return other == Some("exec"),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_found_behind_options() {
        for (line, expected) in [
            ("reconcile exec", true),
            ("reconcile --manifest /m -v exec --nonsense", true),
            ("reconcile --manifest exec plan", false),
            ("reconcile plan exec", false),
            ("reconcile --no-input", false),
            ("reconcile -- exec", false),
        ] {
            assert_eq!(is_named(line.split(' ').map(OsString::from)), expected, "{line}");
        }
    }
}
