//! One test for each row of the decision table.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{HOST_KEY, MANIFEST, OTHER_KEY, World, file, fleet, host, name, recipient};
use crate::actual::{Activation, FileState, Generation, IdentityState, IndexState, InstalledState};
use crate::address::{Address, HostName, KeyPath};
use crate::digest::Digest;
use crate::observation::{Cause, Observation};
use crate::plan::{Action, Blocker, Details, Difference, EncryptTo, KeySeen, Need, Note, Plan, Reason, Step};
use crate::sops::{Leaf, LeafKind};
use crate::text::Untrusted;

fn secret(text: &str) -> Address {
    Address::Secret(name(text))
}

fn sops() -> crate::address::FileName {
    file("secrets.yaml")
}

fn reasons(plan: &Plan, address: &Address) -> BTreeSet<Reason> {
    let found = plan.changes.iter().find(|change| change.address == *address);
    found.unwrap_or_else(|| panic!("no change of {address} in {plan:#?}")).reasons.clone()
}

fn blocker(plan: &Plan, address: &Address) -> Blocker {
    let found = plan.blocked.iter().find(|blocked| blocked.address == *address);
    found.unwrap_or_else(|| panic!("{address} is not blocked in {plan:#?}")).by.clone()
}

fn kinds(plan: &Plan) -> Vec<String> {
    let kind = |step: &Step| match step {
        Step::MakeIdentity { host } => format!("identity {host}"),
        Step::Publish { file, .. } => format!("publish {file}"),
        Step::Collect { file, .. } => format!("collect {file}"),
        Step::Encrypt { file, .. } => format!("encrypt {file}"),
        Step::Index { .. } => "index".to_owned(),
        Step::Switch(group) => {
            let hosts: Vec<&str> = group.hosts().into_iter().map(HostName::as_str).collect();
            format!("switch {}", hosts.join("+"))
        }
        Step::Verify { host, .. } => format!("verify {host}"),
        Step::RestartUserUnits { host, units, .. } => format!("restart {units:?} on {host}"),
    };
    plan.steps.iter().map(kind).collect()
}

/// Nothing of the dataset would be written.
fn assert_untouched(plan: &Plan) {
    assert!(!plan.blocked.is_empty(), "{plan:#?}");
    let writes = plan.steps.iter().any(|step| matches!(step, Step::Encrypt { .. } | Step::Index { .. }));
    assert!(!writes, "{plan:#?}");
}

#[test]
fn a_settled_world_has_nothing_to_do_and_reads_no_value() {
    let world = World::settled(MANIFEST);
    let plan = world.plan();
    assert!(plan.is_empty() && plan.is_complete(), "{plan:#?}");
    assert!(world.reads().is_empty());
}

#[test]
fn everything_is_created_in_the_order_that_survives_a_crash() {
    let plan = World::new(MANIFEST).plan();
    assert_eq!(
        kinds(&plan),
        [
            "publish motd",
            "publish vm-age-pubkey",
            "collect secrets.yaml",
            "encrypt secrets.yaml",
            "index",
            "switch vm",
            "verify vm"
        ]
    );
    assert_eq!(reasons(&plan, &secret("a")), BTreeSet::from([Reason::FileMissing]));
    assert_eq!(plan.accepts, BTreeMap::from([(host("vm"), recipient(HOST_KEY))]));
    let first = Note::KeyAccepted { host: host("vm"), key: recipient(HOST_KEY), instead_of: None };
    assert!(plan.notes.contains(&first), "{:?}", plan.notes);
    let counts = plan.counts();
    assert_eq!((counts.add, counts.change, counts.destroy, counts.encrypt, counts.switch), (4, 0, 0, 1, 1));
}

#[test]
fn key_missing() {
    let mut world = World::settled(MANIFEST);
    world.declare(&MANIFEST.replace("  token:", "  new: {item: new, delivery: {sops: {}}}\n  token:"));
    let plan = world.plan();
    assert_eq!(reasons(&plan, &secret("new")), BTreeSet::from([Reason::KeyMissing]));
    assert_eq!(plan.counts().encrypt, 1);
}

#[test]
fn removed_outside() {
    let mut world = World::settled(MANIFEST);
    world.sops(&sops(), |sops| {
        sops.leaves.remove(&KeyPath::new(["a"]));
        sops.digest = Digest::of(b"cut");
    });
    let plan = world.plan();
    assert!(reasons(&plan, &secret("a")).contains(&Reason::RemovedOutside));
    assert_eq!(plan.counts().encrypt, 1);
    for name in ["secrets.yaml", "motd"] {
        world.actual.files.insert(file(name), Observation::Known(FileState::Absent));
    }
    let plan = world.plan();
    for address in [secret("a"), Address::File(file("motd"))] {
        assert_eq!(reasons(&plan, &address), BTreeSet::from([Reason::RemovedOutside]));
    }
}

