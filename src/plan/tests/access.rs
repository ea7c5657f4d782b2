//! Who can decrypt and who can read.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{HOST_KEY, MANIFEST, OTHER_KEY, World, file, host, name, recipient};
use crate::actual::FileState;
use crate::digest::Digest;
use crate::manifest::Mode;
use crate::observation::{Cause, Observation};
use crate::plan::{Access, FileSeen, Holder, KeyHolder, KeyKnown, Reader, access};
use crate::text::Untrusted;

fn of(world: &World) -> Access {
    access(&world.manifest, &world.actual.files, &world.receipt)
}

/// Who, how their key is known, the key, whether the file is encrypted to it.
fn keys(access: &Access, file_name: &str) -> Vec<(String, Option<String>, Option<bool>)> {
    let who = |holder: &Holder| match holder {
        Holder::Host { host, known, .. } => format!("{host} {known:?}"),
        Holder::Extra { of } => format!("extra of {of:?}"),
        Holder::Undeclared => "undeclared".to_owned(),
    };
    let row = |KeyHolder { holder, key, in_file }: &KeyHolder| {
        (who(holder), key.as_ref().map(|key| key.as_is().to_owned()), *in_file)
    };
    access.files[&file(file_name)].keys.iter().map(row).collect()
}

fn readers(access: &Access, on: &str, secret: &str) -> (Option<String>, Mode, Vec<Reader>) {
    let found = access.hosts[&host(on)].iter().find(|readable| readable.secret == name(secret));
    let found = found.unwrap_or_else(|| panic!("{secret} is not on {on}"));
    (found.owner.clone(), found.mode, found.readers.clone())
}

#[test]
fn a_host_is_known_by_what_was_accepted_and_by_the_dataset_only_as_an_offer() {
    let mut world = World::new(MANIFEST);
    assert_eq!(keys(&of(&world), "secrets.yaml"), [("vm Unknown".to_owned(), None, None)]);
    let content = format!("{OTHER_KEY}\n").into_bytes();
    let offered = FileState::Public { digest: Digest::of(&content), content };
    world.actual.files.insert(file("vm-age-pubkey"), Observation::Known(offered));
    let expected = [("vm Offered".to_owned(), Some(OTHER_KEY.to_owned()), None)];
    assert_eq!(keys(&of(&world), "secrets.yaml"), expected);
    let access = of(&World::settled(MANIFEST));
    assert_eq!(access.files[&file("secrets.yaml")].file, FileSeen::Present);
    let expected = [(format!("vm {:?}", KeyKnown::Accepted), Some(HOST_KEY.to_owned()), Some(true))];
    assert_eq!(keys(&access, "secrets.yaml"), expected);
}

#[test]
fn a_key_that_nobody_declares_and_one_that_the_file_lacks_are_told() {
    let mut world = World::settled(MANIFEST);
    world.declare(&MANIFEST.replace("    recipient:", &format!("    extra_recipients: [{OTHER_KEY}]\n    recipient:")));
    let extra = format!("extra of {:?}", BTreeSet::from([host("vm")]));
    let keys_of = |world: &World| keys(&of(world), "secrets.yaml").split_off(1);
    assert_eq!(keys_of(&world), [(extra.clone(), Some(OTHER_KEY.to_owned()), Some(false))]);
    world.sops(&file("secrets.yaml"), |sops| {
        sops.recipients.insert(Untrusted::new(OTHER_KEY), Digest::of(b"x"));
        sops.recipients.insert(Untrusted::new("age1stranger"), Digest::of(b"x"));
        sops.other_keys.push(Untrusted::new("pgp: 00FF"));
    });
    let expected = [
        (extra, Some(OTHER_KEY.to_owned()), Some(true)),
        ("undeclared".to_owned(), Some("age1stranger".to_owned()), Some(true)),
        ("undeclared".to_owned(), Some("pgp: 00FF".to_owned()), Some(true)),
    ];
    assert_eq!(keys_of(&world), expected);
}

