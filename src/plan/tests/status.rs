//! How far each secret has come, in every state of the vault, the file and the host.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{MANIFEST, OTHER_KEY, World, file, host, name, recipient};
use crate::actual::{Activation, FileState, IdentityState, InstalledState};
use crate::address::KeyPath;
use crate::digest::Digest;
use crate::observation::{Cause, Observation};
use crate::plan::{Blocker, BootLine, Difference, Reason, Standing, Status};
use crate::text::Untrusted;

fn line<'s>(status: &'s Status, secret: &str) -> &'s BootLine {
    let found = status.boot.iter().find(|line| line.secret == name(secret));
    found.unwrap_or_else(|| panic!("no line of {secret} in {status:#?}"))
}

fn differs(reasons: impl Into<BTreeSet<Reason>>) -> Standing {
    Standing::Differs { reasons: reasons.into() }
}

fn sops() -> crate::address::FileName {
    file("secrets.yaml")
}

#[test]
fn a_settled_world_is_up_to_date_everywhere() {
    let status = World::settled(MANIFEST).status();
    assert!(status.is_complete() && !status.differs(), "{status:#?}");
    let lines: Vec<_> = status.boot.iter().map(|line| (line.secret.as_str(), line.host.as_str())).collect();
    assert_eq!(lines, [("a", "vm"), ("b/c", "vm")]);
    let runtime: Vec<_> = status.runtime.iter().map(|line| (line.secret.as_str(), line.consumers.join(" "))).collect();
    assert_eq!(runtime, [("token", "gh".to_owned())]);
}

#[test]
fn before_the_first_apply_nothing_is_there() {
    let status = World::new(MANIFEST).status();
    assert_eq!(line(&status, "a").in_file, differs([Reason::FileMissing]));
    assert_eq!(line(&status, "a").on_host, differs([Reason::FileMissing]));
    assert_eq!(status.files.keys().map(|file| file.as_str()).collect::<Vec<_>>(), ["motd", "vm-age-pubkey"]);
    assert!(status.is_complete() && status.differs(), "{status:#?}");
}

#[test]
fn a_rotated_item_is_newer_than_a_file_that_the_host_still_agrees_with() {
    let mut world = World::settled(MANIFEST);
    world.vault.insert("a".to_owned(), b"rotated".to_vec());
    let status = world.status();
    assert_eq!(line(&status, "a").in_file, differs([Reason::ValueChanged]));
    assert_eq!(line(&status, "a").on_host, Standing::Current);
    assert_eq!(line(&status, "b/c").in_file, Standing::Current);
}

#[test]
fn a_fault_of_one_item_is_told_of_it_alone() {
    let mut world = World::settled(MANIFEST);
    world.vault.remove("a");
    world.vault.insert("bc".to_owned(), b"rotated".to_vec());
    let status = world.status();
    assert!(matches!(
        &line(&status, "a").in_file,
        Standing::Blocked { by: Blocker::Unknown(Cause::ItemMissing { .. }) }
    ));
    // A plan would only say that it waits for the other.
    assert_eq!(line(&status, "b/c").in_file, differs([Reason::ValueChanged]));
    assert!(!status.is_complete());
}

#[test]
fn with_a_locked_vault_the_file_still_tells_what_it_shows() {
    let mut world = World::settled(MANIFEST);
    world.locked = true;
    world.sops(&sops(), |sops| {
        let leaf = sops.leaves.values_mut().next().unwrap_or_else(|| panic!("it has keys"));
        leaf.digest = Digest::of(b"edited");
    });
    let status = world.status();
    assert_eq!(line(&status, "a").in_file, differs([Reason::EditedOutside]));
    let unknown = Standing::Unknown {
        cause: Cause::VaultLocked { unlock: "rbw unlock".to_owned(), hidden: crate::observation::Hidden::Value },
    };
    assert_eq!(line(&status, "b/c").in_file, unknown);
    assert_eq!(line(&status, "b/c").on_host, Standing::Current);
    assert_eq!(status.runtime[0].in_vault, unknown);
    assert!(!status.is_complete());
}