#[test]
fn key_undeclared() {
    let mut world = World::settled(MANIFEST);
    world.declare(&MANIFEST.replace("  b/c: {item: bc, delivery: {sops: {}}}\n", ""));
    let plan = world.plan();
    assert_eq!(reasons(&plan, &secret("b/c")), BTreeSet::from([Reason::KeyUndeclared]));
    let destroyed = plan.changes.iter().find(|change| change.address == secret("b/c")).map(|change| change.action);
    assert_eq!(destroyed, Some(Action::Destroy));
    assert_eq!(plan.counts().destroy, 1);
    // What is lost may be somebody's by now.
    world.sops(&sops(), |sops| {
        sops.leaves.extend([(KeyPath::new(["b", "c"]), leaf("theirs"))]);
        sops.digest = Digest::of(b"edited");
    });
    let both = BTreeSet::from([Reason::KeyUndeclared, Reason::EditedOutside]);
    assert_eq!(reasons(&world.plan(), &secret("b/c")), both);
}

fn leaf(text: &str) -> Leaf {
    Leaf { digest: Digest::of(text.as_bytes()), kind: LeafKind::Str, length: text.len() }
}

#[test]
fn foreign_key() {
    let mut world = World::settled(MANIFEST);
    let leaf = Leaf { digest: Digest::of(b"theirs"), kind: LeafKind::Str, length: 3 };
    world.sops(&sops(), |sops| {
        sops.leaves.insert(KeyPath::new(["theirs"]), leaf);
        sops.digest = Digest::of(b"grown");
    });
    let address = Address::Key(sops(), KeyPath::new(["theirs"]));
    let plan = world.plan();
    assert_eq!(blocker(&plan, &address), Blocker::ForeignKey);
    assert_untouched(&plan);
    world.wishes.destroy_foreign.insert(address.clone());
    let plan = world.plan();
    assert_eq!(reasons(&plan, &address), BTreeSet::from([Reason::ForeignKey]));
    assert!(plan.blocked.is_empty());
}

/// The map of a secret that somebody removed by hand is left behind, empty: nobody loses it, and the secret comes back.
#[test]
fn what_is_left_of_a_declared_keys_map_is_nobodys() {
    let left = |at: KeyPath, kind| {
        let mut world = World::settled(MANIFEST);
        world.sops(&sops(), |sops| {
            sops.leaves.remove(&KeyPath::new(["b", "c"]));
            sops.leaves.insert(at, Leaf { digest: Digest::of(b"{}"), kind, length: 2 });
            sops.digest = Digest::of(b"cut");
        });
        world.plan()
    };
    let plan = left(KeyPath::new(["b"]), LeafKind::Nothing);
    assert!(plan.blocked.is_empty(), "{plan:#?}");
    assert_eq!(reasons(&plan, &secret("b/c")), BTreeSet::from([Reason::RemovedOutside]));
    assert_eq!((plan.counts().encrypt, plan.counts().destroy), (1, 0));
    // A text in its place is somebody's, and so is what lies on the way to nothing that is declared.
    assert_untouched(&left(KeyPath::new(["b"]), LeafKind::Str));
    assert_untouched(&left(KeyPath::new(["b"]), LeafKind::Clear));
    assert_untouched(&left(KeyPath::new(["theirs"]), LeafKind::Nothing));
}

/// What is printed of a key may be cut or escaped: a wish that fits two keys gives up neither.
#[test]
fn a_foreign_key_is_given_up_only_by_an_address_of_its_own() {
    let long = |end: &str| KeyPath::new([format!("{}{end}", "k".repeat(400))]);
    let twins = [
        [long("a"), long("b")],
        [KeyPath::new(["a/b"]), KeyPath::new(["a", "b"])],
        [KeyPath::new(["x\u{1b}"]), KeyPath::new(["x\\u{1b}"])],
    ];
    for keys in twins {
        let mut world = World::settled(MANIFEST);
        world.sops(&sops(), |sops| {
            sops.leaves.extend(keys.iter().map(|key| (key.clone(), leaf("theirs"))));
            sops.digest = Digest::of(b"grown");
        });
        world.wishes.destroy_foreign.insert(Address::Key(sops(), keys[0].clone()));
        assert_untouched(&world.plan());
    }
}

