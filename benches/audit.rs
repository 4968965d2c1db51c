//! What a line of the audit log costs: alone, and 64 that are recorded at once,
//! beside a bare write of as many bytes. The directory is `TMPDIR`'s.

use std::fs::File;
use std::io::Write;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_executor::block_on;
use futures_util::future::join_all;
use strongroom_benches::name;
use strongroom_core::audit::{Actor, AuditLog, Event};
use strongroom_core::{SecretBytes, SystemClock, Version};

/// As many bytes as one of the lines below.
const LINE_BYTES: usize = 270;

fn lines(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let key = SecretBytes::copy_from(&[7; 32]).expect("guarded memory");
    let path = directory.path().join("audit.log");
    let log = AuditLog::open(&path, Some(key), SystemClock::shared()).expect("a log");
    let (name, version) = (name("database-password"), Version::new("1").expect("a version"));
    let actor = Actor { uid: Some(1000), pid: Some(12_345), ..Actor::default() };
    let event = Event::done("get", &actor).about(&name).of_version(&version);

    let mut group = c.benchmark_group("audit");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one line", |b| {
        b.iter(|| block_on(log.record(&event)).expect("a line"));
    });
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 lines", |b| {
        b.iter(|| block_on(join_all((0..64).map(|_| log.record(&event)))));
    });
    let events = vec![event.clone(); 64];
    group.bench_function("64 lines of one caller", |b| {
        b.iter(|| block_on(log.record_all(&events)).expect("lines"));
    });
    let mut file = File::create(directory.path().join("bare")).expect("a file");
    for (count, label) in [(1, "bare write of one line"), (64, "bare write of 64 lines")] {
        let bytes = vec![b'x'; count * LINE_BYTES];
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(label, |b| b.iter(|| file.write_all(&bytes).expect("written")));
    }
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
