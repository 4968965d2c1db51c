//! Deleted, restored, purged.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use super::*;

pub(super) async fn a_deleted_secret_is_hidden(bench: &Bench) {
    let store = bench.open();
    let version = store.put(&db(), b"value").await;
    store.put(&name(ACCOUNT, "other"), b"other").await;
    store.assert_latest(&db(), b"value", "before the delete").await;
    store.0.delete(&db()).await.expect("a delete");
    store.assert_missing(&db(), "the latest").await;
    let select = Select::Version(version.clone());
    assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, "a version");
    assert_eq!(store.names(ACCOUNT, false).await, ["other"]);
    store.assert_latest(&name(ACCOUNT, "other"), b"other", "another secret").await;
    if store.can().soft_delete {
        let all = store.list(ACCOUNT, true, 10).await;
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].name, db());
        assert!(all[0].deleted.is_some());
        if bench.backend.follows_clock {
            assert_eq!(all[0].deleted, Some(bench.clock.now()));
        }
        assert_eq!(all[1].deleted, None);
        assert_eq!(store.versions(&db(), 10).await.expect("versions"), [version]);
    }
}

pub(super) async fn a_deleted_secret_refuses_a_put(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore {
        return;
    }
    let version = store.put(&db(), b"value").await;
    store.0.delete(&db()).await.expect("a delete");
    for expect in [Expect::Any, Expect::Absent, Expect::Latest(version.clone())] {
        let what = format!("{expect:?}");
        let put = store.put_if(&db(), b"never", expect).await;
        assert_kind(put, ErrorKind::AlreadyExists, what);
    }
    store.0.restore(&db()).await.expect("a restore");
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), [version]);
    store.assert_latest(&db(), b"value", "after the restore").await;
}

pub(super) async fn deleting_what_is_not_there_is_not_found(bench: &Bench) {
    let store = bench.open();
    assert_kind(store.0.delete(&db()).await, ErrorKind::NotFound, "never used");
    store.put(&db(), b"value").await;
    store.0.delete(&db()).await.expect("a delete");
    assert_kind(store.0.delete(&db()).await, ErrorKind::NotFound, "deleted");
    if store.can().purge {
        store.0.purge(&db()).await.expect("a purge");
        assert_kind(store.0.delete(&db()).await, ErrorKind::NotFound, "purged");
    }
}

pub(super) async fn restore_brings_every_version_back(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore {
        assert_kind(store.0.restore(&db()).await, ErrorKind::Unsupported, "restore");
        return;
    }
    for round in 0..3u8 {
        store.put(&db(), &[round]).await;
    }
    let before = store.versions(&db(), 10).await.expect("versions");
    store.0.delete(&db()).await.expect("a delete");
    store.0.restore(&db()).await.expect("a restore");
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), before);
    for (round, version) in (0..3u8).zip(before) {
        assert!(store.holds(&db(), &Select::Version(version), &[round]).await);
    }
    let listed = store.list(ACCOUNT, false, 10).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].deleted, None);
    let next = store.put(&db(), b"next").await;
    store.assert_latest(&db(), b"next", "a put after the restore").await;
    assert_eq!(store.versions(&db(), 10).await.expect("versions").last(), Some(&next));
}

pub(super) async fn restoring_what_is_not_deleted_is_refused(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore {
        return;
    }
    assert_kind(store.0.restore(&db()).await, ErrorKind::NotFound, "never used");
    store.put(&db(), b"value").await;
    assert_kind(store.0.restore(&db()).await, ErrorKind::Conflict, "live");
    store.0.delete(&db()).await.expect("a delete");
    store.0.restore(&db()).await.expect("a restore");
    assert_kind(store.0.restore(&db()).await, ErrorKind::Conflict, "restored already");
    if store.can().purge {
        store.0.purge(&db()).await.expect("a purge");
        assert_kind(store.0.restore(&db()).await, ErrorKind::NotFound, "purged");
    }
}

