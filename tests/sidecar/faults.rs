//! Clients that stall, lie and attack. After each the sidecar answers others,
//! counts nothing that is not there, and has given its memory back.

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;
use strongroom_core::{PutOptions, Select};
use strongroom_kit::faults::{Fault, FaultyStore, Gate};
use strongroom_kit::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, PING, PREFACE,
    RST_STREAM, SETTINGS, Wire, call, fields, frame, headers, hello, message, widen,
};
use strongroom_kit::random::Random;
use strongroom_kit::sidecar::{Setup, connect, memory_store, secret};
use strongroom_rpc::v1;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use crate::process_of::Process;
use crate::{arrivals, until};

/// How much memory an attack may leave behind: what the allocator keeps.
const LEFT_BEHIND: usize = 16 << 20;

fn get_request(name: &str) -> Vec<u8> {
    v1::GetRequest { name: name.into(), ..Default::default() }.encode_to_vec()
}

async fn answers(sidecar: &Process) {
    let client = connect(sidecar.path()).await;
    let secret = client.get("account.db", &Select::Latest).await.expect("it answers");
    assert!(secret.value.expose() == b"hunter2");
}

/// Waits until nothing of an attack is left, and that everything is as before.
async fn settled(sidecar: &mut Process, resident: usize) {
    answers(sidecar).await;
    until("nothing is left", || sidecar.is_idle()).await;
    let now = sidecar.resident();
    assert!(now < resident + LEFT_BEHIND, "{resident} bytes before, {now} after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_cut() {
    let mut sidecar = Process::start("stall_timeout = \"300ms\"");
    answers(&sidecar).await;
    let resident = sidecar.resident();
    let large = get_request("account.large");
    for window in [0, 1] {
        // The window is never opened, while everything else is in good order.
        let begin = hello(&[(INITIAL_WINDOW_SIZE, window)]);
        for body in [&large, &get_request("account.db")] {
            let begin = [&begin[..], &call(1, "Get", body)].concat();
            let mut wire = Wire::saying(sidecar.path(), &begin).await;
            while wire.next_of_stream().await.is_some() {}
        }
    }
    // The socket is never read.
    let opened = [hello(&[(INITIAL_WINDOW_SIZE, 1 << 30)]), widen(0, 1 << 30)].concat();
    let calls: Vec<u8> = (0..50).flat_map(|n| call(2 * n + 1, "Get", &large)).collect();
    let wire = Wire::saying(sidecar.path(), &[opened, calls].concat()).await;
    until("it is cut", || sidecar.metric("strongroom_connections") == 0).await;
    drop(wire);
    settled(&mut sidecar, resident).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_is_served() {
    let sidecar = Process::start("stall_timeout = \"1s\"");
    let preface = hello(&[(INITIAL_WINDOW_SIZE, 16_384)]);
    let start = [preface, call(1, "Get", &get_request("account.large"))].concat();
    let mut wire = Wire::saying(sidecar.path(), &start).await;
    let (began, mut bytes) = (Instant::now(), 0);
    loop {
        let frame = wire.next_of_stream().await.expect("it is not cut");
        if frame.is_end() {
            break;
        }
        if frame.kind == DATA {
            bytes += frame.payload.len();
            // 16 pieces, and longer than the stall timeout for all of them.
            tokio::time::sleep(Duration::from_millis(150)).await;
            let more = u32::try_from(frame.payload.len()).expect("short");
            wire.send(&[widen(0, more), widen(1, more)].concat()).await;
        }
    }
    assert!(bytes > 256 << 10 && began.elapsed() > Duration::from_millis(1_500));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_in_the_middle_is_cut() {
    let mut sidecar = Process::start("stall_timeout = \"200ms\"\nrequest_timeout = \"200ms\"");
    answers(&sidecar).await;
    let whole = [hello(&[]), call(1, "Put", &[0; 100])].concat();
    let cuts: Vec<_> = (0..40).chain([whole.len() - 120, whole.len() - 1]).collect();
    let mut clients = JoinSet::new();
    for cut in cuts {
        let (path, begin) = (sidecar.path().to_owned(), whole[..cut].to_vec());
        clients.spawn(async move {
            let mut wire = Wire::saying(&path, &begin).await;
            // No answer to a ping: closed. Or the request is answered by its end.
            while let Some(frame) = wire.next().await {
                if frame.kind == HEADERS {
                    assert!(frame.is_end() && cut > PREFACE.len() + 9, "{cut}: answered");
                    return;
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }
    until("nothing is left", || sidecar.is_idle()).await;
    answers(&sidecar).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_long_is_refused_clearly() {
    let sidecar = Setup::new(memory_store()).with(|section| {
        section.max_bytes_per_user = 12 << 20;
    });
    let sidecar = sidecar.start();
    let longest = sidecar.engine().capabilities().max_value_bytes;
    let mut grpc = sidecar.grpc().await;
    let put = |bytes: usize| v1::PutRequest {
        name: "account.large".into(),
        value: vec![b'x'; bytes].into(),
        ..Default::default()
    };
    grpc.put(put(longest)).await.expect("the longest value");
    for bytes in [longest + 1, longest + (64 << 10) + 1] {
        let status = grpc.put(put(bytes)).await.expect_err("that is too long");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        let info = status.get_error_details().error_info().expect("details").clone();
        assert_eq!(info.reason, "LIMIT_EXCEEDED", "{status}");
        assert!(status.message().contains(&longest.to_string()[..4]), "{status}");
    }
    let status = grpc.put(put(13 << 20)).await.expect_err("that is too long");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");

    let client = sidecar.client().await;
    let bytes = vec![b'x'; longest + 1];
    let upload = client.upload("account.long", &mut &bytes[..], &PutOptions::default()).await;
    upload.expect("a file may be longer than a value");
    let error = client.get("account.long", &Select::Latest).await.expect_err("it is no value");
    assert_eq!(error.kind(), strongroom_core::ErrorKind::LimitExceeded, "{error}");
    client.get("account.large", &Select::Latest).await.expect("the connection is as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_for_one_user_is_bounded() {
    let store = FaultyStore::new(memory_store());
    let sidecar = Setup::new(store.clone()).with(|section| {
        section.max_bytes_per_user = 1 << 20;
    });
    let sidecar = sidecar.start();
    sidecar.seed("account.db", "hunter2");
    sidecar.seed("account.large", &"x".repeat(250 << 10));

    // Requests: those that are under way hold what was sent.
    let gate = Gate::closed();
    store.faults().always("put", Fault::Wait(gate.clone()));
    let client = sidecar.client().await;
    let puts: Vec<_> = (0..3)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let (name, value) = (format!("account.n{number}"), secret(&"x".repeat(300 << 10)));
                client.put(&name, &value, &PutOptions::default()).await
            })
        })
        .collect();
    arrivals(&gate, 3).await;
    let mut grpc = sidecar.grpc().await;
    let over = v1::PutRequest {
        name: "account.n4".into(),
        value: vec![b'x'; 300 << 10].into(),
        ..Default::default()
    };
    let status = grpc.put(over).await.expect_err("four are too many");
    assert_refused(&status, "max_bytes_per_user");
    gate.open();
    for put in puts {
        put.await.expect("no panic").expect("three are not");
    }

    // And what they say that they will send: room is made for it.
    let claim = |stream, bytes: u32| {
        let prefix = [&[0][..], &bytes.to_be_bytes()].concat();
        [headers(stream, "Put"), frame(DATA, 0, stream, &prefix)].concat()
    };
    let claims: Vec<u8> = (0..10).flat_map(|n| claim(2 * n + 1, 250 << 10)).collect();
    let mut wire = Wire::saying(sidecar.path(), &[hello(&[]), claims].concat()).await;
    for _ in 0..6 {
        while !wire.next_of_stream().await.expect("six of ten are refused").is_end() {}
    }
    assert_eq!(sidecar.metric("strongroom_requests_in_flight"), 4);
    drop(wire);
    until("nothing is left", || sidecar.metric("strongroom_requests_in_flight") == 0).await;

    // Answers: those that are not read hold what they are, wherever it lies.
    // A download has its value, and two chunks of it besides.
    for (method, window, held) in
        [("Get", 0, 4), ("Get", 1, 4), ("Get", 200_000, 4), ("Download", 0, 2)]
    {
        let begin = hello(&[(INITIAL_WINDOW_SIZE, window)]);
        let body = get_request("account.large");
        let calls: Vec<u8> = (0..10).flat_map(|n| call(2 * n + 1, method, &body)).collect();
        let mut wire = Wire::saying(sidecar.path(), &[begin, calls].concat()).await;
        let mut refused = 0;
        while refused < 10 - held {
            let frame = wire.next_of_stream().await.expect("they are answered");
            refused += u64::from(frame.kind == HEADERS && frame.is_end());
        }
        assert_eq!(sidecar.metric("strongroom_requests_in_flight"), held, "{method} {window}");
        drop(wire);
        until("nothing is left", || sidecar.metric("strongroom_requests_in_flight") == 0).await;
    }
    client.get("account.large", &Select::Latest).await.expect("all of it was given back");
}

fn assert_refused(status: &tonic::Status, limit: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains(limit), "{status}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("details").reason, "THROTTLED");
    assert!(details.retry_info().is_some_and(|retry| retry.retry_delay.is_some()), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_closed_and_harms_nobody() {
    let mut sidecar = Process::start("stall_timeout = \"300ms\"");
    answers(&sidecar).await;
    let resident = sidecar.resident();
    let (mut random, seed) = Random::fresh();
    println!("seed {seed}");
    let begin = hello(&[]);
    let with = |frames: Vec<u8>| [&begin[..], &frames].concat();
    let block = fields("Get", &[]);
    let mut inputs = vec![
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        vec![0; 100_000],
        // A TLS client hello.
        [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &random.bytes(500)].concat(),
        // Not settings first.
        [PREFACE, &headers(1, "Get")].concat(),
        // A frame that is longer than may be.
        with([&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 1 << 20]].concat()),
        // Frames on streams where they may not be.
        with(frame(HEADERS, END_HEADERS, 0, &block)),
        with(frame(DATA, 0, 0, b"x")),
        with(frame(DATA, 0, 5, b"x")),
        with(frame(HEADERS, END_HEADERS, 2, &block)),
        with(frame(SETTINGS, 0, 1, &[])),
        with(frame(SETTINGS, 0, 0, &[0; 5])),
        with(frame(PING, 0, 0, &[0; 7])),
        with(frame(RST_STREAM, 0, 1, &[0; 4])),
        with(frame(CONTINUATION, END_HEADERS, 1, &block)),
        with(widen(0, 0)),
        with([widen(0, 0x7fff_ffff), widen(0, 0x7fff_ffff)].concat()),
        // A header block that is none: an index out of all tables.
        with(frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f])),
        // A pseudo-header that there is not, and one after the others.
        with(frame(HEADERS, END_HEADERS, 1, &[&block[..], &[0, 2, b':', b'x', 1, b'y']].concat())),
    ];
    for _ in 0..100 {
        let length = random.below(2_000);
        inputs.push(random.bytes(length));
        let mut noise = with(call(1, "Get", &get_request("account.db")));
        for _ in 0..4 {
            let at = PREFACE.len() + random.below(noise.len() - PREFACE.len());
            noise[at] ^= random.bytes(1)[0];
        }
        inputs.push(noise);
    }
    let mut clients = JoinSet::new();
    for input in inputs {
        let path = sidecar.path().to_owned();
        clients.spawn(async move {
            let mut wire = Wire::saying(&path, &input).await;
            // Closed for what it sent, or because it says no more.
            while wire.next().await.is_some() {}
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }

    // A message that is no message: the call fails, and the next one does not.
    for (method, body) in [("Get", &b"\xff\xff\xff"[..]), ("Upload", b"\x0a\xff"), ("None", b"")] {
        let good = call(3, "Get", &get_request("account.db"));
        let calls = [hello(&[]), call(1, method, body), good].concat();
        let mut wire = Wire::saying(sidecar.path(), &calls).await;
        let mut ended = Vec::new();
        let mut data = 0;
        while ended.len() < 2 {
            let frame = wire.next_of_stream().await.expect("both are answered");
            data += usize::from(frame.kind == DATA && frame.stream == 3);
            if frame.is_end() {
                ended.push(frame.stream);
            }
        }
        assert!(data > 0, "{method}: the next call has no answer");
    }
    settled(&mut sidecar, resident).await;
}

/// Sends `attack` again and again, for `bytes` in all, or until it is closed.
/// Somebody else's call is answered meanwhile.
async fn flood(sidecar: &mut Process, attack: impl Fn(u32) -> Vec<u8>, bytes: usize) -> bool {
    answers(sidecar).await;
    let resident = sidecar.resident();
    let mut wire = Wire::saying(sidecar.path(), &hello(&[])).await;
    let (mut sent, mut round, mut open) = (0, 0, true);
    while open && sent < bytes {
        let attack: Vec<u8> = (0..100).flat_map(|n| attack(round * 100 + n)).collect();
        let sending = tokio::time::timeout(Duration::from_secs(5), wire.send(&attack)).await;
        // The sidecar takes no more before its answers are read: that is good, too.
        let Ok(took) = sending else { break };
        (open, sent, round) = (took, sent + attack.len(), round + 1);
        if round % 100 == 0 {
            answers(sidecar).await;
        }
    }
    let most = sidecar.most_resident();
    assert!(most < resident + 2 * LEFT_BEHIND, "{resident} bytes before, {most} meanwhile");
    drop(wire);
    settled(sidecar, resident).await;
    !open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_cost_a_connection_and_nothing_else() {
    let mut sidecar = Process::start("stall_timeout = \"1s\"");
    let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let with_stream = |mut frame: Vec<u8>, stream: u32| {
        frame[5..9].copy_from_slice(&stream.to_be_bytes());
        frame
    };
    let block = fields("Get", &[]);
    let body = get_request("account.db");
    // CVE-2023-44487: each is begun and taken back at once.
    let rapid =
        |n: u32| [headers(2 * n + 1, "Get"), with_stream(reset.clone(), 2 * n + 1)].concat();
    assert!(flood(&mut sidecar, rapid, 16 << 20).await, "rapid resets go on for ever");
    // The same after a whole request.
    let late =
        |n: u32| [call(2 * n + 1, "Get", &body), with_stream(reset.clone(), 2 * n + 1)].concat();
    flood(&mut sidecar, late, 8 << 20).await;
    // CVE-2024-27316: a header block that never ends.
    let endless = |n: u32| match n {
        0 => frame(HEADERS, 0, 1, &block),
        _ => frame(CONTINUATION, 0, 1, &[&[0, 1, b'x', 100][..], &[b'y'; 100]].concat()),
    };
    assert!(flood(&mut sidecar, endless, 64 << 20).await, "continuations go on for ever");
    let empty = |n: u32| match n {
        0 => frame(HEADERS, 0, 1, &block),
        _ => frame(CONTINUATION, 0, 1, &[]),
    };
    assert!(flood(&mut sidecar, empty, 64 << 20).await, "empty continuations go on for ever");
    // Answers to these are never read.
    flood(&mut sidecar, |_| frame(PING, 0, 0, &[7; 8]), 8 << 20).await;
    flood(&mut sidecar, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]), 8 << 20).await;
    // Nothing, again and again.
    let nothing = |n: u32| match n {
        0 => headers(1, "Put"),
        _ => frame(DATA, 0, 1, &[]),
    };
    flood(&mut sidecar, nothing, 2 << 20).await;
    flood(&mut sidecar, |_| widen(0, 1), 2 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_are_kept_and_named() {
    let store = FaultyStore::new(memory_store());
    let sidecar = Setup::new(store.clone())
        .with(|section| section.request_timeout = Duration::from_millis(200))
        .start();
    sidecar.seed("account.db", "hunter2");
    let gate = Gate::closed();
    store.faults().always("get", Fault::Wait(gate.clone()));
    let mut grpc = sidecar.grpc().await;
    let message = v1::GetRequest { name: "account.db".into(), ..Default::default() };
    let status = late(sidecar.path(), "20m").await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("caller's deadline of 20ms"), "{status}");
    let status = grpc.get(message.clone()).await.expect_err("the gate is shut");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("request_timeout of 200ms"), "{status}");
    // A stream that is never ended is a request like another.
    let begin = [hello(&[]), headers(1, "Upload")].concat();
    let mut wire = Wire::saying(sidecar.path(), &begin).await;
    while !wire.next_of_stream().await.expect("an answer").is_end() {}
    let mut wire = Wire::saying(sidecar.path(), &begin).await;
    wire.send(&message_without_end(1)).await;
    while !wire.next_of_stream().await.expect("an answer").is_end() {}
    gate.open();
    until("nothing is under way", || sidecar.metric("strongroom_requests_in_flight") == 0).await;
    grpc.get(message).await.expect("the gate is open");
}

/// The status of a get with a deadline. tonic's client would keep it itself,
/// and not wait for what it is told.
async fn late(socket: &Path, timeout: &str) -> tonic::Status {
    let stream = tokio::net::UnixStream::connect(socket).await.expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
    tokio::spawn(connection);
    let request = http::Request::post("http://localhost/strongroom.v1.Strongroom/Get")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", timeout)
        .body(())
        .expect("a request");
    let mut client = client.ready().await.expect("room for a request");
    let (response, mut body) = client.send_request(request, false).expect("sent");
    let message = get_request("account.db");
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    body.send_data([&[0][..], &length, &message].concat().into(), true).expect("sent");
    let response = response.await.expect("an answer");
    tonic::Status::from_header_map(response.headers()).expect("an answer without a body")
}

/// The start of an upload, and no more.
fn message_without_end(stream: u32) -> Vec<u8> {
    let start = v1::UploadStart { name: "account.file".into(), ..Default::default() };
    let part = Some(v1::upload_request::Part::Start(start));
    let mut frame = message(stream, &v1::UploadRequest { part }.encode_to_vec());
    frame[4] &= !END_STREAM;
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_open_connections_are_served() {
    let mut sidecar = Process::with_descriptors(64, "");
    let client = connect(sidecar.path()).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(Wire::saying(sidecar.path(), &hello(&[])).await);
    }
    until("it takes all that it can", || sidecar.metric("strongroom_connections") > 40).await;
    for _ in 0..100 {
        client.get("account.db", &Select::Latest).await.expect("an open connection");
    }
    let held = sidecar.metric("strongroom_connections");
    assert!(held < 64, "{held} connections on 64 descriptors");
    let newcomer = tokio::spawn({
        let path = sidecar.path().to_owned();
        async move { connect(&path).await.get("account.db", &Select::Latest).await }
    });
    drop(crowd);
    newcomer.await.expect("no panic").expect("there is room again");
    drop(client);
    until("nothing is left", || sidecar.is_idle()).await;
    answers(&sidecar).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_named_where_they_are_reached() {
    let store = FaultyStore::new(memory_store());
    let sidecar = Setup::new(store.clone())
        .with(|section| {
            (section.max_requests_per_user, section.max_watches_per_user) = (2, 1);
            section.max_connections_per_user = 3;
        })
        .start();
    sidecar.seed("account.db", "hunter2");
    let gate = Gate::closed();
    store.faults().always("put", Fault::Wait(gate.clone()));
    let client = sidecar.client().await;
    let puts = [0, 1].map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let name = format!("account.n{number}");
            client.put(&name, &secret("x"), &PutOptions::default()).await
        })
    });
    arrivals(&gate, 2).await;
    let mut grpc = sidecar.grpc().await;
    let get = v1::GetRequest { name: "account.db".into(), ..Default::default() };
    assert_refused(&grpc.get(get.clone()).await.expect_err("two"), "max_requests_per_user = 2");
    let watch = grpc.watch(v1::WatchRequest::default()).await.expect("counted apart");
    let second = grpc.watch(v1::WatchRequest::default()).await.expect_err("one");
    assert_refused(&second, "max_watches_per_user = 1");
    let third = Wire::saying(sidecar.path(), &hello(&[])).await;
    let mut fourth = Wire::saying(sidecar.path(), &hello(&[])).await;
    assert!(fourth.next().await.is_none(), "it is closed");
    let refused =
        |limit: &str| sidecar.metric(&format!("strongroom_refused_total{{limit=\"{limit}\"}}"));
    assert_eq!(refused("max_connections_per_user"), 1);
    assert_eq!(refused("max_requests_per_user"), 1);
    assert_eq!(refused("max_watches_per_user"), 1);
    gate.open();
    for put in puts {
        put.await.expect("no panic").expect("a put");
    }
    drop((watch, third));
    grpc.get(get).await.expect("there is room again");
}
