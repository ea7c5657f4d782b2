//! What must hold in every world: applying a plan and planning again gives nothing to do; what is blocked stays so and
//! touches nothing; `No changes.` is said only when it is true; what somebody else wrote is not lost.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::world::{MANIFEST, OTHER_KEY, World, file, host, recipient};
use crate::actual::{Activation, FileState, IdentityState, IndexState, InstalledState};
use crate::address::{Address, FileName, HostName, KeyPath};
use crate::digest::Digest;
use crate::manifest::{self, Switch};
use crate::observation::{Cause, Observation};
use crate::plan::{Action, Group, Plan, Step};
use crate::sops::{Leaf, LeafKind};
use crate::text::Untrusted;

/// Names of secrets, and keys of theirs: none lies inside another.
const NAMES: [&str; 5] = ["a", "b/c", "d", "e/f", "g"];
const ITEMS: [&str; 3] = ["a", "bc", "d"];
/// Some for each host alone, some for all that have the same.
const SWITCHES: [&str; 4] =
    ["switch", "vm.sh, '{host}'", "colmena, --on, '{hosts}'", "deploy, '{sops_file}', '{each_host}'"];
const ATTRIBUTES: [&str; 5] =
    ["", "owner: m", "mode: \"0440\"", "restart_units: [a.service]", "restart_user_units: {m: [u.service]}"];

/// A manifest of some secrets on one host or two, with one file or one each, under any keys. Two of them differ as two
/// versions of one manifest may, names and keys that changed places among it.
fn declared() -> impl Strategy<Value = String> {
    let secret = (0..ITEMS.len(), 0..ATTRIBUTES.len(), 0..4_u8);
    (
        Just(NAMES.to_vec()).prop_shuffle(),
        prop_oneof![Just(NAMES.to_vec()), Just(NAMES.to_vec()).prop_shuffle()],
        proptest::collection::vec(secret, 1..4),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        prop_oneof![(0..4_usize).prop_map(|both| (both, both)), (0..4_usize, 0..4_usize)],
    )
        .prop_map(|(names, keys, secrets, (two, apart, moved, literal), switches)| {
            let key_of = |name: &str| keys[NAMES.iter().position(|other| *other == name).unwrap_or(0)];
            let mut text =
                String::from("version: 1\nname: test\nvault: {file: {path: vault.yaml}}\ndataset:\n  path: dataset\n");
            text += "  files:\n    vm-age-pubkey: {age_key_of: vm}\n";
            text += if literal { "    motd: {literal: goodbye}\n" } else { "    motd: {literal: hello}\n" };
            text += if two { "    box-age-pubkey: {age_key_of: box}\n" } else { "" };
            let host = |name: &str, sops_file: &str, switch: usize| {
                let switch = SWITCHES[switch];
                format!(
                    "  {name}: {{ssh: m@{name}, age_key_file: /key.txt, recipient: {{file: {name}-age-pubkey}}, \
                    sops_file: {sops_file}, switch: {{command: [{switch}]}}}}\n"
                )
            };
            text += "hosts:\n";
            text += &host("vm", "secrets.yaml", switches.0);
            let file = if apart { "box.yaml" } else { "secrets.yaml" };
            text += &if two { host("box", file, switches.1) } else { String::new() };
            text += "secrets:\n";
            for (name, (item, attribute, hosts)) in names.iter().zip(&secrets) {
                let hosts = match hosts {
                    1 => ", hosts: [vm]",
                    2 if two => ", hosts: [box]",
                    _ => "",
                };
                let attribute = ATTRIBUTES[*attribute];
                let more = if attribute.is_empty() { String::new() } else { format!(", {attribute}") };
                let (item, key) = (ITEMS[*item], key_of(name));
                text += &format!("  {name}: {{item: {item}, delivery: {{sops: {{key: {key}{more}{hosts}}}}}}}\n");
            }
            if moved {
                text += &format!("moved: [{{from: {}, to: {}}}]\n", names[4], names[0]);
            }
            text
        })
        .prop_filter("it is refused", |text| manifest::parse("test", text).is_ok())
}

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
    HostGone(u8),
    HostBehind(u8),
    HostKeyChanges(u8),
    HostKeyGone(u8),
    SecretGone(u8, u8),
    ModeChanges(u8, u8),
    ActivationFails(u8),
    Declare(String),
    AcceptKey,
    DestroyForeign,
    Replace,
    NoSwitch,
    RestartsFail,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 1..9)).prop_map(|(which, value)| Rotate(which, value)),
        any::<u8>().prop_map(RemoveItem),
        any::<u8>().prop_map(ActivationFails),
        any::<u8>().prop_map(HostKeyGone),
        any::<u8>().prop_map(HostKeyChanges),
        any::<u8>().prop_map(HostBehind),
        any::<u8>().prop_map(HostGone),
        any::<u8>().prop_map(EmptyItem),
        any::<u8>().prop_map(EditLeaf),
        any::<u8>().prop_map(WrongType),
        any::<u8>().prop_map(RemoveLeaf),
        any::<(u8, u8)>().prop_map(|(on, which)| SecretGone(on, which)),
        any::<(u8, u8)>().prop_map(|(on, which)| ModeChanges(on, which)),
        declared().prop_map(Declare),
        declared().prop_map(Declare),
        declared().prop_map(Declare),
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
            AcceptKey,
            DestroyForeign,
            Replace,
            NoSwitch,
            RestartsFail,
        ]),
    ]
}