#[test]
fn value_changed() {
    let mut world = World::settled(MANIFEST);
    world.vault.insert("a".to_owned(), b"rotated".to_vec());
    assert_eq!(world.reads(), BTreeSet::from([name("a")]), "only what changed is read");
    let plan = world.plan();
    assert_eq!(reasons(&plan, &secret("a")), BTreeSet::from([Reason::ValueChanged]));
    assert_eq!(plan.changes.len(), 2, "the secret and its host: {plan:#?}");
    assert_eq!(kinds(&plan), ["collect secrets.yaml", "encrypt secrets.yaml", "index", "switch vm", "verify vm"]);
}

/// Nothing changed in the vault: the manifest names another item of it.
#[test]
fn other_item() {
    let mut world = World::settled(MANIFEST);
    let other = MANIFEST.replace("  a: {item: a,", "  a: {item: d,");
    world.vault.insert("d".to_owned(), b"value of a".to_vec());
    world.declare(&other);
    assert_eq!(world.plan().counts().encrypt, 0, "it has the same value");
    world.vault.insert("d".to_owned(), b"value of d".to_vec());
    let plan = world.plan();
    assert_eq!(reasons(&plan, &secret("a")), BTreeSet::from([Reason::OtherItem]));
    assert_eq!(plan.counts().encrypt, 1);
    world.carry_out(&plan);
    world.vault.insert("d".to_owned(), b"rotated".to_vec());
    assert_eq!(reasons(&world.plan(), &secret("a")), BTreeSet::from([Reason::ValueChanged]));
}

#[test]
fn never_recorded() {
    let mut world = World::settled(MANIFEST);
    world.receipt.files.clear();
    let plan = world.plan();
    assert_eq!(reasons(&plan, &secret("a")), BTreeSet::from([Reason::NeverRecorded]));
    // Nobody knows who wrote it, and what it is to hold is known: it is left.
    assert!(plan.changes.iter().all(|change| change.address != Address::File(file("motd"))));
}

#[test]
fn other_fingerprint_key() {
    let mut world = World::settled(MANIFEST);
    world.key = crate::secret::FingerprintKey::new(&mut [8; 32]);
    assert!(world.plan().is_empty(), "equal revisions need no fingerprint");
    for record in world.receipt.files.values_mut().filter_map(|file| file.written.as_mut()).flat_map(|w| &mut w.keys) {
        record.revision = None;
    }
    assert_eq!(reasons(&world.plan(), &secret("a")), BTreeSet::from([Reason::OtherFingerprintKey]));
}

#[test]
fn edited_outside() {
    let mut world = World::settled(MANIFEST);
    world.sops(&sops(), |sops| {
        sops.digest = Digest::of(b"edited");
        if let Some(leaf) = sops.leaves.get_mut(&KeyPath::new(["a"])) {
            leaf.digest = Digest::of(b"edited leaf");
        }
    });
    let plan = world.plan();
    assert_eq!(reasons(&plan, &secret("a")), BTreeSet::from([Reason::EditedOutside]));
    assert!(reasons(&plan, &secret("a")).iter().all(Reason::is_drift));
    assert!(plan.changes.iter().all(|change| change.address != secret("b/c")), "{plan:#?}");
}

#[test]
fn wrong_type() {
    let mut world = World::settled(MANIFEST);
    world.sops(&sops(), |sops| {
        sops.digest = Digest::of(b"edited");
        if let Some(leaf) = sops.leaves.get_mut(&KeyPath::new(["a"])) {
            leaf.kind = LeafKind::Int;
        }
    });
    assert!(reasons(&world.plan(), &secret("a")).contains(&Reason::WrongType));
}

#[test]
fn file_edited_outside() {
    let mut world = World::settled(MANIFEST);
    world.sops(&sops(), |sops| sops.digest = Digest::of(b"another lastmodified"));
    assert_eq!(reasons(&world.plan(), &Address::File(sops())), BTreeSet::from([Reason::FileEditedOutside]));
}

#[test]
fn file_broken() {
    let mut world = World::settled(MANIFEST);
    let broken = FileState::Broken { digest: Digest::of(b"<<<<<<<"), problem: Untrusted::new("conflict markers") };
    world.actual.files.insert(sops(), Observation::Known(broken));
    let plan = world.plan();
    assert!(matches!(blocker(&plan, &Address::File(sops())), Blocker::FileBroken { .. }));
    assert_untouched(&plan);
    world.wishes.replace.insert(Address::File(sops()));
    let plan = world.plan();
    assert!(reasons(&plan, &Address::File(sops())).contains(&Reason::FileBroken));
    assert!(plan.blocked.is_empty(), "{plan:#?}");
}

