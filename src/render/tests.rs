//! What a reader is told for each row of the decision table: one snapshot for each reason, blocker and note.

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, Style, plan_text};
use crate::address::Address;
use crate::desired::VaultFacts;
use crate::observation::{Cause, Hidden};
use crate::plan::{Action, Blocked, Blocker, Change, Details, Difference, Install, KeySeen, Note, Plan, Reason};
use crate::sops::Recipient;
use crate::text::Untrusted;

const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plans");
const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const OTHER_KEY: &str = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn key(text: &str) -> Recipient {
    parsed(text)
}

fn address(text: &str) -> Address {
    parsed(text)
}

fn shown(plan: &Plan) -> String {
    let vault = VaultFacts { kind: "rbw", account: Untrusted::new("x"), items: Some(1024), synced: Some(1) };
    let hosts = vec!["vm · m@nixos-vm · generation 41".to_owned()];
    let context = Context {
        vault,
        now: 1_000_000,
        cost: "1 ms vault, 48 ms hosts; no value was read".to_owned(),
        dataset: "~/generated".to_owned(),
        hosts,
    };
    let text = plan_text(plan, &context, Style { colour: false, width: 120, verbose: false });
    // The first line is that of every plan.
    text.split_once("\n\n").map_or(text.clone(), |(_, rest)| rest.to_owned())
}

fn snapshot(name: &str, plan: &Plan) {
    insta::with_settings!({snapshot_path => SNAPSHOTS, prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, shown(plan));
    });
}

fn secret() -> Details {
    Details::Secret {
        item: Untrusted::new("tailscale-auth-key"),
        file: parsed("secrets.yaml"),
        installs: vec![Install {
            host: parsed("vm"),
            path: "/run/secrets/tailscale/auth-key".to_owned(),
            owner: None,
            group: None,
            mode: Some("0400".to_owned()),
        }],
        bind: Some("services.tailscale.authKeyFile".to_owned()),
        units: vec!["tailscaled.service".to_owned()],
        changed_at: Some(999_820),
    }
}

/// A name, what changes how, and why. A new reason does not compile without a row here.
fn row(reason: &Reason) -> (&'static str, &'static str, Action, Details) {
    const SECRET: &str = "secret.tailscale/auth-key";
    const FILE: &str = "file.secrets.yaml";
    const HOST: &str = "host.vm";
    let public = || Details::Public { source: "literal".to_owned(), content: Some(Untrusted::new("hello")) };
    let sops = || Details::Sops { hosts: BTreeSet::from([parsed("vm")]) };
    let key = || Details::Key { file: parsed("secrets.yaml") };
    let host =
        || Details::Host { switch: "bash docs/vm.sh switch".to_owned(), everything: true, restarts: BTreeMap::new() };
    let (create, update, destroy) = (Action::Create, Action::Update, Action::Destroy);
    match reason {
        Reason::FileMissing => ("file-missing", "file.motd", create, public()),
        Reason::KeyMissing => ("key-missing", SECRET, create, secret()),
        Reason::RemovedOutside => ("removed-outside", SECRET, create, secret()),
        Reason::KeyUndeclared => ("key-undeclared", SECRET, destroy, key()),
        Reason::ForeignKey => ("foreign-key", "key.secrets.yaml/theirs", destroy, key()),
        Reason::ValueChanged => ("value-changed", SECRET, update, secret()),
        Reason::OtherItem => ("other-item", SECRET, update, secret()),
        Reason::NeverRecorded => ("never-recorded", SECRET, update, secret()),
        Reason::OtherFingerprintKey => ("other-fingerprint-key", SECRET, update, secret()),
        Reason::EditedOutside => ("edited-outside", SECRET, update, secret()),
        Reason::FileEditedOutside => ("file-edited-outside", FILE, update, sops()),
        Reason::WrongType => ("wrong-type", SECRET, update, secret()),
        Reason::FileBroken => ("file-broken", FILE, update, sops()),
        Reason::Replaced => ("replaced", FILE, update, sops()),
        Reason::DeclarationChanged => ("declaration-changed", SECRET, update, secret()),
        Reason::Renamed { .. } => ("renamed", SECRET, update, secret()),
        Reason::RecipientsChanged { .. } => ("recipients-changed", FILE, update, sops()),
        Reason::SourceChanged => ("source-changed", "file.motd", update, public()),
        Reason::IndexStale => ("index-stale", "file.reconcile.json", update, Details::Index),
        Reason::FileChanges => ("file-changes", HOST, Action::Switch, host()),
        Reason::HostBehind => ("host-behind", HOST, Action::Switch, host()),
        Reason::HostDrifted { .. } => ("host-drifted", HOST, Action::Switch, host()),
        Reason::UnitsBehind { .. } => ("units-behind", HOST, Action::Switch, host()),
        Reason::ActivationFailed => ("activation-failed", HOST, Action::Switch, host()),
    }
}

