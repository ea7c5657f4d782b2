//! How far each secret has come, one line each: vault → file → host, with ages.

mod end;

use std::fmt::Write;

use crate::observation::{Cause, Hidden};
use crate::plan::{BootLine, Difference, Reason, RuntimeLine, Standing, Status};

use super::plan::{Context, ago, first_line};
use super::{Style, Tone, words};

/// The whole status; `now` in seconds since 1970.
#[must_use]
pub fn status_text(status: &Status, context: &Context, now: i64, style: Style) -> String {
    let mut out = format!("{}\n\n", style.paint(Tone::Faint, &first_line(context, style)));
    let boot = status.boot.iter().map(|line| boot_row(line, now));
    let runtime = status.runtime.iter().map(|line| runtime_row(line, now));
    table(&mut out, &boot.chain(runtime).collect::<Vec<_>>(), style);
    for (file, reasons) in &status.files {
        let why: Vec<String> = reasons.iter().map(words::reason).collect();
        let _ = writeln!(out, "{} file.{file}: {}", style.paint(Tone::Update, "~"), why.join("; "));
    }
    for (file, secrets) in &status.undeclared {
        for secret in secrets {
            let mark = style.paint(Tone::Destroy, "-");
            let _ = writeln!(out, "{mark} {secret}: no longer declared, still in {file}; the next apply removes it");
        }
    }
    for (address, reasons) in &status.pending {
        let why: Vec<String> = reasons.iter().map(words::reason).collect();
        let _ = writeln!(out, "{} {address}: {}", style.paint(Tone::Update, "~"), why.join("; "));
    }
    out.push('\n');
    for blocked in &status.blocked {
        let address = blocked.address.to_string();
        let (what, next) = words::blocker(&address, &blocked.by);
        let _ = writeln!(out, "{} {address}: {what}", style.paint(Tone::Destroy, "✗"));
        if let Some(next) = next {
            let _ = writeln!(out, "    → {next}");
        }
    }
    for note in &status.notes {
        let (warning, text) = words::note(note);
        let label = if warning { style.paint(Tone::Update, "Warning:") } else { "Note:".to_owned() };
        let _ = writeln!(out, "{label} {text}");
    }
    if !status.blocked.is_empty() || !status.notes.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{}", style.paint(Tone::Bold, &end::sum(status)));
    for next in end::nexts(status) {
        let _ = writeln!(out, "  → {next}");
    }
    out
}

/// One line: its mark, the secret, and the two parts of its way.
struct Row {
    mark: Mark,
    cells: [String; 3],
}

/// The worst of a line, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Current,
    Unknown,
    Differs,
    Blocked,
}

impl Mark {
    fn of(standing: &Standing) -> Self {
        match standing {
            Standing::Current => Self::Current,
            Standing::Unknown { .. } => Self::Unknown,
            Standing::Differs { .. } => Self::Differs,
            Standing::Blocked { .. } => Self::Blocked,
        }
    }

    fn painted(self, style: Style) -> String {
        let (tone, text) = match self {
            Self::Current => (Tone::Create, "✓"),
            Self::Unknown => (Tone::Update, "?"),
            Self::Differs => (Tone::Update, "~"),
            Self::Blocked => (Tone::Destroy, "✗"),
        };
        style.paint(tone, text)
    }
}

