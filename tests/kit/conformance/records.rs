//! The contract of [`RecordStore`], point by point.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use crate::block_on;
use futures_util::future::FutureExt;
use strongroom_core::record::MAX_KEY_BYTES;
use strongroom_core::{Batch, ErrorKind, Precondition, RecordStore, Result, Revision, Stored};
use tempfile::TempDir;

use super::{Factory, assert_kind, points, temporary_directory};
use crate::random::Random;

/// A record store to be tested.
pub struct RecordsBackend {
    open: Factory<Arc<dyn RecordStore>>,
    persistent: bool,
}

impl RecordsBackend {
    /// A store that ends with its value; the directory is there to be ignored.
    pub fn volatile(
        open: impl Fn(&Path) -> Result<Arc<dyn RecordStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Box::new(open), persistent: false }
    }

    /// A store in a directory: opened again, it holds the same, and nobody else
    /// can open it meanwhile.
    pub fn persistent(
        open: impl Fn(&Path) -> Result<Arc<dyn RecordStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Box::new(open), persistent: true }
    }
}

impl fmt::Debug for RecordsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsBackend")
            .field("persistent", &self.persistent)
            .finish_non_exhaustive()
    }
}

points! { $ conformance_records for RecordsBackend as records:
    an_empty_store_holds_nothing,
    values_of_every_size_are_read_back,
    the_largest_value_is_taken,
    a_value_is_replaced_whole,
    of_several_changes_the_last_counts,
    removing_an_absent_key_is_no_error,
    an_empty_batch_succeeds,
    scan_gives_keys_in_order,
    scan_gives_exactly_a_prefix,
    scan_pages_give_each_key_once,
    scan_pages_begin_anywhere,
    limits_are_refused_and_nothing_changes,
    preconditions_that_fail_change_nothing,
    preconditions_that_hold_let_the_batch_pass,
    a_precondition_guards_a_key_that_is_not_written,
    every_write_gives_a_new_revision,
    a_revision_is_not_reused_after_a_delete,
    readers_see_all_of_a_batch_or_none,
    one_of_many_swappers_wins_each_round,
    commits_from_many_threads_all_land,
    other_threads_see_what_was_acknowledged,
    a_scan_beside_writers_gives_lasting_keys_once,
    a_dropped_commit_is_whole_or_absent,
    random_batches_match_a_model,
    a_reopened_store_holds_the_same,
    a_second_opening_is_refused,
    the_store_names_and_checks_itself,
}

struct Bench {
    backend: RecordsBackend,
    dir: TempDir,
}

impl Bench {
    fn new(backend: RecordsBackend) -> Self {
        Self { backend, dir: temporary_directory() }
    }

    fn open(&self) -> Arc<dyn RecordStore> {
        self.try_open().expect("the store opens")
    }

    fn try_open(&self) -> Result<Arc<dyn RecordStore>> {
        (self.backend.open)(&self.dir.path().join("store"))
    }
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

async fn write(store: &dyn RecordStore, key: &[u8], value: &[u8]) {
    let batch = Batch::new().write(key.to_vec(), value.to_vec());
    store.commit(batch).await.expect("a write");
}

async fn stored(store: &dyn RecordStore, key: &[u8]) -> Option<Stored> {
    store.get(key).await.expect("a read")
}

async fn value(store: &dyn RecordStore, key: &[u8]) -> Option<Vec<u8>> {
    stored(store, key).await.map(|stored| stored.value)
}

async fn revision(store: &dyn RecordStore, key: &[u8]) -> Revision {
    stored(store, key).await.expect("there is a value").revision
}

async fn everything(store: &dyn RecordStore) -> Entries {
    pages(store, b"", 1000).await
}

/// Everything below `prefix`, in pages of `limit`.
async fn pages(store: &dyn RecordStore, prefix: &[u8], limit: usize) -> Entries {
    let (mut all, mut after) = (Entries::new(), None::<Vec<u8>>);
    loop {
        let page = store.scan(prefix, after.as_deref(), limit).await.expect("a page");
        assert!(page.len() <= limit, "a page of {} has {} entries", limit, page.len());
        let is_last = page.len() < limit;
        all.extend(page.into_iter().map(|(key, stored)| (key, stored.value)));
        if is_last {
            return all;
        }
        after = all.last().map(|(key, _)| key.clone());
    }
}

/// Keys that begin each other, with the smallest and the largest byte.
fn awkward_keys() -> BTreeSet<Vec<u8>> {
    let mut keys: BTreeSet<Vec<u8>> =
        [&b"a"[..], b"a\0", b"a\0\0", b"aa", b"ab", b"b", b"\0", b"\0\0", b"\0identity"]
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect();
    keys.extend([vec![0xff], vec![0xff, 0], vec![0xff, 0xff], vec![0xfe, 0xff], vec![0x7f, 0x80]]);
    keys.extend([1, 2, 255, 256, 1023, MAX_KEY_BYTES].map(|bytes| vec![0xff; bytes]));
    keys.insert([vec![b'k'; MAX_KEY_BYTES - 1], vec![1]].concat());
    keys
}

async fn with_awkward_keys(store: &dyn RecordStore) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut random = Random::new(1);
    let model: BTreeMap<_, _> =
        awkward_keys().into_iter().map(|key| (key, random.bytes(10))).collect();
    // Written in another order than they are read.
    for (key, value) in model.iter().rev() {
        write(store, key, value).await;
    }
    model
}