#[test]
fn each_reason_is_a_sentence() {
    let drifted = BTreeMap::from([
        (parsed("a"), BTreeSet::from([Difference::Absent])),
        (parsed("b"), BTreeSet::from([Difference::Owner, Difference::Mode, Difference::Size])),
    ]);
    let all = [
        Reason::FileMissing,
        Reason::KeyMissing,
        Reason::RemovedOutside,
        Reason::KeyUndeclared,
        Reason::ForeignKey,
        Reason::ValueChanged,
        Reason::OtherItem,
        Reason::NeverRecorded,
        Reason::OtherFingerprintKey,
        Reason::EditedOutside,
        Reason::FileEditedOutside,
        Reason::WrongType,
        Reason::FileBroken,
        Reason::Replaced,
        Reason::DeclarationChanged,
        Reason::Renamed { from: parsed("old/name") },
        Reason::RecipientsChanged {
            added: BTreeSet::from([key(KEY)]),
            removed: BTreeSet::from([Untrusted::new(OTHER_KEY)]),
        },
        Reason::SourceChanged,
        Reason::IndexStale,
        Reason::FileChanges,
        Reason::HostBehind,
        Reason::HostDrifted { secrets: drifted },
        Reason::ActivationFailed,
        Reason::UnitsBehind { secrets: BTreeSet::from([parsed("uniclip/password")]) },
    ];
    for reason in all {
        let (name, at, action, details) = row(&reason);
        let reasons = BTreeSet::from([reason]);
        let change = Change { address: address(at), action, reasons, details };
        snapshot(&format!("reason-{name}"), &Plan { changes: vec![change], ..Plan::default() });
    }
}

