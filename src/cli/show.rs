//! `reconcile show`: a saved plan, or what the last apply wrote.

use std::fmt::Write;
use std::process::ExitCode;

use crate::cli::arguments::{Global, ShowArguments};
use crate::cli::error::Error;
use crate::cli::project::Project;
use crate::cli::saved::SavedPlan;
use crate::cli::terminal::print;
use crate::receipt::Receipt;
use crate::state::Directory;
use crate::text::Untrusted;

pub fn run(global: &Global, arguments: &ShowArguments) -> Result<ExitCode, Error> {
    let text = match &arguments.plan {
        Some(path) => {
            let saved = SavedPlan::read(path)?;
            if arguments.json { pretty(&saved.document)? } else { Untrusted::new(saved.text).printable_lines() }
        }
        None => {
            let project = Project::open(global)?;
            let state = Directory::of(project.manifest(), &project.surroundings, &project.dataset)?;
            match state.receipt()? {
                None if arguments.json => "null\n".to_owned(),
                None => "Nothing was applied here yet.\n".to_owned(),
                Some(receipt) if arguments.json => pretty(&serde_json::to_value(&receipt).map_err(Error::plain)?)?,
                Some(receipt) => receipt_text(&receipt),
            }
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn pretty(value: &serde_json::Value) -> Result<String, Error> {
    Ok(serde_json::to_string_pretty(value).map_err(Error::plain)? + "\n")
}

fn receipt_text(receipt: &Receipt) -> String {
    let mut out = format!("Receipt {} of {}\n", receipt.serial, receipt.dataset.display());
    for (file, record) in &receipt.files {
        if let Some(written) = &record.written {
            let _ = writeln!(out, "\n# file.{file}: {}… written {}", written.digest.short(), written.at);
            for recipient in &written.recipients {
                let _ = writeln!(out, "    to {recipient}");
            }
            for key in &written.keys {
                let _ = writeln!(out, "    secret.{} from \"{}\"", key.secret, key.item.id.printable());
            }
        }
        if let Some(pending) = &record.pending {
            let _ = writeln!(out, "    an apply was interrupted while it wrote {}…", pending.digest.short());
        }
    }
    for (host, record) in &receipt.hosts {
        let _ = writeln!(out, "\n# host.{host}");
        if let Some(accepted) = &record.accepted {
            let _ = writeln!(out, "    accepted key {accepted}");
        }
        if let Some(switched) = &record.switched {
            let _ = writeln!(out, "    runs {}… since {}", switched.file.short(), switched.at);
        }
    }
    out
}