/// Nobody without its key can see that a value does not decrypt: a file that looks right is written anew on request.
#[test]
fn replaced() {
    let mut world = World::settled(MANIFEST);
    world.wishes.replace.insert(Address::File(sops()));
    let plan = world.plan();
    assert_eq!(reasons(&plan, &Address::File(sops())), BTreeSet::from([Reason::Replaced]));
    assert_eq!(kinds(&plan), ["collect secrets.yaml", "encrypt secrets.yaml", "index", "switch vm", "verify vm"]);
    assert!(!Reason::Replaced.is_drift());

    // What stands in the way of any other encryption stands in the way of this one.
    let vault = std::mem::take(&mut world.vault);
    assert_untouched(&world.plan());
    world.vault = vault;
    world.on(&host("vm"), |state| state.identity = Observation::Known(IdentityState::Present(recipient(OTHER_KEY))));
    assert_untouched(&world.plan());
    world.wishes.accept_recipients.insert(host("vm"));
    world.sops(&sops(), |sops| sops.leaves.extend([(KeyPath::new(["theirs"]), leaf("theirs"))]));
    assert_untouched(&world.plan());
}

#[test]
fn key_groups() {
    let mut world = World::settled(MANIFEST);
    world.sops(&sops(), |sops| sops.key_groups = true);
    world.wishes.replace.insert(Address::File(sops()));
    let plan = world.plan();
    assert_eq!(blocker(&plan, &Address::File(sops())), Blocker::KeyGroups);
    assert_untouched(&plan);
}

#[test]
fn declaration_changed_encrypts_nothing() {
    let mut world = World::settled(MANIFEST);
    world.declare(&MANIFEST.replace("0400", "0440"));
    let plan = world.plan();
    assert_eq!(reasons(&plan, &secret("a")), BTreeSet::from([Reason::DeclarationChanged]));
    assert_eq!(kinds(&plan), ["index", "switch vm", "verify vm"]);
}

#[test]
fn renamed() {
    let mut world = World::settled(MANIFEST);
    let renamed = MANIFEST.replace("  a: {item: a,", "  z: {item: a,");
    world.declare(&format!("{renamed}moved: [{{from: a, to: z}}]\n"));
    let plan = world.plan();
    assert_eq!(reasons(&plan, &secret("z")), BTreeSet::from([Reason::Renamed { from: name("a") }]));
    assert_eq!(plan.counts().destroy, 0);
}

/// Two secrets whose keys changed places, and one that took over the key of another: what is there is not theirs.
#[test]
fn a_key_that_was_another_secrets_is_written_anew() {
    let at = |a: &str, b: &str| {
        MANIFEST
            .replace("{sops: {owner: m,", &format!("{{sops: {{key: {a}, owner: m,"))
            .replace("{item: bc, delivery: {sops: {}}}", &format!("{{item: bc, delivery: {{sops: {{key: {b}}}}}}}"))
    };
    let mut world = World::settled(&at("one", "two"));
    world.declare(&at("two", "one"));
    let plan = world.plan();
    for swapped in ["a", "b/c"] {
        assert_eq!(reasons(&plan, &secret(swapped)), BTreeSet::from([Reason::DeclarationChanged]));
    }
    assert_eq!((plan.counts().encrypt, plan.counts().destroy), (1, 0), "{plan:#?}");

    let mut world = World::settled(&at("one", "two"));
    let taken = at("one", "two").replace("  a: {item: a,", "  z: {item: d,");
    world.declare(&taken);
    assert!(reasons(&world.plan(), &secret("z")).contains(&Reason::NeverRecorded));
    world.declare(&format!("{taken}moved: [{{from: a, to: z}}]\n"));
    assert_eq!(reasons(&world.plan(), &secret("z")), BTreeSet::from([Reason::Renamed { from: name("a") }]));
}

#[test]
fn recipients_changed() {
    let mut world = World::settled(MANIFEST);
    world.sops(&sops(), |sops| {
        sops.digest = Digest::of(b"swapped");
        sops.recipients = BTreeMap::from([(Untrusted::new(OTHER_KEY), Digest::of(b"x"))]);
    });
    let reasons = reasons(&world.plan(), &Address::File(sops()));
    let swapped = Reason::RecipientsChanged {
        added: BTreeSet::from([recipient(HOST_KEY)]),
        removed: BTreeSet::from([Untrusted::new(OTHER_KEY)]),
    };
    assert!(reasons.contains(&swapped), "{reasons:?}");
}

