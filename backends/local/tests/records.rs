//! The contract of `RecordStore`, and what an embedded store promises beyond
//! it, for each kind.

// A helper function is a test, too.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use futures_executor::block_on;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    Batch, ErrorKind, PageLimit, Precondition, RecordPage, RecordStore, Revision, Stored,
};
use strongroom_local::records::{
    CommitStats, RecordOptions, RecordStoreKind, RedbRecords, SledRecords, open_records,
};
use tempfile::TempDir;

/// Runs every generic function below for both kinds.
macro_rules! for_each_kind {
    ($($name:ident)*) => {
        mod sled { $(#[test] fn $name() { super::$name(super::RecordStoreKind::Sled) })* }
        mod redb { $(#[test] fn $name() { super::$name(super::RecordStoreKind::Redb) })* }
    };
}

#[path = "records/model.rs"]
mod model;
#[path = "records/sharing.rs"]
mod sharing;

for_each_kind! {
    keys_are_ordered_and_prefixes_are_exact
    pages_return_each_key_once
    values_of_every_size_come_back
    preconditions_decide
    a_batch_is_all_or_nothing
    the_last_of_several_changes_counts
    limits_are_refused_and_change_nothing
    revisions_are_never_used_again
    records_survive_a_reopen
    concurrent_commits_share_syncs_and_lose_nothing
    of_conflicting_commits_one_wins
    readers_never_see_half_a_batch
}

fn open(kind: RecordStoreKind, dir: &Path) -> Arc<dyn RecordStore> {
    open_records(kind, dir, &RecordOptions::default()).unwrap()
}

fn fresh(kind: RecordStoreKind) -> (TempDir, Arc<dyn RecordStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(kind, dir.path());
    (dir, store)
}

fn put(store: &dyn RecordStore, key: &[u8], value: &[u8]) {
    block_on(store.commit(Batch::new().write(key.to_vec(), value.to_vec()))).unwrap();
}

fn get(store: &dyn RecordStore, key: &[u8]) -> Option<Stored> {
    block_on(store.get(key)).unwrap()
}

fn keys(store: &dyn RecordStore, prefix: &[u8]) -> Vec<Vec<u8>> {
    let page = block_on(store.scan(prefix, None, PageLimit::entries(usize::MAX))).unwrap().entries;
    page.into_iter().map(|(key, _)| key).collect()
}

/// Bytes that differ from place to place, so that a misplaced chunk shows.
fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + (i >> 12) * 7) as u8 ^ seed).collect()
}

// === order, pages, values ===

fn keys_are_ordered_and_prefixes_are_exact(kind: RecordStoreKind) {
    let (_dir, store) = fresh(kind);
    let all: [&[u8]; 9] = [
        b"\x00",
        b"a",
        b"a\x00",
        b"a\xff",
        b"a\xff\xff",
        b"b",
        b"\xff",
        b"\xff\xff",
        b"\xff\xff\x01",
    ];
    for key in all.iter().rev() {
        put(&*store, key, key);
    }
    assert_eq!(keys(&*store, b""), all);
    assert_eq!(keys(&*store, b"a"), all[1..5]);
    assert_eq!(keys(&*store, b"a\xff"), all[3..5]);
    assert_eq!(keys(&*store, b"\xff"), all[6..9]);
    assert_eq!(keys(&*store, b"\xff\xff"), all[7..9]);
    assert!(keys(&*store, b"c").is_empty());
    assert!(keys(&*store, b"b\x00").is_empty());
    for key in all {
        assert_eq!(get(&*store, key).unwrap().value, key);
    }
}

fn pages_return_each_key_once(kind: RecordStoreKind) {
    let (_dir, store) = fresh(kind);
    let mut batch = Batch::new();
    for i in 0..100_u8 {
        // Ten families; in each, a key is a prefix of the next. Some values
        // are long.
        let key = [vec![i / 10], vec![b'k'; 1 + usize::from(i % 10)]].concat();
        batch = batch.write(key, pattern(i, if i % 9 == 0 { 20_000 } else { 5 }));
    }
    block_on(store.commit(batch)).unwrap();
    for limit in [1, 3, 7, 10, 99, 100, 101] {
        let mut seen = Vec::new();
        loop {
            let after: Option<&Vec<u8>> = seen.last();
            let page =
                block_on(store.scan(b"", after.map(Vec::as_slice), PageLimit::entries(limit)))
                    .unwrap();
            let RecordPage { entries: page, more } = page;
            assert!(page.len() <= limit);
            seen.extend(page.into_iter().map(|(key, _)| key));
            if !more {
                break;
            }
        }
        assert_eq!(seen.len(), 100, "limit {limit}");
        assert!(seen.is_sorted());
    }
    let page = block_on(store.scan(&[3], Some(&[2, b'k']), PageLimit::entries(4))).unwrap().entries;
    assert_eq!(page.len(), 4);
    assert!(page.iter().all(|(key, _)| key[0] == 3), "`after` before the prefix is no bound");
    assert!(
        block_on(store.scan(&[3], Some(&[4]), PageLimit::entries(4))).unwrap().entries.is_empty()
    );
    let page =
        block_on(store.scan(&[3], Some(b"\x03kkk+"), PageLimit::entries(1))).unwrap().entries;
    assert_eq!(page[0].0, b"\x03kkkk", "`after` need not exist");
}

fn values_of_every_size_come_back(kind: RecordStoreKind) {
    const KIB: usize = 1024;
    let (dir, store) = fresh(kind);
    let sizes = [0, 1, 8 * KIB - 1, 8 * KIB, 8 * KIB + 1, 16 * KIB, 100 * KIB, KIB * KIB];
    let sizes = sizes.map(|bytes| bytes.min(store.max_value_bytes()));
    for (seed, bytes) in (0..).zip(sizes) {
        put(&*store, &[b'v', seed], &pattern(seed, bytes));
    }
    // Shorter ones over longer ones, longer ones over shorter ones, nothing.
    let falling = (100..).zip(sizes.into_iter().rev());
    for (seed, bytes) in falling.chain((200..).zip(sizes)) {
        put(&*store, b"over", &pattern(seed, bytes));
        assert!(get(&*store, b"over").unwrap().value == pattern(seed, bytes), "{bytes} bytes");
    }
    block_on(store.commit(Batch::new().delete(b"over".to_vec()))).unwrap();
    let longest = store.max_value_bytes();
    put(&*store, b"longest", &pattern(9, longest));
    drop(store);
    let store = open(kind, dir.path());
    assert!(get(&*store, b"over").is_none());
    for (seed, bytes) in (0..).zip(sizes) {
        let stored = get(&*store, &[b'v', seed]).unwrap();
        assert!(stored.value == pattern(seed, bytes), "{bytes} bytes");
    }
    assert!(get(&*store, b"longest").unwrap().value == pattern(9, longest));
}

// === batches ===

fn preconditions_decide(kind: RecordStoreKind) {
    let (_dir, store) = fresh(kind);
    let commit = |batch| block_on(store.commit(batch)).map_err(|error| error.kind());
    let write = |precondition, value: &[u8]| {
        let batch = Batch::new().require(b"k".to_vec(), precondition);
        commit(batch.write(b"k".to_vec(), value.to_vec()))
    };
    assert_eq!(write(Precondition::At(Revision(1)), b"x"), Err(ErrorKind::Conflict));
    assert_eq!(write(Precondition::Absent, b"1"), Ok(()));
    assert_eq!(write(Precondition::Absent, b"2"), Err(ErrorKind::Conflict));
    let first = get(&*store, b"k").unwrap().revision;
    assert_eq!(write(Precondition::At(first), b"2"), Ok(()));
    assert_eq!(write(Precondition::At(first), b"3"), Err(ErrorKind::Conflict));
    assert_eq!(get(&*store, b"k").unwrap().value, b"2");
    // A precondition may stand alone, and on keys that the batch leaves alone.
    let second = get(&*store, b"k").unwrap().revision;
    assert_eq!(commit(Batch::new().require(b"k".to_vec(), Precondition::At(second))), Ok(()));
    let batch = Batch::new().require(b"k".to_vec(), Precondition::Absent);
    assert_eq!(commit(batch.write(b"other".to_vec(), vec![])), Err(ErrorKind::Conflict));
    assert!(get(&*store, b"other").is_none());
    assert_eq!(commit(Batch::new()), Ok(()));
    assert_eq!(block_on(store.check()).map_err(|error| error.kind()), Ok(()));
}

fn a_batch_is_all_or_nothing(kind: RecordStoreKind) {
    let (_dir, store) = fresh(kind);
    put(&*store, b"kept", b"1");
    put(&*store, b"deleted", &pattern(1, 30_000));
    let batch = Batch::new()
        .require(b"absent".to_vec(), Precondition::Absent)
        .write(b"new".to_vec(), b"2".to_vec())
        .delete(b"deleted".to_vec())
        .delete(b"never there".to_vec());
    block_on(store.commit(batch.clone())).unwrap();
    assert_eq!(keys(&*store, b""), [&b"kept"[..], b"new"]);
    let failing = batch.require(b"kept".to_vec(), Precondition::Absent).delete(b"kept".to_vec());
    let error = block_on(store.commit(failing)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.store(), Some(store.describe()));
    assert_eq!(keys(&*store, b""), [&b"kept"[..], b"new"]);
}

fn the_last_of_several_changes_counts(kind: RecordStoreKind) {
    let (_dir, store) = fresh(kind);
    let batch = Batch::new()
        .write(b"a".to_vec(), pattern(1, 50_000))
        .write(b"a".to_vec(), b"short".to_vec())
        .write(b"b".to_vec(), b"gone".to_vec())
        .delete(b"b".to_vec())
        .delete(b"c".to_vec())
        .write(b"c".to_vec(), b"back".to_vec());
    block_on(store.commit(batch)).unwrap();
    assert_eq!(keys(&*store, b""), [b"a", b"c"]);
    assert_eq!(get(&*store, b"a").unwrap().value, b"short");
}

fn limits_are_refused_and_change_nothing(kind: RecordStoreKind) {
    let (_dir, store) = fresh(kind);
    let too_long = vec![0; store.max_value_bytes() + 1];
    let good = || Batch::new().write(b"good".to_vec(), vec![]);
    for batch in [
        good().write(vec![], vec![]),
        good().write(vec![1; 1025], vec![]),
        good().delete(vec![]),
        good().write(b"k".to_vec(), too_long),
    ] {
        assert_eq!(block_on(store.commit(batch)).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }
    assert!(get(&*store, b"good").is_none());
    put(&*store, &[0xff; 1024], b"longest key");
    assert_eq!(get(&*store, &[0xff; 1024]).unwrap().value, b"longest key");
    assert!(get(&*store, b"").is_none());
}

// === revisions and reopening ===

fn revisions_are_never_used_again(kind: RecordStoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let store = open(kind, dir.path());
        for _ in 0..3 {
            put(&*store, b"k", b"same");
            assert!(seen.insert(get(&*store, b"k").unwrap().revision));
        }
        block_on(store.commit(Batch::new().delete(b"k".to_vec()))).unwrap();
    }
}

fn records_survive_a_reopen(kind: RecordStoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("deep/in/new/directories");
    for round in 0..20_u8 {
        // Opening right after the drop must work: nothing lingers.
        let store = open(kind, &place);
        assert_eq!(keys(&*store, b"").len(), usize::from(round));
        put(&*store, &[round], &pattern(round, usize::from(round) * 2_000));
    }
    let store = open(kind, &place);
    for round in 0..20 {
        let value = get(&*store, &[round]).unwrap().value;
        assert!(value == pattern(round, usize::from(round) * 2_000));
    }
}

// === concurrency ===

/// A store, and a way to ask what its writer has done.
fn open_counted(
    kind: RecordStoreKind,
    dir: &Path,
) -> (Arc<dyn RecordStore>, Box<dyn Fn() -> CommitStats>) {
    let options = RecordOptions::default();
    if kind == RecordStoreKind::Sled {
        let store = Arc::new(SledRecords::open(dir, &options).unwrap());
        (store.clone(), Box::new(move || store.stats()))
    } else {
        let store = Arc::new(RedbRecords::open(dir, &options).unwrap());
        (store.clone(), Box::new(move || store.stats()))
    }
}

fn concurrent_commits_share_syncs_and_lose_nothing(kind: RecordStoreKind) {
    const WRITERS: u64 = 64;
    const EACH: u64 = 25;
    let dir = tempfile::tempdir().unwrap();
    let (store, stats) = open_counted(kind, dir.path());
    let barrier = Barrier::new(WRITERS as usize);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for i in 0..EACH {
                    let key = format!("{writer:02}/{i:03}").into_bytes();
                    put(&**store, &key, &key);
                    assert_eq!(get(&**store, &key).unwrap().value, key, "sees its own commit");
                }
            });
        }
    });
    let after = stats();
    assert_eq!(after.commits, WRITERS * EACH);
    assert!(after.groups * 4 <= after.commits, "commits do not share syncs: {after:?}");
    assert_eq!(after.syncs, after.groups, "a group costs one sync");
    // Alone, a commit costs one sync, and one that changes nothing costs none.
    put(&*store, b"alone", b"");
    assert_eq!(stats().syncs, after.syncs + 1);
    let refused = Batch::new().require(b"alone".to_vec(), Precondition::Absent);
    block_on(store.commit(refused)).unwrap_err();
    assert_eq!(stats().syncs, after.syncs + 1);
    drop((store, stats));
    assert_eq!(keys(&*open(kind, dir.path()), b"").len() as u64, WRITERS * EACH + 1);
}