#[test]
fn a_file_that_shows_nothing_is_said_to() {
    let mut world = World::settled(MANIFEST);
    let cause = Cause::FileUnreadable { path: Untrusted::new("secrets.yaml"), detail: Untrusted::new("denied") };
    world.actual.files.insert(file("secrets.yaml"), Observation::Unknown(cause.clone()));
    assert_eq!(of(&world).files[&file("secrets.yaml")].file, FileSeen::Unknown { cause });
    assert_eq!(keys(&of(&world), "secrets.yaml")[0].2, None);
}

#[test]
fn owner_group_and_mode_say_who_reads() {
    let manifest = MANIFEST
        .replace(r#"{owner: m, mode: "0400", restart_units: [a.service]}"#, r#"{owner: m, group: keys, mode: "0440"}"#)
        .replace("b/c: {item: bc, delivery: {sops: {}}}", r#"b/c: {item: bc, delivery: {sops: {mode: "0444"}}}"#);
    let access = of(&World::new(&manifest));
    let m = Some("m".to_owned());
    let expected = (m, Mode(0o440), vec![Reader::User("m".to_owned()), Reader::Group("keys".to_owned())]);
    assert_eq!(readers(&access, "vm", "a"), expected);
    let root = Some("root".to_owned());
    let everybody = (root.clone(), Mode(0o444), vec![Reader::OwnersGroup, Reader::Everybody]);
    assert_eq!(readers(&access, "vm", "b/c"), everybody);
    assert_eq!(readers(&of(&World::new(MANIFEST)), "vm", "b/c"), (root, Mode(0o400), Vec::new()));
    let ours = MANIFEST.replace("{command: [switch]}", "{activate: {symlink_path: /run/secrets}}");
    let activated = (None, Mode(0o400), vec![Reader::Activating]);
    assert_eq!(readers(&of(&World::new(&ours)), "vm", "b/c"), activated);
    assert_eq!(access.runtime, BTreeMap::from([(name("token"), vec!["gh".to_owned()])]));
}

#[test]
fn what_a_host_can_decrypt_without_being_meant_to_is_told() {
    let manifest = MANIFEST
        .replace(
            "secrets:\n",
            &format!(
                "  web:\n    ssh: m@web\n    recipient: {OTHER_KEY}\n    switch: {{command: [switch]}}\nsecrets:\n"
            ),
        )
        .replace("{owner: m,", "{hosts: [vm], owner: m,");
    let access = of(&World::new(&manifest));
    let overshared = |wanted: &str| {
        let hosts = access.files[&file("secrets.yaml")].keys.iter().filter_map(|key| match &key.holder {
            Holder::Host { host, overshared, .. } if host.as_str() == wanted => Some(overshared.clone()),
            _ => None,
        });
        hosts.flatten().collect::<Vec<_>>()
    };
    assert_eq!((overshared("vm"), overshared("web")), (Vec::new(), vec![name("a")]));
    assert_eq!(keys(&access, "secrets.yaml")[1].1.as_deref(), Some(recipient(OTHER_KEY).as_str()));
}

#[test]
fn what_a_file_holds_beside_what_is_declared_is_told() {
    let held = |manifest: &str| {
        let mut world = World::settled(MANIFEST);
        world.declare(manifest);
        of(&world).files[&file("secrets.yaml")].undeclared.clone()
    };
    assert_eq!(held(MANIFEST), BTreeSet::new());
    let gone = MANIFEST.replace("  b/c: {item: bc, delivery: {sops: {}}}\n", "");
    assert_eq!(held(&gone), BTreeSet::from([Untrusted::new("b/c")]));
    // Under another name it is declared still.
    let renamed = MANIFEST.replace("  b/c:", "  d:").replace("secrets:\n", "moved: [{from: b/c, to: d}]\nsecrets:\n");
    assert_eq!(held(&renamed), BTreeSet::new());
}
