//! What must hold in every world: applying a plan and planning again gives nothing to do; what is blocked stays so and
//! touches nothing.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::world::{MANIFEST, OTHER_KEY, World, file, host, name, recipient};
use crate::actual::{Activation, FileState, IdentityState, IndexState, InstalledState};
use crate::address::KeyPath;
use crate::digest::Digest;
use crate::observation::{Cause, Observation};
use crate::plan::Step;
use crate::sops::{Leaf, LeafKind};
use crate::text::Untrusted;

/// Something that happens to a world between two plans.
#[derive(Debug, Clone)]
enum Happening {
    Rotate(u8, Vec<u8>),
    RemoveItem(u8),
    EmptyItem(u8),
    Lock,
    EditLeaf(u8),
    WrongType(u8),
    RemoveLeaf(u8),
    ForeignLeaf,
    TouchFile,
    SwapRecipient,
    BreakFile,
    RemoveFile,
    KeyGroups,
    EditPublic,
    RemovePublic,
    BreakIndex,
    RemoveIndex,
    LoseReceipt,
    LoseRevisions,
    OtherKey,
    HostGone,
    HostBehind,
    HostKeyChanges,
    HostKeyGone,
    SecretGone(u8),
    ModeChanges(u8),
    ActivationFails,
    Redeclare,
    Rename,
    Undeclare,
    Add,
    AcceptKey,
    DestroyForeign,
    Replace,
    NoSwitch,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 1..9)).prop_map(|(which, value)| Rotate(which, value)),
        any::<u8>().prop_map(RemoveItem),
        any::<u8>().prop_map(EmptyItem),
        any::<u8>().prop_map(EditLeaf),
        any::<u8>().prop_map(WrongType),
        any::<u8>().prop_map(RemoveLeaf),
        any::<u8>().prop_map(SecretGone),
        any::<u8>().prop_map(ModeChanges),
        prop::sample::select(vec![
            Lock,
            ForeignLeaf,
            TouchFile,
            SwapRecipient,
            BreakFile,
            RemoveFile,
            KeyGroups,
            EditPublic,
            RemovePublic,
            BreakIndex,
            RemoveIndex,
            LoseReceipt,
            LoseRevisions,
            OtherKey,
            HostGone,
            HostBehind,
            HostKeyChanges,
            HostKeyGone,
            ActivationFails,
            Redeclare,
            Rename,
            Undeclare,
            Add,
            AcceptKey,
            DestroyForeign,
            Replace,
            NoSwitch,
        ]),
    ]
}

const SECRETS: [(&str, &str); 2] = [("a", "a"), ("b/c", "bc")];

fn secret(which: u8) -> (&'static str, &'static str) {
    SECRETS[usize::from(which) % SECRETS.len()]
}

fn happen(world: &mut World, what: &Happening) {
    use Happening::*;
    let sops = file("secrets.yaml");
    match what {
        Rotate(which, value) => drop(world.vault.insert(secret(*which).1.to_owned(), value.clone())),
        RemoveItem(which) => drop(world.vault.remove(secret(*which).1)),
        EmptyItem(which) => drop(world.vault.insert(secret(*which).1.to_owned(), Vec::new())),
        Lock => world.locked = true,
        BreakFile => {
            let broken = FileState::Broken { digest: Digest::of(b"<<<"), problem: Untrusted::new("conflict markers") };
            world.actual.files.insert(sops, Observation::Known(broken));
        }
        RemoveFile => drop(world.actual.files.insert(sops, Observation::Known(FileState::Absent))),
        EditPublic => {
            let edited = FileState::Public { digest: Digest::of(b"x\n"), content: b"x\n".to_vec() };
            world.actual.files.insert(file("motd"), Observation::Known(edited));
        }
        RemovePublic => drop(world.actual.files.insert(file("vm-age-pubkey"), Observation::Known(FileState::Absent))),
        BreakIndex => world.actual.index = Observation::Known(IndexState::Broken { digest: Digest::of(b"?") }),
        RemoveIndex => world.actual.index = Observation::Known(IndexState::Absent),
        LoseReceipt => world.receipt.files.clear(),
        LoseRevisions => {
            let files = world.receipt.files.values_mut().filter_map(|file| file.written.as_mut());
            files.flat_map(|written| &mut written.keys).for_each(|key| key.revision = None);
        }
        OtherKey => world.key = crate::secret::FingerprintKey::new(&mut [9; 32]),
        HostGone => {
            let gone = Cause::HostUnreachable { host: host("vm"), detail: Untrusted::new("timed out") };
            world.actual.hosts.insert(host("vm"), Observation::Unknown(gone));
        }
        Redeclare => world.declare(&MANIFEST.replace("0400", "0440").replace("hello", "goodbye")),
        Rename => {
            let renamed = MANIFEST.replace("  a: {item: a,", "  z: {item: a,");
            world.declare(&format!("{renamed}moved: [{{from: a, to: z}}]\n"));
        }
        Undeclare => world.declare(&MANIFEST.replace("  b/c: {item: bc, delivery: {sops: {}}}\n", "")),
        Add => world.declare(&format!("{MANIFEST}  new: {{item: new, delivery: {{sops: {{}}}}}}\n")),
        AcceptKey => drop(world.wishes.accept_recipients.insert(host("vm"))),
        DestroyForeign => {
            let key = crate::address::Address::Key(sops, KeyPath::new(["theirs"]));
            world.wishes.destroy_foreign.insert(key);
        }
        Replace => drop(world.wishes.replace.insert(crate::address::Address::File(sops))),
        NoSwitch => world.wishes.no_switch = true,
        EditLeaf(_) | WrongType(_) | RemoveLeaf(_) | ForeignLeaf | TouchFile | SwapRecipient | KeyGroups => {
            happen_in_file(world, what);
        }
        HostBehind | HostKeyChanges | HostKeyGone | SecretGone(_) | ModeChanges(_) | ActivationFails => {
            happen_on_host(world, what);
        }
    }
}