#[test]
fn a_changed_host_key_needs_consent() {
    let mut world = World::settled(MANIFEST);
    let other = recipient(OTHER_KEY);
    world.on(&host("vm"), |state| state.identity = Observation::Known(IdentityState::Present(other.clone())));
    world.vault.insert("a".to_owned(), b"rotated".to_vec());
    let plan = world.plan();
    let changed =
        Blocker::HostKeyChanged { accepted: recipient(HOST_KEY), offered: Some(other.clone()), seen: KeySeen::OnHost };
    assert_eq!(blocker(&plan, &Address::Host(host("vm"))), changed);
    assert_untouched(&plan);
    world.wishes.accept_recipients.insert(host("vm"));
    let plan = world.plan();
    let encrypts = |step: &Step| matches!(step, Step::Encrypt { recipients, .. } if *recipients == [EncryptTo::Key(other.clone())]);
    assert!(plan.steps.iter().any(encrypts), "{plan:#?}");
    let instead_of = Some(recipient(HOST_KEY));
    assert!(plan.notes.contains(&Note::KeyAccepted { host: host("vm"), key: other, instead_of }), "{:?}", plan.notes);
}

#[test]
fn a_key_in_the_dataset_alone_is_not_believed() {
    let mut world = World::settled(MANIFEST);
    let gone = Cause::HostUnreachable { host: host("vm"), detail: Untrusted::new("connection refused") };
    world.actual.hosts.insert(host("vm"), Observation::Unknown(gone));
    let content = format!("{OTHER_KEY}\n").into_bytes();
    let swapped = FileState::Public { digest: Digest::of(&content), content };
    world.actual.files.insert(file("vm-age-pubkey"), Observation::Known(swapped));
    world.vault.insert("a".to_owned(), b"rotated".to_vec());
    let plan = world.plan();
    let by = blocker(&plan, &Address::Host(host("vm")));
    assert!(matches!(by, Blocker::HostKeyChanged { seen: KeySeen::InDataset, .. }), "{by:?}");
    assert_untouched(&plan);
}

#[test]
fn a_key_that_was_never_accepted_and_cannot_be_read_says_why() {
    let mut world = World::new(MANIFEST);
    let content = format!("{OTHER_KEY}\n").into_bytes();
    let offered = FileState::Public { digest: Digest::of(&content), content };
    world.actual.files.insert(file("vm-age-pubkey"), Observation::Known(offered));
    let gone = Cause::HostUnreachable { host: host("vm"), detail: Untrusted::new("its name is not known") };
    world.actual.hosts.insert(host("vm"), Observation::Unknown(gone.clone()));
    // What the dataset offers would not be taken now: it is not offered.
    let by = Blocker::HostKeyUnverified { cause: Some(gone), offered: None };
    assert_eq!(blocker(&world.plan(), &Address::Host(host("vm"))), by);
    let root = || Cause::NeedsRoot { host: host("vm") };
    let seen = World::new(MANIFEST).actual.hosts;
    world.actual.hosts = seen;
    world.on(&host("vm"), |state| state.identity = Observation::Unknown(root()));
    let unverified = |offered| Blocker::HostKeyUnverified { cause: Some(root()), offered };
    assert_eq!(blocker(&world.plan(), &Address::Host(host("vm"))), unverified(Some(recipient(OTHER_KEY))));
    world.actual.files.insert(file("vm-age-pubkey"), Observation::Known(FileState::Absent));
    assert_eq!(blocker(&world.plan(), &Address::Host(host("vm"))), unverified(None));
}

#[test]
fn a_host_without_identity_gets_one_first() {
    let mut world = World::new(MANIFEST);
    world.on(&host("vm"), |state| state.identity = Observation::Known(IdentityState::Absent));
    let plan = world.plan();
    assert_eq!(kinds(&plan).first().map(String::as_str), Some("identity vm"));
    world.carry_out(&plan);
    assert!(world.plan().is_empty(), "{:#?}", world.plan());
}

#[test]
fn source_changed() {
    let mut world = World::settled(MANIFEST);
    world.declare(&MANIFEST.replace("hello", "goodbye"));
    assert_eq!(reasons(&world.plan(), &Address::File(file("motd"))), BTreeSet::from([Reason::SourceChanged]));
}

#[test]
fn index_stale() {
    let mut world = World::settled(MANIFEST);
    world.actual.index = Observation::Known(IndexState::Broken { digest: Digest::of(b"?") });
    let plan = world.plan();
    assert_eq!(reasons(&plan, &Address::File(file("reconcile.json"))), BTreeSet::from([Reason::IndexStale]));
    assert_eq!(kinds(&plan), ["index"]);
}

