//! `reconcile doctor`: looks at everything that is needed here, one line each, with what to do about it.

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::actual::{HostState, IdentityState};
use crate::address::{Address, HostName};
use crate::cli::arguments::Global;
use crate::cli::error::Error;
use crate::cli::here::Here;
use crate::cli::project::Project;
use crate::cli::session::{Keep, Planned, Session};
use crate::cli::terminal::{Terminal, print};
use crate::launch;
use crate::manifest::{Host, Switch};
use crate::observation::{Cause, Observation};
use crate::observe::Observed;
use crate::plan::{Blocked, Blocker};
use crate::receipt::Receipt;
use crate::render::blocker;
use crate::state::Dataset;
use crate::tools::ssh::Target;

pub async fn run(global: &Global, terminal: &Terminal) -> Result<ExitCode, Error> {
    let project = Project::open(global)?;
    let mut checks = vec![("manifest".to_owned(), Ok(format!("{} is valid", project.path.display())))];
    let session = Session::open(&project, terminal, Keep::No)?;
    checks.push(("state".to_owned(), Ok(session.state.path().display().to_string())));
    if session.state.is_shared() {
        let shared =
            |receipt: Receipt| format!("{}, serial {}", session.state.receipt_path().display(), receipt.serial);
        checks.push(("receipt".to_owned(), session.receipt().map(shared).map_err(wrong)));
    }
    let dataset = match Dataset::open(&project.dataset) {
        Ok(Some(_)) => Ok(format!("{} is there", project.dataset.display())),
        Ok(None) => Ok(format!("{} will be made by the first apply", project.dataset.display())),
        Err(error) => Err((error.to_string(), None)),
    };
    checks.push(("dataset".to_owned(), dataset));
    // What is not to be built upon was told above, and a plan would only say it again.
    if session.receipt().is_ok() {
        match session.plan(&crate::plan::Wishes::default(), true).await {
            Ok(planned) => {
                checks.extend(seen(&session, &planned.observed));
                checks.extend(hosts(&project, &planned));
            }
            Err(error) => checks.push(("fingerprint key".to_owned(), Err(wrong(error)))),
        }
    }
    checks.extend(switching(&project));
    checks.extend(at_run_time(&project));
    print(&lines(&checks))?;
    let fine = checks.iter().all(|(_, check)| check.is_ok());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The vault, as it answered.
fn seen(session: &Session<'_>, observed: &Observed) -> Vec<(String, Check)> {
    let facts = &observed.desired.vault;
    let vault = match (&session.vault, &observed.stale, facts.items) {
        (Err(cause), _, _) | (Ok(_), Some(cause), _) => Err(cause.clone()),
        (Ok(_), None, Some(items)) => Ok(format!("{} answers, {items} items", facts.kind)),
        (Ok(_), None, None) => {
            let cause = observed.desired.items.values().find_map(Observation::cause);
            cause.map_or_else(|| Ok(format!("{} answers", facts.kind)), |cause| Err(cause.clone()))
        }
    };
    let mut checks = vec![("vault".to_owned(), vault)];
    checks.extend(observed.desired.fingerprint_key.as_ref().map(|item| {
        let check = match item {
            Observation::Known(item) => Ok(format!("in the item \"{}\"", item.name.printable())),
            Observation::Unknown(cause) => Err(cause.clone()),
        };
        ("fingerprint key".to_owned(), check)
    }));
    checks.into_iter().map(|(what, check)| (what, check.map_err(with_next))).collect()
}

/// The hosts, as they answered, and as the plan takes what they said.
fn hosts(project: &Project, planned: &Planned) -> Vec<(String, Check)> {
    let check = |name: &HostName, seen: &Observation<HostState>| -> Check {
        let state = match seen {
            Observation::Known(state) => state,
            Observation::Unknown(cause) => {
                let (what, next) = with_next(cause.clone());
                return Err((what, next.or_else(|| by_hand(project, name, cause))));
            }
        };
        let blocked = planned.plan.blocked.iter().find(|blocked| {
            let told = matches!(blocked.by, Blocker::DependsOn { .. });
            !told && matches!(&blocked.address, Address::Host(host) if host == name)
        });
        if let Some(Blocked { address, by }) = blocked {
            return Err(blocker(&address.to_string(), by));
        }
        match &state.identity {
            Observation::Known(IdentityState::Present(key)) => Ok(format!("answers, {}", key.short())),
            Observation::Known(IdentityState::Absent) => {
                Ok("answers; its age key will be made by the first apply".to_owned())
            }
            Observation::Unknown(cause) => Err(with_next(cause.clone())),
        }
    };
    let seen = planned.observed.actual.hosts.iter();
    seen.map(|(name, seen)| (format!("host {name}"), check(name, seen))).collect()
}

/// The ssh that shows why a host is not reached.
fn by_hand(project: &Project, name: &HostName, cause: &Cause) -> Option<String> {
    let unreachable = matches!(cause, Cause::HostUnreachable { .. });
    let host = project.manifest().hosts.get(name).filter(|_| unreachable)?;
    match Target::of(&host.access, &project.surroundings).ok()? {
        Target::Local => None,
        target @ Target::Ssh { .. } => Some(format!("start it, or see why: {}", target.by_hand("true"))),
    }
}

/// What is fine, or what is wrong and what to do about it.
type Check = Result<String, (String, Option<String>)>;

fn with_next(cause: Cause) -> (String, Option<String>) {
    (cause.to_string(), cause.next())
}

fn wrong(error: Error) -> (String, Option<String>) {
    match error {
        Error::Other { what, next } => (what, next),
        error => (error.in_one_line(), None),
    }
}

/// The programs that switch hosts from here: one that is missing would be found out when the files are written.
fn switching(project: &Project) -> Option<(String, Check)> {
    let program = |host: &Host| match host.switch.as_ref()? {
        Switch::Command(argv) => argv.first().cloned(),
        Switch::NixosRebuild(_) => Some("nixos-rebuild".to_owned()),
        Switch::Activate { .. } => None,
    };
    let programs: BTreeSet<String> = project.manifest().hosts.values().filter_map(program).collect();
    let is_missing = |name: &&String| {
        let from_manifest = project.surroundings.directory.join(name.as_str());
        let place = if name.contains('/') { from_manifest.as_os_str() } else { name.as_ref() };
        launch::check_program(place).is_err()
    };
    let missing: Vec<&str> = programs.iter().filter(is_missing).map(String::as_str).collect();
    let all = programs.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let check = match missing.as_slice() {
        _ if programs.is_empty() => return None,
        [] => Ok(format!("by {all}")),
        some => Err((format!("{} cannot be run", some.join(", ")), Some("install it, or correct `switch`".to_owned()))),
    };
    Some(("switch".to_owned(), check))
}

/// The commands of the manifest, as this terminal has them.
fn at_run_time(project: &Project) -> Vec<(String, Check)> {
    let here = Here::of(project);
    let mut checks = Vec::new();
    if here.commands > 0 {
        let found = here.commands - here.missing.len();
        let missing: Vec<&str> = here.missing.iter().map(String::as_str).collect();
        let missing = if missing.is_empty() { String::new() } else { format!("; not here: {}", missing.join(", ")) };
        checks.push(("commands".to_owned(), Ok(format!("{found} of {} on the PATH{missing}", here.commands))));
    }
    let functions = match here.evaluated {
        Some((_, true)) => Ok("those of the manifest".to_owned()),
        Some((shell, false)) => Err(("not those of the manifest".to_owned(), Some(shell.line()))),
        None if here.has_functions => Ok("not in this terminal (reconcile shell-init --help)".to_owned()),
        None => return checks,
    };
    checks.push(("shell functions".to_owned(), functions));
    checks
}

fn lines(checks: &[(String, Check)]) -> String {
    let wide = checks.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (what, check) in checks {
        match check {
            Ok(fine) => text += &format!("✓ {what:<wide$}   {fine}\n"),
            Err((wrong, next)) => {
                text += &format!("✗ {what:<wide$}   {wrong}\n");
                if let Some(next) = next {
                    text += &format!("  {:<wide$}   → {next}\n", "");
                }
            }
        }
    }
    text
}
