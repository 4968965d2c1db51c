//! Crowds: of clients that come and go, and of watchers.

use prost::Message;
use strongroom_client::ChangeKind;
use strongroom_core::{PutOptions, Select};
use strongroom_kit::http2::{
    DATA, HEADERS, INITIAL_WINDOW_SIZE, Wire, call, headers, hello, widen,
};
use strongroom_kit::random::Random;
use strongroom_kit::sidecar::{Setup, connect, memory_store, secret};
use strongroom_rpc::v1;
use tokio::task::JoinSet;

use crate::process_of::Process;
use crate::until;

fn get_request() -> Vec<u8> {
    v1::GetRequest { name: "account.db".into(), ..Default::default() }.encode_to_vec()
}

fn put_request() -> Vec<u8> {
    let (name, value) = ("account.new".into(), "x".into());
    v1::PutRequest { name, value, ..Default::default() }.encode_to_vec()
}

/// A client that vanishes at some moment.
async fn come_and_go(socket: &std::path::Path, mut random: Random) {
    let begin = hello(&[]);
    let get = [&begin[..], &call(1, "Get", &get_request())].concat();
    let bytes = match random.below(6) {
        0 => Vec::new(),
        1 | 2 => get[..random.below(get.len())].to_vec(),
        3 => [&begin[..], &headers(1, "Upload")].concat(),
        4 => [&begin[..], &call(1, "Put", &put_request())].concat(),
        _ => [&get[..], &call(3, "Watch", &v1::WatchRequest::default().encode_to_vec())].concat(),
    };
    let mut wire = Wire::saying(socket, &bytes).await;
    // Sometimes after something came back; what has begun is answered.
    let wait = random.below(2) == 0 && bytes.len() > begin.len();
    if wait {
        let wanted = if bytes.len() >= get.len() { HEADERS } else { 4 };
        while wire.next().await.is_some_and(|frame| frame.kind != wanted) {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_clients_come_and_go_and_nothing_stays() {
    const COUNT: usize = 10_000;
    let (mut random, seed) = Random::fresh();
    println!("seed {seed}");
    let mut sidecar = Process::start("");
    let mut before = None;
    let mut clients = JoinSet::new();
    for number in 0..COUNT {
        if clients.len() == 100 {
            clients.join_next().await.expect("one").expect("no panic");
        }
        let (path, random) = (sidecar.path().to_owned(), Random::new(random.next_u64()));
        clients.spawn(async move { come_and_go(&path, random).await });
        // What the first ones leave behind is the program's own.
        if number == COUNT / 10 {
            while clients.join_next().await.is_some() {}
            until("they are gone", || sidecar.is_idle()).await;
            before = Some(sidecar.resident());
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }
    until("they are gone", || sidecar.is_idle()).await;
    let (before, after) = (before.expect("measured"), sidecar.resident());
    println!("{COUNT} clients: {before} bytes resident before, {after} after");
    assert!(after < before + (8 << 20), "{before} bytes before, {after} after");
    let client = connect(sidecar.path()).await;
    client.get("account.db", &Select::Latest).await.expect("it answers");
}

/// While requests follow each other closely it looks out for the next; then no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_burst_it_sleeps() {
    let sidecar = Process::start("");
    let client = connect(sidecar.path()).await;
    let get = || client.get("account.db", &Select::Latest);
    let answers = futures_util::future::join_all((0..500).map(|_| get())).await;
    assert!(answers.iter().all(Result::is_ok));
    until("all of its threads sleep", || sidecar.sleeps()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_all_see_a_change() {
    const WATCHERS: usize = 1_000;
    let mut sidecar = Process::start("");
    let (mut watches, mut clients) = (Vec::new(), Vec::new());
    for number in 0..WATCHERS {
        if number % 100 == 0 {
            clients.push(connect(sidecar.path()).await);
        }
        let client = clients.last().expect("one");
        let names: &[&str] = if number % 2 == 0 { &["account.db"] } else { &[] };
        let mut watch = client.watch(names).await.expect("a watch");
        while watch.next().await.expect("the state").expect("an event").kind != ChangeKind::Synced {
        }
        watches.push(watch);
    }
    let writer = connect(sidecar.path()).await;
    let put = writer.put("account.db", &secret("new"), &PutOptions::default()).await;
    let version = put.expect("a put").version;
    writer.delete("account.db").await.expect("a delete");
    for watch in &mut watches {
        let told = watch.next().await.expect("a change").expect("an event");
        assert_eq!((told.kind, told.version.as_ref()), (ChangeKind::Put, Some(&version)));
        assert_eq!(told.name, "account.db");
        let told = watch.next().await.expect("a change").expect("an event");
        assert_eq!(told.kind, ChangeKind::Deleted);
    }
    assert_eq!(sidecar.metric("strongroom_requests_in_flight"), WATCHERS as u64);
    drop((watches, clients, writer));
    until("nothing is left", || sidecar.is_idle()).await;
}

/// The events in what was read of a stream.
fn events(bytes: &[u8]) -> Vec<v1::WatchResponse> {
    let mut events = Vec::new();
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some((message, tail)) = tail.split_at_checked(length) else { break };
        events.push(v1::WatchResponse::decode(message).expect("an event"));
        rest = tail;
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_who_lags_is_told_the_state_anew() {
    let sidecar = Setup::new(memory_store()).start();
    sidecar.seed("account.db", "0");
    let body = v1::WatchRequest { names: vec!["account.db".into()], ..Default::default() };
    let body = body.encode_to_vec();
    let begin = [hello(&[(INITIAL_WINDOW_SIZE, 0)]), call(1, "Watch", &body)].concat();
    let mut lagging = Wire::saying(sidecar.path(), &begin).await;
    while lagging.next_of_stream().await.expect("an answer").kind != HEADERS {}

    let client = sidecar.client().await;
    let mut newest = None;
    for number in 0..1_500 {
        let value = secret(&number.to_string());
        let put = client.put("account.db", &value, &PutOptions::default()).await;
        newest = Some(put.expect("a put").version.to_string());
    }
    // Now it reads: what was held for it is little, and the last is the truth.
    lagging.send(&[widen(0, 1 << 30), widen(1, 1 << 30)].concat()).await;
    let (mut bytes, mut told) = (Vec::new(), Vec::new());
    let synced = |event: &v1::WatchResponse| event.change() == v1::Change::Synced;
    while told.iter().filter(|event| synced(event)).count() < 2 {
        let frame = lagging.next_of_stream().await.expect("it goes on");
        assert!(frame.kind == DATA && !frame.is_end());
        bytes.extend(frame.payload);
        told = events(&bytes);
    }
    assert!(told.len() < 1_500, "{} events were kept", told.len());
    let state = &told[told.len() - 2];
    assert_eq!((state.change(), Some(&state.version)), (v1::Change::Present, newest.as_ref()));

    // What follows is news, and not what the state had already.
    client.delete("account.db").await.expect("a delete");
    let (mut bytes, mut more) = (Vec::new(), Vec::new());
    while more.is_empty() {
        bytes.extend(lagging.next_of_stream().await.expect("it goes on").payload);
        more = events(&bytes);
    }
    assert_eq!(more[0].change(), v1::Change::Deleted);
    drop(lagging);
}
