//! Files: longer than anything that is held, from clients that stop in the middle,
//! and altered below.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    Batch, EnvelopeOptions, ErrorKind, PageLimit, PutOptions, RecordStore, SecretStore, Select,
};
use strongroom_kit::http2::{
    DATA, HEADERS, INITIAL_WINDOW_SIZE, Wire, call, frame, headers, hello,
};
use strongroom_kit::random::Random;
use strongroom_kit::sidecar::{Setup, memory_store, secret};
use strongroom_kit::{block_on, embedded};
use strongroom_local::kek::LocalKek;
use strongroom_rpc::v1::{self, upload_request::Part};

use crate::until;

const LONG: usize = 12 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_may_be_longer_than_what_a_user_may_hold() {
    let sidecar = Setup::new(memory_store()).with(|section| {
        section.max_bytes_per_user = 1 << 20;
    });
    let sidecar = sidecar.start();
    let client = sidecar.client().await;
    let bytes = Random::new(1).bytes(LONG);
    let options = PutOptions::default();
    for _ in 0..2 {
        let info = client.upload("account.long", &mut &bytes[..], &options).await.expect("stored");
        let mut back = Vec::new();
        let got = client.download("account.long", &Select::Latest, &mut back).await.expect("read");
        assert_eq!((got.version, got.length), (info.version, LONG as u64));
        assert!(back == bytes);
    }
    // A value that is longer than a chunk counts while it is held, and no longer.
    sidecar.seed("account.value", &"x".repeat(400 << 10));
    for _ in 0..10 {
        let mut sink = tokio::io::sink();
        client.download("account.value", &Select::Latest, &mut sink).await.expect("read");
    }
}

/// What the sidecar has sent is good, and the rest is an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_altered_breaks_off_before_what_was_altered() {
    let records = Arc::new(MemoryRecords::new());
    let wrapper = Arc::new(LocalKek::in_memory().expect("a KEK"));
    let store = embedded::envelope(records.clone(), wrapper, EnvelopeOptions::default());
    let store: Arc<dyn SecretStore> = Arc::new(store.await.expect("a store"));
    let sidecar = Setup::new(store).start();
    let client = sidecar.client().await;
    let bytes = Random::new(1).bytes(LONG);
    let options = PutOptions::default();
    client.upload("account.long", &mut &bytes[..], &options).await.expect("stored");
    let segments = records.scan(&[3], None, PageLimit::entries(1000)).await.expect("a scan");
    let at = segments.entries.len() / 2;
    let (key, mut stored) = segments.entries[at].clone();
    stored.value[1000] ^= 1;
    records.commit(Batch::new().write(key, stored.value)).await.expect("altered");

    let mut back = Vec::new();
    let error = client.download("account.long", &Select::Latest, &mut back).await;
    let error = error.expect_err("it was altered");
    assert_eq!(error.kind(), ErrorKind::Tampered, "{error}");
    assert_eq!(back.len() % at, 0);
    assert!(back.len() < LONG && back == bytes[..back.len()], "{} bytes came", back.len());
}

