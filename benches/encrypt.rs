//! The sops file alone: written with public keys, read without a key, opened with one.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reconcile::address::KeyPath;
use reconcile::secret::SecretValue;
use reconcile::sops::{Entry, Identities, SopsFile, decrypt, encrypt};

/// As many values of a usual length, each below one of a hundred names.
fn values(count: usize) -> Vec<(KeyPath, SecretValue)> {
    let key = |number: usize| KeyPath::new([format!("service-{}", number % 100), format!("key-{number}")]);
    (0..count).map(|number| (key(number), SecretValue::new(format!("value-{number:034}").into_bytes()))).collect()
}

fn sops_file(c: &mut Criterion) {
    let (identity, recipient) = Identities::generate();
    let identities = Identities::read(identity.as_bytes()).expect("what was generated can be read");
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).expect("random bytes");
    let mut group = c.benchmark_group("sops");
    for count in [8, 100, 1_000, 10_000] {
        let values = values(count);
        let mut write = || {
            let entries: Vec<_> = values.iter().map(|(key, value)| Entry { key: key.clone(), value }).collect();
            encrypt(&entries, std::slice::from_ref(&recipient), "2026-01-01T00:00:00Z", &mut random).expect("a file")
        };
        let bytes = write().bytes;
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("encrypt", count), |b| b.iter(|| black_box(write())));
        group.bench_function(BenchmarkId::new("read_without_a_key", count), |b| {
            b.iter(|| SopsFile::read(black_box(&bytes)).expect("a sops file"));
        });
        group.bench_function(BenchmarkId::new("decrypt", count), |b| {
            b.iter(|| decrypt(black_box(&bytes), &identities).expect("its values"));
        });
    }
    group.finish();
}

criterion_group!(benches, sops_file);
criterion_main!(benches);