#[test]
fn host_behind() {
    let mut world = World::settled(MANIFEST);
    world.on(&host("vm"), |state| state.installs = Some(Digest::of(b"older")));
    let plan = world.plan();
    assert_eq!(reasons(&plan, &Address::Host(host("vm"))), BTreeSet::from([Reason::HostBehind]));
    assert_eq!(kinds(&plan), ["switch vm", "verify vm"]);
    world.wishes.no_switch = true;
    let plan = world.plan();
    assert!(plan.steps.is_empty() && plan.notes.contains(&Note::SwitchWithheld { host: host("vm") }));
    assert!(!plan.is_complete(), "what is withheld is not `No changes.`");
}

#[test]
fn host_drifted() {
    let mut world = World::settled(MANIFEST);
    world.on(&host("vm"), |state| {
        state.secrets.insert(name("b/c"), Observation::Known(InstalledState::Absent));
        if let Some(Observation::Known(InstalledState::Present(installed))) = state.secrets.get_mut(&name("a")) {
            installed.mode = 0o444;
            installed.size += 1;
        }
    });
    let drifted = Reason::HostDrifted {
        secrets: BTreeMap::from([
            (name("a"), BTreeSet::from([Difference::Mode, Difference::Size])),
            (name("b/c"), BTreeSet::from([Difference::Absent])),
        ]),
    };
    assert_eq!(reasons(&world.plan(), &Address::Host(host("vm"))), BTreeSet::from([drifted]));
}

#[test]
fn what_comes_from_another_key_of_the_file_has_drifted() {
    let mut world = World::settled(MANIFEST);
    world.on(&host("vm"), |state| {
        if let Some(Observation::Known(InstalledState::Present(installed))) = state.secrets.get_mut(&name("a")) {
            installed.key = Some(Untrusted::new("b/c"));
        }
    });
    let secrets = BTreeMap::from([(name("a"), BTreeSet::from([Difference::Key]))]);
    let drifted = BTreeSet::from([Reason::HostDrifted { secrets }]);
    assert_eq!(reasons(&world.plan(), &Address::Host(host("vm"))), drifted);
}

#[test]
fn what_is_of_another_generation_or_of_none_has_drifted() {
    let mut world = World::settled(MANIFEST);
    let of = |world: &mut World, secret: &str, generation| {
        world.on(&host("vm"), |state| {
            state.generation = Some(41);
            if let Some(Observation::Known(InstalledState::Present(seen))) = state.secrets.get_mut(&name(secret)) {
                seen.generation = Some(generation);
            }
        });
    };
    of(&mut world, "a", Generation::Number(41));
    of(&mut world, "b/c", Generation::Number(41));
    assert!(world.plan().is_empty(), "{:#?}", world.plan());
    of(&mut world, "a", Generation::Number(40));
    of(&mut world, "b/c", Generation::None);
    let secrets = BTreeMap::from([
        (name("a"), BTreeSet::from([Difference::Generation])),
        (name("b/c"), BTreeSet::from([Difference::Stray])),
    ]);
    let drifted = BTreeSet::from([Reason::HostDrifted { secrets }]);
    assert_eq!(reasons(&world.plan(), &Address::Host(host("vm"))), drifted);
}

#[test]
fn activation_failed() {
    let mut world = World::settled(MANIFEST);
    world.on(&host("vm"), |state| state.activation = Activation::Failed);
    assert_eq!(reasons(&world.plan(), &Address::Host(host("vm"))), BTreeSet::from([Reason::ActivationFailed]));
}

#[test]
fn a_missing_item_blocks_its_file_and_nothing_else() {
    let mut world = World::settled(MANIFEST);
    world.vault.remove("a");
    world.vault.insert("bc".to_owned(), b"rotated".to_vec());
    let plan = world.plan();
    assert!(matches!(blocker(&plan, &secret("a")), Blocker::Unknown(Cause::ItemMissing { .. })));
    assert!(matches!(blocker(&plan, &Address::File(sops())), Blocker::DependsOn { .. }));
    assert_untouched(&plan);
}

#[test]
fn an_empty_item_is_never_written() {
    let mut world = World::settled(MANIFEST);
    world.vault.insert("a".to_owned(), Vec::new());
    let plan = world.plan();
    assert!(matches!(blocker(&plan, &secret("a")), Blocker::Unknown(Cause::ItemEmpty { .. })));
    assert_untouched(&plan);
}

