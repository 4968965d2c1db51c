//! References: they are followed when they are read, lead to a part where they say
//! so, and leave what they lead to alone. The external store is a map that panics
//! over everything but reads, which is all that its seam has.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::cache::ThreadSpawn;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    CacheOptions, CachedStore, EnvelopeOptions, Error, ErrorKind, ExternalStore, ExternalValue,
    Kind, PageRequest, PutOptions, ReferencingStore, Result, Secret, SecretBytes, SecretName,
    SecretStore, Select, SystemClock, Version,
};
use strongroom_kit::conformance::assert_kind;
use strongroom_kit::{block_on, embedded};
use strongroom_local::kek::LocalKek;

/// How long what stands at `leased` is good for.
const LEASE: Duration = Duration::from_mins(1);

/// Values by their paths, and how often they were read.
#[derive(Debug, Default)]
struct External {
    values: Mutex<BTreeMap<&'static str, (Kind, String)>>,
    reads: AtomicUsize,
}

impl External {
    fn set(&self, path: &'static str, kind: Kind, value: &str) {
        self.values.lock().expect("not poisoned").insert(path, (kind, value.to_owned()));
    }

    fn all(&self) -> BTreeMap<&'static str, (Kind, String)> {
        self.values.lock().expect("not poisoned").clone()
    }
}

#[async_trait]
impl ExternalStore for External {
    fn describe(&self) -> &'static str {
        "a map"
    }

    async fn read(&self, path: &str) -> Result<ExternalValue> {
        self.reads.fetch_add(1, Relaxed);
        if path == "down" {
            return Err(Error::unavailable("the map is down"));
        }
        let values = self.values.lock().expect("not poisoned");
        let (kind, value) = values.get(path).ok_or_else(|| Error::not_found("nothing there"))?;
        let value = ExternalValue::new(SecretBytes::copy_from(value.as_bytes())?, *kind);
        let valid_for = (path == "leased").then_some(LEASE);
        Ok(ExternalValue { valid_for, ..value })
    }
}

struct Fixture {
    external: Arc<External>,
    inner: Arc<dyn SecretStore>,
    store: Arc<dyn SecretStore>,
}

