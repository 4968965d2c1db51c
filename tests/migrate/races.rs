//! Readers and writers go on while everything moves, between all kinds of record
//! stores: nobody sees a wrong value, nothing acknowledged is lost, and no error
//! is one that a retry would not cure.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use strongroom_core::Error;
use strongroom_kit::random::Random;
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

use super::*;

const NAMES: usize = 24;
const WRITERS: usize = 3;
const READERS: usize = 3;
const MAX_VERSIONS: u64 = 60;
const FILE_BYTES: usize = 120_000;

fn records(kind: Option<RecordStoreKind>, dir: &Path) -> Arc<dyn RecordStore> {
    match kind {
        None => Arc::new(MemoryRecords::new()),
        Some(kind) => open_records(kind, dir, &RecordOptions::default()).expect("opened"),
    }
}

/// A name, the last number that was begun to be written to it, and the last that
/// was acknowledged.
struct Cell {
    name: SecretName,
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

fn cured<T>(mut attempt: impl FnMut() -> Result<T>, what: &str) -> T {
    for _ in 0..10_000 {
        match attempt() {
            Ok(answer) => return answer,
            Err(error) => assert_curable(&error, what),
        }
        std::thread::yield_now();
    }
    panic!("{what}: retries cure nothing");
}

/// Ends the others when a thread fails, so that the test does.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

fn assert_curable(error: &Error, what: &str) {
    assert!(error.is_retryable(), "{what}: {error}");
}

/// In the process that migrates, a reader waits for a switch and sees no error.
fn read_number(both: &Migrating, cell: &Cell) -> u64 {
    number(&get(both, &cell.name).expect("a value at every moment"))
}

/// The same of all at once.
fn read_all(both: &Migrating, cells: &[Cell]) {
    let before: Vec<_> = cells.iter().map(|c| c.acknowledged.load(Ordering::SeqCst)).collect();
    let wanted: Vec<_> = cells.iter().map(|cell| (&cell.name, &Select::Latest)).collect();
    let answers = block_on(both.get_many(&wanted));
    assert_eq!(answers.len(), cells.len());
    for ((answer, before), cell) in answers.into_iter().zip(before).zip(cells) {
        let seen = number(&answer.expect("a value at every moment").value);
        let after = cell.begun.load(Ordering::SeqCst);
        assert!((before..=after).contains(&seen), "{before} {seen} {after}");
    }
}

fn number(value: &SecretBytes) -> u64 {
    let text = std::str::from_utf8(value.expose()).expect("text of a test");
    text.parse().expect("a number of a test")
}

fn race(from: Option<RecordStoreKind>, to: Option<RecordStoreKind>, remove_source: bool) {
    let what = format!("{from:?} to {to:?}, removing {remove_source}");
    let dir = tempfile::tempdir().expect("a directory");
    let source = store_on(records(from, &dir.path().join("a")), &new_kek()).expect("a store");
    let target = store_on(records(to, &dir.path().join("b")), &new_kek()).expect("a store");
    let cell = |index: usize| Cell {
        name: name(SCOPES[index % SCOPES.len()], &format!("s{index}")),
        begun: AtomicU64::new(1),
        acknowledged: AtomicU64::new(1),
    };
    let cells: Vec<_> = (0..NAMES).map(cell).collect();
    for cell in &cells {
        put(&*source, &cell.name, b"1");
    }
    let file = name("acme", "file");
    put_as(&*source, &file, &vec![5; FILE_BYTES], Kind::File);
    let both = migrating(&source, &target);
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let start = Barrier::new(WRITERS + READERS + 2);
    std::thread::scope(|threads| {
        for writer in 0..WRITERS {
            let (cells, both, done, start) = (&cells, &both, &done, &start);
            threads.spawn(move || {
                let (mut random, _ends) = (Random::new(writer as u64), Ends(done));
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    let own = random.below(NAMES / WRITERS) * WRITERS + writer;
                    let cell = &cells[own];
                    // Each version is copied and read back: a few of them do.
                    if cell.begun.load(Ordering::SeqCst) >= MAX_VERSIONS {
                        std::thread::yield_now();
                        continue;
                    }
                    let number = cell.begun.fetch_add(1, Ordering::SeqCst) + 1;
                    let value = secret(&number.to_string());
                    let put = || block_on(both.put(&cell.name, &value, &PutOptions::default()));
                    let info = cured(put, "put");
                    assert_eq!(info.version.to_string(), number.to_string(), "{:?}", cell.name);
                    cell.acknowledged.store(number, Ordering::SeqCst);
                }
            });
        }
        for reader in 0..READERS {
            let (cells, both, done, start, reads) = (&cells, &both, &done, &start, &reads);
            let file = &file;
            threads.spawn(move || {
                let (mut random, _ends) = (Random::new(100 + reader as u64), Ends(done));
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    let cell = &cells[random.below(NAMES)];
                    let before = cell.acknowledged.load(Ordering::SeqCst);
                    let seen = read_number(both, cell);
                    let after = cell.begun.load(Ordering::SeqCst);
                    assert!((before..=after).contains(&seen), "{before} {seen} {after}");
                    match random.below(8) {
                        0 => read_file(both, file),
                        1 => read_all(both, cells),
                        _ => {}
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (both_ref, done_ref, start_ref) = (&both, &done, &start);
        threads.spawn(move || {
            let _ends = Ends(done_ref);
            start_ref.wait();
            while !done_ref.load(Ordering::Relaxed) {
                let page = PageRequest::first(100);
                let listed: usize = SCOPES
                    .iter()
                    .map(|scope| {
                        let scope = scope.parse().expect("valid");
                        block_on(both_ref.list(&scope, false, &page)).expect("a list").items.len()
                    })
                    .sum();
                assert_eq!(listed, NAMES + 1, "a list misses a name, or has it twice");
            }
        });
        start.wait();
        let what = Migrate { remove_source, ..Migrate::default() };
        // A secret that is written all the time may take more than one attempt.
        let mut moved = 0;
        for _ in 0..20 {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let report = block_on(both.migrate(&what, &|_| {}));
            let report = report.unwrap_or_else(|error| {
                done.store(true, Ordering::Relaxed);
                panic!("{error}");
            });
            moved += report.moved;
            if report.failed == 0 {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(moved, NAMES as u64 + 1);
    });
    assert!(reads.load(Ordering::Relaxed) > 0, "{what}: nobody read");
    everything_moved(&both, [&source, &target], &cells, &what);
}

/// Every acknowledged write is at the target, once, and nowhere else.
fn everything_moved(
    both: &Migrating,
    [source, target]: [&EnvelopeStore; 2],
    cells: &[Cell],
    what: &str,
) {
    for cell in cells {
        assert!(!is_owned(source, &cell.name) && is_owned(target, &cell.name), "{what}");
        let last = cell.acknowledged.load(Ordering::SeqCst);
        for number in 1..=last {
            let select = Select::Version(Version::new(number.to_string()).expect("valid"));
            let got = block_on(target.get(&cell.name, &select)).expect("every version");
            assert!(got.value.expose() == number.to_string().as_bytes(), "{what}");
        }
        assert_eq!(read_number(both, cell), last, "{what}: nothing more was written");
    }
    // New names begin where everything is now.
    put(both, &name("acme", "new"), b"v");
    assert!(is_owned(target, &name("acme", "new")));
}

fn read_file(both: &Migrating, name: &SecretName) {
    let read = || {
        let mut file = block_on(both.get_file(name, &Select::Latest))?;
        let mut bytes = 0;
        while let Some(segment) = block_on(file.next())? {
            assert!(segment.expose().iter().all(|byte| *byte == 5), "another file");
            bytes += segment.len();
        }
        Ok(bytes)
    };
    assert_eq!(cured(read, "get_file"), FILE_BYTES);
}

const SLED: Option<RecordStoreKind> = Some(RecordStoreKind::Sled);
const REDB: Option<RecordStoreKind> = Some(RecordStoreKind::Redb);

#[test]
fn memory_to_redb() {
    race(None, REDB, false);
}

#[test]
fn redb_to_memory() {
    race(REDB, None, true);
}

#[test]
fn memory_to_sled() {
    race(None, SLED, true);
}

#[test]
fn sled_to_memory() {
    race(SLED, None, false);
}

#[test]
fn sled_to_redb() {
    race(SLED, REDB, true);
}

#[test]
fn redb_to_sled() {
    race(REDB, SLED, false);
}