#[test]
fn a_locked_vault_is_unchecked_while_nothing_else_changes_and_blocks_when_something_does() {
    let mut world = World::settled(MANIFEST);
    world.locked = true;
    let plan = world.plan();
    assert!(plan.is_empty() && !plan.is_complete(), "{plan:#?}");
    world.sops(&sops(), |sops| sops.digest = Digest::of(b"edited"));
    assert_untouched(&world.plan());
}

#[test]
fn an_unreachable_host_leaves_files_to_be_planned() {
    let mut world = World::settled(MANIFEST);
    let gone = Cause::HostUnreachable { host: host("vm"), detail: Untrusted::new("connection refused") };
    world.actual.hosts.insert(host("vm"), Observation::Unknown(gone));
    assert!(!world.plan().is_complete() && world.plan().is_empty());
    world.vault.insert("a".to_owned(), b"rotated".to_vec());
    let plan = world.plan();
    assert_eq!(kinds(&plan), ["collect secrets.yaml", "encrypt secrets.yaml", "index"]);
    assert!(matches!(blocker(&plan, &Address::Host(host("vm"))), Blocker::Unknown(Cause::HostUnreachable { .. })));
}

#[test]
fn a_run_time_secret_is_a_note_and_never_counted() {
    let mut world = World::settled(MANIFEST);
    world.vault.remove("token");
    let plan = world.plan();
    assert!(plan.is_empty(), "{plan:#?}");
    assert!(plan.notes.iter().any(|note| matches!(note, Note::RuntimeSecret { .. })));
}

#[test]
fn a_target_widens_to_its_file() {
    let mut world = World::settled(MANIFEST);
    world.vault.insert("a".to_owned(), b"rotated".to_vec());
    world.vault.insert("bc".to_owned(), b"rotated too".to_vec());
    world.declare(&MANIFEST.replace("hello", "goodbye"));
    world.wishes.targets.insert(secret("a"));
    let plan = world.plan();
    assert!(plan.changes.iter().all(|change| change.address != Address::File(file("motd"))), "{plan:#?}");
    assert!(plan.notes.contains(&Note::ComesAlong { address: secret("b/c") }));
    assert!(plan.notes.contains(&Note::Targeted));
}

#[test]
fn a_file_shared_by_hosts_says_what_reaches_whom() {
    let two = MANIFEST.replace(
        "secrets:\n",
        "  other:\n    ssh: m@other\n    age_key_file: /k\n    recipient: {file: other-key}\nsecrets:\n",
    );
    let two = two.replace("    motd:", "    other-key: {age_key_of: other}\n    motd:");
    let two = two.replace("{sops: {}}", "{sops: {hosts: [vm]}}");
    let plan = World::new(&two).plan();
    let note = Note::Overshared { secret: name("b/c"), host: host("other") };
    assert!(plan.notes.contains(&note), "{:#?}", plan.notes);
    assert!(plan.notes.contains(&Note::SwitchByHand { host: host("other") }));
}

/// The steps of a plan that concern hosts, as JSON shows them.
fn switches(plan: &Plan) -> Vec<serde_json::Value> {
    let steps = plan.steps.iter().filter_map(|step| serde_json::to_value(step).ok());
    steps.filter(|step| step["step"] == "switch").collect()
}

#[test]
fn hosts_that_one_command_takes_are_switched_together() {
    let mut world = World::new(&fleet());
    let plan = world.plan();
    let mut last = kinds(&plan);
    last.retain(|kind| kind.starts_with("switch") || kind.starts_with("verify"));
    assert_eq!(last, ["switch db", "switch vm+web", "verify db", "verify vm", "verify web"]);
    assert_eq!(plan.counts().switch, 3);
    assert_eq!(
        switches(&plan),
        [
            serde_json::json!({"step": "switch", "host": "db"}),
            serde_json::json!({"step": "switch", "hosts": ["vm", "web"]})
        ]
    );
    let command = |name: &str| {
        let change = plan.changes.iter().find(|change| change.address == Address::Host(host(name)));
        change.map(|change| change.details.clone())
    };
    let details =
        |text: &str| Some(Details::Host { switch: text.to_owned(), everything: true, restarts: BTreeMap::new() });
    assert_eq!(command("db"), details("switch db"));
    assert_eq!(command("web"), details("colmena --on vm,web"));
    world.carry_out(&plan);
    // One of them alone is still switched by the command for several.
    world.on(&host("web"), |state| state.activation = Activation::Failed);
    assert_eq!(kinds(&world.plan()), ["switch web", "verify web"]);
    assert_eq!(switches(&world.plan()), [serde_json::json!({"step": "switch", "hosts": ["web"]})]);
    // One that does not answer keeps no other back.
    world.vault.insert("a".to_owned(), b"rotated".to_vec());
    let gone = Cause::HostUnreachable { host: host("vm"), detail: Untrusted::new("timed out") };
    world.actual.hosts.insert(host("vm"), Observation::Unknown(gone.clone()));
    let plan = world.plan();
    assert_eq!(blocker(&plan, &Address::Host(host("vm"))), Blocker::Unknown(gone));
    assert_eq!(kinds(&plan).split_off(3), ["switch db", "switch web", "verify db", "verify web"]);
}

