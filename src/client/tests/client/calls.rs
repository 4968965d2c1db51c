//! What is asked and answered when all is well.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use strongroom_client::{Change, ChangeKind};
use strongroom_core::envelope::backup::WriteSink;
use strongroom_core::upkeep::{Reencrypt, Selection};
use strongroom_core::{
    ErrorKind, Expect, Kind, MetadataChange, Migrate, Migrated, PageRequest, Progress, PutOptions,
    Scope, SecretBytes, SecretName, Select, Suite, Timestamp, Version,
};

use crate::connected;
use crate::server::Seen;

fn value(bytes: &[u8]) -> SecretBytes {
    SecretBytes::copy_from(bytes).expect("memory")
}

#[tokio::test]
async fn values_are_put_and_got_alone_and_in_batches() {
    let (_dir, _server, client) = connected().await;
    let file = PutOptions { kind: Kind::File, ..PutOptions::default() };
    let info = client.put("account.a", &value(b"s3cret"), &file).await.expect("put");
    assert_eq!((info.kind, info.created), (Kind::File, Timestamp(1_700_000_000_000)));
    client.put("account.empty", &value(b""), &PutOptions::default()).await.expect("put");
    // More than the 4 MiB that gRPC's stock clients accept.
    let large = value(&vec![7; 9 << 20]);
    client.put("account.large", &large, &PutOptions::default()).await.expect("put");

    let secret = client.get("account.a", &Select::Latest).await.expect("got");
    assert!(secret.value.expose() == b"s3cret");
    assert_eq!((secret.kind, secret.version.as_str(), secret.stale), (Kind::File, "1", false));
    assert_eq!(secret.age, Duration::ZERO);
    assert!(client.get("account.large", &Select::Latest).await.expect("got").value == large);

    let wanted = [("account.none", Select::Latest), ("account.empty", Select::Latest)];
    let got = client.get_all(&wanted).await.expect("answered");
    let error = got[0].as_ref().expect_err("there is none");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::NotFound, false));
    assert!(got[1].as_ref().expect("got").value.is_empty());
    let wanted = [("account.left-out", Select::Latest)];
    assert_eq!(client.get_all(&wanted).await.expect_err("none").kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn errors_keep_kind_and_place() {
    let (_dir, _server, client) = connected().await;
    let error = client.get("account.none", &Select::Latest).await.expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "get account.none: there is no such secret");
    let version = Version::new("3").expect("a version");
    let options = PutOptions { expect: Expect::Latest(version), ..PutOptions::default() };
    let error = client.put("account.a", &value(b"x"), &options).await.expect_err("not 3");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Conflict, "it is not 3"));
    let error = client.purge("account.a").await.expect_err("unsupported");
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Some("purge")));
}

#[tokio::test]
async fn pages_are_asked_for_and_belong_to_their_scope() {
    let (_dir, _server, client) = connected().await;
    let scope = Scope::account("acme").expect("a scope");
    let first = client.list(&scope, false, &PageRequest::first(5)).await.expect("listed");
    assert_eq!(first.items[0].name.to_string(), "account.of-5");
    assert_eq!((first.items[0].kind, first.items[0].latest.as_str()), (Kind::File, "7"));
    let metadata = &first.items[0].metadata;
    assert_eq!((metadata.description(), metadata.tags()["env"].as_str()), ("of a test", "test"));
    let request = PageRequest { after: first.next, limit: 5 };
    assert_eq!(client.list(&scope, false, &request).await.expect("listed").next, None);
    let error = client.list(&scope, true, &PageRequest::first(5)).await.expect_err("an org's");
    assert_eq!(error.kind(), ErrorKind::Internal, "an account has no org");
}

#[tokio::test]
async fn metadata_are_changed_as_the_caller_says() {
    let (_dir, _server, client) = connected().await;
    let change = MetadataChange {
        replace: true,
        description: Some("new".to_owned()),
        remove: ["a".to_owned(), "b".to_owned()].into(),
        tags: [("c".to_owned(), "d".to_owned())].into(),
    };
    let now = client.describe("account.db", &change).await.expect("described");
    assert_eq!((now.description(), now.tags()), ("account.db true new a,b", &change.tags));
}

#[tokio::test]
async fn changes_come_as_they_happen() {
    let (_dir, _server, client) = connected().await;
    let mut watch = client.watch(&["account.db"]).await.expect("watching");
    let mut next = async || watch.next().await.expect("an event").expect("no error");
    let db = |kind, version: Option<&str>| Change {
        name: "account.db".into(),
        kind,
        version: version.map(|version| Version::new(version).expect("a version")),
    };
    assert_eq!(next().await, db(ChangeKind::Present, Some("3")));
    assert_eq!(next().await.kind, ChangeKind::Synced);
    assert_eq!(next().await, db(ChangeKind::Deleted, None));
}

#[tokio::test]
async fn values_are_sealed_and_opened() {
    let (_dir, _server, client) = connected().await;
    let context = BTreeMap::from([("row".to_owned(), "7".to_owned())]);
    let sealed = client.seal("account.app", context.clone(), &value(b"abc")).await.expect("sealed");
    assert!(sealed == b"cba");
    let opened = client.open("account.app", context, &sealed).await.expect("opened");
    assert!(opened.expose() == b"abc");
}

