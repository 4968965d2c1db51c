//! Many at once, and the store as such.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use std::sync::Barrier;
use std::thread;

use crate::block_on;

use super::*;

pub(super) async fn concurrent_puts_give_distinct_versions(bench: &Bench) {
    const THREADS: usize = 16;
    const PUTS: usize = 10;
    let store = bench.open();
    let put_all = |thread: usize| {
        let mut versions = Vec::new();
        for round in 0..PUTS {
            let version = block_on(store.put(&db(), format!("{thread}:{round}").as_bytes()));
            versions.push((version, format!("{thread}:{round}")));
        }
        versions
    };
    let written: Vec<Vec<_>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || put_all(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for own in &written {
        let in_order = own.windows(2).all(|pair| is_before(&store, &pair[0].0, &pair[1].0));
        assert!(in_order, "a thread's later put has an earlier version");
    }
    let distinct: BTreeSet<_> =
        written.iter().flatten().map(|(version, _)| version.to_string()).collect();
    assert_eq!(distinct.len(), THREADS * PUTS);
    if store.can().versions {
        let listed = store.versions(&db(), 1000).await.expect("versions");
        assert_eq!(listed.len(), THREADS * PUTS);
        for (version, value) in written.into_iter().flatten() {
            assert!(store.holds(&db(), &Select::Version(version), value.as_bytes()).await);
        }
    }
}

pub(super) async fn one_of_many_swappers_wins_each_round(bench: &Bench) {
    const THREADS: usize = 8;
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    let mut latest = store.put(&db(), b"start").await;
    let barrier = Barrier::new(THREADS);
    for round in 0..10 {
        let swap = |thread: usize, expect: Expect| {
            barrier.wait();
            let put = block_on(store.put_if(&db(), &[thread as u8], expect));
            put.map_err(|error| assert_eq!(error.kind(), ErrorKind::Conflict, "{error}")).ok()
        };
        let swap = &swap;
        let won: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let expect = Expect::Latest(latest.clone());
                    scope.spawn(move || swap(thread, expect).map(|info| (thread, info.version)))
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(won.len(), 1, "round {round}");
        store.assert_latest(&db(), &[won[0].0 as u8], "the winner's value").await;
        latest = won[0].1.clone();
    }
}

pub(super) async fn readers_beside_a_writer_see_whole_values(bench: &Bench) {
    let store = bench.open();
    store.put(&db(), &[0; 5000]).await;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..=60u8 {
                block_on(store.put(&db(), &vec![round; 5000 - usize::from(round)]));
            }
        });
        let mut newest = 0;
        let mut is_last = false;
        while !is_last {
            is_last = writer.is_finished();
            let secret = block_on(store.0.get(&db(), &Select::Latest)).expect("a get");
            let bytes = secret.value.expose();
            let round = bytes[0];
            assert!(bytes.iter().all(|byte| *byte == round), "a value of two puts");
            assert!(bytes.len() == 5000 - usize::from(round), "another put's length");
            assert!(round >= newest, "an older value came after a newer one");
            newest = round;
        }
        assert_eq!(newest, 60);
    });
}

pub(super) async fn deletes_and_restores_race_without_harm(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore {
        return;
    }
    store.put(&db(), b"value").await;
    let good = [ErrorKind::NotFound, ErrorKind::Conflict, ErrorKind::AlreadyExists];
    let tolerate = |result: Result<()>| {
        if let Err(error) = result {
            assert!(good.contains(&error.kind()), "{error}");
        }
    };
    thread::scope(|scope| {
        for thread in 0..6 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..20 {
                    match thread % 3 {
                        0 => tolerate(block_on(store.0.delete(&db()))),
                        1 => tolerate(block_on(store.0.restore(&db()))),
                        _ => {
                            let put = block_on(store.put_if(&db(), b"value", Expect::Any));
                            tolerate(put.map(drop));
                            let get = block_on(store.0.get(&db(), &Select::Latest));
                            tolerate(get.map(|s| assert!(s.value.expose() == b"value")));
                        }
                    }
                }
            });
        }
    });
    if store.0.get(&db(), &Select::Latest).await.is_err() {
        store.0.restore(&db()).await.expect("a deleted secret can be restored");
    }
    store.assert_latest(&db(), b"value", "after the races").await;
    for version in store.versions(&db(), 1000).await.expect("versions") {
        assert!(store.holds(&db(), &Select::Version(version), b"value").await);
    }
}

// === the store ===

pub(super) async fn a_reopened_store_holds_the_same(bench: &Bench) {
    if !bench.backend.persistent {
        return;
    }
    let store = bench.open();
    let names = [db(), name("acme/ops", "db"), name("acme/ops/web", "db")];
    for (index, name) in names.iter().enumerate() {
        for round in 0..3 {
            store.put(name, format!("{index}:{round}").as_bytes()).await;
        }
    }
    store.0.delete(&names[2]).await.expect("a delete");
    let before = store.list(ACCOUNT, true, 10).await;
    drop(store);

    let store = bench.open();
    assert_eq!(store.list(ACCOUNT, true, 10).await, before);
    for (index, name) in names[..2].iter().enumerate() {
        let versions = store.versions(name, 10).await.expect("versions");
        for (round, version) in versions.into_iter().enumerate() {
            let value = format!("{index}:{round}");
            assert!(store.holds(name, &Select::Version(version), value.as_bytes()).await);
        }
    }
    store.assert_missing(&names[2], "deleted before it was reopened").await;
    store.0.restore(&names[2]).await.expect("a restore");
    store.assert_latest(&names[2], b"2:2", "restored after it was reopened").await;
}

pub(super) async fn errors_say_where_and_never_what(bench: &Bench) {
    let store = bench.open();
    let value = b"a-value-nobody-may-see";
    store.put(&db(), value).await;
    let refused = store.put_if(&db(), value, Expect::Absent).await;
    let refused = refused.err().filter(|_| store.can().compare_and_swap);
    let missing = store.0.get(&name(ACCOUNT, "absent"), &Select::Latest).await.err();
    for (error, operation) in [(refused, "put"), (missing, "get")] {
        let Some(error) = error else { continue };
        assert_eq!(error.operation(), Some(operation));
        assert!(error.secret().is_some_and(|name| name.starts_with("account.")), "{error}");
        assert!(error.store().is_some(), "{error}");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("nobody-may-see"), "the value is in the error");
        assert!(!error.is_retryable(), "{error}");
    }
    let secret = store.0.get(&db(), &Select::Latest).await.expect("a get");
    let told = format!("{secret:?} {:?}", store.0);
    assert!(!told.contains("nobody-may-see"), "the value is in Debug");
}

pub(super) async fn the_store_names_and_checks_itself(bench: &Bench) {
    let store = bench.open();
    assert!(!store.0.describe().is_empty());
    store.0.check().await.expect("a new store is sound");
    assert!(store.can().max_value_bytes > 0);
}