// === points ===

async fn an_empty_store_holds_nothing(bench: &Bench) {
    let store = bench.open();
    assert!(value(&*store, b"absent").await.is_none());
    assert!(everything(&*store).await.is_empty());
}

async fn values_of_every_size_are_read_back(bench: &Bench) {
    let store = bench.open();
    let mut random = Random::new(2);
    // Around the sizes at which stores split pages, chunks and segments.
    let around = [0, 64, 256, 1024, 4096, 8192, 16_384, 65_536, 1 << 20];
    let sizes = around.into_iter().flat_map(|n: usize| [n.saturating_sub(1), n, n + 1]);
    let values: Vec<_> = sizes.map(|size| random.bytes(size)).collect();
    for (index, bytes) in values.iter().enumerate() {
        write(&*store, &[b'k', index as u8], bytes).await;
    }
    for (index, bytes) in values.iter().enumerate() {
        let found = value(&*store, &[b'k', index as u8]).await;
        assert!(found.as_ref() == Some(bytes), "{} bytes", bytes.len());
    }
    let scanned: Vec<_> = everything(&*store).await.into_iter().map(|(_, value)| value).collect();
    assert!(scanned == values, "a scan gives other values");
}

async fn the_largest_value_is_taken(bench: &Bench) {
    let store = bench.open();
    let largest = Random::new(3).bytes(store.max_value_bytes());
    write(&*store, b"large", &largest).await;
    assert!(value(&*store, b"large").await.as_ref() == Some(&largest));
}

async fn a_value_is_replaced_whole(bench: &Bench) {
    let store = bench.open();
    let mut random = Random::new(4);
    for size in [100_000, 3, 0, 20_000, 8192, 70_000, 1] {
        let bytes = random.bytes(size);
        write(&*store, b"key", &bytes).await;
        assert!(value(&*store, b"key").await.as_ref() == Some(&bytes), "{size} bytes");
        assert_eq!(everything(&*store).await.len(), 1);
    }
    store.commit(Batch::new().delete(b"key".to_vec())).await.expect("a delete");
    assert!(value(&*store, b"key").await.is_none());
    assert!(everything(&*store).await.is_empty());
}

async fn of_several_changes_the_last_counts(bench: &Bench) {
    let store = bench.open();
    let batch = Batch::new()
        .write(b"a".to_vec(), b"1".to_vec())
        .write(b"a".to_vec(), vec![2; 30_000])
        .write(b"b".to_vec(), b"1".to_vec())
        .delete(b"b".to_vec())
        .delete(b"c".to_vec())
        .write(b"c".to_vec(), b"3".to_vec());
    store.commit(batch).await.expect("a batch");
    let expected: Entries = vec![(b"a".to_vec(), vec![2; 30_000]), (b"c".to_vec(), b"3".to_vec())];
    assert!(everything(&*store).await == expected);
}

