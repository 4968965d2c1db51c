//! Names, scopes and lists.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use super::*;

pub(super) async fn names_do_not_meet(bench: &Bench) {
    let store = bench.open();
    // Pairs that look alike once something is joined with a separator.
    let names: Vec<_> = [
        ("acme", "a"),
        ("acme", "A"),
        ("acme", "a.b"),
        ("acme", "a_b"),
        ("acme", "a-b"),
        ("acme/a", "b"),
        ("acme/a/b", "c"),
        ("acme/a_b", "c"),
        ("acme/a", "b_c"),
        ("acme/a", "b.c"),
        ("acme/a/b", "c.d"),
        ("acme/a/b.c", "d"),
        ("acme/a.b/c", "d"),
        ("acme/org", "org"),
        ("acme/org/project", "project"),
        ("acme", "org"),
    ]
    .map(|(scope, id)| name(scope, id))
    .into();
    for (index, name) in names.iter().enumerate() {
        store.put(name, format!("value {index}").as_bytes()).await;
    }
    for (index, name) in names.iter().enumerate() {
        let value = format!("value {index}");
        store.assert_latest(name, value.as_bytes(), &format!("{name:?}")).await;
        assert_eq!(store.versions(name, 10).await.expect("versions").len(), 1, "{name:?}");
    }
    store.0.delete(&names[0]).await.expect("a delete");
    for name in &names[1..] {
        assert!(store.0.get(name, &Select::Latest).await.is_ok(), "{name:?} went with another");
    }
}

pub(super) async fn list_is_ordered_and_exact(bench: &Bench) {
    let store = bench.open();
    if !store.can().list {
        return;
    }
    let ids = ["b", "a", "a.b", "a-b", "a_b", "A", "z", "0", "aa", "_x", "a$"];
    for id in ids {
        store.put(&name(ACCOUNT, id), b"value").await;
    }
    let mut sorted = ids.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(store.names(ACCOUNT, false).await, sorted);
    store.0.delete(&name(ACCOUNT, "aa")).await.expect("a delete");
    let rest: Vec<_> = sorted.iter().filter(|id| *id != "aa").cloned().collect();
    assert_eq!(store.names(ACCOUNT, false).await, rest);
}

pub(super) async fn list_gives_one_scope_only(bench: &Bench) {
    let store = bench.open();
    if !store.can().list {
        return;
    }
    let scopes =
        ["acme", "acme/a", "acme/ab", "acme/a/b", "acme/a/bc", "acme/ab/b", "acme/b", "acme/a_b"];
    for (index, scope) in scopes.iter().enumerate() {
        store.put(&name(scope, "same"), b"value").await;
        store.put(&name(scope, &format!("own{index}")), b"value").await;
    }
    for (index, scope) in scopes.iter().enumerate() {
        let found = store.list(scope, true, 1).await;
        let scope: Scope = scope.parse().expect("valid");
        assert!(found.iter().all(|listing| *listing.name.scope() == scope), "{scope}");
        let ids: Vec<_> = found.iter().map(|listing| listing.name.id().to_owned()).collect();
        assert_eq!(ids, [format!("own{index}"), "same".to_owned()], "{scope}");
    }
    assert!(store.names("acme/none", true).await.is_empty());
    assert!(store.names("acme/a/none", true).await.is_empty());
}

pub(super) async fn list_pages_give_each_name_once(bench: &Bench) {
    let store = bench.open();
    if !store.can().list {
        return;
    }
    let ids: Vec<_> = (0..30).map(|n| format!("s{n:02}")).collect();
    for id in &ids {
        store.put(&name("acme/ops", id), b"value").await;
        store.put(&name("acme/ops", &format!("t{id}")), b"value").await;
    }
    for id in &ids {
        // Pages must be filled although some of what lies between is hidden.
        store.0.delete(&name("acme/ops", &format!("t{id}"))).await.expect("a delete");
    }
    for limit in [1, 7, 10, 29, 30, 31, 1000] {
        let found = store.list("acme/ops", false, limit).await;
        let found: Vec<_> = found.iter().map(|listing| listing.name.id().to_owned()).collect();
        assert_eq!(found, ids, "in pages of {limit}");
    }
    let scope = "acme/ops".parse().expect("valid");
    let first = store.0.list(&scope, false, &PageRequest::first(10)).await.expect("a page");
    assert_eq!(first.items.len(), 10, "a page is filled");
}

pub(super) async fn list_tells_the_latest_version(bench: &Bench) {
    let store = bench.open();
    if !store.can().list {
        return;
    }
    store.put(&db(), b"1").await;
    bench.clock.advance(Duration::from_secs(5));
    let info = store.put_as(&db(), b"2", Kind::File, Expect::Any).await.expect("a put");
    let found = store.list(ACCOUNT, false, 10).await;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].latest, found[0].kind), (&info.version, Kind::File));
    assert_eq!(found[0].updated, info.created);
    if bench.backend.follows_clock {
        assert_eq!(info.created, bench.clock.now());
    }
}

pub(super) async fn another_account_is_refused(bench: &Bench) {
    let store = bench.open();
    let foreign = name("other", "db");
    let refused = |kind| matches!(kind, ErrorKind::AccessDenied | ErrorKind::NotFound);
    let put = store.put_if(&foreign, b"value", Expect::Any).await;
    assert_kind(put, ErrorKind::AccessDenied, "put");
    let get = store.0.get(&foreign, &Select::Latest).await;
    assert!(refused(get.expect_err("another account's secret").kind()));
    let list = store.0.list(foreign.scope(), true, &PageRequest::first(1)).await;
    assert!(list.map_or_else(|error| refused(error.kind()), |page| page.items.is_empty()));
}
