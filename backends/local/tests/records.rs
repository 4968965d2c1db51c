//! The contract of `RecordStore`, and what an embedded store promises beyond
//! it, for each kind.

// A helper function is a test, too.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use futures_executor::block_on;
use proptest::prelude::*;
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
    a_second_open_is_refused
    a_second_process_is_refused
    a_child_being_started_does_not_keep_the_store_locked
    a_store_of_another_kind_is_refused
    files_are_private_whatever_the_umask
    an_interrupted_creation_starts_over
    random_histories_match_the_reference_store
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

// === one process, one kind, one owner ===

fn a_second_open_is_refused(kind: RecordStoreKind) {
    let (dir, store) = fresh(kind);
    let error = open_records(kind, dir.path(), &RecordOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
    assert!(error.message().contains(&format!("pid {}", std::process::id())), "{error}");
    assert!(error.message().contains(&dir.path().display().to_string()), "{error}");
    put(&*store, b"still", b"works");
    drop(store);
    assert_eq!(get(&*open(kind, dir.path()), b"still").unwrap().value, b"works");
}

/// Set in a child that this test binary starts from itself: its store.
const CHILD: &str = "STRONGROOM_TEST_CHILD";

fn child(test: &str, kind: RecordStoreKind, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", &format!("{kind}::{test}")]);
    command.env(CHILD, dir);
    command
}

/// Another thread starts programs all the time: between fork(2) and exec(2) each
/// has a copy of the lock's descriptor.
fn a_child_being_started_does_not_keep_the_store_locked(kind: RecordStoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, so that it ends also when an opening below panics.
            for _ in 0..2_000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                Command::new("/bin/true").status().unwrap();
            }
        });
        for _ in 0..200 {
            drop(open(kind, dir.path()));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn a_second_process_is_refused(kind: RecordStoreKind) {
    if let Some(dir) = std::env::var_os(CHILD) {
        let error = open_records(kind, Path::new(&dir), &RecordOptions::default()).unwrap_err();
        println!("REFUSED {} {}", error.kind(), error.message());
        return;
    }
    let (dir, store) = fresh(kind);
    let output = child("a_second_process_is_refused", kind, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let holder = format!("in use by another process (pid {})", std::process::id());
    assert!(said.contains("REFUSED unavailable") && said.contains(&holder), "{said}");
    drop(store);
}

fn a_store_of_another_kind_is_refused(kind: RecordStoreKind) {
    let (dir, store) = fresh(kind);
    put(&*store, b"k", b"v");
    drop(store);
    let other = RecordStoreKind::ALL.into_iter().find(|other| *other != kind).unwrap();
    let error = open_records(other, dir.path(), &RecordOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains(&format!("holds a {kind} store")), "{error}");
    assert_eq!(get(&*open(kind, dir.path()), b"k").unwrap().value, b"v");
}

fn files_are_private_whatever_the_umask(kind: RecordStoreKind) {
    if let Some(dir) = std::env::var_os(CHILD) {
        put(&*open(kind, Path::new(&dir)), b"k", &pattern(1, 100_000));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    for _ in 0..2 {
        // A process has one umask, so that only a child's can be changed.
        let run = child("files_are_private_whatever_the_umask", kind, &place);
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(run.get_program());
        let output = shell.args(run.get_args()).env(CHILD, &place).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let mut files = 0;
        walk(&place, &mut |path, metadata| {
            let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
            files += 1;
        });
        assert!(files >= 3, "directory, lock and data");
    }
}

fn walk(path: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let metadata = fs::symlink_metadata(path).unwrap();
    visit(path, &metadata);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), visit);
        }
    }
}

fn an_interrupted_creation_starts_over(kind: RecordStoreKind) {
    let dir = tempfile::tempdir().unwrap();
    // What a process leaves that dies before the final rename.
    let unfinished = dir.path().join(format!("records.{kind}.new"));
    if kind == RecordStoreKind::Sled {
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("db"), b"half").unwrap();
    } else {
        fs::write(&unfinished, b"half").unwrap();
    }
    put(&*open(kind, dir.path()), b"k", b"v");
    assert!(!unfinished.exists());
}

// === the model ===

#[derive(Clone, Debug)]
enum Step {
    /// Changes (key, and seed and length of a value), and a key that must have
    /// its current revision (`true`) or be absent.
    Commit(Vec<(u8, Option<(u8, usize)>)>, Option<(u8, bool)>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop_oneof![0..100_usize, 8_000..8_400_usize, 8_192..40_000_usize];
    let change = (0..12_u8, prop::option::weighted(0.8, (any::<u8>(), bytes)));
    let required = prop::option::of((0..12_u8, any::<bool>()));
    let commit = (prop::collection::vec(change, 0..6), required);
    let step = prop_oneof![
        12 => commit.prop_map(|(changes, required)| Step::Commit(changes, required)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// Keys that are prefixes of one another, and at the ends of the order.
fn model_key(index: u8) -> Vec<u8> {
    let all: [&[u8]; 12] = [
        b"\x00",
        b"\x00\x00",
        b"a",
        b"a/",
        b"a/b",
        b"a/b\x00",
        b"a/b\xff",
        b"a0",
        b"b",
        b"\xfe\xff",
        b"\xff",
        b"\xff\xff",
    ];
    all[usize::from(index)].to_vec()
}

fn contents(store: &dyn RecordStore, prefix: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let page = block_on(store.scan(prefix, after.as_deref(), PageLimit::entries(5))).unwrap();
        let RecordPage { entries: page, more } = page;
        after = page.last().map(|(key, _)| key.clone());
        all.extend(page.into_iter().map(|(key, stored)| (key, stored.value)));
        if !more {
            return all;
        }
    }
}

fn apply(
    store: &dyn RecordStore,
    changes: &[(u8, Option<(u8, usize)>)],
    required: Option<(u8, bool)>,
) -> Result<(), ErrorKind> {
    let mut batch = Batch::new();
    for (key, value) in changes {
        let value = value.map(|(seed, bytes)| pattern(seed, bytes));
        batch.changes.push((model_key(*key), value));
    }
    if let Some((key, current)) = required {
        let precondition = match get(store, &model_key(key)) {
            Some(stored) if current => Precondition::At(stored.revision),
            _ => Precondition::Absent,
        };
        batch = batch.require(model_key(key), precondition);
    }
    block_on(store.commit(batch)).map_err(|error| error.kind())
}

fn random_histories_match_the_reference_store(kind: RecordStoreKind) {
    let config =
        ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let history = |steps: Vec<Step>| {
        let dir = tempfile::tempdir().unwrap();
        let reference = MemoryRecords::new();
        let mut store = open(kind, dir.path());
        for step in steps {
            match step {
                Step::Reopen => {
                    drop(store);
                    store = open(kind, dir.path());
                }
                Step::Commit(changes, required) => {
                    let verdict = apply(&*store, &changes, required);
                    prop_assert_eq!(verdict, apply(&reference, &changes, required));
                }
            }
            for prefix in [&b""[..], b"a", b"a/b", b"\xff"] {
                prop_assert!(contents(&*store, prefix) == contents(&reference, prefix));
            }
        }
        Ok(())
    };
    runner.run(&steps(), history).unwrap();
}
