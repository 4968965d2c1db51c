//! What is put, got and expected.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use crate::random::Random;

use super::*;

pub(super) async fn a_name_that_was_never_used_is_not_found(bench: &Bench) {
    let store = bench.open();
    store.assert_missing(&db(), "get").await;
    let select = Select::Version(Version::new("1").expect("valid"));
    assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, "get of a version");
    assert_kind(store.versions(&db(), 10).await, ErrorKind::NotFound, "versions");
    assert!(store.names(ACCOUNT, true).await.is_empty());
}

pub(super) async fn exactly_the_bytes_that_were_put_come_back(bench: &Bench) {
    let store = bench.open();
    let mut random = Random::new(1);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let sizes = [0, 1, 31, 32, 33, 1 << 10, 4096, 4097, 8192, 64 << 10, 1 << 20];
    let sizes = sizes.into_iter().filter(|size| *size <= store.can().max_value_bytes);
    let mut values: Vec<_> = sizes.map(|size| random.bytes(size)).collect();
    values.extend([all_bytes, b"\0".to_vec(), b"line\r\n".to_vec(), "\u{1f512} s\u{e9}".into()]);
    for (index, value) in values.iter().enumerate() {
        let name = name(ACCOUNT, &format!("s{index}"));
        store.put(&name, value).await;
        store.assert_latest(&name, value, &format!("{} bytes", value.len())).await;
    }
    for (index, value) in values.iter().enumerate() {
        let name = name(ACCOUNT, &format!("s{index}"));
        store.assert_latest(&name, value, &format!("{} bytes, later", value.len())).await;
    }
}

pub(super) async fn the_latest_version_is_the_newest(bench: &Bench) {
    let store = bench.open();
    for round in 0..12u8 {
        let version = store.put(&db(), &[round]).await;
        let secret = store.0.get(&db(), &Select::Latest).await.expect("a get");
        assert!(secret.value.expose() == [round], "round {round}");
        assert_eq!(secret.version, version);
    }
}

pub(super) async fn every_version_stays_readable(bench: &Bench) {
    let store = bench.open();
    if !store.can().versions {
        return;
    }
    let mut written = BTreeMap::new();
    for round in 0..12u8 {
        written.insert(store.put(&db(), &[round; 40]).await.to_string(), [round; 40]);
    }
    assert_eq!(written.len(), 12);
    for (version, value) in written {
        let select = Select::Version(Version::new(version.as_str()).expect("valid"));
        let secret = store.0.get(&db(), &select).await.expect("a get");
        assert_eq!(secret.version.as_str(), version);
        assert!(secret.value.expose() == value, "version {version}");
    }
}

pub(super) async fn versions_that_do_not_exist_are_not_found(bench: &Bench) {
    let store = bench.open();
    let version = store.put(&db(), b"value").await;
    let near = [format!("+{version}"), format!("0{version}"), format!("{version}.0")];
    let texts = ["0", "+1", "01", "999", "x", "-1", "18446744073709551615", "18446744073709551616"];
    for text in texts.map(str::to_owned).into_iter().chain(near) {
        let select = Select::Version(Version::new(text.as_str()).expect("valid"));
        assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, text);
    }
}

pub(super) async fn versions_are_listed_oldest_first_in_pages(bench: &Bench) {
    let store = bench.open();
    if !store.can().versions {
        return;
    }
    let mut written = Vec::new();
    for round in 0..12u8 {
        // The neighbours' versions are none of this secret's.
        store.put(&name(ACCOUNT, "d"), b"x").await;
        store.put(&name(ACCOUNT, "db2"), b"x").await;
        written.push(store.put(&db(), &[round]).await);
    }
    for limit in [1, 5, 6, 12, 13, 1000] {
        let found = store.versions(&db(), limit).await.expect("versions");
        assert_eq!(found, written, "in pages of {limit}");
    }
    let infos = store.0.versions(&db(), &PageRequest::first(20)).await.expect("versions");
    assert_eq!(infos.next, None);
    if bench.backend.follows_clock {
        assert!(infos.items.iter().all(|info| info.created == bench.clock.now()));
    }
}

pub(super) async fn versions_have_an_order(bench: &Bench) {
    let store = bench.open();
    let mut last = store.put(&db(), b"0").await;
    for _ in 0..12 {
        let next = store.put(&db(), b"1").await;
        assert_ne!(next, last);
        assert!(is_before(&store, &last, &next), "{last} before {next}");
        last = next;
    }
}

pub(super) async fn put_when_absent_makes_one(bench: &Bench) {
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    store.put_if(&db(), b"first", Expect::Absent).await.expect("there is none");
    let second = store.put_if(&db(), b"second", Expect::Absent).await;
    assert_kind(second, ErrorKind::AlreadyExists, "there is one");
    store.assert_latest(&db(), b"first", "after a refused put").await;
    if store.can().purge {
        store.0.purge(&db()).await.expect("a purge");
        store.put_if(&db(), b"third", Expect::Absent).await.expect("it was purged");
    }
}

pub(super) async fn put_when_latest_swaps(bench: &Bench) {
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    let mut latest = store.put(&db(), b"0").await;
    for round in 1..5u8 {
        let info = store.put_if(&db(), &[round], Expect::Latest(latest)).await.expect("a swap");
        latest = info.version;
        store.assert_latest(&db(), &[round], "after a swap").await;
    }
}

pub(super) async fn a_wrong_expectation_writes_nothing(bench: &Bench) {
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    let old = store.put(&db(), b"old").await;
    store.put(&db(), b"new").await;
    let before = store.versions(&db(), 10).await.expect("versions");
    let bogus = ["999", "x", "02", "+2", "0"].map(|text| Version::new(text).expect("valid"));
    for expected in std::iter::once(old).chain(bogus) {
        let what = format!("latest {expected}");
        let put = store.put_if(&db(), b"never", Expect::Latest(expected)).await;
        assert_kind(put, ErrorKind::Conflict, what);
    }
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), before);
    store.assert_latest(&db(), b"new", "after refused swaps").await;
    let absent = name(ACCOUNT, "absent");
    let expected = Expect::Latest(Version::new("1").expect("valid"));
    let put = store.put_if(&absent, b"never", expected).await;
    let kind = put.expect_err("there is no such secret").kind();
    assert!(matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict), "{kind}");
    store.assert_missing(&absent, "after a refused swap").await;
}

pub(super) async fn a_value_too_long_is_refused(bench: &Bench) {
    let store = bench.open();
    let longest = store.can().max_value_bytes;
    if longest > 32 << 20 {
        return;
    }
    let value = Random::new(2).bytes(longest + 1);
    let put = store.put_if(&db(), &value, Expect::Any).await;
    assert_kind(put, ErrorKind::LimitExceeded, "one byte too many");
    store.assert_missing(&db(), "after a refused put").await;
    store.put(&db(), &value[..longest]).await;
    store.assert_latest(&db(), &value[..longest], "the longest value").await;
}
