//! Looks at a host until it shows what it should, or the deadline has passed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::actual::HostState;
use crate::address::HostName;
use crate::observation::Observation;
use crate::observe::{Site, hosts};
use crate::plan::{Reason, outstanding};
use crate::receipt::Switched;
use crate::report::StepResult;
use crate::sops::SopsFile;

use super::{Ahead, Apply, Failure, Running, is_stopped, now, sops_of};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a shared folder may lag behind before a switch is not begun.
const LAG: Duration = Duration::from_secs(60);

/// Waits until a host shows the file and every declared attribute, and records it. After a switch that failed one look
/// has to do.
pub(super) async fn arrived(
    running: &Running<'_>,
    host: &HostName,
    deadline: Duration,
    ahead: Ahead,
) -> Result<StepResult, Failure> {
    let apply = running.apply;
    let deadline = if ahead == Ahead::AllDone { deadline } else { Duration::ZERO };
    let Some(sops) = sops_of(running, host) else {
        return Err(Failure::new(format!("host.{host} has no sops file to be compared with"), Some("reconcile plan")));
    };
    let began = Instant::now();
    let state = loop {
        let seen = look(apply, host).await;
        let missing = match &seen {
            Observation::Known(state) => what_is_missing(apply, host, state, &sops, ahead),
            Observation::Unknown(cause) => Some(cause.to_string()),
        };
        match (seen, missing) {
            (Observation::Known(state), None) => break state,
            (_, missing) if began.elapsed() >= deadline || is_stopped(apply) => {
                let what = format!("host.{host}: {}", missing.unwrap_or_default());
                return Err(Failure::new(what, Some("reconcile plan")));
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    };
    let secrets = state.secrets.len();
    let switched = Switched { file: sops.digest, generation: state.generation, at: now() };
    let mut progress = running.progress.borrow_mut();
    progress.receipt.hosts.entry(host.clone()).or_default().switched = Some(switched);
    apply.state.write_receipt(&mut progress.receipt)?;
    Ok(StepResult::Verified { host: host.clone(), file: sops.digest, secrets, generation: state.generation })
}

/// A shared folder may show the host an older file for a while: a switch would deploy that one.
pub(super) async fn seen_by_host(running: &Running<'_>, host: &HostName) -> Result<(), Failure> {
    let apply = running.apply;
    let Some(sops) = sops_of(running, host) else { return Ok(()) };
    let declared = super::declared(apply, host)?;
    let Some(place) = &declared.path_on_host else { return Ok(()) };
    let began = Instant::now();
    loop {
        let problem = match look(apply, host).await {
            Observation::Known(HostState { sees: Some(Observation::Known(Some(digest))), .. })
                if digest == sops.digest =>
            {
                return Ok(());
            }
            Observation::Known(HostState { sees: Some(Observation::Unknown(cause)), .. })
            | Observation::Unknown(cause) => cause.to_string(),
            Observation::Known(HostState { sees: Some(Observation::Known(None)), .. }) => {
                format!("it has no {} in {}", declared.sops_file, place.as_written())
            }
            Observation::Known(_) => format!("it still sees another {} in {}", declared.sops_file, place.as_written()),
        };
        if began.elapsed() > LAG || is_stopped(apply) {
            let next = "is the dataset shared with the host? then: reconcile apply";
            return Err(Failure::new(format!("host.{host} was not switched: {problem}"), Some(next)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(apply: &Apply<'_>, host: &HostName) -> Observation<HostState> {
    let Site { manifest, surroundings, dataset } = apply.site;
    let only = BTreeSet::from([host.clone()]);
    let seen = hosts::look(manifest, surroundings, dataset, Some(&only)).await.remove(host);
    seen.map_or(Observation::Unknown(crate::observation::Cause::NotLookedAt), |seen| seen.state)
}

/// What a host does not show yet, in words. A host that does not say what it installs from counts as having switched:
/// then its secrets tell.
fn what_is_missing(
    apply: &Apply<'_>,
    host: &HostName,
    state: &HostState,
    sops: &SopsFile,
    ahead: Ahead,
) -> Option<String> {
    match outstanding(apply.site.manifest, host, state, sops, Some(sops.digest)) {
        Ok(reasons) if reasons.is_empty() => None,
        // What else differs follows from it.
        Ok(reasons) if reasons.contains(&Reason::ActivationFailed) => Some(in_words(&Reason::ActivationFailed, ahead)),
        Ok(reasons) => Some(reasons.iter().map(|reason| in_words(reason, ahead)).collect::<Vec<_>>().join("; ")),
        Err(unseen) => unseen.into_iter().next().map(|(secret, cause)| format!("secret.{secret}: {cause}")),
    }
}

fn in_words(reason: &Reason, ahead: Ahead) -> String {
    match reason {
        Reason::HostBehind if ahead == Ahead::AllDone => {
            "the switch ended well, and the host still installs from an older file".to_owned()
        }
        Reason::HostBehind => "it still installs from an older file".to_owned(),
        Reason::ActivationFailed => "its activation failed: the old secrets are live".to_owned(),
        Reason::HostDrifted { secrets } => {
            let one = |(secret, differences): (&crate::secret::SecretName, &BTreeSet<crate::plan::Difference>)| {
                let what: Vec<&str> = differences.iter().map(|difference| difference.in_words()).collect();
                format!("{secret}: {}", what.join(", "))
            };
            secrets.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        _ => "it does not show what it should".to_owned(),
    }
}
