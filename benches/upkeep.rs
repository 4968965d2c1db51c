//! What a rewrap of a whole store costs: `STRONGROOM_BENCH_RECORDS` records of
//! 64 bytes (1,000,000 unless it is set), at one go and interrupted ten times,
//! beside the two AEADs of the KEK alone, and beside rewriting the same records
//! as they are. The memory that it needs above the filled store's is printed.
//! The directory is `TMPDIR`'s.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::future::{join_all, poll_fn};
use strongroom_benches::{context, name, record};
use strongroom_core::{
    Batch, EnvelopeOptions, EnvelopeStore, KeyWrapper, PageLimit, Progress, PutOptions,
    RecordStore, SecretBytes, SecretStore, Upkeep,
};
use strongroom_local::kek::LocalKek;
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

const VALUE_BYTES: usize = 64;
const INTERRUPTIONS: u64 = 10;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let count = std::env::var("STRONGROOM_BENCH_RECORDS").ok().and_then(|n| n.parse().ok());
    let count: u64 = count.unwrap_or(1_000_000);
    for kind in RecordStoreKind::ALL {
        measure(kind, count);
    }
    bare_rewrap();
}

fn measure(kind: RecordStoreKind, count: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let records = open(kind, dir.path());
    let kek = Arc::new(LocalKek::in_memory().expect("a KEK"));
    let options = EnvelopeOptions::default();
    let made = EnvelopeStore::create(records.clone(), kek, "acme", options);
    let store = block_on(made).expect("a store");
    fill(&store, count);

    let each = |time: Duration| time / u32::try_from(count).unwrap_or(u32::MAX);
    let mut times = Vec::new();
    let mut grown = 0;
    for _ in 0..3 {
        block_on(store.rotate(None)).expect("rotated");
        let before = resident_kib("VmRSS");
        forget_peak();
        let started = Instant::now();
        let outcome = block_on(store.rewrap(&|_| ())).expect("rewrapped");
        times.push(started.elapsed());
        assert_eq!((outcome.changed, outcome.failed), (count, 0));
        grown = grown.max(resident_kib("VmHWM").saturating_sub(before));
    }
    times.sort();
    let median = times[times.len() / 2];
    record("upkeep", &format!("rewrap of a record/{kind}"), nanoseconds(each(median)));
    let rate = count as f64 / median.as_secs_f64();
    println!("{kind}: {rate:.0} records a second, {count} in {median:.1?}, {grown} KiB above");

    block_on(store.rotate(None)).expect("rotated");
    let started = Instant::now();
    for _ in 0..INTERRUPTIONS {
        rewrap_some(&store, count / (INTERRUPTIONS + 1));
    }
    block_on(store.rewrap(&|_| ())).expect("finished");
    let report = block_on(store.key_report(&|_| ())).expect("a report");
    assert_eq!(report.stale, 0);
    record(
        "upkeep",
        &format!("rewrap of a record, interrupted/{kind}"),
        nanoseconds(each(started.elapsed())),
    );

    let started = Instant::now();
    rewrite(&*records);
    record(
        "upkeep",
        &format!("rewriting of a record/{kind}"),
        nanoseconds(each(started.elapsed())),
    );
}

fn open(kind: RecordStoreKind, dir: &Path) -> Arc<dyn RecordStore> {
    open_records(kind, dir, &RecordOptions::default()).expect("a record store")
}

/// Runs a rewrap until so many records are done, and drops it there.
fn rewrap_some(store: &EnvelopeStore, limit: u64) {
    let done = AtomicU64::new(0);
    let observer = |progress: &Progress| done.store(progress.done, Ordering::Relaxed);
    let mut work = Box::pin(store.rewrap(&observer));
    block_on(poll_fn(|task| {
        let is_over = work.as_mut().poll(task).is_ready();
        let is_enough = done.load(Ordering::Relaxed) >= limit;
        if is_over || is_enough { Poll::Ready(()) } else { Poll::Pending }
    }));
}

/// Reads every record and writes it as it is: what the record store costs.
fn rewrite(records: &dyn RecordStore) {
    let limit = PageLimit { entries: 8192, bytes: 4 << 20 };
    let most = records.max_batch_bytes().min(4 << 20);
    let mut after = None::<Vec<u8>>;
    loop {
        let page = block_on(records.scan(&[2], after.as_deref(), limit)).expect("a page");
        after = page.entries.last().map(|(key, _)| key.clone());
        let mut batch = Batch::new();
        for (key, stored) in page.entries {
            if batch.bytes() + key.len() + stored.value.len() + 32 > most {
                block_on(records.commit(std::mem::take(&mut batch))).expect("committed");
            }
            batch = batch.write(key, stored.value);
        }
        block_on(records.commit(batch)).expect("committed");
        if !page.more {
            return;
        }
    }
}

/// Unwrapping and wrapping one DEK, without a store.
fn bare_rewrap() {
    let (kek, context) = (LocalKek::in_memory().expect("a KEK"), context());
    let (_, wrapped) = block_on(kek.generate(&context)).expect("generated");
    let rounds = 200_000;
    let started = Instant::now();
    for _ in 0..rounds {
        black_box(block_on(kek.rewrap(&wrapped, &context)).expect("rewrapped"));
    }
    record("upkeep", "rewrap of a DEK, no store", nanoseconds(started.elapsed() / rounds));
}

fn fill(store: &EnvelopeStore, count: u64) {
    let started = Instant::now();
    let value = SecretBytes::copy_from(&[0x5a; VALUE_BYTES]).expect("guarded memory");
    let mut at = 0;
    while at < count {
        let batch = (at..(at + 2048).min(count)).map(|n| {
            let (name, value) = (name(&format!("secret-{n}")), &value);
            async move { store.put(&name, value, &PutOptions::default()).await.expect("put") }
        });
        at += block_on(join_all(batch)).len() as u64;
    }
    eprintln!("filled {count} in {:.1?}", started.elapsed());
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// The peak from here on (proc(5), `clear_refs`).
fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn resident_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}
