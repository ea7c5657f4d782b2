//! The order of the steps: what a later step needs, an earlier one has made; a crash between any two leaves a state
//! from which the next plan goes on.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{FileName, HostName};
use crate::plan::files::FileVerdict;
use crate::plan::hosts::HostsVerdict;
use crate::plan::index::{IndexVerdict, Writing};
use crate::plan::public::Publication;
use crate::plan::trust::Trust;
use crate::plan::units::Restart;
use crate::plan::{EncryptTo, Group, Step};

/// Seconds until a host that does not show the new file counts as failed.
const VERIFY_DEADLINE: u64 = 60;

pub(super) fn in_order(
    trusts: &BTreeMap<HostName, Trust>,
    published: Vec<Publication>,
    files: &BTreeMap<FileName, FileVerdict>,
    index: IndexVerdict,
    HostsVerdict { switched, restarts }: HostsVerdict,
) -> Vec<Step> {
    let mut steps = identities(trusts, &published, files);
    steps.extend(published.into_iter().map(|Publication { file, content, expects }| Step::Publish {
        file,
        content,
        expects,
    }));
    for (file, verdict) in files {
        let FileVerdict::Encrypt { items, recipients, expects } = verdict else { continue };
        let recipients = recipients.iter().cloned().collect();
        steps.push(Step::Collect { file: file.clone(), items: items.clone() });
        steps.push(Step::Encrypt { file: file.clone(), recipients, expects: *expects });
    }
    steps.extend(index.write.map(|Writing { files, expects }| Step::Index { files, expects }));
    let verified: BTreeSet<HostName> = switched.iter().flat_map(Group::hosts).cloned().collect();
    steps.extend(switched.into_iter().map(Step::Switch));
    steps.extend(verified.into_iter().map(|host| Step::Verify { host, deadline: VERIFY_DEADLINE }));
    steps.extend(restarts.into_iter().map(|(host, Restart { secrets, units })| Step::RestartUserUnits {
        host,
        units,
        secrets,
    }));
    steps
}

/// An identity is made only where something of this plan needs it.
fn identities(
    trusts: &BTreeMap<HostName, Trust>,
    published: &[Publication],
    files: &BTreeMap<FileName, FileVerdict>,
) -> Vec<Step> {
    let encrypted_to = |host: &HostName| {
        files.values().any(|verdict| match verdict {
            FileVerdict::Encrypt { recipients, .. } => recipients.contains(&EncryptTo::MadeByApply(host.clone())),
            FileVerdict::Unchanged(_) | FileVerdict::Blocked => false,
        })
    };
    let published_of = |host: &HostName| {
        published.iter().any(|file| file.content == crate::desired::Source::MadeByApply(host.clone()))
    };
    let made = trusts.iter().filter(|(_, trust)| **trust == Trust::MadeByApply).map(|(host, _)| host);
    made.filter(|host| encrypted_to(host) || published_of(host))
        .map(|host| Step::MakeIdentity { host: host.clone() })
        .collect()
}