fn happen_in_file(world: &mut World, what: &Happening) {
    use Happening::*;
    let name = file("secrets.yaml");
    if !matches!(world.actual.files.get(&name), Some(Observation::Known(FileState::Sops(_)))) {
        return;
    }
    world.writes += 1;
    let fresh = Digest::of(format!("outside {}", world.writes).as_bytes());
    world.sops(&name, |sops| {
        sops.digest = fresh;
        let key = |which: u8| KeyPath::new(secret(which).0.split('/'));
        match what {
            EditLeaf(which) => drop(sops.leaves.get_mut(&key(*which)).map(|leaf| leaf.digest = fresh)),
            WrongType(which) => drop(sops.leaves.get_mut(&key(*which)).map(|leaf| leaf.kind = LeafKind::Int)),
            RemoveLeaf(which) => drop(sops.leaves.remove(&key(*which))),
            ForeignLeaf => {
                let leaf = Leaf { digest: fresh, kind: LeafKind::Str, length: 1 };
                sops.leaves.insert(KeyPath::new(["theirs"]), leaf);
            }
            SwapRecipient => sops.recipients = [(Untrusted::new(OTHER_KEY), fresh)].into(),
            KeyGroups => sops.key_groups = true,
            _ => {}
        }
    });
}

fn happen_on_host(world: &mut World, what: &Happening) {
    use Happening::*;
    let vm = host("vm");
    if !matches!(world.actual.hosts.get(&vm), Some(Observation::Known(_))) {
        return;
    }
    world.on(&vm, |state| match what {
        HostBehind => state.installs = Some(Digest::of(b"older")),
        HostKeyChanges => state.identity = Observation::Known(IdentityState::Present(recipient(OTHER_KEY))),
        HostKeyGone => state.identity = Observation::Known(IdentityState::Absent),
        SecretGone(which) => {
            state.secrets.insert(name(secret(*which).0), Observation::Known(InstalledState::Absent));
        }
        ModeChanges(which) => {
            if let Some(Observation::Known(InstalledState::Present(there))) =
                state.secrets.get_mut(&name(secret(*which).0))
            {
                there.mode = 0o777;
            }
        }
        _ => state.activation = Activation::Failed,
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_a_plan_settles_the_world(
        applied in any::<bool>(),
        happenings in proptest::collection::vec(happening(), 0..7),
    ) {
        let mut world = if applied { World::settled(MANIFEST) } else { World::new(MANIFEST) };
        for what in &happenings {
            happen(&mut world, what);
        }
        let first = world.plan();
        prop_assert_eq!(&first, &world.plan(), "planning is not a function of its inputs");
        prop_assert!(serde_json::to_value(&first).is_ok(), "what is planned can be saved");
        prop_assert!(first.changes.iter().all(|change| !change.reasons.is_empty()));
        // A step's file is never one that is blocked.
        let blocked: BTreeSet<String> = first.blocked.iter().map(|blocked| blocked.address.to_string()).collect();
        for step in &first.steps {
            if let Step::Encrypt { file, .. } | Step::Publish { file, .. } = step {
                prop_assert!(!blocked.contains(&format!("file.{file}")), "{:#?}", first);
            }
        }
        // No host is brought to a file that is not the one we wrote.
        let sops = file("secrets.yaml");
        let encrypts = first.steps.iter().any(|step| matches!(step, Step::Encrypt { .. }));
        let there = world.actual.files.get(&sops).and_then(|seen| seen.known()).and_then(FileState::digest);
        let ours = there.is_some() && there == world.receipt.written(&sops).map(|written| written.digest);
        let switches = first.steps.iter().any(|step| matches!(step, Step::Switch { .. }));
        prop_assert!(!switches || encrypts || ours, "{:#?}", first);
        world.carry_out(&first);
        let second = world.plan();
        prop_assert!(second.changes.is_empty(), "after {:#?}\nthere is {:#?}", first, second);
        prop_assert!(second.steps.is_empty(), "after {:#?}\nthere is {:#?}", first, second);
        prop_assert!(!first.blocked.is_empty() || second.blocked.is_empty(), "{:#?}\n{:#?}", first, second);
        for still in &second.blocked {
            prop_assert!(first.blocked.contains(still), "{:?} was not blocked before: {:#?}", still, first);
        }
    }
}