/// More of them than the store has threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stop_in_the_middle_keep_nobody_from_the_store() {
    const CLIENTS: u32 = 16;
    let sidecar = Setup::new(memory_store()).start();
    let client = sidecar.client().await;
    let bytes = Random::new(1).bytes(2 << 20);
    let options = PutOptions::default();
    client.upload("account.long", &mut &bytes[..], &options).await.expect("stored");

    // Readers that take nothing.
    let request = v1::DownloadRequest { name: "account.long".into(), ..Default::default() };
    let calls = (0..CLIENTS).flat_map(|n| call(2 * n + 1, "Download", &request.encode_to_vec()));
    let begin = hello(&[(INITIAL_WINDOW_SIZE, 0)]);
    let all: Vec<u8> = begin.into_iter().chain(calls).collect();
    let mut readers = Wire::saying(sidecar.path(), &all).await;
    for _ in 0..CLIENTS {
        assert_eq!(readers.next_of_stream().await.expect("it begins").kind, HEADERS);
    }
    // Writers that have sent a megabyte and go on never.
    let message = |part: Part| {
        let bytes = v1::UploadRequest { part: Some(part) }.encode_to_vec();
        [&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat()
    };
    let mut writers = Vec::new();
    for number in 0..CLIENTS {
        let name = format!("account.part{number}");
        let start = message(Part::Start(v1::UploadStart { name, ..Default::default() }));
        let chunk = message(Part::Chunk(vec![7; 16_000].into()));
        let said = [hello(&[]), headers(1, "Upload"), frame(DATA, 0, 1, &start)].concat();
        let said = [said, frame(DATA, 0, 1, &chunk)].concat();
        writers.push(Wire::saying(sidecar.path(), &said).await);
    }
    let in_flight = || sidecar.metric("strongroom_requests_in_flight");
    until("all are under way", || in_flight() == u64::from(2 * CLIENTS)).await;

    client.put("account.db", &secret("hunter2"), &options).await.expect("a put");
    let got = client.get("account.db", &Select::Latest).await.expect("a get");
    assert!(got.value.expose() == b"hunter2");
    let mut back = Vec::new();
    client.download("account.long", &Select::Latest, &mut back).await.expect("read");
    assert!(back == bytes);

    drop((readers, writers));
    until("nothing is left", || in_flight() == 0).await;
    let got = block_on(sidecar.engine().get("account.part0", &Select::Latest));
    assert_eq!(got.expect_err("it broke off").kind(), ErrorKind::NotFound);
}

/// The time that a request may take is for what stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stands_still_ends_and_leaves_nothing() {
    let records = Arc::new(MemoryRecords::new());
    let wrapper = Arc::new(LocalKek::in_memory().expect("a KEK"));
    let store = embedded::envelope(records.clone(), wrapper, EnvelopeOptions::default());
    let store: Arc<dyn SecretStore> = Arc::new(store.await.expect("a store"));
    let sidecar = Setup::new(store).with(|section| {
        section.request_timeout = Duration::from_millis(50);
    });
    let sidecar = sidecar.start();
    let message = |part: Part| {
        let bytes = v1::UploadRequest { part: Some(part) }.encode_to_vec();
        [&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat()
    };
    let name = "account.still".to_owned();
    let start = message(Part::Start(v1::UploadStart { name, ..Default::default() }));
    let chunk = frame(DATA, 0, 1, &message(Part::Chunk(vec![7; 8_000].into())));
    for chunks in [None, Some(0), Some(7)] {
        let begun = [hello(&[]), headers(1, "Upload")].concat();
        let started = chunks.map(|_| frame(DATA, 0, 1, &start)).unwrap_or_default();
        let said = [begun, started, chunk.repeat(chunks.unwrap_or(0))].concat();
        let mut wire = Wire::saying(sidecar.path(), &said).await;
        while !wire.next_of_stream().await.expect("it is answered").is_end() {}
        // The client stays, and does nothing.
        until("nothing is left", || sidecar.metric("strongroom_requests_in_flight") == 0).await;
        for prefix in [[3], [4]] {
            let left = records.scan(&prefix, None, PageLimit::entries(10)).await.expect("a scan");
            assert!(left.entries.is_empty(), "{chunks:?} chunks: {} entries", left.entries.len());
        }
    }
}

/// A reader and a writer that take longer than a request may, and go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_takes_as_long_as_it_takes() {
    let sidecar = Setup::new(memory_store()).with(|section| {
        section.request_timeout = Duration::from_secs(1);
    });
    let sidecar = sidecar.start();
    let client = sidecar.client().await;
    let bytes = Random::new(1).bytes(8 * (64 << 10));
    // Half of that time for each chunk: four times of it in all.
    let (mut slow, mut source) = tokio::io::duplex(64 << 10);
    let all = bytes.clone();
    let writing = tokio::spawn(async move {
        for chunk in all.chunks(64 << 10) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            tokio::io::AsyncWriteExt::write_all(&mut slow, chunk).await.expect("taken");
        }
    });
    let options = PutOptions::default();
    client.upload("account.slow", &mut source, &options).await.expect("it went on all the time");
    writing.await.expect("no panic");
    let mut back = Vec::new();
    client.download("account.slow", &Select::Latest, &mut back).await.expect("read");
    assert!(back == bytes);
}
