//! The command line: arguments, one file for each command, and the only room that prints.

mod activate;
mod adopt;
mod apply;
mod arguments;
mod doctor;
mod error;
mod exec;
mod fingerprint_key;
mod get;
mod git_credential;
mod here;
mod list;
mod plan;
mod progress;
mod project;
mod rbw_config;
mod saved;
mod session;
mod shell_init;
mod show;
mod status;
mod terminal;
mod validate;
mod wrapper_flake;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::arguments::{Arguments, Command};
use self::error::Error;
use self::terminal::{Terminal, print, say};
use crate::tools::harden::{self, Hardened};

/// Runs the program.
pub fn main() -> ExitCode {
    let hardened = harden::this_process();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // 2 means that there are changes; wrong usage is an error like any other.
            let _ = error.print();
            return match error.use_stderr() {
                false => ExitCode::SUCCESS,
                true if exec::is_named(std::env::args_os()) => ExitCode::from(exec::NOT_STARTED),
                true => ExitCode::FAILURE,
            };
        }
    };
    let terminal = Terminal::of(&arguments.global);
    match run(arguments, &terminal, hardened) {
        Ok(code) => code,
        Err(error) => {
            report(&error, &terminal);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, terminal: &Terminal, hardened: Hardened) -> Result<ExitCode, Error> {
    let Arguments { global, command } = arguments;
    match command {
        Command::Plan(options) => on_runtime(plan::run(&global, terminal, &options)),
        Command::Apply(options) => on_runtime(apply::run(&global, terminal, &options)),
        Command::Doctor => on_runtime(doctor::run(&global, terminal)),
        Command::Adopt(options) => on_runtime(adopt::run(&global, terminal, &options)),
        Command::Validate(options) => validate::run(&global, terminal, &options),
        Command::List(options) => list::run(&global, terminal, &options),
        Command::Status(options) => on_runtime(status::run(&global, terminal, &options)),
        Command::Show(options) => show::run(&global, &options),
        Command::Exec(options) => Ok(exec::run(&global, &options, hardened)),
        Command::Get(options) => get::run(&global, &options),
        Command::ShellInit(options) => shell_init::run(&global, &options),
        Command::GitCredential(options) => Ok(git_credential::run(&global, &options)),
        Command::Activate(options) => activate::run(&options),
        Command::FingerprintKey => fingerprint_key::run(&global),
        Command::RbwConfig(options) => rbw_config::run(&options),
        Command::WrapperFlake(options) => wrapper_flake::run(&global, &options),
        Command::Schema => {
            let text = serde_json::to_string_pretty(&crate::manifest::schema()).map_err(Error::plain)?;
            print(&(text + "\n")).map(|()| ExitCode::SUCCESS)
        }
        Command::Completions(options) => {
            let mut out = Vec::new();
            clap_complete::generate(options.shell, &mut Arguments::command(), "reconcile", &mut out);
            print(&String::from_utf8_lossy(&out)).map(|()| ExitCode::SUCCESS)
        }
        Command::Man => {
            let mut out = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut out).map_err(Error::plain)?;
            print(&String::from_utf8_lossy(&out)).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// Only commands that wait on many things have a runtime.
fn on_runtime<T>(command: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::plain)?.block_on(command)
}

fn report(error: &Error, terminal: &Terminal) {
    match error {
        Error::Said => {}
        Error::Other { what, next } => terminal.error(what, next.as_deref()),
        Error::Manifest(error) => {
            let theme = match terminal.complaints.colour {
                true => miette::GraphicalTheme::unicode(),
                false => miette::GraphicalTheme::unicode_nocolor(),
            };
            let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(terminal.style.width.min(100));
            let mut text = String::new();
            match handler.render_report(&mut text, error.as_ref()) {
                Ok(()) => say(text.trim_end()),
                Err(_) => say(&error.to_string()),
            }
        }
    }
}
