//! Many at once, dropped commits, reopening, and the store as such.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use futures_util::future::FutureExt;

use crate::block_on;

use super::*;
pub(super) async fn readers_see_all_of_a_batch_or_none(bench: &Bench) {
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
                    let page = block_on(store.scan(b"k", None, PageLimit::entries(100)))
                        .expect("a page")
                        .entries;
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

pub(super) async fn one_of_many_swappers_wins_each_round(bench: &Bench) {
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

pub(super) async fn commits_from_many_threads_all_land(bench: &Bench) {
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

pub(super) async fn other_threads_see_what_was_acknowledged(bench: &Bench) {
    let store = bench.open();
    let (announce, announced) = std::sync::mpsc::channel::<u32>();
    thread::scope(|scope| {
        let reader = &store;
        scope.spawn(move || {
            for number in announced {
                let found = block_on(value(&**reader, b"counter")).expect("it was acknowledged");
                let found = u32::from_be_bytes(found.try_into().expect("four bytes"));
                assert!(found >= number, "{found} was read after {number} was acknowledged");
                let page = block_on(reader.scan(b"c", None, PageLimit::entries(1)))
                    .expect("a page")
                    .entries;
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

pub(super) async fn a_scan_beside_writers_gives_lasting_keys_once(bench: &Bench) {
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

pub(super) async fn a_dropped_commit_is_whole_or_absent(bench: &Bench) {
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

pub(super) async fn random_batches_match_a_model(bench: &Bench) {
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

pub(super) async fn a_reopened_store_holds_the_same(bench: &Bench) {
    if !bench.backend.persistent {
        return;
    }
    let store = bench.open();
    with_awkward_keys(&*store).await;
    write(&*store, b"large", &Random::new(7).bytes(128 << 10)).await;
    let before = store.scan(b"", None, PageLimit::entries(1000)).await.expect("a page");
    drop(store);
    let store = bench.open();
    assert!(
        store.scan(b"", None, PageLimit::entries(1000)).await.expect("a page") == before,
        "entries or revisions"
    );
}

pub(super) async fn a_second_opening_is_refused(bench: &Bench) {
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

pub(super) async fn the_store_names_and_checks_itself(bench: &Bench) {
    let store = bench.open();
    assert!(!store.describe().is_empty());
    assert!(store.max_value_bytes() >= 128 << 10, "values of 128 KiB are the least");
    store.check().await.expect("a new store is sound");
}