#[test]
fn each_blocker_says_the_way_out() {
    let changed =
        |offered: Option<&str>, seen| Blocker::HostKeyChanged { accepted: key(KEY), offered: offered.map(key), seen };
    let unverified = |cause, offered| Blocker::HostKeyUnverified { cause: Some(cause), offered };
    let untrusted = |text: &str| Untrusted::new(text);
    let host = || parsed("vm");
    let unknown = [
        (
            "item-missing",
            Cause::ItemMissing { wanted: untrusted("db/prod"), similar: vec![untrusted("db/prod-readonly")] },
        ),
        ("item-ambiguous", Cause::ItemAmbiguous { wanted: untrusted("dup"), count: 2 }),
        ("item-empty", Cause::ItemEmpty { item: untrusted("empty") }),
        ("field-missing", Cause::FieldMissing { item: untrusted("a"), field: untrusted("custom:x") }),
        ("item-reprompt", Cause::ItemReprompt { item: untrusted("a") }),
        ("vault-locked", Cause::VaultLocked { unlock: "rbw unlock".to_owned(), hidden: Hidden::Anything }),
        ("host-unreachable", Cause::HostUnreachable { host: host(), detail: untrusted("connection refused") }),
        ("host-key-refused", Cause::HostKeyRefused { host: host(), detail: untrusted("it changed") }),
        ("needs-root", Cause::NeedsRoot { host: host() }),
        ("file-refused", Cause::FileRefused { path: untrusted("/d/secrets.yaml"), why: "it is a symlink".to_owned() }),
    ];
    let mut all: Vec<(&str, &str, Blocker)> =
        unknown.map(|(name, cause)| (name, "secret.db/prod", Blocker::Unknown(cause))).into();
    all.extend([
        ("foreign-key", "key.secrets.yaml/theirs", Blocker::ForeignKey),
        ("host-key-changed", "host.vm", changed(Some(OTHER_KEY), KeySeen::OnHost)),
        ("host-key-gone", "host.vm", changed(None, KeySeen::OnHost)),
        ("host-key-in-dataset", "host.vm", changed(Some(OTHER_KEY), KeySeen::InDataset)),
        ("host-key-in-manifest", "host.vm", changed(Some(OTHER_KEY), KeySeen::InManifest)),
        ("host-key-unverified", "host.vm", unverified(Cause::NeedsRoot { host: host() }, Some(key(OTHER_KEY)))),
        (
            "host-key-unreachable",
            "host.vm",
            unverified(Cause::HostUnreachable { host: host(), detail: untrusted("its name is not known") }, None),
        ),
        ("host-key-none", "host.vm", Blocker::HostKeyUnverified { cause: None, offered: None }),
        (
            "file-broken",
            "file.secrets.yaml",
            Blocker::FileBroken { problem: untrusted("line 4 is a marker of a merge") },
        ),
        ("key-groups", "file.secrets.yaml", Blocker::KeyGroups),
        ("depends-on", "file.secrets.yaml", Blocker::DependsOn { on: address("host.vm") }),
    ]);
    for (name, at, by) in all {
        let blocked = vec![Blocked { address: address(at), by }];
        snapshot(&format!("blocked-{name}"), &Plan { blocked, ..Plan::default() });
    }
}

#[test]
fn notes_are_told_in_a_line_each() {
    let cause = Cause::ItemEmpty { item: Untrusted::new("github-token") };
    let notes = [
        Note::RuntimeSecret { secret: parsed("github-token"), cause },
        Note::KeyAccepted { host: parsed("vm"), key: key(KEY), instead_of: None },
        Note::KeyAccepted { host: parsed("vm"), key: key(KEY), instead_of: Some(key(OTHER_KEY)) },
        Note::HostKeyUnverified { host: parsed("vm") },
        Note::SwitchByHand { host: parsed("vm") },
        Note::SwitchWithheld { host: parsed("vm") },
        Note::ComesAlong { address: address("secret.a") },
        Note::Targeted,
        Note::OtherFingerprintKey,
        Note::NotShared,
        Note::FileForgotten { file: parsed("old.yaml") },
        Note::Overshared { secret: parsed("a"), host: parsed("other") },
        Note::FunctionsStale { line: "eval \"$(reconcile shell-init bash)\"".to_owned() },
        Note::CommandsMissing { commands: BTreeSet::from(["gh".to_owned()]) },
        Note::Host { host: parsed("vm"), text: Untrusted::new("a\u{1b}[2Jb") },
    ];
    snapshot("notes", &Plan { notes: notes.into(), ..Plan::default() });
}

#[test]
fn nothing_to_do_is_said_only_of_what_is_known() {
    let gone = Cause::HostUnreachable { host: parsed("vm"), detail: Untrusted::new("timed out") };
    let unchecked = BTreeMap::from([(address("host.vm"), gone)]);
    snapshot("no-changes", &Plan::default());
    snapshot("no-changes-unchecked", &Plan { unchecked, ..Plan::default() });
}

#[test]
fn what_is_in_the_way_of_many_is_said_once() {
    let locked = |hidden| Cause::VaultLocked { unlock: "rbw unlock".to_owned(), hidden };
    let many = ["secret.a", "secret.b", "secret.c", "secret.d"].map(|name| (address(name), locked(Hidden::Names)));
    let few = ["secret.e", "secret.f", "secret.g"].map(|name| (address(name), locked(Hidden::Value)));
    let unchecked = many.into_iter().chain(few).collect();
    snapshot("unchecked-many", &Plan { unchecked, ..Plan::default() });
}
