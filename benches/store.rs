//! What the disk costs: durable puts alone and together, and a get among few
//! and among many records. `STRONGROOM_BENCH_RECORDS` sets the largest number
//! of records (1,000,000 unless it is set), `STRONGROOM_BENCH_STORE` one store instead
//! of both, and `STRONGROOM_BENCH_CACHE` its `cache_bytes`; the directory is `TMPDIR`'s.

use std::hint::black_box;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_executor::block_on;
use futures_util::future::join_all;
use strongroom_benches::name;
use strongroom_core::{
    EnvelopeOptions, EnvelopeStore, PutOptions, SecretBytes, SecretName, SecretStore, Select,
};
use strongroom_local::kek::LocalKek;
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

fn open(kind: RecordStoreKind, dir: &Path) -> Arc<EnvelopeStore> {
    let records = open_records(kind, dir, &RecordOptions::default()).expect("a record store");
    let kek = Arc::new(LocalKek::in_memory().expect("a KEK"));
    let options = EnvelopeOptions::default();
    Arc::new(block_on(EnvelopeStore::create(records, kek, "acme", options)).expect("a store"))
}

/// What the environment asks for.
fn asked<T: FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

fn kinds() -> impl Iterator<Item = RecordStoreKind> {
    let only: Option<String> = asked("STRONGROOM_BENCH_STORE");
    RecordStoreKind::ALL
        .into_iter()
        .filter(move |kind| only.as_ref().is_none_or(|only| only == kind.as_str()))
}

fn value() -> SecretBytes {
    SecretBytes::copy_from(&[0x5a; 1024]).expect("guarded memory")
}

/// One durable put at a time, and 64 that wait together for one sync.
fn put(c: &mut Criterion) {
    let mut group = c.benchmark_group("durable put of 1 KiB");
    group.sample_size(20).measurement_time(Duration::from_secs(10));
    for kind in kinds() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(kind, dir.path());
        let next = AtomicU64::new(0);
        let put_one = || async {
            let name = name(&format!("secret-{}", next.fetch_add(1, Ordering::Relaxed)));
            store.put(&name, &value(), &PutOptions::default()).await.expect("put");
        };
        group.throughput(Throughput::Elements(1));
        group
            .bench_function(BenchmarkId::new("1 writer", kind), |b| b.iter(|| block_on(put_one())));
        group.throughput(Throughput::Elements(64));
        group.bench_function(BenchmarkId::new("64 writers", kind), |b| {
            b.iter(|| block_on(join_all((0..64).map(|_| put_one()))));
        });
    }
    group.throughput(Throughput::Elements(1));
    // The floor: a file, one write and one sync.
    let mut file = tempfile::tempfile().expect("a file");
    group.bench_function("write and fdatasync, no store", |b| {
        b.iter(|| {
            std::io::Write::write_all(&mut file, &[0x5a; 1200]).expect("written");
            file.sync_data().expect("synced");
        });
    });
    group.finish();
}

/// The n-th secret of a store with 1,000 secrets in each project.
fn name_of(n: u64) -> SecretName {
    let scope = format!("acme/payments/project-{}", n / 1_000);
    let scope = scope.parse().expect("a valid scope");
    SecretName::new(scope, &format!("secret-{}", n % 1_000)).expect("a valid name")
}

/// A get of one among 10 thousand, and among many: of the 1,000 names of one
/// project, as a program reads its own again; of 1,000 names that stand as far
/// from each other as they can; and of all names in turn, which no cache holds.
fn get(c: &mut Criterion) {
    let most = asked("STRONGROOM_BENCH_RECORDS").unwrap_or(1_000_000);
    let mut settings = RecordOptions::default();
    if let Some(bytes) = asked("STRONGROOM_BENCH_CACHE") {
        settings = settings.with_cache_bytes(bytes);
    }
    for kind in kinds() {
        let dir = tempfile::tempdir().expect("a directory");
        let records = open_records(kind, dir.path(), &settings).expect("a record store");
        let kek = Arc::new(LocalKek::in_memory().expect("a KEK"));
        let options = EnvelopeOptions::default();
        let store = EnvelopeStore::create(records, kek, "acme", options);
        let store = block_on(store).expect("a store");
        let mut filled = 0;
        for count in [10_000, most] {
            fill(&store, filled, count);
            filled = count;
            let own = count / 2_000 * 1_000;
            let ways = [
                ("all names", count, 1, 0),
                ("1,000 names far apart", 1_000, count / 1_000, 0),
                ("1,000 names of a project", 1_000, 1, own),
            ];
            for (way, names, apart, first) in ways {
                let mut group = c.benchmark_group(format!("get of 1 KiB, {way}"));
                let mut at = 0;
                group.bench_function(BenchmarkId::new(kind.as_str(), count), |b| {
                    b.iter(|| {
                        // A stride coprime to both numbers visits every name.
                        at = (at + 7919) % names;
                        let name = name_of(first + at * apart);
                        black_box(block_on(store.get(&name, &Select::Latest)).expect("get"))
                    });
                });
                group.finish();
            }
        }
    }
}

/// Fills up in large groups of real puts, since a sync for each of a million
/// would take minutes.
fn fill(store: &EnvelopeStore, from: u64, to: u64) {
    let started = Instant::now();
    let value = value();
    let mut at = from;
    while at < to {
        let batch = (at..(at + 2048).min(to)).map(|n| {
            let name = name_of(n);
            let value = &value;
            async move { store.put(&name, value, &PutOptions::default()).await.expect("put") }
        });
        at += block_on(join_all(batch)).len() as u64;
    }
    eprintln!("filled {from}..{to} in {:.1?}", started.elapsed());
}

criterion_group!(benches, put, get);
criterion_main!(benches);
