//! `reconcile doctor`: looks at everything that is needed here, one line each, with what to do about it.

use std::process::ExitCode;

use crate::cli::arguments::Global;
use crate::cli::error::Error;
use crate::cli::project::Project;
use crate::cli::session::{Keep, Session};
use crate::cli::terminal::{Terminal, print};
use crate::observation::{Cause, Observation};
use crate::state::Dataset;

pub async fn run(global: &Global, terminal: &Terminal) -> Result<ExitCode, Error> {
    let project = Project::open(global)?;
    let mut checks: Vec<(String, Result<String, Cause>)> = Vec::new();
    checks.push(("manifest".to_owned(), Ok(format!("{} is valid", project.path.display()))));
    let session = Session::open(&project, terminal, Keep::No)?;
    checks.push(("state".to_owned(), Ok(session.state.path().display().to_string())));
    let dataset = match Dataset::open(&project.dataset) {
        Ok(Some(_)) => Ok(format!("{} is there", project.dataset.display())),
        Ok(None) => Ok(format!("{} will be made by the first apply", project.dataset.display())),
        Err(error) => Err(Cause::FileUnreadable {
            path: crate::text::Untrusted::new(project.dataset.to_string_lossy()),
            detail: crate::text::Untrusted::new(error.to_string()),
        }),
    };
    checks.push(("dataset".to_owned(), dataset));
    let planned = session.plan(&crate::plan::Wishes::default(), true).await?;
    let observed = &planned.observed;
    let vault = match (&session.vault, &observed.stale, observed.desired.vault.items) {
        (Err(cause), _, _) | (Ok(_), Some(cause), _) => Err(cause.clone()),
        (Ok(_), None, Some(items)) => Ok(format!("{} answers, {items} items", observed.desired.vault.kind)),
        (Ok(_), None, None) => {
            let cause = observed.desired.items.values().find_map(Observation::cause);
            cause.map_or_else(|| Ok(format!("{} answers", observed.desired.vault.kind)), |cause| Err(cause.clone()))
        }
    };
    checks.push(("vault".to_owned(), vault));
    for (name, seen) in &observed.actual.hosts {
        let check = match seen {
            Observation::Unknown(cause) => Err(cause.clone()),
            Observation::Known(state) => match &state.identity {
                Observation::Known(crate::actual::IdentityState::Present(key)) => {
                    Ok(format!("answers, {}", key.short()))
                }
                Observation::Known(crate::actual::IdentityState::Absent) => {
                    Ok("answers; its age key will be made by the first apply".to_owned())
                }
                Observation::Unknown(cause) => Err(cause.clone()),
            },
        };
        checks.push((format!("host {name}"), check));
    }
    let wide = checks.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (what, check) in &checks {
        match check {
            Ok(fine) => text += &format!("✓ {what:<wide$}   {fine}\n"),
            Err(cause) => {
                text += &format!("✗ {what:<wide$}   {cause}\n");
                if let Some(next) = cause.next() {
                    text += &format!("  {:<wide$}   → {next}\n", "");
                }
            }
        }
    }
    print(&text)?;
    let fine = checks.iter().all(|(_, check)| check.is_ok());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
