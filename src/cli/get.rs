//! `reconcile get`: the value of one secret, exactly its bytes, for a script.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::cli::arguments::{GetArguments, Global};
use crate::cli::error::Error;
use crate::cli::exec::vault;
use crate::cli::on_runtime;
use crate::cli::project::Trusted;
use crate::cli::session::tell_detour;
use crate::cli::terminal::unbuffered;
use crate::launch;

pub fn run(global: &Global, options: &GetArguments) -> Result<ExitCode, Error> {
    if std::io::stdout().is_terminal() && !options.show {
        let next = format!("reconcile get --show {}, or pipe it to where it is needed", options.name);
        return Err(Error::new("a value is not shown on a terminal", next));
    }
    let trusted = Trusted::open(global)?;
    let secret = trusted.manifest.secrets.get(&options.name);
    let item = &secret.ok_or_else(|| trusted.not_declared(&options.name))?.item;
    let vault = vault(&trusted, global)?;
    let value = on_runtime(async { Ok(launch::value(&vault, &options.name, item).await) })?;
    tell_detour(&vault, global.verbose > 0);
    let value = value?;
    let mut out = unbuffered()?;
    value.expose(|bytes| out.write_all(bytes)).map_err(|error| Error::plain(format!("standard output: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
