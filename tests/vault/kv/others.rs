//! What others do to secrets of ours, in their own way.

use serde_json::json;
use strongroom_core::{
    ErrorKind, Expect, Kind, PageRequest, PutOptions, SecretStore, Select, Version,
};
use strongroom_kit::block_on;
use strongroom_kit::conformance::assert_kind;
use strongroom_vault::{KvVersion, VaultKv};

use super::{
    assert_value, connect, get, hvac, mount, name, of, open, open_at, options, put, settings,
    versions,
};
use crate::server;

fn number(text: &str) -> Select {
    Select::Version(Version::new(text).unwrap())
}

fn numbers(store: &VaultKv, id: &str) -> Vec<String> {
    versions(store, id).iter().map(|info| info.version.to_string()).collect()
}

#[test]
fn what_others_delete_is_deleted_and_what_they_bring_back_is_there() {
    let store = open(KvVersion::Two, "deleted");
    for value in [b"1", b"2", b"3"] {
        put(&store, "db", value, &of(Kind::Text)).unwrap();
    }
    hvac("two.delete_latest_version_of_secret('deleted/acme/@db')", &[]);
    for select in [Select::Latest, number("1"), number("3")] {
        assert_kind(get(&store, "db", &select), ErrorKind::NotFound, "deleted");
    }
    assert_eq!(numbers(&store, "db"), ["1", "2", "3"]);
    let refused = put(&store, "db", b"4", &of(Kind::Text));
    assert_kind(refused, ErrorKind::AlreadyExists, "deleted by others");
    hvac("two.undelete_secret_versions('deleted/acme/@db', versions=[3])", &[]);
    assert_value(&get(&store, "db", &Select::Latest).unwrap(), b"3", Kind::Text);
    // One version by itself.
    hvac("two.delete_secret_versions('deleted/acme/@db', versions=[2])", &[]);
    assert_kind(get(&store, "db", &number("2")), ErrorKind::NotFound, "deleted by itself");
    assert_value(&get(&store, "db", &number("1")).unwrap(), b"1", Kind::Text);
    assert_eq!(numbers(&store, "db"), ["1", "3"]);
    hvac("two.destroy_secret_versions('deleted/acme/@db', versions=[1])", &[]);
    assert_kind(get(&store, "db", &number("1")), ErrorKind::NotFound, "destroyed");
    assert_eq!(numbers(&store, "db"), ["3"]);
    hvac("two.destroy_secret_versions('deleted/acme/@db', versions=[3])", &[]);
    assert_kind(get(&store, "db", &Select::Latest), ErrorKind::NotFound, "destroyed");
    assert_kind(block_on(store.restore(&name("acme", "db"))), ErrorKind::NotFound, "destroyed");
    let page = PageRequest::first(10);
    let listed = block_on(store.list(&"acme".parse().unwrap(), true, &page)).unwrap();
    assert!(listed.items.is_empty(), "{listed:?}");
    // The second version can still be brought back, until it is purged.
    block_on(store.purge(&name("acme", "db"))).unwrap();
    hvac("two.undelete_secret_versions('deleted/acme/@db', versions=[2])", &[]);
    assert_kind(get(&store, "db", &number("2")), ErrorKind::NotFound, "purged");
}

#[test]
fn a_version_after_a_purge_has_a_higher_number() {
    let store = open(KvVersion::Two, "purged");
    let absent = PutOptions { expect: Expect::Absent, ..of(Kind::Text) };
    for expected in ["1", "2", "3"] {
        let version = put(&store, "db", b"value", &absent).unwrap();
        assert_eq!(version.as_str(), expected);
        assert_eq!(numbers(&store, "db"), [expected]);
        block_on(store.purge(&name("acme", "db"))).unwrap();
        let purged = block_on(store.versions(&name("acme", "db"), &PageRequest::first(1)));
        assert_kind(purged, ErrorKind::NotFound, "purged");
    }
    let left = "
data = two.read_secret_metadata('purged/acme/@db')['data']
print([version['destroyed'] for version in data['versions'].values()], data['custom_metadata'])";
    assert_eq!(hvac(left, &[]).trim(), "[True, True, True] None");
}