pub(super) async fn the_recovery_window_ends(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore || !bench.backend.follows_clock {
        return;
    }
    store.put(&db(), b"value").await;
    store.0.delete(&db()).await.expect("a delete");
    let last_moment = RECOVERY_WINDOW.saturating_sub(Duration::from_millis(1));
    bench.clock.advance(last_moment);
    store.0.restore(&db()).await.expect("the last moment");
    store.assert_latest(&db(), b"value", "restored at the last moment").await;
    store.0.delete(&db()).await.expect("a delete");
    bench.clock.advance(RECOVERY_WINDOW);
    assert_kind(store.0.restore(&db()).await, ErrorKind::NotFound, "after the window");
    store.assert_missing(&db(), "after the window").await;
    assert_kind(store.0.delete(&db()).await, ErrorKind::NotFound, "after the window");
    assert!(store.names(ACCOUNT, true).await.is_empty(), "it is still listed");
}

pub(super) async fn a_put_after_the_window_begins_anew(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore || !bench.backend.follows_clock {
        return;
    }
    let old = store.put(&db(), b"old").await;
    store.0.delete(&db()).await.expect("a delete");
    bench.clock.advance(RECOVERY_WINDOW);
    let new = store.put_if(&db(), b"new", Expect::Absent).await.expect("a put").version;
    assert_ne!(new, old, "a version was given twice");
    assert!(is_before(&store, &old, &new));
    store.assert_latest(&db(), b"new", "after the window").await;
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), [new]);
}

pub(super) async fn purge_removes_every_version(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        assert_kind(store.0.purge(&db()).await, ErrorKind::Unsupported, "purge");
        return;
    }
    let neighbours = ["d", "db2", "dbb"].map(|id| name(ACCOUNT, id));
    for neighbour in &neighbours {
        store.put(neighbour, b"stays").await;
    }
    let mut versions = Vec::new();
    for round in 0..5u8 {
        versions.push(store.put(&db(), &[round]).await);
    }
    store.assert_latest(&db(), &[4], "before the purge").await;
    store.0.purge(&db()).await.expect("a purge");
    store.assert_missing(&db(), "after the purge").await;
    for version in versions {
        let select = Select::Version(version);
        assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, "a version");
    }
    assert_kind(store.versions(&db(), 10).await, ErrorKind::NotFound, "versions");
    assert_eq!(store.names(ACCOUNT, true).await, ["d", "db2", "dbb"]);
    for neighbour in &neighbours {
        store.assert_latest(neighbour, b"stays", "a neighbour").await;
    }
}

pub(super) async fn a_purged_version_is_not_found_beside_a_newer_one(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        return;
    }
    let old = store.put(&db(), b"old").await;
    store.0.purge(&db()).await.expect("a purge");
    store.put(&db(), b"new").await;
    let select = Select::Version(old);
    assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, "the old version");
}

pub(super) async fn purge_takes_a_deleted_secret(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        return;
    }
    store.put(&db(), b"value").await;
    store.0.delete(&db()).await.expect("a delete");
    store.0.purge(&db()).await.expect("a purge");
    assert!(store.names(ACCOUNT, true).await.is_empty());
    store.put(&db(), b"new").await;
    store.assert_latest(&db(), b"new", "a put after the purge").await;
}

pub(super) async fn purging_what_is_not_there_is_not_found(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        return;
    }
    assert_kind(store.0.purge(&db()).await, ErrorKind::NotFound, "never used");
    store.put(&db(), b"value").await;
    store.0.purge(&db()).await.expect("a purge");
    assert_kind(store.0.purge(&db()).await, ErrorKind::NotFound, "purged");
}

pub(super) async fn a_version_is_never_given_twice(bench: &Bench) {
    let mut store = bench.open();
    let mut seen = BTreeSet::new();
    let mut last = None::<Version>;
    for round in 0..12 {
        let version = store.put(&db(), b"value").await;
        assert!(seen.insert(version.to_string()), "round {round}: {version} again");
        if let Some(last) = &last {
            assert!(is_before(&store, last, &version), "round {round}");
        }
        last = Some(version);
        if store.can().purge && round % 3 == 2 {
            store.0.purge(&db()).await.expect("a purge");
        }
        if bench.backend.persistent && round % 4 == 3 {
            drop(store);
            store = bench.open();
        }
    }
}
