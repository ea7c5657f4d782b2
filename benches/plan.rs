//! Reading the manifest and deciding, of everything and of one change: pure, so nothing of vaults, files and hosts is in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reconcile::actual::{
    Activation, Actual, FileState, HostState, IdentityState, IndexState, Installed, InstalledState,
};
use reconcile::desired::{Desired, Item, ItemIdentity, Revision, ValueFacts, VaultFacts};
use reconcile::index::Index;
use reconcile::manifest::{self, Manifest};
use reconcile::observation::Observation;
use reconcile::plan::{Inputs, Wishes, plan};
use reconcile::receipt::{FileRecord, HostRecord, KeyRecord, Receipt, Written};
use reconcile::secret::{Fingerprint, FingerprintKey, SecretName, SecretValue};
use reconcile::sops::{Entry, Identities, Recipient, encrypt};
use reconcile::text::Untrusted;

/// A host and `count` boot secrets, to the recipient's public key.
fn text(count: usize, recipient: &Recipient) -> String {
    let mut text = format!(
        "version: 1\nname: bench\nvault: {{rbw: {{}}}}\ndataset: {{path: /dataset}}\nhosts:\n  vm:\n    ssh: m@vm\n    \
         recipient: {}\n    switch: {{command: [switch]}}\nsecrets:\n",
        recipient.as_str()
    );
    for number in 0..count {
        let delivery = "{sops: {owner: m, mode: \"0400\", restart_units: [a.service]}}";
        let _ =
            writeln!(text, "  service-{}/key-{number}: {{item: item-{number}, delivery: {delivery}}}", number % 100);
    }
    text
}

/// Everything as an apply leaves it.
struct Settled {
    manifest: Manifest,
    desired: Desired,
    actual: Actual,
    receipt: Receipt,
}

fn value(number: usize) -> SecretValue {
    SecretValue::new(format!("value-{number:034}").into_bytes())
}

fn item(secret: &SecretName, declared: &manifest::Secret) -> (ItemIdentity, Observation<Item>) {
    let name = declared.item.name.clone().unwrap_or_default();
    let identity = ItemIdentity {
        scheme: "rbw".to_owned(),
        account: Untrusted::new("someone@example.org"),
        id: Untrusted::new(name.clone()),
        field: Untrusted::new("default"),
    };
    let item = Item {
        identity: identity.clone(),
        name: Untrusted::new(name),
        revision: Some(Revision(format!("rbw:1:{secret}"))),
        changed_at: None,
        value: None,
    };
    (identity, Observation::Known(item))
}

impl Settled {
    fn new(count: usize) -> Self {
        let (_, recipient) = Identities::generate();
        let parsed = manifest::parse("bench", &text(count, &recipient));
        let manifest = parsed.unwrap_or_else(|error| panic!("{error:?}")).manifest;
        let (host, declared) = manifest.hosts.first_key_value().expect("a host");
        let file = declared.sops_file.clone();
        let key = FingerprintKey::new(&mut [7; 32]);
        let values: Vec<_> = manifest.boot_secrets(&file).enumerate().map(|(at, secret)| (secret, value(at))).collect();
        let entries = values.iter().map(|((_, _, boot), value)| Entry { key: boot.key.clone(), value });
        let entries: Vec<_> = entries.collect();
        let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).expect("random bytes");
        let written = encrypt(&entries, std::slice::from_ref(&recipient), "2026-01-01T00:00:00Z", &mut random);
        let sops = written.expect("a file").metadata;
        let (mut items, mut keys, mut installed) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for ((name, declared, boot), value) in &values {
            let (identity, item) = item(name, declared);
            keys.push(KeyRecord {
                key: boot.key.clone(),
                secret: (*name).clone(),
                leaf: sops.leaves[&boot.key].digest,
                fingerprint: Fingerprint::of(&key, name, value),
                item: identity,
                revision: item.known().and_then(|item| item.revision.clone()),
            });
            let there = Installed {
                owner: Untrusted::new("m"),
                group: Untrusted::new("root"),
                mode: 0o400,
                size: value.len() as u64,
                key: None,
                generation: None,
            };
            installed.insert((*name).clone(), Observation::Known(InstalledState::Present(there)));
            items.insert((*name).clone(), item);
        }
        let state = HostState {
            identity: Observation::Known(IdentityState::Present(recipient.clone())),
            system: None,
            generation: Some(1),
            installs: Some(sops.digest),
            sees: None,
            secrets: installed,
            activation: Activation::Succeeded,
            rbw: None,
            notes: Vec::new(),
        };
        let index = Index::of(&manifest, BTreeMap::from([(file.clone(), sops.digest)]));
        let mut receipt = Receipt::new("lineage".to_owned(), "/dataset".into());
        let record =
            Written { digest: sops.digest, at: "then".to_owned(), recipients: [recipient.clone()].into(), keys };
        receipt.files.insert(file.clone(), FileRecord { written: Some(record), pending: None });
        receipt.hosts.insert(host.clone(), HostRecord { accepted: Some(recipient), ..HostRecord::default() });
        let actual = Actual {
            files: [(file, Observation::Known(FileState::Sops(Box::new(sops))))].into(),
            index: Observation::Known(IndexState::Present {
                digest: reconcile::digest::Digest::of(&index.to_bytes()),
                index: Box::new(index),
            }),
            hosts: [(host.clone(), Observation::Known(state))].into(),
        };
        let vault =
            VaultFacts { kind: "rbw", account: Untrusted::new("someone@example.org"), items: None, synced: None };
        Self {
            desired: Desired { vault, items, fingerprint_key: None, sources: BTreeMap::new() },
            manifest,
            actual,
            receipt,
        }
    }

    /// Every item has another revision, and each value was read.
    fn all_changed(mut self) -> Self {
        let key = FingerprintKey::new(&mut [7; 32]);
        for (name, item) in &mut self.desired.items {
            let Observation::Known(item) = item else { continue };
            item.revision = Some(Revision("rbw:1:another".to_owned()));
            let value = SecretValue::new(b"another".to_vec());
            let facts = ValueFacts { fingerprint: Fingerprint::of(&key, name, &value), length: 7 };
            item.value = Some(Observation::Known(facts));
        }
        self
    }

    fn inputs<'a>(&'a self, wishes: &'a Wishes) -> Inputs<'a> {
        let Self { manifest, desired, actual, receipt } = self;
        Inputs { manifest, desired, actual, receipt, wishes }
    }
}

fn planning(c: &mut Criterion) {
    let wishes = Wishes::default();
    let (_, recipient) = Identities::generate();
    let mut group = c.benchmark_group("plan");
    for count in [10, 1_000, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        let text = text(count, &recipient);
        group.bench_function(BenchmarkId::new("parse_the_manifest", count), |b| {
            b.iter(|| manifest::parse("bench", black_box(&text)).map_err(drop).expect("a manifest"));
        });
        let settled = Settled::new(count);
        let idle = plan(settled.inputs(&wishes));
        assert!(idle.changes.is_empty() && idle.blocked.is_empty(), "{:?} {:?}", idle.changes, idle.blocked);
        group.bench_function(BenchmarkId::new("nothing_changed", count), |b| {
            b.iter(|| black_box(plan(settled.inputs(&wishes))));
        });
        let changed = settled.all_changed();
        assert!(plan(changed.inputs(&wishes)).changes.len() >= count, "every one of them changed");
        group.bench_function(BenchmarkId::new("everything_changed", count), |b| {
            b.iter(|| black_box(plan(changed.inputs(&wishes))));
        });
    }
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