#[test]
fn vault_keeps_as_many_versions_as_it_is_told() {
    let store = open(KvVersion::Two, "limited");
    put(&store, "db", b"1", &of(Kind::Text)).unwrap();
    hvac("two.update_metadata('limited/acme/@db', max_versions=3)", &[]);
    for value in 2..=7u8 {
        put(&store, "db", &[value], &of(Kind::File)).unwrap();
    }
    assert_eq!(numbers(&store, "db"), ["5", "6", "7"]);
    assert_kind(get(&store, "db", &number("4")), ErrorKind::NotFound, "Vault removed it");
    assert_value(&get(&store, "db", &number("5")).unwrap(), &[5], Kind::File);
}

#[test]
fn a_mount_that_demands_compare_and_swap_is_written_to() {
    server().mount("strict", "kv", &json!({"version": "2"}));
    server().api("POST", "strict/config", &json!({"cas_required": true}));
    let mut options = options(KvVersion::Two, "");
    "strict".clone_into(&mut options.mount);
    let store = open_at(&connect(&settings(server().address())), options);
    for value in [b"1", b"2"] {
        put(&store, "db", value, &of(Kind::Text)).unwrap();
    }
    assert_value(&get(&store, "db", &Select::Latest).unwrap(), b"2", Kind::Text);
}

#[test]
fn the_engine_is_found_out_or_told_to_be_another() {
    let vault = connect(&settings(server().address()));
    for (version, number) in [(KvVersion::One, "KV 1"), (KvVersion::Two, "KV 2")] {
        let mut options = options(version, "found");
        options.version = None;
        let store = open_at(&vault, options);
        assert!(store.describe().starts_with(number), "{store:?}");
        assert_eq!(store.capabilities().versions, version == KvVersion::Two);
        put(&store, "db", b"value", &of(Kind::Text)).unwrap();
    }
    for (path, kind, told) in [
        ("nowhere", ErrorKind::AccessDenied, "none is"),
        ("two/found", ErrorKind::Configuration, "make it part of the base"),
        ("sys", ErrorKind::Configuration, "of type system"),
    ] {
        let mut options = options(KvVersion::Two, "found");
        path.clone_into(&mut options.mount);
        options.version = None;
        let error = block_on(VaultKv::open(&vault, options)).map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(told), "{error}");
    }
    // One that was told and is not.
    for (is, told) in [(KvVersion::Two, KvVersion::One), (KvVersion::One, KvVersion::Two)] {
        let mut options = options(told, "mistaken");
        mount(is).clone_into(&mut options.mount);
        let store = open_at(&vault, options);
        let error = put(&store, "db", b"value", &of(Kind::Text)).map(drop).unwrap_err();
        let is_told = matches!(error.kind(), ErrorKind::Configuration | ErrorKind::NotFound);
        assert!(is_told, "{error}");
    }
    let mut options = options(KvVersion::Two, "found");
    "nowhere".clone_into(&mut options.mount);
    let store = open_at(&vault, options);
    let error = get(&store, "db", &Select::Latest).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.message().contains("no engine mounted at nowhere"), "{error}");
}

#[test]
fn a_store_that_is_only_read_sends_no_change() {
    for version in super::BOTH {
        put(&open(version, "read-only"), "db", b"value", &of(Kind::Text)).unwrap();
        let proxy = crate::proxy();
        let mut options = options(version, "read-only");
        options.read_only = true;
        let store = open_at(&connect(&settings(&proxy.endpoint())), options);
        assert!(!store.capabilities().write);
        assert_value(&get(&store, "db", &Select::Latest).unwrap(), b"value", Kind::Text);
        let (db, change) = (name("acme", "db"), strongroom_core::MetadataChange::default());
        let refused = put(&store, "db", b"never", &of(Kind::Text));
        assert_kind(refused, ErrorKind::Unsupported, "put");
        assert_kind(block_on(store.delete(&db)), ErrorKind::Unsupported, "delete");
        assert_kind(block_on(store.restore(&db)), ErrorKind::Unsupported, "restore");
        assert_kind(block_on(store.purge(&db)), ErrorKind::Unsupported, "purge");
        let described = block_on(store.change_metadata(&db, &change));
        assert_kind(described, ErrorKind::Unsupported, "describe");
        block_on(store.check()).unwrap();
        let sent: Vec<_> = proxy.requests().iter().map(|sent| sent.method.clone()).collect();
        assert!(sent.iter().all(|method| method == "GET"), "{sent:?}");
    }
}
