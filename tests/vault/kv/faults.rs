//! What becomes of a call when the network or Vault fails.

use std::time::Duration;

use strongroom_core::{
    ErrorKind, Expect, Kind, Metadata, PageRequest, PutOptions, SecretStore, Select,
};
use strongroom_kit::block_on;
use strongroom_kit::faults::Gate;
use strongroom_kit::proxy::{ANY, Fault, FaultProxy};
use strongroom_vault::{KvVersion, VaultKv, VaultSettings};

use super::{
    BOTH, assert_value, connect, get, name, of, open, open_at, options, put, settings, versions,
};
use crate::proxy;

/// Through `proxy`, with one retry.
fn through(proxy: &FaultProxy) -> VaultSettings {
    let mut settings = settings(&proxy.endpoint());
    settings.retries = 1;
    settings
}

/// A store that has its session, and nothing was asked since.
fn store(proxy: &FaultProxy, version: KvVersion, base: &str) -> VaultKv {
    let store = open_at(&connect(&through(proxy)), options(version, base));
    put(&store, "db", b"value", &of(Kind::Text)).unwrap();
    proxy.reset_counts();
    store
}

/// As Vault puts it, with something to wait for that is over at once.
fn too_many_requests() -> Fault {
    let headers = vec![("Retry-After".to_owned(), "0".to_owned())];
    Fault::Status { code: 429, body: br#"{"errors":["rate limit exceeded"]}"#.to_vec(), headers }
}

#[test]
fn a_cold_get_is_one_request() {
    for (version, path) in [
        (KvVersion::One, "GET /v1/one/cold/acme/@db"),
        (KvVersion::Two, "GET /v1/two/data/cold/acme/@db"),
    ] {
        let proxy = proxy();
        let store = store(&proxy, version, "cold");
        get(&store, "db", &Select::Latest).unwrap();
        assert_eq!(proxy.counts().into_iter().collect::<Vec<_>>(), [(path.to_owned(), 1)]);
    }
}

#[test]
fn what_passes_is_tried_again_and_told_as_what_it_is() {
    for version in BOTH {
        let proxy = proxy();
        let store = store(&proxy, version, "passing");
        for (fault, kind) in [
            (too_many_requests(), ErrorKind::Throttled),
            (Fault::status(500), ErrorKind::Unavailable),
            (Fault::status(503), ErrorKind::Unavailable),
            (Fault::status(472), ErrorKind::Unavailable),
            (Fault::Reset, ErrorKind::Unavailable),
            (Fault::ResetAfterForwarding, ErrorKind::Unavailable),
            (Fault::Truncate { bytes: 20 }, ErrorKind::Unavailable),
            (Fault::NotHttp, ErrorKind::Unavailable),
        ] {
            proxy.reset_counts();
            proxy.next(ANY, fault.clone());
            let got = get(&store, "db", &Select::Latest).expect("the second time");
            assert!(got.value.expose() == b"value", "{fault:?}");
            proxy.always(ANY, fault.clone());
            let error = get(&store, "db", &Select::Latest).expect_err("it lasts");
            assert_eq!((error.kind(), error.is_retryable()), (kind, true), "{fault:?}: {error}");
            assert_eq!(proxy.requests().len(), 4, "two attempts each: {fault:?}");
            proxy.clear();
        }
        proxy.always(ANY, Fault::Garbage);
        let error = get(&store, "db", &Select::Latest).expect_err("nonsense");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

/// What of a put is told to be there is there, and nothing is there twice.
#[test]
fn a_put_whose_answer_is_lost_is_never_doubled() {
    let proxy = proxy();
    let store = store(&proxy, KvVersion::Two, "lost");
    let write = "POST /v1/two/data/lost/acme/@db";
    let mut values = vec![b"value".to_vec()];
    for (round, (fault, is_taken)) in [
        (too_many_requests(), true),
        (Fault::status(503), false),
        (Fault::status(500), false),
        (Fault::Reset, false),
        (Fault::ResetAfterForwarding, true),
        (Fault::Truncate { bytes: 5 }, true),
        (Fault::Garbage, false),
        (Fault::NotHttp, false),
    ]
    .into_iter()
    .enumerate()
    {
        proxy.reset_counts();
        proxy.next(write, fault.clone());
        let value = format!("value {round}").into_bytes();
        let written = put(&store, "db", &value, &of(Kind::Text));
        // Only what was refused for sure is sent again.
        let is_throttled = matches!(fault, Fault::Status { code: 429, .. });
        assert_eq!(proxy.count(write), if is_throttled { 2 } else { 1 }, "{fault:?}");
        match written {
            Ok(_) => assert!(is_throttled, "{fault:?}: nobody heard that it was done"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {error}"),
        }
        if is_taken {
            values.push(value);
        }
        proxy.clear();
        let there = versions(&store, "db");
        assert_eq!(there.len(), values.len(), "{fault:?}");
        for (info, value) in there.into_iter().zip(&values) {
            let found = get(&store, "db", &Select::Version(info.version)).unwrap();
            assert_value(&found, value, Kind::Text);
        }
    }
}

#[test]
fn what_may_be_asked_twice_is_asked_again() {
    let proxy = proxy();
    let store = store(&proxy, KvVersion::Two, "again");
    let db = name("acme", "db");
    for fault in [Fault::ResetAfterForwarding, Fault::status(500), Fault::Truncate { bytes: 0 }] {
        for operation in [
            "DELETE /v1/two/data/again/acme/@db",
            "POST /v1/two/undelete/again/acme/@db",
            "PATCH /v1/two/metadata/again/acme/@db",
            "POST /v1/two/destroy/again/acme/@db",
        ] {
            proxy.next(operation, fault.clone());
        }
        block_on(store.delete(&db)).unwrap();
        block_on(store.restore(&db)).unwrap();
        let change = strongroom_core::MetadataChange {
            description: Some(format!("{fault:?}").chars().take(9).collect()),
            ..Default::default()
        };
        block_on(store.change_metadata(&db, &change)).unwrap();
        block_on(store.purge(&db)).unwrap();
        proxy.clear();
        let options = PutOptions { expect: Expect::Absent, ..of(Kind::Text) };
        put(&store, "db", b"value", &options).unwrap();
    }
    assert_eq!(versions(&store, "db")[0].version.as_str(), "4");
}

#[test]
fn a_purge_takes_what_came_meanwhile() {
    let proxy = proxy();
    let (store, other) =
        (store(&proxy, KvVersion::Two, "late-put"), open(KvVersion::Two, "late-put"));
    let gate = Gate::closed();
    proxy.next("POST /v1/two/destroy/late-put/acme/@db", Fault::Delay(gate.clone()));
    std::thread::scope(|scope| {
        let purge = scope.spawn(|| block_on(store.purge(&name("acme", "db"))));
        gate.wait_for_arrivals(1);
        put(&other, "db", b"meanwhile", &of(Kind::Text)).unwrap();
        gate.open();
        purge.join().unwrap().unwrap();
    });
    let gone = get(&other, "db", &Select::Latest).map(drop).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
}

#[test]
fn a_purge_that_broke_off_leaves_no_metadata_to_the_next_secret() {
    let proxy = proxy();
    let store = store(&proxy, KvVersion::Two, "broken-off");
    let metadata = Metadata::new("of the old one", [("a".to_owned(), "1".to_owned())].into());
    let options = PutOptions { metadata: Some(metadata.unwrap()), ..of(Kind::Text) };
    put(&store, "db", b"old", &options).unwrap();
    proxy.always("PATCH /v1/two/metadata/broken-off/acme/@db", Fault::status(500));
    let broken = block_on(store.purge(&name("acme", "db"))).unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::Unavailable, "{broken}");
    proxy.clear();
    put(&store, "db", b"new", &of(Kind::Text)).unwrap();
    let page = PageRequest::first(1);
    let listed = block_on(store.list(&"acme".parse().unwrap(), false, &page)).unwrap();
    assert!(listed.items[0].metadata.is_empty(), "{listed:?}");
}

#[test]
fn a_deadline_is_a_deadline() {
    let proxy = proxy();
    let mut settings = through(&proxy);
    settings.attempt_timeout = Duration::from_millis(50);
    settings.timeout = Duration::from_millis(200);
    for version in BOTH {
        let store = open_at(&connect(&settings), options(version, "late"));
        proxy.always(ANY, Fault::BlackHole);
        for error in [
            get(&store, "db", &Select::Latest).map(drop).expect_err("nobody answers"),
            put(&store, "db", b"value", &of(Kind::Text)).map(drop).expect_err("nobody answers"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.message().contains("in time"), "{error}");
        }
        proxy.clear();
    }
}

#[test]
fn a_value_too_long_is_refused_before_anything_is_sent() {
    for version in BOTH {
        let proxy = proxy();
        let store = store(&proxy, version, "long");
        let longest = store.capabilities().max_value_bytes;
        let refused = put(&store, "db", &vec![b'x'; longest + 1], &of(Kind::Text));
        assert_eq!(refused.expect_err("too long").kind(), ErrorKind::LimitExceeded);
        assert!(proxy.requests().is_empty());
        // What Vault writes as six bytes each, and what it would escape.
        for byte in [b'<', b'\n', 0, 0xff] {
            let value = vec![byte; longest];
            put(&store, "db", &value, &of(Kind::Text)).unwrap();
            assert_value(&get(&store, "db", &Select::Latest).unwrap(), &value, Kind::Text);
        }
    }
}