#[tokio::test]
async fn templates_are_rendered_in_their_scope() {
    let (_dir, _server, client) = connected().await;
    let scope: Scope = "acme/x".parse().expect("a scope");
    let rendered = client.at(&scope).render(&value(b"a template")).await.expect("rendered");
    assert!(rendered.expose() == b"acme/x: a template");
}

#[tokio::test]
async fn the_sidecar_tells_of_itself() {
    let (_dir, _server, client) = connected().await;
    let status = client.status(&["account.db"]).await.expect("told");
    assert_eq!(status.scope.to_string(), "acme/ops");
    assert_eq!(status.cache.expect("a cache").hits, 5);
    assert_eq!((status.capabilities.max_value_bytes, status.capabilities.seal), (9, true));
    assert_eq!(status.reload_error, None);
    let secret = &status.secrets[0];
    assert_eq!((secret.name.as_str(), secret.stale), ("account.db", true));
    assert_eq!(secret.age, Some(Duration::from_secs(2)));
    assert_eq!(secret.expires_in, None);
    let scope: Scope = "acme/x".parse().expect("a scope");
    assert_eq!(client.at(&scope).status(&[]).await.expect("told").scope, scope);
    assert_eq!(client.check().await.expect("checked"), ["store: read"]);
}

#[tokio::test]
async fn requests_have_an_authority_and_tell_their_deadline() {
    let (_dir, mut server, client) = connected().await;
    client.check().await.expect("checked");
    assert_eq!(server.seen.recv().await, Some(Seen::Connection));
    let Some(Seen::Request(authority, timeout)) = server.seen.recv().await else {
        panic!("a request comes next")
    };
    assert_eq!(authority.as_deref(), Some("localhost"));
    assert!(timeout.is_some(), "30 s, unless the caller says otherwise");
}

#[tokio::test]
async fn long_operations_tell_how_far_they_are_and_how_they_ended() {
    let (_dir, _server, client) = connected().await;
    let told = Mutex::new(Vec::new());
    let observer = |progress: &Progress| told.lock().expect("no panic").push(*progress);
    assert_eq!(client.rotate(Some("k")).await.expect("rotated").version, "k2");
    let outcome = client.rewrap(&observer).await.expect("rewrapped");
    assert_eq!((outcome.examined, outcome.changed, outcome.failed), (3, 2, 1));
    assert!(outcome.resumed && outcome.missing_keks["k"] == 2);
    let failed = &outcome.failures[0];
    assert_eq!((failed.name.id(), failed.kind), ("db", ErrorKind::Tampered));
    assert_eq!(told.lock().expect("no panic")[0].left(), Some(2));
    let report = client.key_report(&observer).await.expect("a report");
    assert_eq!((report.records, report.stale), (7, 1));
    assert_eq!(report.keks[0].versions[0].kek.created, Some(Timestamp(5)));
}

#[tokio::test]
async fn an_operation_that_does_not_end_as_it_should_is_an_error() {
    let (_dir, _server, client) = connected().await;
    let name = SecretName::new("acme/x".parse().expect("a scope"), "db").expect("a name");
    let what = Reencrypt {
        selection: Selection::names([&name]),
        suite: Some(Suite::ChaCha20Poly1305),
        restart: true,
    };
    let error = client.reencrypt(&what, &|_| ()).await.expect_err("no end");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    let destroyed = client.destroy_key_version(Some("k"), "1", &|_| ()).await;
    assert_eq!(destroyed.expect_err("another answer").kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_migration_and_a_look_at_the_store_are_told_as_they_came() {
    let (_dir, _server, client) = connected().await;
    let what = Migrate {
        selection: Selection::Within("acme/x".to_owned()),
        remove_source: true,
        dry_run: true,
    };
    let moved = client.migrate(&what, Some(Path::new("/x/y.toml")), &|_| ()).await.expect("moved");
    assert_eq!((moved.examined, moved.moved, moved.removed, moved.versions), (0, 1, 1, 1));
    assert!(moved.dry_run);
    let everything = client.migrate(&Migrate::default(), None, &|_| ()).await.expect("moved");
    assert_eq!(everything, Migrated::default());
    let verified = client.verify(&|_| ()).await.expect("verified");
    assert_eq!((verified.secrets, verified.is_good()), (2, false));
}

#[tokio::test]
async fn a_backup_is_whole_or_an_error() {
    let (_dir, _server, client) = connected().await;
    let told = Mutex::new(0);
    let observer = |progress: &Progress| *told.lock().expect("no panic") += progress.done;
    let mut sink = WriteSink(Vec::new());
    let info = client.backup(&mut sink, &observer).await.expect("whole");
    assert!(sink.0 == b"abcdef" && info.bytes == 6 && info.names == 1);
    assert_eq!(*told.lock().expect("no panic"), 2);
    for kind in [ErrorKind::Unavailable, ErrorKind::Internal] {
        let error = client.backup(&mut WriteSink(Vec::new()), &observer).await;
        assert_eq!(error.expect_err("not whole").kind(), kind);
    }
}
