//! Reloads while requests are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use strongroom::config::{SidecarSection, Verb};
use strongroom_client::ChangeKind;
use strongroom_core::{ErrorKind, PutOptions, Select};
use strongroom_kit::sidecar::{Setup, anyone, memory_store, secret};
use tokio::task::JoinSet;

use crate::until;

fn rules(allow: &[(&str, Verb)]) -> SidecarSection {
    let mut section = SidecarSection::default();
    section.allow = allow.iter().map(|(names, verb)| anyone(&[names], &[*verb])).collect();
    section
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_loses_no_request() {
    let sidecar = Setup::new(memory_store()).start();
    sidecar.seed("account.db", "hunter2");
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for number in 0..8 {
        let client = sidecar.client().await;
        let (over, calls) = (Arc::clone(&over), Arc::clone(&calls));
        callers.spawn(async move {
            let name = format!("account.own{number}");
            while !over.load(Relaxed) {
                client.get("account.db", &Select::Latest).await.expect("a get");
                let value = secret(&calls.fetch_add(1, Relaxed).to_string());
                let put = client.put(&name, &value, &PutOptions::default()).await.expect("a put");
                let read = client.get(&name, &Select::Latest).await.expect("a get");
                assert!(read.version == put.version && read.value == value);
            }
        });
    }
    let mut reloads = 0;
    for round in 0..200 {
        // Each has other rules and limits, and all allow what is under way.
        let verb = if round % 2 == 0 { Verb::All } else { Verb::Get };
        let mut section = rules(&[("**", verb), ("account.own*", Verb::Put)]);
        section.max_requests_per_user = 100 + round;
        sidecar.replace(section).expect("good rules");
        sidecar.server().note_reload(None);
        reloads += 1;
        let done = calls.load(Relaxed);
        until("they go on", || calls.load(Relaxed) > done).await;
    }
    over.store(true, Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("not one error");
    }
    assert_eq!(sidecar.metric("strongroom_reloads_total"), reloads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_take_effect_on_open_connections_at_the_next_request() {
    let sidecar = Setup::new(memory_store()).start();
    sidecar.seed("account.db", "hunter2");
    let client = sidecar.client().await;
    client.get("account.db", &Select::Latest).await.expect("allowed");
    let mut watch = client.watch(&["account.db", "account.other"]).await.expect("allowed");
    let mut told = async || watch.next().await.expect("it goes on").expect("an event");
    while told().await.kind != ChangeKind::Synced {}

    let other = ("account.other", Verb::All);
    sidecar.replace(rules(&[("account.db", Verb::Put), other])).expect("good rules");
    let denied = client.get("account.db", &Select::Latest).await.expect_err("not any more");
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    let put = async |name| {
        let put = client.put(name, &secret("x"), &PutOptions::default()).await;
        (ChangeKind::Put, name.to_owned(), put.expect("it is allowed").version)
    };
    put("account.db").await;
    let seen = |change: strongroom_client::Change| {
        (change.kind, change.name, change.version.expect("a version"))
    };
    // What is not allowed is not told: the next is told in its place.
    let (done, change) = (put("account.other").await, told().await);
    assert_eq!(seen(change), done);
    sidecar.replace(rules(&[("account.db", Verb::All)])).expect("good rules");
    let (done, change) = (put("account.db").await, told().await);
    assert_eq!(seen(change), done);
    client.get("account.db", &Select::Latest).await.expect("allowed again");

    // Rules that make no sense change nothing.
    let mut wrong = rules(&[("account.db", Verb::Put)]);
    wrong.allow[0].names = vec!["a b".into()];
    assert_eq!(sidecar.replace(wrong).expect_err("bad").kind(), ErrorKind::Configuration);
    client.get("account.db", &Select::Latest).await.expect("as before");
    drop(watch);
}
