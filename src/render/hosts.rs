//! What changes on hosts, as text: one block for all on which the same is done for the same reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::address::{Address, HostName};
use crate::plan::{Change, Details};

use super::plan::symbol;
use super::steps::names;
use super::{Style, Tone, words};

/// The blocks; `width` is that of the first column of what stands above them.
pub(super) fn changes(out: &mut String, changes: &[&Change], width: usize, style: Style) {
    let alike = |one: &&Change, other: &&Change| {
        (one.action, &one.reasons, &one.details) == (other.action, &other.reasons, &other.details)
    };
    for several in changes.chunk_by(alike) {
        let hosts: Vec<&HostName> = several.iter().filter_map(|change| host(change)).collect();
        let change = several[0];
        let why: Vec<String> = change.reasons.iter().map(words::reason).collect();
        let does = words::action(change.action, &change.details);
        let heading = format!("# host.{} {does}: {}", names(&hosts).replace(", ", ", host."), why.join("; "));
        let _ = writeln!(out, "  {}", style.paint(Tone::Bold, &heading));
        let (symbol, tone) = symbol(change.action);
        let name = names(&hosts);
        let _ = writeln!(out, "  {} {name:<width$}   {}", style.paint(tone, symbol), done(&change.details));
        for line in below(&change.details) {
            let _ = writeln!(out, "      {line}");
        }
    }
}

fn host(change: &Change) -> Option<&HostName> {
    if let Address::Host(host) = &change.address { Some(host) } else { None }
}

fn done(details: &Details) -> String {
    match details {
        Details::Host { switch, .. } => switch.clone(),
        Details::Units { units } => of_users(units),
        _ => String::new(),
    }
}

/// What else is to be known of it.
fn below(details: &Details) -> Vec<String> {
    let Details::Host { everything, restarts, .. } = details else { return Vec::new() };
    let everything = everything.then(|| "deploys everything pending in its configuration".to_owned());
    let restarts = (!restarts.is_empty()).then(|| format!("then restarts {}", of_users(restarts)));
    everything.into_iter().chain(restarts).collect()
}

/// `uniclip.service of m`
fn of_users(units: &BTreeMap<String, BTreeSet<String>>) -> String {
    let one = |(user, units): (&String, &BTreeSet<String>)| {
        format!("{} of {user}", units.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    };
    units.iter().map(one).collect::<Vec<_>>().join("; ")
}
