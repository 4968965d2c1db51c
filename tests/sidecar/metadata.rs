//! Descriptions and tags, and what is stored of references, through the sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom::config::Verb;
use strongroom_client::ChangeKind;
use strongroom_core::{
    ErrorKind, Kind, Metadata, MetadataChange, PageRequest, PutOptions, ReferencingStore, Scope,
    Select,
};
use strongroom_kit::sidecar::{Setup, anyone, memory_store, secret};

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_go_there_and_back() {
    let sidecar = Setup::new(memory_store()).start();
    let client = sidecar.client().await;
    let scope: Scope = "acme".parse().expect("a scope");
    let listed = async || {
        let page = client.list(&scope, false, &PageRequest::first(10)).await.expect("listed");
        page.items.into_iter().map(|item| item.metadata).collect::<Vec<_>>()
    };
    assert!(client.status(&[]).await.expect("a status").capabilities.metadata);
    let metadata = Metadata::new("of the shop", tags(&[("env", "prod")])).expect("valid");
    let options = PutOptions { metadata: Some(metadata.clone()), ..PutOptions::default() };
    client.put("account.a", &secret("x"), &options).await.expect("put");
    let long = vec![7; 3 << 20];
    client.upload("account.b", &mut &long[..], &options).await.expect("uploaded");
    assert_eq!(listed().await, [metadata.clone(), metadata.clone()]);
    // Absent, they stay; empty, they go.
    client.put("account.a", &secret("y"), &PutOptions::default()).await.expect("put");
    let none = PutOptions { metadata: Some(Metadata::default()), ..PutOptions::default() };
    client.put("account.b", &secret("y"), &none).await.expect("put");
    assert_eq!(listed().await, [metadata, Metadata::default()]);

    let mut watch = client.watch(&["account.a"]).await.expect("watching");
    for expected in [ChangeKind::Present, ChangeKind::Synced] {
        assert_eq!(watch.next().await.expect("an event").expect("no error").kind, expected);
    }
    let change = MetadataChange {
        tags: tags(&[("tier", "1")]),
        remove: ["env".to_owned()].into(),
        ..MetadataChange::default()
    };
    let now = client.describe("account.a", &change).await.expect("described");
    assert_eq!((now.description(), now.tags()), ("of the shop", &tags(&[("tier", "1")])));
    let told = watch.next().await.expect("an event").expect("no error");
    assert_eq!((told.kind, told.name.as_str()), (ChangeKind::Described, "account.a"));
    assert_eq!(listed().await[0], now);

    let bad = MetadataChange { tags: tags(&[("a=b", "")]), ..MetadataChange::default() };
    let error = client.describe("account.a", &bad).await.expect_err("malformed");
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidName, Some("describe")));
    let audit = sidecar.audit();
    assert!(audit.contains("\"operation\":\"describe\""), "it is recorded");
    assert!(!audit.contains("of the shop"), "what is said is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_put_may_not_describe() {
    let setup = Setup::new(memory_store()).with(|section| {
        section.allow = vec![
            anyone(&["account.web-*"], &[Verb::Put]),
            anyone(&["**"], &[Verb::Get, Verb::List]),
        ];
    });
    let sidecar = setup.start();
    for name in ["account.web-a", "account.db"] {
        sidecar.seed(name, "1");
    }
    let client = sidecar.client().await;
    let change = MetadataChange { description: Some("mine".into()), ..MetadataChange::default() };
    client.describe("account.web-a", &change).await.expect("allowed");
    let error = client.describe("account.db", &change).await.expect_err("denied");
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    let scope: Scope = "acme".parse().expect("a scope");
    let page = client.list(&scope, false, &PageRequest::first(10)).await.expect("listed");
    assert_eq!(page.items[0].metadata, Metadata::default(), "it was described");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_can_be_looked_at_and_leads_to_no_unknown_store() {
    let store = ReferencingStore::new(memory_store(), BTreeMap::new()).expect("a store");
    let sidecar = Setup::new(Arc::new(store)).start();
    let client = sidecar.client().await;
    let reference = secret("other://path#key");
    let options = PutOptions { kind: Kind::Reference, ..PutOptions::default() };
    let refused = client.put("account.r", &reference, &options).await.expect_err("unknown");
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    assert!(refused.message().contains("no external store other"), "{refused}");
    let options = PutOptions { unchecked_reference: true, ..options };
    client.put("account.r", &reference, &options).await.expect("put");
    let mut upload = &b"other://path"[..];
    client.upload("account.u", &mut upload, &options).await.expect("uploaded");
    let stored = client.get_stored("account.r", &Select::Latest).await.expect("got");
    assert!(stored.value == reference && stored.kind == Kind::Reference);
    let error = client.get("account.r", &Select::Latest).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    // It is there, for whoever watches it.
    let mut watch = client.watch(&["account.r", "account.none"]).await.expect("watching");
    for expected in [ChangeKind::Present, ChangeKind::Absent, ChangeKind::Synced] {
        assert_eq!(watch.next().await.expect("an event").expect("no error").kind, expected);
    }
}