#[test]
fn a_command_that_names_its_sops_file_takes_only_the_hosts_of_that_file() {
    let named = fleet().replace("colmena, --on, '{hosts}'", "deploy, '{sops_file}', '{each_host}'");
    let plan = World::new(&named).plan();
    assert_eq!(switches(&plan)[1], serde_json::json!({"step": "switch", "hosts": ["vm", "web"]}));
    let apart = named.replace("{ssh: m@web,", "{ssh: m@web, sops_file: web.yaml,");
    let plan = World::new(&apart).plan();
    assert_eq!(switches(&plan).len(), 3, "{plan:#?}");
}

#[test]
fn a_host_is_looked_at_also_when_its_switch_failed() {
    let plan = World::new(&fleet()).plan();
    let step = |text: &str| {
        let at = kinds(&plan).iter().position(|kind| kind == text);
        plan.steps[at.unwrap_or_else(|| panic!("{text} in {plan:#?}"))].clone()
    };
    let (group, verify) = (step("switch vm+web"), step("verify web"));
    assert_eq!(verify.needs(&group), Need::Begun);
    assert_eq!(verify.needs(&step("switch db")), Need::Nothing);
    assert_eq!(group.needs(&step("switch db")), Need::Nothing);
    assert_eq!(group.needs(&step("encrypt secrets.yaml")), Need::Done);
    assert!(group.may_run_beside(&step("switch db")) && verify.may_run_beside(&step("verify vm")));
    assert!(!verify.may_run_beside(&group) && !step("index").may_run_beside(&group));
}

#[test]
fn units_behind() {
    let units = "delivery: {sops: {restart_user_units: {m: [u.service, v.service]}}}";
    let text = MANIFEST.replace("{item: bc, delivery: {sops: {}}}", &format!("{{item: bc, {units}}}"));
    let mut world = World::settled(&text);
    assert!(world.plan().is_empty(), "the first switch restarted them");
    // Another secret changes: its units are none of these.
    world.vault.insert("a".to_owned(), b"rotated".to_vec());
    let plan = world.plan();
    assert_eq!(kinds(&plan).last().map(String::as_str), Some("verify vm"));
    world.carry_out(&plan);
    // Its own value changes, and the units do not start.
    world.vault.insert("bc".to_owned(), b"rotated".to_vec());
    let plan = world.plan();
    let restart = r#"restart {"m": {"u.service", "v.service"}} on vm"#;
    assert_eq!(kinds(&plan).split_off(3), ["switch vm", "verify vm", restart]);
    let step = |number: usize| plan.steps[number].clone();
    assert_eq!(step(5).needs(&step(4)), Need::Done, "a unit that restarts too early has the old value");
    world.restarts_fail = true;
    world.carry_out(&plan);
    // What is left is no reason to switch again.
    let plan = world.plan();
    assert_eq!(kinds(&plan), [restart]);
    let expected = Reason::UnitsBehind { secrets: BTreeSet::from([name("b/c")]) };
    assert_eq!(reasons(&plan, &Address::Host(host("vm"))), BTreeSet::from([expected]));
    assert_eq!((plan.counts().switch, plan.counts().restart), (0, 1));
    world.wishes.no_switch = true;
    assert!(kinds(&world.plan()).is_empty(), "hosts are left as they are");
    assert!(!world.plan().is_complete(), "and that is said");
    world.wishes.no_switch = false;
    world.restarts_fail = false;
    world.carry_out(&plan);
    assert!(world.plan().is_empty());
    // A host that is brought up to date later restarts them then.
    world.vault.insert("bc".to_owned(), b"again".to_vec());
    world.wishes.no_switch = true;
    let plan = world.plan();
    world.carry_out(&plan);
    world.wishes.no_switch = false;
    assert_eq!(kinds(&world.plan()), ["switch vm", "verify vm", restart]);
}
