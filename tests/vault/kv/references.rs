//! References to secrets that others look after.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    EnvelopeOptions, ErrorKind, ExternalStore, ExternalValue, Kind, ReferencingStore, Result,
    Select,
};
use strongroom_kit::conformance::assert_kind;
use strongroom_kit::{block_on, embedded};
use strongroom_vault::{KvVersion, VaultExternalSecrets};

use super::{assert_value, connect, get, hvac, mount, of, open, put, settings};
use crate::{proxy, server, within};

fn external() -> VaultExternalSecrets {
    for version in super::BOTH {
        mount(version);
    }
    VaultExternalSecrets::new(&connect(&settings(server().address())))
}

fn read(store: &VaultExternalSecrets, path: &str) -> Result<ExternalValue> {
    block_on(store.read(path))
}

#[track_caller]
fn assert_reads(store: &VaultExternalSecrets, path: &str, value: &[u8], kind: Kind) {
    let found = read(store, path).unwrap();
    assert!(found.value.expose() == value, "{path}: another value");
    assert_eq!(found.kind, kind, "{path}");
}

#[test]
fn a_path_is_that_of_the_mount_and_that_in_it() {
    server().mount("team/kv", "kv", &json!({"version": "2"}));
    hvac(
        "
two.mount = 'team/kv'
one.write('theirs/db', dict(user='u', password='p'))
for password in ['old', 'new']: two.write('theirs/a b', dict(password=password, n=[1, None]))
",
        &[],
    );
    let store = external();
    let object = br#"{"password":"p","user":"u"}"#;
    assert_reads(&store, "one/theirs/db", object, Kind::Text);
    let new = br#"{"n":[1,null],"password":"new"}"#;
    assert_reads(&store, "team/kv/theirs/a b", new, Kind::Text);
    assert_reads(&store, "team/kv/theirs/a b?version=2", new, Kind::Text);
    let old = br#"{"n":[1,null],"password":"old"}"#;
    assert_reads(&store, "team/kv/theirs/a b?version=1", old, Kind::Text);
    for (path, kind) in [
        ("one/theirs/nothing", ErrorKind::NotFound),
        ("team/kv/theirs/nothing", ErrorKind::NotFound),
        ("team/kv/theirs/a b?version=3", ErrorKind::NotFound),
        ("one/theirs/db?version=1", ErrorKind::Unsupported),
        ("team/kv", ErrorKind::InvalidName),
        ("team/../one/theirs/db", ErrorKind::InvalidName),
        ("nowhere/db", ErrorKind::AccessDenied),
        ("sys/mounts", ErrorKind::Unsupported),
    ] {
        assert_kind(read(&store, path), kind, path);
    }
    hvac("two.mount = 'team/kv'; two.delete_latest_version_of_secret('theirs/a b')", &[]);
    let error = read(&store, "team/kv/theirs/a b").unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "the secret is deleted"));
    assert_reads(&store, "team/kv/theirs/a b?version=1", old, Kind::Text);
}

#[test]
fn a_mount_is_asked_about_once_and_again_when_it_is_another() {
    server().mount("changing", "kv", &json!({"version": "1"}));
    hvac("one.mount = 'changing'; one.write('db', dict(a='1'))", &[]);
    let proxy = proxy();
    let store = VaultExternalSecrets::new(&connect(&settings(&proxy.endpoint())));
    for _ in 0..3 {
        assert_reads(&store, "changing/db", br#"{"a":"1"}"#, Kind::Text);
    }
    let asked = "GET /v1/sys/internal/ui/mounts/changing/db";
    assert_eq!(proxy.count(asked), 1, "{:?}", proxy.counts());
    server().api("POST", "sys/mounts/changing/tune", &json!({"options": {"version": "2"}}));
    let config = || server().ask(0, server().root_token(), "GET", "changing/config", &json!(null));
    assert!((0..10_000).any(|_| config().status == 200), "the engine is not ready");
    let error = read(&store, "changing/db").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_reads(&store, "changing/db", br#"{"a":"1"}"#, Kind::Text);
    assert_eq!(proxy.count(asked), 2);
}

#[test]
fn what_is_not_to_be_reached_is_not_asked_for() {
    let proxy = proxy();
    let store = VaultExternalSecrets::new(&connect(&settings(&proxy.endpoint())));
    let store = store.only_below("two/").never_below("two/strongroom/");
    for path in ["one/theirs/db", "twofold/x", "two/strongroom/acme/@db"] {
        assert_kind(read(&store, path), ErrorKind::AccessDenied, path);
    }
    assert!(proxy.requests().is_empty(), "{:?}", proxy.counts());
}

#[test]
fn a_reference_leads_to_a_key_or_to_what_we_wrote() {
    let ours = open(KvVersion::Two, "led");
    put(&ours, "text", b"hunter2", &of(Kind::Text)).unwrap();
    put(&ours, "login", br#"{"user":"me","password":"s3cret"}"#, &of(Kind::Login)).unwrap();
    put(&ours, "file", b"\0\xff", &of(Kind::File)).unwrap();
    hvac("two.write('led/theirs', dict(db=dict(password='theirs')))", &[]);
    let records = Arc::new(MemoryRecords::new());
    let kek = within().join("references-of-vault");
    let sealed = embedded::envelope(
        records,
        Arc::new(embedded::kek(&kek).unwrap()),
        EnvelopeOptions::default(),
    );
    let external: Arc<dyn ExternalStore> = Arc::new(external());
    let stores = BTreeMap::from([("vault".to_owned(), external)]);
    let store = ReferencingStore::new(Arc::new(block_on(sealed).unwrap()), stores).unwrap();
    for (reference, value, kind) in [
        ("vault://two/led/acme/@text#value", &b"hunter2"[..], Kind::Text),
        ("vault://two/led/acme/@login#password", b"s3cret", Kind::Text),
        ("vault://two/led/acme/@file", b"\0\xff", Kind::File),
        ("vault://two/led/theirs#db.password", b"theirs", Kind::Text),
        ("vault://two/led/theirs?version=1#db.password", b"theirs", Kind::Text),
    ] {
        put(&store, "ref", reference.as_bytes(), &of(Kind::Reference)).expect(reference);
        assert_value(&get(&store, "ref", &Select::Latest).expect(reference), value, kind);
    }
    let refused = put(&store, "ref", b"vault://two/led/nothing", &of(Kind::Reference));
    assert_kind(refused, ErrorKind::NotFound, "it leads nowhere");
}
