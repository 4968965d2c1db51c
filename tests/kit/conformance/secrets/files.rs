//! Files: stores that keep them in segments, and stores that keep them as values.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use strongroom_core::{Error, FileInfo, FileReader, FileSource};

use crate::random::Random;

use super::*;

/// Several segments and a part, where the store takes so much.
fn long(store: &Store) -> Vec<u8> {
    let most = store.can().max_file_bytes.min(5 * (64 << 10) + 77);
    Random::new(17).bytes(usize::try_from(most).expect("not many"))
}

async fn put_file(store: &Store, mut bytes: &[u8], expect: Expect) -> Result<VersionInfo> {
    store
        .0
        .put_file(
            &db(),
            &mut bytes,
            &PutOptions { kind: Kind::File, expect, ..PutOptions::default() },
        )
        .await
}

async fn read_on(file: &mut FileReader) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(segment) = file.next().await? {
        bytes.extend_from_slice(segment.expose());
    }
    Ok(bytes)
}

async fn assert_file(store: &Store, select: &Select, bytes: &[u8], what: &str) {
    let mut file = store.0.get_file(&db(), select).await.expect("a file");
    assert_eq!(file.info().length, bytes.len() as u64, "{what}");
    assert!(read_on(&mut file).await.expect("all of it") == bytes, "{what}: other bytes");
}

pub(super) async fn a_file_comes_back_whole_and_in_segments(bench: &Bench) {
    let store = bench.open();
    assert!(store.can().max_file_bytes >= store.can().max_value_bytes as u64);
    let long = long(&store);
    let lengths = [0, 1, 1000, 64 << 10, (64 << 10) + 1, long.len()];
    for length in lengths.into_iter().filter(|length| *length <= long.len()) {
        let bytes = &long[..length];
        let info = put_file(&store, bytes, Expect::Any).await.expect("a put");
        assert_eq!(info.kind, Kind::File);
        assert_file(&store, &Select::Latest, bytes, &format!("{length} bytes")).await;
        let file = store.0.get_file(&db(), &Select::Latest).await.expect("a file");
        let FileInfo { version, kind, created, segment_bytes, .. } = file.info().clone();
        assert_eq!((version, kind, created), (info.version, info.kind, info.created));
        for number in (0..file.info().segments()).rev() {
            let from = number as usize * segment_bytes;
            let segment = file.read(number).await.expect("a segment");
            assert!(segment.expose() == &bytes[from..length.min(from + segment_bytes)]);
        }
        let beyond = file.read(file.info().segments()).await;
        assert_kind(beyond.map(drop), ErrorKind::NotFound, "a segment after the last");
    }
}

pub(super) async fn files_and_values_are_versions_of_one_secret(bench: &Bench) {
    let store = bench.open();
    let long = long(&store);
    let value = store.put(&db(), b"value").await;
    let expect =
        if store.can().compare_and_swap { Expect::Latest(value.clone()) } else { Expect::Any };
    let file = put_file(&store, &long, expect).await.expect("a put").version;
    assert!(is_before(&store, &value, &file));
    assert_file(&store, &Select::Latest, &long, "the file").await;
    if store.can().versions {
        assert_file(&store, &Select::Version(value), b"value", "a value as a file").await;
    }
    // As a value, if it is no longer than those are.
    let whole = store.0.get(&db(), &Select::Latest).await;
    if long.len() <= store.can().max_value_bytes {
        assert!(whole.expect("a value").value.expose() == long);
    } else {
        assert_kind(whole.map(drop), ErrorKind::LimitExceeded, "too long for a value");
    }
    store.put(&db(), b"newer").await;
    store.assert_latest(&db(), b"newer", "a value after a file").await;
    if store.can().versions {
        assert_file(&store, &Select::Version(file), &long, "an older file").await;
    }
}

pub(super) async fn a_file_keeps_to_what_is_expected(bench: &Bench) {
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    let long = long(&store);
    let first = put_file(&store, &long, Expect::Absent).await.expect("a put").version;
    let again = put_file(&store, &long, Expect::Absent).await;
    assert_kind(again.map(drop), ErrorKind::AlreadyExists, "there is one");
    store.put(&db(), b"newer").await;
    let late = put_file(&store, &long, Expect::Latest(first)).await;
    assert_kind(late.map(drop), ErrorKind::Conflict, "there is a newer one");
    store.assert_latest(&db(), b"newer", "nothing was written").await;
}

/// Gives some bytes and then an error.
struct Broken(usize);

#[async_trait::async_trait]
impl FileSource for Broken {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| Error::unavailable("it broke off"))?;
        buffer.fill(7);
        Ok(buffer.len())
    }
}

pub(super) async fn a_file_that_breaks_off_was_never_there(bench: &Bench) {
    let store = bench.open();
    for pieces in [0, 1, 2, 20] {
        let options = PutOptions::default();
        let put = store.0.put_file(&db(), &mut Broken(pieces), &options).await;
        let kind = put.map(drop).expect_err("it broke off").kind();
        assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::LimitExceeded), "{kind}");
        store.assert_missing(&db(), "after a file that broke off").await;
        assert!(store.names(ACCOUNT, true).await.is_empty());
    }
}

pub(super) async fn purge_takes_files(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        return;
    }
    let long = long(&store);
    put_file(&store, &long, Expect::Any).await.expect("a put");
    let mut reader = store.0.get_file(&db(), &Select::Latest).await.expect("a file");
    store.0.purge(&db()).await.expect("purged");
    let gone = store.0.get_file(&db(), &Select::Latest).await;
    assert_kind(gone.map(drop), ErrorKind::NotFound, "it was purged");
    // Who has begun gets all of it or an error, never a part as if it were all.
    match read_on(&mut reader).await {
        Ok(bytes) => assert!(bytes == long),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
    }
    put_file(&store, &long[1..], Expect::Any).await.expect("a put");
    assert_file(&store, &Select::Latest, &long[1..], "after a purge").await;
}

pub(super) async fn a_reopened_store_holds_the_same_files(bench: &Bench) {
    if !bench.backend.persistent {
        return;
    }
    let long = {
        let store = bench.open();
        let long = long(&store);
        put_file(&store, &long, Expect::Any).await.expect("a put");
        long
    };
    assert_file(&bench.open(), &Select::Latest, &long, "reopened").await;
}
