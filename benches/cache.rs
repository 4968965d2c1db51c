//! What a warm secret costs: from the cache, and through the engine with the
//! audit log on, many at once and many in one call. The log's directory is
//! `TMPDIR`'s.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_executor::block_on;
use futures_util::future::join_all;
use strongroom_benches::name;
use strongroom_core::audit::{Actor, AuditLog};
use strongroom_core::cache::ThreadSpawn;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    CacheOptions, CachedStore, Engine, EnvelopeOptions, EnvelopeStore, PutOptions, SecretBytes,
    SecretStore, Select, Suite, SystemClock,
};
use strongroom_local::kek::LocalKek;

const COUNT: usize = 1000;

/// A cache that holds secrets of 1 KiB, each asked for once.
fn warm() -> Arc<CachedStore> {
    let (records, kek) = (Arc::new(MemoryRecords::new()), LocalKek::in_memory().expect("a KEK"));
    let options = EnvelopeOptions::default();
    let store = EnvelopeStore::create(records, Arc::new(kek), "acme", options);
    let inner = Arc::new(block_on(store).expect("a store"));
    let (options, spawn) = (CacheOptions::default(), Arc::new(ThreadSpawn::new()));
    let cached = CachedStore::new(inner, options, SystemClock::shared(), spawn).expect("a cache");
    let value = SecretBytes::copy_from(&[0x5a; 1024]).expect("guarded memory");
    for n in 0..COUNT {
        let name = name(&id(n));
        block_on(cached.put(&name, &value, &PutOptions::default())).expect("a put");
        block_on(cached.get(&name, &Select::Latest)).expect("a get");
    }
    Arc::new(cached)
}

fn id(n: usize) -> String {
    format!("database-password-{n}")
}

fn gets(c: &mut Criterion) {
    let store = warm();
    let (name, latest) = (name(&id(500)), Select::Latest);
    let mut group = c.benchmark_group("warm get of 1 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("cache", |b| {
        b.iter(|| black_box(block_on(store.get(black_box(&name), &latest)).expect("a get")));
    });
    // What is left when the cache costs nothing.
    let (key, nonce, suite) = ([9; 32], [3; 12], Suite::Aes256Gcm);
    let mut sealed = vec![0x5a; 1024];
    let tag = suite.seal_detached(&key, &nonce, b"", &mut sealed).expect("sealed");
    group.bench_function("bare AES-256-GCM, new key, guarded memory", |b| {
        b.iter(|| {
            suite.open_detached(black_box(&key), &nonce, b"", &sealed, &tag).expect("opened")
        });
    });

    let directory = tempfile::tempdir().expect("a directory");
    let audit_key = Some(SecretBytes::copy_from(&[7; 32]).expect("guarded memory"));
    let path = directory.path().join("audit.log");
    let log = AuditLog::open(path, audit_key, SystemClock::shared()).expect("a log");
    let actor = Actor { uid: Some(1000), pid: Some(12_345), ..Actor::default() };
    let engine = Engine::new(store.clone(), name.scope().clone()).acting_for(actor);
    let written = name.to_string();
    group.bench_function("engine, no audit", |b| {
        b.iter(|| block_on(engine.get(&written, &latest)).expect("a get"));
    });
    let engine = engine.with_audit(Arc::new(log));
    group.bench_function("engine, audited, 1 at a time", |b| {
        b.iter(|| block_on(engine.get(&written, &latest)).expect("a get"));
    });
    group.throughput(Throughput::Elements(64));
    group.bench_function("engine, audited, 64 at once", |b| {
        b.iter(|| block_on(join_all((0..64).map(|_| engine.get(&written, &latest)))));
    });
    let names: Vec<String> = (0..COUNT).map(id).collect();
    let names: Vec<_> = names.iter().map(|name| (name.as_str(), Select::Latest)).collect();
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("engine, audited, 1,000 in one call", |b| {
        b.iter(|| block_on(engine.get_all(&names)).expect("answers"));
    });
    group.finish();
}

criterion_group!(benches, gets);
criterion_main!(benches);
