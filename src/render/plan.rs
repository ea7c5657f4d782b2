//! A plan as text, as Terraform lays one out: context, drift, legend, changes, what is in the way, summary, steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use crate::address::Address;
use crate::desired::VaultFacts;
use crate::plan::{Action, Change, Details, Install, Plan, Reason};

use super::hosts;
use super::steps::steps_text;
use super::{Style, Tone, words};

/// How many changes of one kind are shown unless all are asked for.
const SHOWN: usize = 20;
/// As many with the same in their way are each said.
const ALIKE: usize = 3;

/// What is said in the first line of a plan.
#[derive(Debug, Clone)]
pub struct Context {
    /// The vault.
    pub vault: VaultFacts,
    /// The dataset directory.
    pub dataset: String,
    /// When this is read, seconds since 1970.
    pub now: i64,
    /// What looking cost, in a few words.
    pub cost: String,
    /// Each host, as `vm · m@nixos-vm · generation 41`.
    pub hosts: Vec<String>,
}

/// The whole plan.
#[must_use]
pub fn plan_text(plan: &Plan, context: &Context, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", style.paint(Tone::Faint, &first_line(context, style)));
    drift(&mut out, plan, style);
    if !plan.changes.is_empty() {
        out.push_str("reconcile will perform the following actions:\n");
        legend(&mut out, plan, style);
        changes(&mut out, plan, context.now, style);
    }
    blocked(&mut out, plan, style);
    unchecked(&mut out, plan, style);
    notes(&mut out, plan, style);
    summary(&mut out, plan, &context.cost, style);
    out
}

/// What `--refresh-only` shows: what moved since the last apply, and nothing of what would be done about it.
#[must_use]
pub fn drift_text(plan: &Plan, context: &Context, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", style.paint(Tone::Faint, &first_line(context, style)));
    drift(&mut out, plan, style);
    blocked(&mut out, plan, style);
    unchecked(&mut out, plan, style);
    let text = match (plan.changes.len(), plan.blocked.len() + plan.unchecked.len()) {
        (0, 0) => "Nothing moved outside of reconcile since the last apply.".to_owned(),
        (0, unknown) => format!("Nothing is known to have moved; {unknown} not checked."),
        _ => "This was only a look: reconcile plan says what would be done about it.".to_owned(),
    };
    let _ = writeln!(out, "{}", style.paint(Tone::Bold, &text));
    out
}