impl Fixture {
    fn new() -> Self {
        let kek = Arc::new(LocalKek::in_memory().expect("a KEK"));
        let records = Arc::new(MemoryRecords::new());
        let inner = block_on(embedded::envelope(records, kek, EnvelopeOptions::default()));
        let inner: Arc<dyn SecretStore> = Arc::new(inner.expect("a store"));
        let external = Arc::new(External::default());
        external.set(
            "app",
            Kind::Text,
            r#"{"db": {"password": "s3cret", "p.w": "dotted"}, "n": 7}"#,
        );
        external.set("login", Kind::Login, r#"{"user": "me", "password": "pw"}"#);
        external.set("plain", Kind::File, "bytes");
        external.set("circle", Kind::Reference, "other://circle");
        let known: Arc<dyn ExternalStore> = external.clone();
        let known = [("other".to_owned(), known.clone()), ("vault".to_owned(), known)].into();
        let store = ReferencingStore::new(inner.clone(), known).expect("a store");
        Self { external, inner, store: Arc::new(store) }
    }

    fn put_as(&self, reference: &str, unchecked_reference: bool) -> Result<Version> {
        let value = SecretBytes::copy_from(reference.as_bytes()).expect("guarded memory");
        let kind = Kind::Reference;
        let options = PutOptions { kind, unchecked_reference, ..PutOptions::default() };
        block_on(self.store.put(&db(), &value, &options)).map(|info| info.version)
    }

    fn put(&self, reference: &str) -> Result<Version> {
        self.put_as(reference, false)
    }

    fn get(&self) -> Result<Secret> {
        block_on(self.store.get(&db(), &Select::Latest))
    }
}

fn db() -> SecretName {
    SecretName::new(embedded::ACCOUNT.parse().expect("a scope"), "db").expect("a name")
}

#[test]
fn a_reference_gives_what_it_leads_to() {
    let fixture = Fixture::new();
    for (reference, kind, expected) in [
        ("other://app#db.password", Kind::Text, "s3cret"),
        ("other://app#db.p%2Ew", Kind::Text, "dotted"),
        ("other://app#n", Kind::Text, "7"),
        ("vault://login#password", Kind::Text, "pw"),
        ("vault://login", Kind::Login, r#"{"user": "me", "password": "pw"}"#),
        ("other://plain", Kind::File, "bytes"),
    ] {
        let version = fixture.put(reference).expect("a put");
        let secret = fixture.get().expect("a get");
        assert!(secret.value.expose() == expected.as_bytes(), "{reference}: another value");
        assert_eq!((secret.kind, &secret.version), (kind, &version), "{reference}");
        // As a file, and what is stored itself.
        let file = block_on(fixture.store.get_file(&db(), &Select::Latest)).expect("a file");
        assert_eq!(file.info().length, expected.len() as u64, "{reference}");
        let stored = block_on(fixture.store.get_stored(&db(), &Select::Latest)).expect("a get");
        assert_eq!(stored.kind, Kind::Reference);
        assert!(stored.value.expose() == reference.as_bytes());
        let versions = block_on(fixture.store.versions(&db(), &PageRequest::first(100)));
        let versions = versions.expect("versions").items;
        assert!(versions.iter().all(|info| info.kind == Kind::Reference), "{versions:?}");
    }
    let login = {
        fixture.put("vault://login").expect("a put");
        fixture.get().expect("a get").field("user").expect("a field")
    };
    assert!(login.expose() == b"me");
}

#[test]
fn what_ends_is_told_with_the_whole_and_with_a_part() {
    let fixture = Fixture::new();
    fixture.external.set("leased", Kind::Text, r#"{"password": "s3cret"}"#);
    for (reference, valid_for) in [
        ("other://leased", Some(LEASE)),
        ("other://leased#password", Some(LEASE)),
        ("other://app#n", None),
    ] {
        fixture.put(reference).expect("a put");
        assert_eq!(fixture.get().expect("a get").valid_for, valid_for, "{reference}");
    }
}

#[test]
fn a_value_that_changes_is_seen_and_older_references_stay() {
    let fixture = Fixture::new();
    let first = fixture.put("other://app#db.password").expect("a put");
    fixture.put("other://plain").expect("a put");
    fixture.external.set("plain", Kind::File, "newer");
    assert!(fixture.get().expect("a get").value.expose() == b"newer");
    let select = Select::Version(first);
    let older = block_on(fixture.store.get(&db(), &select)).expect("a get");
    assert!(older.value.expose() == b"s3cret");
}

#[test]
fn removing_a_reference_leaves_the_original() {
    let fixture = Fixture::new();
    let before = fixture.external.all();
    for remove_for_good in [false, true] {
        fixture.put("other://app#db.password").expect("a put");
        block_on(fixture.store.delete(&db())).expect("a delete");
        assert_kind(fixture.get(), ErrorKind::NotFound, "deleted");
        if remove_for_good {
            block_on(fixture.store.purge(&db())).expect("a purge");
        } else {
            block_on(fixture.store.restore(&db())).expect("a restore");
            assert!(fixture.get().expect("a get").value.expose() == b"s3cret");
        }
        assert!(fixture.external.all() == before, "the external store was changed");
    }
}

#[test]
fn a_reference_is_looked_at_before_it_is_stored() {
    let fixture = Fixture::new();
    for (reference, kind, what) in [
        ("other://nothing", ErrorKind::NotFound, "nothing there"),
        ("other://app#db.missing", ErrorKind::NotFound, "one of the keys is not there"),
        ("other://app#n.deeper", ErrorKind::NotFound, "no object"),
        ("other://plain#key", ErrorKind::InvalidName, "not well-formed JSON"),
        ("vault://login#key", ErrorKind::NotFound, "it has user and password"),
        ("other://circle", ErrorKind::Unsupported, "another reference"),
        ("other://down", ErrorKind::Unavailable, "the map is down"),
        (
            "azure://app",
            ErrorKind::Configuration,
            "no external store azure: the configuration has other, vault",
        ),
        ("s3cret", ErrorKind::InvalidName, "STORE://PATH#KEY"),
    ] {
        let error = fixture.put(reference).expect_err(reference);
        assert_eq!(error.kind(), kind, "{reference}: {error}");
        assert!(error.message().contains(what), "{reference}: {error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{reference}: a value is quoted");
        assert_eq!(error.is_retryable(), kind == ErrorKind::Unavailable);
        assert_kind(fixture.get(), ErrorKind::NotFound, "what was refused");
        // As a file too, which the sidecar makes of a long one.
        let options = PutOptions { kind: Kind::Reference, ..PutOptions::default() };
        let put = block_on(fixture.store.put_file(&db(), &mut reference.as_bytes(), &options));
        assert_kind(put, kind, reference);
    }
    assert_kind(fixture.get(), ErrorKind::NotFound, "what was refused");
}

/// Nobody looked: so the reader is told, with the reference and no value.
#[test]
fn a_reference_that_leads_nowhere_says_so_when_it_is_read() {
    let fixture = Fixture::new();
    for (reference, kind) in [
        ("other://nothing#a", ErrorKind::NotFound),
        ("other://circle", ErrorKind::Unsupported),
        ("azure://app", ErrorKind::Configuration),
        ("other://down", ErrorKind::Unavailable),
    ] {
        let reads = fixture.external.reads.load(Relaxed);
        fixture.put_as(reference, true).expect("an unchecked put");
        assert_eq!(fixture.external.reads.load(Relaxed), reads, "it was looked at");
        let error = fixture.get().expect_err(reference);
        assert_eq!(error.kind(), kind);
        assert_eq!(error.secret(), Some(db().to_string().as_str()));
        let named = if kind == ErrorKind::Configuration { "azure" } else { reference };
        assert!(error.message().contains(named), "{error}");
    }
    assert_kind(fixture.put_as("no reference", true), ErrorKind::InvalidName, "form");
}

#[test]
fn a_cache_above_keeps_what_references_lead_to() {
    let fixture = Fixture::new();
    let (options, spawn) = (CacheOptions::default(), Arc::new(ThreadSpawn::new()));
    let cached = CachedStore::new(fixture.store.clone(), options, SystemClock::shared(), spawn);
    let cached = cached.expect("a cache");
    fixture.put("other://app#db.password").expect("a put");
    let reads = fixture.external.reads.load(Relaxed);
    for _ in 0..3 {
        let secret = block_on(cached.get(&db(), &Select::Latest)).expect("a get");
        assert!(secret.value.expose() == b"s3cret");
        assert_eq!(secret.kind, Kind::Text);
    }
    assert_eq!(fixture.external.reads.load(Relaxed), reads + 1);
    let stored = block_on(cached.get_stored(&db(), &Select::Latest)).expect("a get");
    assert_eq!(stored.kind, Kind::Reference);
    // A put of another reference is seen at once.
    let value = SecretBytes::copy_from(b"other://plain").expect("guarded memory");
    let options = PutOptions { kind: Kind::Reference, ..PutOptions::default() };
    block_on(cached.put(&db(), &value, &options)).expect("a put");
    let secret = block_on(cached.get(&db(), &Select::Latest)).expect("a get");
    assert!(secret.value.expose() == b"bytes");
}

#[test]
fn the_store_says_what_it_refers_to() {
    let fixture = Fixture::new();
    assert!(fixture.store.capabilities().references && !fixture.inner.capabilities().references);
    let checked = block_on(fixture.store.check()).expect("a check");
    assert!(checked.iter().any(|line| line == "references vault: a map"), "{checked:?}");
    let bad = [("1x".to_owned(), fixture.external.clone() as Arc<dyn ExternalStore>)].into();
    let refused = ReferencingStore::new(fixture.inner.clone(), bad);
    assert_kind(refused, ErrorKind::Configuration, "a name that no reference can have");
}