fn item(which: u8) -> String {
    ITEMS[usize::from(which) % ITEMS.len()].to_owned()
}

fn happen(world: &mut World, what: &Happening) {
    use Happening::*;
    let sops = file("secrets.yaml");
    match what {
        Rotate(which, value) => drop(world.vault.insert(item(*which), value.clone())),
        RemoveItem(which) => drop(world.vault.remove(&item(*which))),
        EmptyItem(which) => drop(world.vault.insert(item(*which), Vec::new())),
        Lock => world.locked = true,
        BreakFile => {
            let broken = FileState::Broken { digest: Digest::of(b"<<<"), problem: Untrusted::new("conflict markers") };
            world.actual.files.insert(sops.clone(), Observation::Known(broken));
            world.truth.holds.remove(&sops);
        }
        RemoveFile => {
            world.actual.files.insert(sops.clone(), Observation::Known(FileState::Absent));
            world.truth.holds.remove(&sops);
        }
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
        HostGone(on) => {
            let host = one_of(world, *on);
            let gone = Cause::HostUnreachable { host: host.clone(), detail: Untrusted::new("timed out") };
            world.actual.hosts.insert(host, Observation::Unknown(gone));
        }
        Declare(manifest) => world.declare(manifest),
        AcceptKey => drop(world.wishes.accept_recipients.insert(host("vm"))),
        DestroyForeign => drop(world.wishes.destroy_foreign.insert(Address::Key(sops, KeyPath::new(["theirs"])))),
        Replace => drop(world.wishes.replace.insert(Address::File(sops))),
        NoSwitch => world.wishes.no_switch = true,
        RestartsFail => world.restarts_fail = true,
        EditLeaf(_) | WrongType(_) | RemoveLeaf(_) | ForeignLeaf | TouchFile | SwapRecipient | KeyGroups => {
            happen_in_file(world, what);
        }
        HostBehind(on)
        | HostKeyChanges(on)
        | HostKeyGone(on)
        | SecretGone(on, _)
        | ModeChanges(on, _)
        | ActivationFails(on) => happen_on_host(world, &one_of(world, *on), what),
    }
}

