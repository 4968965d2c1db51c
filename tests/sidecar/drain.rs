//! How the sidecar ends, and what ends with a caller who goes away.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use strongroom_core::{ErrorKind, PutOptions, Select};
use strongroom_kit::faults::{Fault, FaultyStore, Gate};
use strongroom_kit::http2::{Wire, call, hello};
use strongroom_kit::sidecar::{Setup, Sidecar, memory_store, secret};
use strongroom_rpc::v1;

use crate::{arrivals, until};

fn start(
    change: impl FnOnce(&mut strongroom::config::SidecarSection),
) -> (Sidecar, Arc<FaultyStore>) {
    let store = FaultyStore::new(memory_store());
    let sidecar = Setup::new(store.clone()).with(change).start();
    sidecar.seed("account.db", "hunter2");
    (sidecar, store)
}

fn put_request(name: &str) -> Vec<u8> {
    let value = "new".into();
    v1::PutRequest { name: name.into(), value, ..Default::default() }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_ends_watches_are_told_and_nothing_new_begins() {
    let (mut sidecar, store) = start(|section| section.drain_timeout = Duration::from_hours(1));
    let (busy, watching, idle) =
        (sidecar.client().await, sidecar.client().await, sidecar.client().await);
    idle.get("account.db", &Select::Latest).await.expect("a get");
    let mut watch = watching.watch(&["account.db"]).await.expect("a watch");
    let _silent = Wire::connect(sidecar.path()).await.expect("a connection");
    let _unfinished = Wire::saying(sidecar.path(), &hello(&[])[..30]).await;
    let gate = Gate::closed();
    store.faults().always("put", Fault::Wait(gate.clone()));
    store.faults().always("get", Fault::Wait(gate.clone()));
    let put = tokio::spawn({
        let busy = busy.clone();
        async move { busy.put("account.a", &secret("x"), &PutOptions::default()).await }
    });
    let get = tokio::spawn(async move { busy.get("account.missing", &Select::Latest).await });
    arrivals(&gate, 2).await;

    sidecar.server().end();
    let told = loop {
        match watch.next().await.expect("it is told") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(told.kind() == ErrorKind::Unavailable && told.is_retryable(), "{told}");
    assert!(told.message().contains("watch again"), "{told}");
    // New connections are refused, not left waiting.
    until("the socket takes nothing more", || {
        std::os::unix::net::UnixStream::connect(sidecar.path()).is_err()
    })
    .await;
    until("only the connection with requests is left", || {
        sidecar.metric("strongroom_connections") == 1
    })
    .await;
    let late = idle.get("account.db", &Select::Latest).await.expect_err("nothing new begins");
    assert_eq!(late.kind(), ErrorKind::Unavailable);

    gate.open();
    put.await.expect("no panic").expect("it was under way");
    let missing = get.await.expect("no panic").expect_err("it was under way");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    sidecar.end().expect("everything ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_takes_no_longer_than_it_may() {
    let (mut sidecar, store) = start(|section| section.drain_timeout = Duration::from_millis(100));
    let client = sidecar.client().await;
    let gate = Gate::closed();
    store.faults().always("get", Fault::Wait(gate.clone()));
    let get = tokio::spawn(async move { client.get("account.db", &Select::Latest).await });
    arrivals(&gate, 1).await;
    let error = tokio::task::block_in_place(|| sidecar.end()).expect_err("one is cut");
    assert!(error.message().ends_with("drain_timeout: 1"), "{error}");
    let cut = get.await.expect("no panic").expect_err("it is cut");
    assert_eq!(cut.kind(), ErrorKind::Unavailable);
    gate.open();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_does_not_listen_fails_no_end() {
    // It has no request under way, and does not answer that the end is near.
    let (mut sidecar, _) = start(|section| section.drain_timeout = Duration::from_millis(100));
    let mut deaf = Wire::saying(sidecar.path(), &hello(&[])).await;
    deaf.next().await.expect("settings");
    sidecar.end().expect("no request was cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_caller_went_away_ends() {
    let (mut sidecar, store) = start(|section| section.max_requests_per_user = 2);
    let gate = Gate::closed();
    store.faults().always("put", Fault::Wait(gate.clone()));
    for (count, name) in [(1, "account.a"), (2, "account.b")] {
        let begin = [hello(&[]), call(1, "Put", &put_request(name))].concat();
        let wire = Wire::saying(sidecar.path(), &begin).await;
        arrivals(&gate, count).await;
        drop(wire);
        until("it is gone", || sidecar.metric("strongroom_connections") == 0).await;
    }

    // They count for as long as they take: nobody piles up more by going away.
    assert_eq!(sidecar.metric("strongroom_requests_in_flight"), 2);
    let client = sidecar.client().await;
    let third = client.put("account.c", &secret("x"), &PutOptions::default()).await;
    let refused = third.expect_err("two are under way");
    assert!(refused.message().contains("max_requests_per_user"), "{refused}");
    drop(client);

    // The end waits for them, though nobody else does.
    let engine = sidecar.engine().clone();
    sidecar.server().end();
    until("it ends", || std::os::unix::net::UnixStream::connect(sidecar.path()).is_err()).await;
    gate.open();
    sidecar.end().expect("they ended");
    for name in ["account.a", "account.b"] {
        // The backend's threads are gone with the sidecar: the store is asked itself.
        let name = engine.resolve(name).expect("a name");
        let secret = strongroom_core::SecretStore::get(&*store, &name, &Select::Latest).await;
        assert!(secret.expect("it was put").value.expose() == b"new");
    }
}