pub(super) fn first_line(context: &Context, style: Style) -> String {
    let VaultFacts { kind, account, items, synced } = &context.vault;
    let mut vault = format!("Vault {kind}");
    if *kind == "file" {
        let _ = write!(vault, " · {}", account.printable());
    }
    if let Some(items) = items {
        let _ = write!(vault, " · {} item{}", thousands(*items), if *items == 1 { "" } else { "s" });
    }
    if let Some(seconds) = synced {
        let _ = write!(vault, " · synced {} ago", ago(*seconds));
    }
    let mut parts = vec![vault, format!("Dataset {}", context.dataset)];
    match context.hosts.as_slice() {
        // Each has a line below where it is not as it should be.
        [first, second, more @ ..] if more.len() + 2 > ALIKE && !style.verbose => {
            parts.push(format!("Host {first}"));
            parts.push(format!("Host {second}"));
            parts.push(format!("{} hosts more (-v)", more.len()));
        }
        hosts => parts.extend(hosts.iter().map(|host| format!("Host {host}"))),
    }
    let line = parts.join("      ");
    if line.chars().count() <= style.width { line } else { parts.join("\n") }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time in a few characters, such as `3 min`.
#[must_use]
pub fn ago(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn drift(out: &mut String, plan: &Plan, style: Style) {
    let drifted: Vec<String> = plan
        .changes
        .iter()
        .flat_map(|change| change.reasons.iter().filter(|reason| reason.is_drift()).map(move |reason| (change, reason)))
        .map(|(change, reason)| format!("  ~ {}: {}", change.address, words::reason(reason)))
        .collect();
    if drifted.is_empty() {
        return;
    }
    let _ =
        writeln!(out, "{}", style.paint(Tone::Bold, "Note: things moved outside of reconcile since the last apply:"));
    for line in drifted {
        let _ = writeln!(out, "{}", style.paint(Tone::Update, &line));
    }
    out.push('\n');
}

pub(super) fn symbol(action: Action) -> (&'static str, Tone) {
    match action {
        Action::Create => ("+", Tone::Create),
        Action::Update => ("~", Tone::Update),
        Action::Destroy => ("-", Tone::Destroy),
        Action::Switch => (">", Tone::Switch),
        Action::Restart => ("*", Tone::Switch),
    }
}

fn legend(out: &mut String, plan: &Plan, style: Style) {
    let used: BTreeSet<Action> = plan.changes.iter().map(|change| change.action).collect();
    for action in used {
        let what = match action {
            Action::Create => "create",
            Action::Update => "update in place",
            Action::Destroy => "destroy",
            Action::Switch => "switch a host",
            Action::Restart => "restart units of users",
        };
        let (symbol, tone) = symbol(action);
        let _ = writeln!(out, "  {} {what}", style.paint(tone, symbol));
    }
    out.push('\n');
}

fn changes(out: &mut String, plan: &Plan, now: i64, style: Style) {
    let (of_hosts, table): (Vec<&Change>, Vec<&Change>) =
        plan.changes.iter().partition(|change| matches!(change.address, Address::Host(_)));
    let rows: Vec<[String; 4]> = table.iter().map(|change| columns(change)).collect();
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [wide(0), wide(1), wide(2)];
    let fits = widths.iter().sum::<usize>() + wide(3) + 13 <= style.width;
    let mut hidden = 0;
    let mut kind = None;
    for (number, (change, row)) in table.iter().zip(&rows).enumerate() {
        if number >= SHOWN && !style.verbose && change.action != Action::Destroy {
            hidden += 1;
            continue;
        }
        let this = Some(kind_of(&change.address));
        if kind.is_some() && kind != this {
            out.push('\n');
        }
        kind = this;
        let mut why: Vec<String> = change.reasons.iter().map(words::reason).collect();
        why.extend(edited(change, now));
        let does = words::action(change.action, &change.details);
        let heading = format!("# {} {does}: {}", change.address, why.join("; "));
        let _ = writeln!(out, "  {}", style.paint(Tone::Bold, &heading));
        let (symbol, tone) = symbol(change.action);
        let _ = writeln!(out, "  {} {}", style.paint(tone, symbol), laid_out(row, widths, fits));
        if let Details::Secret { units, .. } = &change.details
            && !units.is_empty()
        {
            let _ = writeln!(out, "      restarts or reloads {}", units.join(", "));
        }
    }
    more(out, hidden);
    if !table.is_empty() && !of_hosts.is_empty() {
        out.push('\n');
    }
    hosts::changes(out, &of_hosts, widths[0], style);
    out.push('\n');
}

/// What is not shown, in one line.
fn more(out: &mut String, hidden: usize) {
    if hidden > 0 {
        let _ = writeln!(out, "    … {hidden} more (-v shows them all)");
    }
}

/// When the item of a value that changed was edited, if the vault says so.
fn edited(change: &Change, now: i64) -> Option<String> {
    let Details::Secret { changed_at: Some(at), .. } = change.details else { return None };
    let seconds = u64::try_from(now - at).ok()?;
    change.reasons.contains(&Reason::ValueChanged).then(|| format!("its item was edited {} ago", ago(seconds)))
}

/// Changes of one kind stand together.
fn kind_of(address: &Address) -> u8 {
    match address {
        Address::File(_) => 0,
        Address::Secret(_) | Address::Key(..) => 1,
        Address::Host(_) => 2,
    }
}

/// A row in its columns, or in two lines where they do not fit.
fn laid_out(row: &[String; 4], widths: [usize; 3], fits: bool) -> String {
    let [name, from, to, how] = row;
    let [first, second, third] = widths;
    let text = if fits || to.is_empty() {
        let third = if to.is_empty() { 0 } else { third };
        let cells = [(name, first), (from, second), (to, third)].into_iter();
        let cells = cells.filter(|(_, width)| *width > 0);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}   {how}", cells.join("   "))
    } else {
        format!("{}\n      {to}   {how}", format!("{name:<first$}   {from}").trim_end())
    };
    text.trim_end().to_owned()
}

/// What is changed, where it comes from, where it goes, and how it is there.
fn columns(change: &Change) -> [String; 4] {
    let name = match &change.address {
        Address::Secret(name) => name.to_string(),
        Address::File(file) => file.to_string(),
        Address::Host(host) => host.to_string(),
        Address::Key(_, key) => key.joined().printable(),
    };
    match &change.details {
        Details::Secret { item, file, installs, bind, .. } => {
            let to = match installs.as_slice() {
                [Install { host, path, .. }] => format!("→ {file} → {host}:{path}"),
                [] => format!("→ {file}"),
                [Install { path, .. }, more @ ..] => format!("→ {file} → {} hosts:{path}", more.len() + 1),
            };
            let how = |install: &Install| {
                let group = install.group.as_ref().map(|group| format!(":{group}")).unwrap_or_default();
                let owner = install.owner.clone().map(|owner| owner + &group).unwrap_or(group);
                format!("{owner} {}", install.mode.clone().unwrap_or_default()).trim().to_owned()
            };
            let how = installs.first().map(how).unwrap_or_default();
            [name, item.printable(), to, format!("{} {how}", bind.clone().unwrap_or_default()).trim().to_owned()]
        }
        Details::Key { file } => [name, String::new(), format!("in {file}"), String::new()],
        Details::Public { source, content } => {
            let content =
                content.as_ref().map_or_else(|| "(known after apply)".to_owned(), |text| cut(&text.printable()));
            [name, content, String::new(), format!("({source})")]
        }
        Details::Sops { hosts } => {
            let hosts: Vec<&str> = hosts.iter().map(crate::address::HostName::as_str).collect();
            [name, String::new(), format!("for {}", hosts.join(", ")), String::new()]
        }
        Details::Index => [name, String::new(), "(what Nix reads)".to_owned(), String::new()],
        Details::Host { .. } | Details::Units { .. } => [name, String::new(), String::new(), String::new()],
    }
}

/// `age1egx…qlvte`
fn cut(text: &str) -> String {
    let count = text.chars().count();
    if count <= 24 {
        return text.to_owned();
    }
    let head: String = text.chars().take(14).collect();
    let tail: String = text.chars().skip(count - 6).collect();
    format!("{head}…{tail}")
}

fn blocked(out: &mut String, plan: &Plan, style: Style) {
    if plan.blocked.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", style.paint(Tone::Destroy, "Blocked; what depends on it is left as it is:"));
    let rows = plan.blocked.iter().map(|blocked| {
        let address = blocked.address.to_string();
        let (what, next) = words::blocker(&address, &blocked.by);
        (address, what, next)
    });
    in_the_way(out, &style.paint(Tone::Destroy, "✗"), rows.collect(), style);
}

fn unchecked(out: &mut String, plan: &Plan, style: Style) {
    if plan.unchecked.is_empty() {
        return;
    }
    out.push_str("Not checked:\n");
    let rows = plan.unchecked.iter().map(|(address, cause)| (address.to_string(), cause.to_string(), cause.next()));
    in_the_way(out, &style.paint(Tone::Update, "?"), rows.collect(), style);
}

/// An address, what is in its way, and what to do next.
type InTheWay = (String, String, Option<String>);

/// Where many have the same in their way it is said once, with the first two of them.
fn in_the_way(out: &mut String, mark: &str, rows: Vec<InTheWay>, style: Style) {
    let mut groups: BTreeMap<(&str, Option<&str>), Vec<&str>> = BTreeMap::new();
    for (address, what, next) in &rows {
        groups.entry((what, next.as_deref())).or_default().push(address);
    }
    for (address, what, next) in &rows {
        match groups.get(&(what.as_str(), next.as_deref())).map(Vec::as_slice) {
            Some([first, second, more @ ..]) if more.len() + 2 > ALIKE && !style.verbose => {
                if first != address {
                    continue;
                }
                let _ = writeln!(out, "  {mark} {first}, {second} and {} more (-v): {what}", more.len());
            }
            _ => {
                let _ = writeln!(out, "  {mark} {address}: {what}");
            }
        }
        if let Some(next) = next {
            let _ = writeln!(out, "      → {next}");
        }
    }
    out.push('\n');
}

fn notes(out: &mut String, plan: &Plan, style: Style) {
    for note in &plan.notes {
        let (warning, text) = words::note(note);
        let label = if warning { style.paint(Tone::Update, "Warning:") } else { "Note:".to_owned() };
        let _ = writeln!(out, "{label} {text}");
    }
    if !plan.notes.is_empty() {
        out.push('\n');
    }
}

/// What looking cost: `9 ms vault, 48 ms hosts; no value was read`.
#[must_use]
pub fn cost_text(vault: Duration, hosts: Option<Duration>, values: usize) -> String {
    let hosts = hosts.map(|hosts| format!(", {} ms hosts", hosts.as_millis())).unwrap_or_default();
    let values = match values {
        0 => "no value was read".to_owned(),
        1 => "1 value was read".to_owned(),
        values => format!("{values} values were read"),
    };
    format!("{} ms vault{hosts}; {values}", vault.as_millis())
}

fn summary(out: &mut String, plan: &Plan, cost: &str, style: Style) {
    let counts = plan.counts();
    if plan.changes.is_empty() && plan.steps.is_empty() {
        let text = match (plan.blocked.is_empty(), plan.is_complete()) {
            (true, true) => {
                format!("No changes. Vault, files and hosts agree. ({cost})")
            }
            (true, false) if plan.unchecked.is_empty() => {
                "No changes found; something is left to do by hand.".to_owned()
            }
            (true, false) => format!("No changes found; {} not checked.", plan.unchecked.len()),
            (false, _) => format!("No changes can be made; {} blocked.", plan.blocked.len()),
        };
        let _ = writeln!(out, "{}", style.paint(Tone::Bold, &text));
        return;
    }
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut text = format!("Plan: {} to add, {} to change, {} to destroy.", counts.add, counts.change, counts.destroy);
    let hosts_and_files = [
        (counts.encrypt, "file", "to encrypt"),
        (counts.switch, "host", "to switch"),
        (counts.restart, "host", "with units to restart"),
    ];
    let parts = hosts_and_files.into_iter().filter(|(count, ..)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what, then)| format!("{} {then}", plural(count, what))).collect();
    if !parts.is_empty() {
        let _ = write!(text, " {}.", parts.join(", "));
    }
    if !plan.blocked.is_empty() {
        let _ = write!(text, " {} blocked.", plan.blocked.len());
    }
    let _ = writeln!(out, "{}", style.paint(Tone::Bold, &text));
    if !plan.steps.is_empty() {
        let _ = writeln!(out, "{}", steps_text(&plan.steps, style.width));
    }
}
