//! `reconcile shell-init`: the functions of a shell. When it fails it prints nothing that would be evaluated.

use std::process::ExitCode;

use crate::cli::arguments::{Global, ShellInitArguments, ShellName};
use crate::cli::error::Error;
use crate::cli::project::Trusted;
use crate::cli::terminal::{print, say};
use crate::launch::{Functions, Shell};

pub fn run(global: &Global, options: &ShellInitArguments) -> Result<ExitCode, Error> {
    let shell = match options.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let text = Trusted::open(global).and_then(|trusted| {
        let path = trusted.path.to_str().ok_or_else(|| Error::plain("the path of the manifest is not UTF-8"))?;
        Ok(Functions::of(&trusted.manifest).text(shell, path))
    });
    match text {
        Ok(text) => print(&text).map(|()| ExitCode::SUCCESS),
        Err(error) => {
            // A shell is starting: one line is enough.
            say(&format!("reconcile: no shell functions: {}", error.in_one_line()));
            Ok(ExitCode::FAILURE)
        }
    }
}