fn of_conflicting_commits_one_wins(kind: RecordStoreKind) {
    let (_dir, store) = fresh(kind);
    for round in 0..20_u8 {
        let current = get(&*store, b"contended");
        let precondition =
            current.map_or(Precondition::Absent, |stored| Precondition::At(stored.revision));
        // Polled together, so that most of them wait together.
        let commits = (0..16_u8).map(|writer| {
            let batch = Batch::new()
                .require(b"contended".to_vec(), precondition)
                .write(b"contended".to_vec(), vec![round, writer])
                .write(vec![b'w', round, writer], vec![]);
            store.commit(batch)
        });
        let verdicts = block_on(futures_util::future::join_all(commits));
        let winners: Vec<_> = (0..16_u8).filter(|w| verdicts[usize::from(*w)].is_ok()).collect();
        assert_eq!(winners.len(), 1);
        for error in verdicts.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Conflict);
        }
        assert_eq!(get(&*store, b"contended").unwrap().value, [round, winners[0]]);
        assert_eq!(keys(&*store, &[b'w', round]), [[b'w', round, winners[0]]]);
    }
}

fn readers_never_see_half_a_batch(kind: RecordStoreKind) {
    let (_dir, store) = fresh(kind);
    let write = |round: u8| {
        let mut batch = Batch::new();
        for key in 0..40_u8 {
            // Some are long: their parts must be of one round, too.
            let bytes = if key % 8 == 0 { 40_000 } else { 10 };
            batch = batch.write(vec![key], vec![round; bytes]);
        }
        block_on(store.commit(batch)).unwrap();
    };
    write(0);
    let start = Barrier::new(3);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    let page =
                        block_on(store.scan(b"", None, PageLimit::entries(100))).unwrap().entries;
                    let round = page[0].1.value[0];
                    assert_eq!(page.len(), 40);
                    let same = |(_, stored): &(_, Stored)| stored.value.iter().all(|b| *b == round);
                    assert!(page.iter().all(same), "a page of two rounds");
                    let long = get(&*store, &[8]).unwrap().value;
                    assert!(long.iter().all(|b| *b == long[0]), "a value of two rounds");
                }
            });
        }
        start.wait();
        for round in 1..60 {
            write(round);
        }
        done.store(true, Ordering::Relaxed);
    });
}