async fn removing_an_absent_key_is_no_error(bench: &Bench) {
    let store = bench.open();
    store.commit(Batch::new().delete(b"absent".to_vec())).await.expect("a delete");
}

async fn an_empty_batch_succeeds(bench: &Bench) {
    let store = bench.open();
    store.commit(Batch::new()).await.expect("an empty batch");
    write(&*store, b"a", b"1").await;
    let batch = Batch::new().require(b"a".to_vec(), Precondition::Absent);
    assert_kind(store.commit(batch).await, ErrorKind::Conflict, "preconditions alone");
}

async fn scan_gives_keys_in_order(bench: &Bench) {
    let store = bench.open();
    let model = with_awkward_keys(&*store).await;
    assert_eq!(everything(&*store).await, model.into_iter().collect::<Entries>());
}

async fn scan_gives_exactly_a_prefix(bench: &Bench) {
    let store = bench.open();
    let model = with_awkward_keys(&*store).await;
    let cuts = model.keys().flat_map(|key| (0..=key.len().min(4)).map(|n| key[..n].to_vec()));
    let whole = model.keys().cloned();
    let none = [b"zz".to_vec(), vec![0xfe, 0xff, 0], vec![0xff; MAX_KEY_BYTES + 1]];
    for prefix in cuts.chain(whole).chain(none).collect::<BTreeSet<_>>() {
        let matching = model.iter().filter(|(key, _)| key.starts_with(&prefix));
        let expected: Entries = matching.map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(pages(&*store, &prefix, 1000).await, expected, "prefix {prefix:02x?}");
    }
}

async fn scan_pages_give_each_key_once(bench: &Bench) {
    let store = bench.open();
    let model = with_awkward_keys(&*store).await;
    for prefix in [&b""[..], b"a", b"\xff", b"\0"] {
        let matching = model.iter().filter(|(key, _)| key.starts_with(prefix));
        let expected: Entries = matching.map(|(k, v)| (k.clone(), v.clone())).collect();
        for limit in [1, 2, 3, expected.len(), expected.len() + 1, usize::MAX] {
            let found = pages(&*store, prefix, limit.max(1)).await;
            assert_eq!(found, expected, "prefix {prefix:02x?} in pages of {limit}");
        }
    }
}

async fn scan_pages_begin_anywhere(bench: &Bench) {
    let store = bench.open();
    let model = with_awkward_keys(&*store).await;
    let present = model.keys().cloned();
    let absent = [&b"A"[..], b"a\x01", b"aaa", b"zzz", b"\0i", b""].map(<[u8]>::to_vec);
    for after in present.chain(absent) {
        for prefix in [&b""[..], b"a", b"\xff", b"b"] {
            let matching = model.iter().filter(|(key, _)| key.starts_with(prefix) && **key > after);
            let expected: Vec<_> = matching.map(|(key, _)| key.clone()).take(3).collect();
            let page = store.scan(prefix, Some(&after), 3).await.expect("a page");
            let found: Vec<_> = page.into_iter().map(|(key, _)| key).collect();
            assert_eq!(found, expected, "prefix {prefix:02x?} after {after:02x?}");
        }
    }
}

async fn limits_are_refused_and_nothing_changes(bench: &Bench) {
    let store = bench.open();
    write(&*store, b"before", b"1").await;
    let before = everything(&*store).await;
    let good = || Batch::new().write(b"good".to_vec(), b"2".to_vec()).delete(b"before".to_vec());
    let long = vec![b'k'; MAX_KEY_BYTES + 1];
    let bad = [
        ("an empty key", good().write(Vec::new(), b"x".to_vec())),
        ("a long key", good().write(long.clone(), b"x".to_vec())),
        ("a delete of a long key", good().delete(long)),
        ("a long value", good().write(b"v".to_vec(), vec![0; store.max_value_bytes() + 1])),
    ];
    for (what, batch) in bad {
        assert_kind(store.commit(batch).await, ErrorKind::LimitExceeded, what);
        assert_eq!(everything(&*store).await, before, "{what}");
    }
}