#[test]
fn a_host_that_cannot_be_asked_is_not_known_and_its_file_is() {
    let mut world = World::settled(MANIFEST);
    let off = Cause::HostUnreachable { host: host("vm"), detail: Untrusted::new("connection refused") };
    world.actual.hosts.insert(host("vm"), Observation::Unknown(off.clone()));
    let status = world.status();
    assert_eq!(line(&status, "a").in_file, Standing::Current);
    assert_eq!(line(&status, "a").on_host, Standing::Unknown { cause: off });
    assert!(status.blocked.is_empty() && !status.is_complete() && !status.differs());
}

#[test]
fn each_way_in_which_a_host_differs_is_told_of_the_secret() {
    let mut world = World::settled(MANIFEST);
    world.on(&host("vm"), |state| state.activation = Activation::Failed);
    assert_eq!(line(&world.status(), "a").on_host, differs([Reason::ActivationFailed]));
    world.on(&host("vm"), |state| {
        state.activation = Activation::Succeeded;
        state.secrets.insert(name("a"), Observation::Known(InstalledState::Absent));
        state.secrets.insert(name("b/c"), Observation::Unknown(Cause::NeedsRoot { host: host("vm") }));
    });
    let absent = BTreeMap::from([(name("a"), BTreeSet::from([Difference::Absent]))]);
    let status = world.status();
    assert_eq!(line(&status, "a").on_host, differs([Reason::HostDrifted { secrets: absent.clone() }]));
    assert_eq!(line(&status, "b/c").on_host, Standing::Unknown { cause: Cause::NeedsRoot { host: host("vm") } });
    // A host that is behind has other values: of its secrets only what is not there at all says anything.
    world.on(&host("vm"), |state| state.installs = Some(Digest::of(b"older")));
    let status = world.status();
    let both = differs([Reason::HostBehind, Reason::HostDrifted { secrets: absent }]);
    assert_eq!(line(&status, "a").on_host, both);
    assert_eq!(line(&status, "b/c").on_host, differs([Reason::HostBehind]));
}

#[test]
fn what_is_no_longer_declared_or_is_of_somebody_else_is_told() {
    let mut world = World::settled(MANIFEST);
    world.declare(&MANIFEST.replace("  b/c: {item: bc, delivery: {sops: {}}}\n", ""));
    let status = world.status();
    assert_eq!(status.undeclared, BTreeMap::from([(sops(), BTreeSet::from([name("b/c")]))]));
    assert!(status.is_complete() && status.differs() && status.pending.is_empty(), "{status:#?}");
    let mut world = World::settled(MANIFEST);
    world.sops(&sops(), |sops| {
        let theirs = sops.leaves.values().next().unwrap_or_else(|| panic!("it has keys")).clone();
        sops.leaves.insert(KeyPath::new(["theirs"]), theirs);
    });
    let status = world.status();
    assert!(matches!(status.blocked[..], [crate::plan::Blocked { by: Blocker::ForeignKey, .. }]), "{status:#?}");
    assert!(!status.is_complete());
}

#[test]
fn what_a_plan_changes_is_never_called_up_to_date() {
    let mut world = World::settled(MANIFEST);
    world.declare(&MANIFEST.replace("owner: m", "owner: root"));
    let status = world.status();
    let told: Vec<_> = status.pending.keys().map(ToString::to_string).collect();
    assert!(told.contains(&"secret.a".to_owned()) && status.differs(), "{status:#?}");
}

#[test]
fn what_keeps_a_file_or_a_host_from_the_next_apply_is_told() {
    let mut world = World::settled(MANIFEST);
    let other = IdentityState::Present(recipient(OTHER_KEY));
    world.on(&host("vm"), |state| state.identity = Observation::Known(other));
    let status = world.status();
    assert!(matches!(status.blocked[..], [crate::plan::Blocked { by: Blocker::HostKeyChanged { .. }, .. }]));
    assert_eq!(line(&status, "a").on_host, Standing::Current);
    let broken = FileState::Broken { digest: Digest::of(b"?"), problem: Untrusted::new("cut off") };
    world.actual.files.insert(sops(), Observation::Known(broken));
    let status = world.status();
    assert!(matches!(line(&status, "a").in_file, Standing::Blocked { by: Blocker::FileBroken { .. } }));
    assert_eq!(line(&status, "a").on_host, differs([Reason::FileBroken]));
}
