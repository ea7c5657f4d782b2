//! Restarts units of users' own managers on a host: sops-nix restarts those of the system only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::address::HostName;
use crate::manifest::Become;
use crate::report::StepResult;
use crate::secret::SecretName;
use crate::tools::ssh::{Target, quoted};

use super::{Failure, Running, declared};

/// How long units may take to stop and start.
const WITHIN: Duration = Duration::from_secs(180);
const SCRIPT: &str = include_str!("units.sh");

/// Restarts `units`, by user, and records that `secrets` have reached them.
pub(super) async fn restart(
    running: &Running<'_>,
    host: &HostName,
    units: &BTreeMap<String, BTreeSet<String>>,
    secrets: &BTreeSet<SecretName>,
) -> Result<StepResult, Failure> {
    let apply = running.apply;
    let surroundings = apply.site.surroundings;
    let target = declared(apply, host)?;
    let becomes = match target.becomes {
        Become::Sudo => "sudo",
        Become::Never => "never",
    };
    let words = |units: &BTreeSet<String>| units.iter().map(|unit| quoted(unit)).collect::<Vec<_>>().join(" ");
    let calls: Vec<String> =
        units.iter().map(|(user, units)| format!("restart {} {}", quoted(user), words(units))).collect();
    // A shell reads a group to its end before it runs any of it: a script that is cut off does nothing.
    let script = format!("become={becomes}\n{SCRIPT}{{\n{}\n}} </dev/null\n", calls.join("\n"));
    let unreached = |cause: crate::observation::Cause| {
        Failure::new(format!("host.{host}: {cause}"), Some(cause.next().as_deref().unwrap_or("reconcile apply")))
    };
    let reached = Target::of(&target.access, surroundings).map_err(|error| unreached(error.cause(host)))?;
    let answer = reached.run(surroundings, &script, WITHIN).await.map_err(|error| unreached(error.cause(host)))?;
    let printed = String::from_utf8_lossy(&answer.stdout);
    let mut idle = BTreeSet::new();
    for (user, units) in units {
        match printed.lines().find_map(|line| of_user(line, user)) {
            Some(("done", _)) => {}
            Some(("idle", _)) => drop(idle.insert(user.clone())),
            Some(("needs-root", _)) => {
                let what = format!("host.{host}: the units of {user} are another user's");
                return Err(Failure::new(what, Some("`become: sudo`, or log in as that user")));
            }
            other => {
                let said = other.map_or(answer.complaint.as_is(), |(_, said)| said);
                let units: Vec<&str> = units.iter().map(String::as_str).collect();
                let what = format!("host.{host}: {} of {user}: {said}", units.join(", "));
                let by_hand = format!("sudo systemctl --user --machine={user}@.host status {}", units.join(" "));
                return Err(Failure::new(what, Some(&reached.by_hand(&by_hand))));
            }
        }
    }
    record(running, host, secrets)?;
    Ok(StepResult::Restarted { idle })
}

/// What a line says of a user: a word, and the rest.
fn of_user<'a>(line: &'a str, user: &str) -> Option<(&'a str, &'a str)> {
    let (word, rest) = line.split_once(' ')?;
    let (of, said) = rest.split_once(' ').unwrap_or((rest, ""));
    (of == user).then_some((word, said))
}

/// The units have the values that were written last.
fn record(running: &Running<'_>, host: &HostName, secrets: &BTreeSet<SecretName>) -> Result<(), Failure> {
    let file = &declared(running.apply, host)?.sops_file;
    let mut progress = running.progress.borrow_mut();
    let written = progress.receipt.written(file).map(|written| written.keys.clone()).unwrap_or_default();
    let record = progress.receipt.hosts.entry(host.clone()).or_default();
    for secret in secrets {
        match written.iter().find(|key| key.secret == *secret) {
            Some(key) => drop(record.restarted.insert(secret.clone(), Some(key.fingerprint))),
            // What they began with cannot be told, and is not owed any more.
            None => drop(record.restarted.remove(secret)),
        }
    }
    Ok(running.apply.state.write_receipt(&mut progress.receipt)?)
}