fn table(out: &mut String, rows: &[Row], style: Style) {
    let wide = |column: usize| rows.iter().map(|row| row.cells[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (wide(0), wide(1));
    let fits = 2 + first + 3 + second + 3 + wide(2) <= style.width;
    for Row { mark, cells: [name, in_file, on_host] } in rows {
        let mark = mark.painted(style);
        let _ = match fits {
            true => writeln!(out, "{mark} {}", format!("{name:<first$}   {in_file:<second$}   {on_host}").trim_end()),
            false => writeln!(out, "{mark} {name}\n    {in_file}\n    {on_host}"),
        };
    }
}

fn boot_row(line: &BootLine, now: i64) -> Row {
    let mark = Mark::of(&line.in_file).max(Mark::of(&line.on_host));
    Row { mark, cells: [line.secret.to_string(), in_file(line, now), on_host(line, now)] }
}

fn runtime_row(line: &RuntimeLine, now: i64) -> Row {
    let changed = since(line.item_changed_at, now).map(|age| format!(" (changed {age} ago)")).unwrap_or_default();
    let in_vault = match &line.in_vault {
        Standing::Current => format!("in the vault{changed}"),
        other => unsettled(&format!("\"{}\"", line.item.printable()), other),
    };
    let read = format!("read when it is needed: {}", line.consumers.join(", "));
    let read = if line.consumers.is_empty() { "read when it is needed".to_owned() } else { read };
    Row { mark: Mark::of(&line.in_vault), cells: [line.secret.to_string(), in_vault, read] }
}

/// The file against the vault.
fn in_file(line: &BootLine, now: i64) -> String {
    let file = &line.file;
    let old = since(line.file_written_at, now).map(|age| format!(" ({age} old)")).unwrap_or_default();
    match &line.in_file {
        Standing::Current => format!("{file} up to date with the vault{old}"),
        Standing::Differs { reasons } if reasons.contains(&Reason::ValueChanged) => {
            match line.item_changed_at.zip(line.file_written_at).filter(|(changed, written)| changed > written) {
                Some((changed, written)) => format!("vault {} newer than {file}", ago(changed.abs_diff(written))),
                None => format!("vault newer than {file}{old}"),
            }
        }
        Standing::Differs { reasons } => {
            let one = |reason: &Reason| match reason {
                Reason::FileMissing => format!("{file} is not there yet"),
                Reason::KeyMissing => format!("not in {file} yet"),
                reason => format!("{file}: {}", words::reason(reason)),
            };
            reasons.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Standing::Unknown { cause: Cause::VaultLocked { hidden: Hidden::Value, .. } } => {
            format!("{file} perhaps older: its item was saved, and the vault is locked")
        }
        Standing::Unknown { cause: Cause::VaultLocked { hidden: Hidden::Names, .. } } => {
            format!("{file} perhaps older: items were added or renamed, and the vault is locked")
        }
        Standing::Unknown { cause } if line.item_changed => {
            format!("{file} perhaps older: its item changed ({cause})")
        }
        other => unsettled(file.as_str(), other),
    }
}

/// The host against the file.
fn on_host(line: &BootLine, now: i64) -> String {
    let BootLine { host, file, secret, .. } = line;
    let switched = since(line.host_switched_at, now).map(|age| format!(" (switched {age} ago)")).unwrap_or_default();
    let absent = |reason: &Reason| match reason {
        Reason::HostDrifted { secrets } => secrets.get(secret).is_some_and(|found| found.contains(&Difference::Absent)),
        _ => false,
    };
    match &line.on_host {
        Standing::Current => format!("{host} up to date with {file}{switched}"),
        Standing::Differs { reasons } if reasons.iter().any(absent) => format!("not on {host}"),
        Standing::Differs { reasons } => {
            let one = |reason: &Reason| match reason {
                Reason::HostBehind => format!("{host} behind {file}{switched}"),
                Reason::HostDrifted { secrets } => {
                    let found = secrets.values().flatten().map(|difference| difference.in_words());
                    format!("{host}: {}", found.collect::<Vec<_>>().join(", "))
                }
                Reason::FileMissing | Reason::FileBroken => format!("{host}: nothing to be compared with"),
                reason => format!("{host}: {}", words::reason(reason)),
            };
            reasons.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        other => unsettled(host.as_str(), other),
    }
}

/// What is wrong with `subject`, or why nothing is known of it.
fn unsettled(subject: &str, standing: &Standing) -> String {
    match standing {
        Standing::Blocked { by } => format!("{subject}: {}", words::blocker(subject, by).0),
        Standing::Unknown { cause: Cause::NotLookedAt } => format!("{subject} not looked at"),
        Standing::Unknown { cause } => format!("{subject} not known: {cause}"),
        Standing::Current | Standing::Differs { .. } => subject.to_owned(),
    }
}

/// An age, if the time is known and not in the future.
fn since(time: Option<i64>, now: i64) -> Option<String> {
    let seconds = now.checked_sub(time?)?;
    u64::try_from(seconds).ok().map(ago)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::address::Address;
    use crate::desired::VaultFacts;
    use crate::plan::{Blocked, Blocker};
    use crate::secret::SecretName;
    use crate::text::Untrusted;

    const NOW: i64 = 1_000_000;

    fn line(secret: &str, in_file: Standing, on_host: Standing) -> BootLine {
        let (Ok(secret), Ok(file), Ok(host)) = (secret.parse(), "secrets.yaml".parse(), "vm".parse()) else {
            panic!("{secret}")
        };
        BootLine {
            secret,
            item: Untrusted::new("an item"),
            item_changed_at: None,
            item_changed: false,
            file,
            file_written_at: Some(NOW - 300),
            in_file,
            host,
            path: "/run/secrets/a".to_owned(),
            host_switched_at: Some(NOW - 7200),
            on_host,
        }
    }

    fn differs(reason: Reason) -> Standing {
        Standing::Differs { reasons: BTreeSet::from([reason]) }
    }

    fn status(boot: Vec<BootLine>) -> Status {
        Status {
            boot,
            runtime: Vec::new(),
            files: BTreeMap::new(),
            undeclared: BTreeMap::new(),
            pending: BTreeMap::new(),
            blocked: Vec::new(),
            notes: BTreeSet::new(),
        }
    }

    fn shown(status: &Status, width: usize) -> String {
        let vault = VaultFacts { kind: "rbw", account: Untrusted::new(""), items: Some(4), synced: None };
        let context = Context { vault, dataset: "d".to_owned(), now: 0, cost: String::new(), hosts: Vec::new() };
        status_text(status, &context, NOW, Style { colour: false, width, verbose: false })
    }

    fn drifted(secret: &str, difference: Difference) -> Standing {
        let Ok(secret) = secret.parse::<SecretName>() else { panic!("{secret}") };
        differs(Reason::HostDrifted { secrets: BTreeMap::from([(secret, BTreeSet::from([difference]))]) })
    }

    #[test]
    fn each_secret_has_a_line_in_columns_with_its_ages() {
        let newer = BootLine {
            item_changed_at: Some(NOW - 120),
            ..line("b", differs(Reason::ValueChanged), Standing::Current)
        };
        let locked =
            |hidden| Standing::Unknown { cause: Cause::VaultLocked { unlock: "rbw unlock".to_owned(), hidden } };
        let unknown = || locked(Hidden::Anything);
        let perhaps = line("e", locked(Hidden::Value), Standing::Current);
        let boot = vec![
            line("a/long", Standing::Current, Standing::Current),
            newer,
            line("c", differs(Reason::ValueChanged), differs(Reason::HostBehind)),
            line("d", unknown(), Standing::Unknown { cause: Cause::NotLookedAt }),
            perhaps,
            line("f", differs(Reason::KeyMissing), drifted("f", Difference::Absent)),
            line("g", Standing::Current, drifted("g", Difference::Owner)),
        ];
        let expected = "\
Vault rbw · 4 items      Dataset d

✓ a/long   secrets.yaml up to date with the vault (5 min old)                        vm up to date with secrets.yaml (switched 2 h ago)
~ b        vault 3 min newer than secrets.yaml                                       vm up to date with secrets.yaml (switched 2 h ago)
~ c        vault newer than secrets.yaml (5 min old)                                 vm behind secrets.yaml (switched 2 h ago)
? d        secrets.yaml not known: the vault is locked                               vm not looked at
? e        secrets.yaml perhaps older: its item was saved, and the vault is locked   vm up to date with secrets.yaml (switched 2 h ago)
~ f        not in secrets.yaml yet                                                   not on vm
~ g        secrets.yaml up to date with the vault (5 min old)                        vm: another owner

1 of 7 up to date, 4 not, 2 not known.
  → reconcile plan says what an apply would do
  → rbw unlock
";
        assert_eq!(shown(&status(boot), 160), expected);
    }

    #[test]
    fn what_does_not_fit_stands_below_each_other() {
        let text = shown(&status(vec![line("a", Standing::Current, differs(Reason::ActivationFailed))]), 60);
        let expected = "~ a\n    secrets.yaml up to date with the vault (5 min old)\n    \
                        vm: its last activation failed, and the old secrets are live\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn times_to_come_are_no_ages() {
        let ahead = BootLine {
            file_written_at: Some(NOW + 60),
            host_switched_at: Some(i64::MIN),
            ..line("a", Standing::Current, Standing::Current)
        };
        let text = shown(&status(vec![ahead]), 160);
        assert!(text.contains("with the vault   vm up to date with secrets.yaml\n"), "{text}");
        assert!(text.ends_with("The one secret is up to date.\n"), "{text}");
    }

    /// A command that is shown can be typed: it names the file, and stands with it.
    #[test]
    fn advice_names_what_it_is_about_and_stands_with_it() {
        let by = || Blocker::FileBroken { problem: Untrusted::new("cut off") };
        let broken = || Standing::Blocked { by: by() };
        let mut status = status(vec![line("a", broken(), Standing::Current), line("b", broken(), Standing::Current)]);
        let text = shown(&status, 160);
        let advice = "reconcile apply --replace file.secrets.yaml\n";
        assert_eq!(text.matches("--replace").count(), 1, "{text}");
        assert!(text.ends_with(advice), "{text}");
        let Ok(file) = "secrets.yaml".parse() else { panic!("a file") };
        status.blocked = vec![Blocked { address: Address::File(file), by: by() }];
        let text = shown(&status, 160);
        assert_eq!(text.matches("--replace").count(), 1, "{text}");
        assert!(text.contains(&format!("✗ file.secrets.yaml: cut off\n    → restore it, or write it anew: {advice}")));
        assert!(!text.contains(" it\n"), "{text}");
    }

    #[test]
    fn advice_about_an_item_names_its_secrets_and_about_the_vault_none() {
        let empty = || Standing::Blocked { by: Blocker::Unknown(Cause::ItemEmpty { item: Untrusted::new("an item") }) };
        let text =
            shown(&status(vec![line("a", empty(), Standing::Current), line("b", empty(), Standing::Current)]), 160);
        assert!(text.contains("  → secret.a, secret.b: fill it in the vault, or name"), "{text}");
    }

    #[test]
    fn what_no_line_tells_keeps_all_from_being_up_to_date() {
        let mut gone = status(vec![line("a", Standing::Current, Standing::Current)]);
        let line_of = |text: &str| text.parse::<SecretName>().unwrap_or_else(|_| panic!("{text}"));
        let Ok(file) = "secrets.yaml".parse() else { panic!("a file") };
        gone.undeclared = BTreeMap::from([(file, BTreeSet::from([line_of("user/hashed-password")]))]);
        let text = shown(&gone, 160);
        let said = "- user/hashed-password: no longer declared, still in secrets.yaml; the next apply removes it\n";
        assert!(text.contains(said), "{text}");
        assert!(
            text.ends_with(
                "1 of 1 up to date. 1 no longer declared, and still in a file.\n  → reconcile plan says what an apply would do\n"
            ),
            "{text}"
        );
        let mut stuck = status(vec![line("a", Standing::Current, Standing::Current)]);
        let by = Blocker::HostKeyUnverified { cause: None, offered: None };
        stuck.blocked = vec![Blocked { address: Address::Host("vm".parse().unwrap_or_else(|_| panic!("a host"))), by }];
        let text = shown(&stuck, 160);
        assert!(text.ends_with("1 of 1 up to date. The next apply is blocked by host.vm.\n"), "{text}");
    }

    #[test]
    fn text_of_others_is_escaped() {
        let wanted = Untrusted::new("x\u{1b}[2J");
        let missing = Blocker::Unknown(Cause::ItemMissing { wanted, similar: Vec::new() });
        let text = shown(&status(vec![line("a", Standing::Blocked { by: missing }, Standing::Current)]), 160);
        assert!(!text.contains('\u{1b}') && text.contains("✗ a   secrets.yaml: no item is called"), "{text}");
    }
}