async fn preconditions_that_fail_change_nothing(bench: &Bench) {
    let store = bench.open();
    write(&*store, b"a", b"1").await;
    let old = revision(&*store, b"a").await;
    write(&*store, b"a", b"2").await;
    let current = revision(&*store, b"a").await;
    let before = everything(&*store).await;

    let (at, absent) = (Precondition::At, Precondition::Absent);
    let never = Revision(u64::MAX);
    let cases: [(&str, &[(&[u8], Precondition)]); 6] = [
        ("present", &[(b"a", absent)]),
        ("an older revision", &[(b"a", at(old))]),
        ("a revision that never was", &[(b"a", at(never))]),
        ("an absent key", &[(b"b", at(current))]),
        ("the second of two", &[(b"a", at(current)), (b"b", at(current))]),
        ("the first of two", &[(b"a", absent), (b"b", absent)]),
    ];
    for (what, preconditions) in cases {
        let mut batch = Batch::new()
            .write(b"a".to_vec(), b"3".to_vec())
            .write(b"b".to_vec(), b"3".to_vec())
            .write(b"c".to_vec(), vec![3; 50_000]);
        for (key, precondition) in preconditions {
            batch = batch.require(key.to_vec(), *precondition);
        }
        assert_kind(store.commit(batch).await, ErrorKind::Conflict, what);
        assert_eq!(everything(&*store).await, before, "{what}");
        assert_eq!(revision(&*store, b"a").await, current, "{what}");
    }
}

async fn preconditions_that_hold_let_the_batch_pass(bench: &Bench) {
    let store = bench.open();
    let batch = Batch::new()
        .require(b"a".to_vec(), Precondition::Absent)
        .write(b"a".to_vec(), b"1".to_vec());
    store.commit(batch).await.expect("the key is absent");
    let at = Precondition::At(revision(&*store, b"a").await);
    let batch = Batch::new().require(b"a".to_vec(), at).write(b"a".to_vec(), b"2".to_vec());
    store.commit(batch).await.expect("the revision is right");
    let at = Precondition::At(revision(&*store, b"a").await);
    let batch = Batch::new().require(b"a".to_vec(), at).delete(b"a".to_vec());
    store.commit(batch).await.expect("the revision is right");
    let batch = Batch::new()
        .require(b"a".to_vec(), Precondition::Absent)
        .write(b"a".to_vec(), b"3".to_vec());
    store.commit(batch).await.expect("the key is absent again");
    assert_eq!(value(&*store, b"a").await.as_deref(), Some(&b"3"[..]));
}

async fn a_precondition_guards_a_key_that_is_not_written(bench: &Bench) {
    let store = bench.open();
    write(&*store, b"guard", b"1").await;
    let at = Precondition::At(revision(&*store, b"guard").await);
    let batch = || Batch::new().require(b"guard".to_vec(), at).write(b"a".to_vec(), b"1".to_vec());
    store.commit(batch()).await.expect("it is unchanged");
    write(&*store, b"guard", b"2").await;
    assert_kind(store.commit(batch()).await, ErrorKind::Conflict, "it was changed");
}

async fn every_write_gives_a_new_revision(bench: &Bench) {
    let store = bench.open();
    let mut seen = BTreeSet::new();
    for round in 0..50 {
        let mut batch = Batch::new().write(b"a".to_vec(), b"same".to_vec());
        if round % 3 == 0 {
            batch = batch.write(b"a".to_vec(), b"same".to_vec());
        }
        store.commit(batch).await.expect("a write");
        assert!(seen.insert(revision(&*store, b"a").await.0), "round {round}");
    }
    let scanned = store.scan(b"a", None, 1).await.expect("a page");
    assert_eq!(scanned[0].1.revision, revision(&*store, b"a").await, "scan and get agree");
}

async fn a_revision_is_not_reused_after_a_delete(bench: &Bench) {
    let mut store = bench.open();
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        write(&*store, b"a", b"1").await;
        assert!(seen.insert(revision(&*store, b"a").await.0), "round {round}");
        store.commit(Batch::new().delete(b"a".to_vec())).await.expect("a delete");
        if bench.backend.persistent && round % 5 == 4 {
            drop(store);
            store = bench.open();
        }
    }
}