fn happen_in_file(world: &mut World, what: &Happening) {
    use Happening::*;
    let name = match what {
        EditLeaf(which) | WrongType(which) | RemoveLeaf(which) if which % 2 == 1 => file("box.yaml"),
        _ => file("secrets.yaml"),
    };
    let Some(Observation::Known(FileState::Sops(sops))) = world.actual.files.get(&name) else { return };
    let keys: Vec<KeyPath> = sops.leaves.keys().cloned().collect();
    let key = |which: u8| keys.get(usize::from(which) % keys.len().max(1)).cloned().unwrap_or(KeyPath::new(["none"]));
    world.writes += 1;
    let fresh = Digest::of(format!("outside {}", world.writes).as_bytes());
    let holds = world.truth.holds.entry(name.clone()).or_default();
    match what {
        EditLeaf(which) => drop(holds.get_mut(&key(*which)).map(|value| *value = fresh.to_string().into_bytes())),
        RemoveLeaf(which) => drop(holds.remove(&key(*which))),
        ForeignLeaf => drop(holds.insert(KeyPath::new(["theirs"]), fresh.to_string().into_bytes())),
        SwapRecipient => drop(world.truth.opens.insert(name.clone(), BTreeSet::from([OTHER_KEY.to_owned()]))),
        _ => {}
    }
    world.sops(&name, |sops| {
        sops.digest = fresh;
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

fn one_of(world: &World, which: u8) -> HostName {
    let hosts: Vec<&HostName> = world.manifest.hosts.keys().collect();
    hosts[usize::from(which) % hosts.len()].clone()
}

fn happen_on_host(world: &mut World, host: &HostName, what: &Happening) {
    use Happening::*;
    let Some(Observation::Known(state)) = world.actual.hosts.get(host) else { return };
    let names: Vec<_> = state.secrets.keys().cloned().collect();
    let secret = |which: u8| names.get(usize::from(which) % names.len().max(1)).cloned();
    world.on(host, |state| match what {
        HostBehind(_) => state.installs = Some(Digest::of(b"older")),
        HostKeyChanges(_) => state.identity = Observation::Known(IdentityState::Present(recipient(OTHER_KEY))),
        HostKeyGone(_) => state.identity = Observation::Known(IdentityState::Absent),
        SecretGone(_, which) => {
            let gone = secret(*which).map(|name| (name, Observation::Known(InstalledState::Absent)));
            state.secrets.extend(gone);
        }
        ModeChanges(_, which) => {
            let there = secret(*which).and_then(|name| state.secrets.get_mut(&name));
            if let Some(Observation::Known(InstalledState::Present(there))) = there {
                there.mode = 0o777;
            }
        }
        _ => state.activation = Activation::Failed,
    });
}

/// Where `No changes.` is said, every file holds what the vault says, opens for its hosts alone, and is installed.
fn is_true(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    if !plan.is_empty() || !plan.is_complete() {
        return Ok(());
    }
    for (name, hosts) in world.manifest.sops_files() {
        // A file of no secrets need not be there.
        if let Some(opens) = world.truth.opens.get(name).filter(|_| world.truth.holds.contains_key(name)) {
            let keys: BTreeSet<String> = hosts.iter().filter_map(|host| key_of(world, host)).collect();
            prop_assert_eq!(opens, &keys, "{} of {:#?}", name, hosts);
        }
        for (secret, declared, boot) in world.manifest.boot_secrets(name) {
            let value = world.vault.get(declared.item.name.as_deref().unwrap_or_default());
            let there = world.truth.holds.get(name).and_then(|holds| holds.get(&boot.key));
            prop_assert_eq!(there, value, "secret.{} in {}", secret, name);
            for host in boot.hosts.iter().filter(|host| hosts.contains(*host)) {
                let there = world.truth.installed.get(host).and_then(|installed| installed.get(secret));
                prop_assert_eq!(there, value, "secret.{} on {}", secret, host);
                if !boot.restart_user_units.is_empty() {
                    let began = world.truth.units.get(host).and_then(|units| units.get(secret));
                    prop_assert_eq!(began, value, "units with {} on {}", secret, host);
                }
            }
        }
    }
    Ok(())
}

fn key_of(world: &World, host: &HostName) -> Option<String> {
    match &world.state(host).identity {
        Observation::Known(IdentityState::Present(key)) => Some(key.as_str().to_owned()),
        _ => None,
    }
}

/// What is in files and neither recorded as ours nor declared nor given up.
fn of_others(world: &World) -> BTreeMap<(FileName, KeyPath), Vec<u8>> {
    let mut others = BTreeMap::new();
    for (name, holds) in &world.truth.holds {
        let recorded = world.receipt.written(name).map(|written| written.keys.as_slice()).unwrap_or_default();
        let declared: BTreeSet<_> = world.manifest.boot_secrets(name).map(|(_, _, boot)| &boot.key).collect();
        for (key, value) in holds {
            let ours = recorded.iter().any(|record| record.key == *key) || declared.contains(key);
            if !ours && !world.wishes.destroy_foreign.contains(&Address::Key(name.clone(), key.clone())) {
                others.insert((name.clone(), key.clone()), value.clone());
            }
        }
    }
    others
}

fn is_restart(step: &Step) -> bool {
    matches!(step, Step::RestartUserUnits { .. })
}

fn groups(plan: &Plan) -> impl Iterator<Item = &Group> {
    plan.steps.iter().filter_map(|step| if let Step::Switch(group) = step { Some(group) } else { None })
}

/// Each host that changes is in one switch and is verified once. Those that one command takes are in the same, others in
/// one of their own.
fn is_grouped(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let mut switched: Vec<&HostName> = groups(plan).flat_map(Group::hosts).collect();
    switched.sort();
    let changed = plan.changes.iter().filter(|change| change.action == Action::Switch);
    let changed: Vec<String> = changed.map(|change| change.address.to_string()).collect();
    prop_assert_eq!(changed, switched.iter().map(|host| format!("host.{host}")).collect::<Vec<_>>());
    let verified = plan.steps.iter().filter_map(|s| if let Step::Verify { host, .. } = s { Some(host) } else { None });
    prop_assert_eq!(verified.collect::<Vec<_>>(), switched);
    // What decides whether two hosts go together; nothing for one that goes alone.
    let command = |host: &HostName| {
        let declared = &world.manifest.hosts[host];
        let Some(Switch::Command(argv)) = &declared.switch else { return None };
        let all = argv.join(" ");
        let file = all.contains("{sops_file}").then(|| declared.sops_file.clone());
        (all.contains("{hosts}") || all.contains("{each_host}")).then_some((all, file))
    };
    let mut commands = BTreeSet::new();
    for group in groups(plan) {
        let theirs: BTreeSet<_> = group.hosts().into_iter().map(command).collect();
        prop_assert_eq!(theirs.len(), 1, "{:?}", group);
        let shared = theirs.into_iter().flatten().next();
        prop_assert_eq!(shared.is_some(), matches!(group, Group::Together { .. }), "{:?}", group);
        prop_assert!(shared.is_none_or(|shared| commands.insert(shared)), "{:?} could go with another", group);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_a_plan_settles_the_world(
        manifest in prop_oneof![Just(MANIFEST.to_owned()), declared(), declared()],
        applied in any::<bool>(),
        happenings in proptest::collection::vec(happening(), 0..7),
    ) {
        let mut world = if applied { World::settled(&manifest) } else { World::new(&manifest) };
        for what in &happenings {
            happen(&mut world, what);
        }
        let first = world.plan();
        prop_assert_eq!(&first, &world.plan(), "planning is not a function of its inputs");
        prop_assert!(serde_json::to_value(&first).is_ok(), "what is planned can be saved");
        prop_assert!(first.changes.iter().all(|change| !change.reasons.is_empty()));
        is_true(&world, &first)?;
        // A step's file is never one that is blocked.
        let blocked: BTreeSet<String> = first.blocked.iter().map(|blocked| blocked.address.to_string()).collect();
        for step in &first.steps {
            if let Step::Encrypt { file, .. } | Step::Publish { file, .. } = step {
                prop_assert!(!blocked.contains(&format!("file.{file}")), "{:#?}", first);
            }
        }
        // No host is brought to a file that is not the one we wrote.
        for host in groups(&first).flat_map(Group::hosts) {
            let sops = &world.manifest.hosts[host].sops_file;
            let encrypts = first.steps.iter().any(|step| matches!(step, Step::Encrypt { file, .. } if file == sops));
            let there = world.actual.files.get(sops).and_then(|seen| seen.known()).and_then(FileState::digest);
            let ours = there.is_some() && there == world.receipt.written(sops).map(|written| written.digest);
            prop_assert!(encrypts || ours, "{:#?}", first);
        }
        is_grouped(&world, &first)?;
        let others = of_others(&world);
        world.carry_out(&first);
        for ((file, key), value) in others {
            let there = world.truth.holds.get(&file).and_then(|holds| holds.get(&key));
            prop_assert_eq!(there, Some(&value), "{:?} in {} was somebody else's", key, file);
        }
        if world.restarts_fail {
            // What did not restart is left to do, and nothing else is.
            let left = world.plan();
            let restarts = |plan: &Plan| plan.steps.iter().filter(|step| is_restart(step)).cloned().collect::<Vec<_>>();
            prop_assert_eq!(restarts(&first), restarts(&left));
            prop_assert!(left.steps.iter().all(is_restart), "after {:#?}\nthere is {:#?}", first, left);
            prop_assert_eq!(left.changes.len(), left.steps.len(), "{:#?}", left);
            world.restarts_fail = false;
            world.carry_out(&left);
        }
        let second = world.plan();
        prop_assert!(second.changes.is_empty(), "after {:#?}\nthere is {:#?}", first, second);
        prop_assert!(second.steps.is_empty(), "after {:#?}\nthere is {:#?}", first, second);
        prop_assert!(!first.blocked.is_empty() || second.blocked.is_empty(), "{:#?}\n{:#?}", first, second);
        for still in &second.blocked {
            prop_assert!(first.blocked.contains(still), "{:?} was not blocked before: {:#?}", still, first);
        }
        is_true(&world, &second)?;
    }
}