async fn readers_see_all_of_a_batch_or_none(bench: &Bench) {
    let store = bench.open();
    // One value is larger than what stores keep in one piece.
    let batch = |round: u8| {
        (0..8u8).fold(Batch::new(), |batch, key| {
            let bytes = if key == 3 { 40_000 } else { 10 };
            batch.write(vec![b'k', key], vec![round; bytes])
        })
    };
    store.commit(batch(0)).await.expect("a batch");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let page = block_on(store.scan(b"k", None, 100)).expect("a page");
                    let bytes: BTreeSet<u8> =
                        page.iter().flat_map(|(_, stored)| stored.value.iter().copied()).collect();
                    assert_eq!((page.len(), bytes.len()), (8, 1), "a batch was seen in part");
                    // A store behind one unfair lock would starve the writer.
                    thread::yield_now();
                }
            });
        }
        let mut answers = (1..=100).map(|round| {
            thread::yield_now();
            block_on(store.commit(batch(round)))
        });
        let failed = answers.find_map(Result::err);
        // Before anything panics here, or the readers would never end.
        done.store(true, Ordering::Release);
        assert!(failed.is_none(), "{failed:?}");
    });
}

async fn one_of_many_swappers_wins_each_round(bench: &Bench) {
    const SWAPPERS: usize = 8;
    let store = bench.open();
    write(&*store, b"swapped", b"start").await;
    let barrier = Barrier::new(SWAPPERS);
    for round in 0..20 {
        let at = Precondition::At(revision(&*store, b"swapped").await);
        let wins: usize = thread::scope(|scope| {
            let swap = |swapper: usize| {
                let (store, barrier) = (&store, &barrier);
                scope.spawn(move || {
                    let batch = Batch::new()
                        .require(b"swapped".to_vec(), at)
                        .write(b"swapped".to_vec(), vec![swapper as u8])
                        .write(vec![b'w', swapper as u8], vec![round]);
                    barrier.wait();
                    match block_on(store.commit(batch)) {
                        Ok(()) => true,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                            false
                        }
                    }
                })
            };
            let threads: Vec<_> = (0..SWAPPERS).map(swap).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().expect("no panic"))).sum()
        });
        assert_eq!(wins, 1, "round {round}");
        // Only the winner's other write is there.
        let winner = value(&*store, b"swapped").await.expect("there is a value");
        let marks = pages(&*store, b"w", 100).await;
        let fresh: Vec<_> = marks.iter().filter(|(_, mark)| *mark == [round]).collect();
        assert_eq!(fresh.len(), 1, "round {round}");
        assert_eq!(fresh[0].0[1..], winner[..], "round {round}");
    }
}

async fn commits_from_many_threads_all_land(bench: &Bench) {
    let store = bench.open();
    thread::scope(|scope| {
        for thread in 0..8u8 {
            let store = &store;
            scope.spawn(move || {
                for index in 0..25u8 {
                    block_on(write(&**store, &[thread, index], &[thread ^ index; 300]));
                }
            });
        }
    });
    let all = everything(&*store).await;
    assert_eq!(all.len(), 200);
    for (key, value) in all {
        assert_eq!(value, [key[0] ^ key[1]; 300], "{key:?}");
    }
}

async fn other_threads_see_what_was_acknowledged(bench: &Bench) {
    let store = bench.open();
    let (announce, announced) = std::sync::mpsc::channel::<u32>();
    thread::scope(|scope| {
        let reader = &store;
        scope.spawn(move || {
            for number in announced {
                let found = block_on(value(&**reader, b"counter")).expect("it was acknowledged");
                let found = u32::from_be_bytes(found.try_into().expect("four bytes"));
                assert!(found >= number, "{found} was read after {number} was acknowledged");
                let page = block_on(reader.scan(b"c", None, 1)).expect("a page");
                assert!(page[0].1.value >= number.to_be_bytes().to_vec(), "a scan is behind");
            }
        });
        for number in 1..=100u32 {
            block_on(write(&*store, b"counter", &number.to_be_bytes()));
            announce.send(number).expect("the reader lives");
        }
        drop(announce);
    });
}

async fn a_scan_beside_writers_gives_lasting_keys_once(bench: &Bench) {
    let store = bench.open();
    let lasting: Vec<Vec<u8>> = (0..60u8).map(|n| vec![b'k', n, 1]).collect();
    for key in &lasting {
        write(&*store, key, b"lasting").await;
    }
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random::new(5);
            for _ in 0..300 {
                let n = random.below(60) as u8;
                let batch = Batch::new()
                    .write(vec![b'k', n, 0], vec![n; random.below(200)])
                    .write(vec![b'k', n, 1], b"lasting again".to_vec())
                    .delete(vec![b'k', random.below(60) as u8, 0]);
                block_on(store.commit(batch)).expect("a batch");
                thread::yield_now();
            }
        });
        for round in 0.. {
            let is_last = writer.is_finished();
            let found = block_on(pages(&*store, b"k", 1 + round % 7));
            let kept: Vec<_> =
                found.into_iter().map(|(key, _)| key).filter(|key| key[2] == 1).collect();
            assert!(kept == lasting, "round {round}: {} of 60 keys, or out of order", kept.len());
            if is_last {
                break;
            }
        }
    });
}

async fn a_dropped_commit_is_whole_or_absent(bench: &Bench) {
    let store = bench.open();
    for round in 0..50u8 {
        let batch = (0..5u8).fold(Batch::new(), |batch, key| {
            batch.write(vec![b'd', round, key], vec![round; if key == 4 { 20_000 } else { 5 }])
        });
        // Polled once at most, then dropped.
        let mut commit = store.commit(batch);
        if round % 2 == 0 {
            let _ = commit.as_mut().now_or_never();
        }
        drop(commit);
    }
    // Whatever was queued stands before this.
    write(&*store, b"after", b"1").await;
    for round in 0..50u8 {
        let found = pages(&*store, &[b'd', round], 10).await.len();
        assert!(found == 0 || found == 5, "round {round}: {found} of 5 entries");
    }
}

async fn random_batches_match_a_model(bench: &Bench) {
    let mut store = bench.open();
    let mut random = Random::new(6);
    let mut model = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    for round in 0..150 {
        let mut batch = Batch::new();
        for _ in 0..random.below(6) {
            let bytes = 1 + random.below(3);
            let key: Vec<u8> = random
                .bytes(bytes)
                .into_iter()
                .map(|b| [0, 1, b'a', 0xff][b as usize % 4])
                .collect();
            if random.below(4) == 0 {
                model.remove(&key);
                batch = batch.delete(key);
            } else {
                let size = [0, 7, 100, 9000, 30_000][random.below(5)];
                let value = random.bytes(size);
                model.insert(key.clone(), value.clone());
                batch = batch.write(key, value);
            }
        }
        store.commit(batch).await.expect("a batch");
        if round % 30 == 29 {
            if bench.backend.persistent {
                drop(store);
                store = bench.open();
            }
            let expected: Entries = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            assert!(everything(&*store).await == expected, "round {round}");
        }
    }
}

async fn a_reopened_store_holds_the_same(bench: &Bench) {
    if !bench.backend.persistent {
        return;
    }
    let store = bench.open();
    with_awkward_keys(&*store).await;
    write(&*store, b"large", &Random::new(7).bytes(300_000)).await;
    let before = store.scan(b"", None, 1000).await.expect("a page");
    drop(store);
    let store = bench.open();
    assert!(store.scan(b"", None, 1000).await.expect("a page") == before, "entries or revisions");
}

async fn a_second_opening_is_refused(bench: &Bench) {
    if !bench.backend.persistent {
        return;
    }
    let store = bench.open();
    write(&*store, b"a", b"1").await;
    assert_kind(bench.try_open(), ErrorKind::Unavailable, "opened twice");
    write(&*store, b"a", b"2").await;
    drop(store);
    assert_eq!(value(&*bench.open(), b"a").await.as_deref(), Some(&b"2"[..]));
}

async fn the_store_names_and_checks_itself(bench: &Bench) {
    let store = bench.open();
    assert!(!store.describe().is_empty());
    assert!(store.max_value_bytes() >= 1 << 20, "values of 1 MiB are the least");
    store.check().await.expect("a new store is sound");
}
