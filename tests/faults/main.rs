//! What the engine does while its stores, its KMS or its audit log fail.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::FutureExt;
use strongroom_core::audit::{self, AuditLog};
use strongroom_core::cache::{CacheOptions, CachedStore, ThreadSpawn};
use strongroom_core::memory::MemoryRecords;
use strongroom_core::rollback::Expected;
use strongroom_core::{
    Engine, EnvelopeOptions, EnvelopeStore, ErrorKind, Expect, KeyWrapper, PageLimit, PageRequest,
    PutOptions, RecordStore, Result, SecretBytes, SecretName, SecretStore, Select, SystemClock,
    Version, VersionInfo,
};
use strongroom_kit::block_on;
use strongroom_kit::conformance::assert_kind;
use strongroom_kit::faults::{Fault, FaultyRecords, FaultyStore, FaultyWrapper, Gate};
use strongroom_kit::random::Random;
use strongroom_local::kek::LocalKek;

const OUTAGES: [ErrorKind; 2] = [ErrorKind::Unavailable, ErrorKind::Throttled];

/// An envelope store on parts that fail when told.
struct Fixture {
    records: Arc<FaultyRecords>,
    wrapper: Arc<FaultyWrapper>,
    store: EnvelopeStore,
}

impl Fixture {
    fn new() -> Self {
        let records = FaultyRecords::new(Arc::new(MemoryRecords::new()));
        let wrapper = FaultyWrapper::new(Arc::new(LocalKek::in_memory().expect("a KEK")));
        let parts =
            (records.clone() as Arc<dyn RecordStore>, wrapper.clone() as Arc<dyn KeyWrapper>);
        let store = EnvelopeStore::create(parts.0, parts.1, "acme", EnvelopeOptions::default());
        let store = block_on(store).expect("a store");
        Self { records, wrapper, store }
    }

    fn put(&self, value: &str, expect: Expect) -> Result<VersionInfo> {
        let options = PutOptions { expect, ..PutOptions::default() };
        block_on(self.store.put(&db(), &secret(value), &options))
    }

    fn assert_latest(&self, value: &str) {
        let found = block_on(self.store.get(&db(), &Select::Latest)).expect("a get");
        assert!(found.value.expose() == value.as_bytes(), "another value");
    }

    fn versions(&self) -> Vec<String> {
        let page = block_on(self.store.versions(&db(), &PageRequest::first(1000)));
        let page = page.expect("versions").items;
        page.into_iter().map(|info| info.version.to_string()).collect()
    }
}

fn db() -> SecretName {
    SecretName::new("acme".parse().expect("valid"), "db").expect("valid")
}

fn secret(value: &str) -> SecretBytes {
    SecretBytes::copy_from(value.as_bytes()).expect("guarded memory")
}

fn engine(store: Arc<dyn SecretStore>, log: AuditLog) -> Engine {
    Engine::new(store, "acme".parse().expect("valid")).with_audit(Arc::new(log))
}

// === the record store ===

#[test]
fn a_put_whose_answer_is_lost_happened_and_a_retry_adds_a_version() {
    let fixture = Fixture::new();
    fixture.put("1", Expect::Any).expect("a put");
    fixture.records.faults().next("commit", Fault::LoseAnswer(ErrorKind::Unavailable));
    let lost = fixture.put("2", Expect::Any).expect_err("the answer is lost");
    assert_eq!(lost.kind(), ErrorKind::Unavailable);
    assert!(lost.is_retryable());
    fixture.assert_latest("2");
    let retried = fixture.put("2", Expect::Any).expect("the retry");
    assert_eq!(retried.version.as_str(), "3");
    assert_eq!(fixture.versions(), ["1", "2", "3"]);
}

#[test]
fn a_put_that_failed_before_it_happened_leaves_nothing() {
    for kind in OUTAGES {
        for operation in ["get", "commit"] {
            let fixture = Fixture::new();
            fixture.put("1", Expect::Any).expect("a put");
            fixture.records.faults().next(operation, Fault::Fail(kind));
            assert_kind(fixture.put("2", Expect::Any), kind, operation);
            fixture.assert_latest("1");
            assert_eq!(fixture.versions(), ["1"]);
            let retried = fixture.put("2", Expect::Any).expect("the retry");
            assert_eq!(retried.version.as_str(), "2");
        }
    }
}

/// A long history is purged in several commits, and any of them may be the last
/// before a crash.
#[test]
fn a_purge_that_was_cut_short_is_finished_by_the_next() {
    let fixture = Fixture::new();
    for _ in 0..600 {
        fixture.put("value", Expect::Any).expect("a put");
    }
    let faults = fixture.records.faults();
    faults.pass("commit");
    faults.next("commit", Fault::Fail(ErrorKind::Unavailable));
    let cut = block_on(fixture.store.purge(&db()));
    assert_kind(cut, ErrorKind::Unavailable, "the second commit");
    let page = PageRequest::first(10);
    assert_kind(block_on(fixture.store.get(&db(), &Select::Latest)), ErrorKind::NotFound, "get");
    assert_kind(block_on(fixture.store.versions(&db(), &page)), ErrorKind::NotFound, "versions");
    let version_keys = || {
        block_on(fixture.records.scan(&[2], None, PageLimit::entries(1000)))
            .expect("a scan")
            .entries
            .len()
    };
    assert_eq!(version_keys(), 600 - 256);
    block_on(fixture.store.purge(&db())).expect("the purge is finished");
    assert_eq!(version_keys(), 0);
    let next = fixture.put("new", Expect::Absent).expect("a put");
    assert_eq!(next.version.as_str(), "601", "no number is given twice");
}

#[test]
fn a_swap_whose_answer_is_lost_is_a_conflict_when_retried() {
    let fixture = Fixture::new();
    let first = fixture.put("1", Expect::Any).expect("a put").version;
    fixture.records.faults().next("commit", Fault::LoseAnswer(ErrorKind::Unavailable));
    let expect = Expect::Latest(first);
    assert_kind(fixture.put("2", expect.clone()), ErrorKind::Unavailable, "the answer is lost");
    assert_kind(fixture.put("2", expect), ErrorKind::Conflict, "it happened");
    assert_eq!(fixture.versions(), ["1", "2"]);
}

#[test]
fn garbage_from_the_record_store_is_tampered_and_never_data() {
    for fault in [Fault::Garbage, Fault::Torn] {
        for spoilt_call in 0..2 {
            let fixture = Fixture::new();
            fixture.put("value", Expect::Any).expect("a put");
            let what = format!("{fault:?} in call {spoilt_call}");
            for _ in 0..spoilt_call {
                fixture.records.faults().pass("get");
            }
            fixture.records.faults().next("get", fault.clone());
            let get = block_on(fixture.store.get(&db(), &Select::Latest));
            assert_kind(get, ErrorKind::Tampered, &what);
            fixture.assert_latest("value");
            for _ in 0..spoilt_call {
                fixture.records.faults().pass("get");
            }
            fixture.records.faults().next("get", fault.clone());
            let deleted = block_on(fixture.store.delete(&db()));
            assert_kind(deleted, ErrorKind::Tampered, &what);
            fixture.assert_latest("value");
        }
        let fixture = Fixture::new();
        fixture.put("value", Expect::Any).expect("a put");
        fixture.records.faults().always("scan", fault.clone());
        let page = PageRequest::first(10);
        let versions = block_on(fixture.store.versions(&db(), &page));
        assert_kind(versions, ErrorKind::Tampered, "versions");
        let list = block_on(fixture.store.list(db().scope(), true, &page));
        assert_kind(list, ErrorKind::Tampered, "list");
    }
}

#[test]
fn a_purge_that_is_cut_short_is_finished_by_the_next() {
    for cut in 0..3 {
        let fixture = Fixture::new();
        // More versions than one batch of a purge removes.
        for round in 0..1001 {
            fixture.put(&round.to_string(), Expect::Any).expect("a put");
        }
        for _ in 0..cut {
            fixture.records.faults().pass("commit");
        }
        fixture.records.faults().next("commit", Fault::LoseAnswer(ErrorKind::Unavailable));
        let purged = block_on(fixture.store.purge(&db()));
        let get = block_on(fixture.store.get(&db(), &Select::Latest));
        assert_kind(get, ErrorKind::NotFound, format!("cut {cut}"));
        if purged.is_err() {
            match block_on(fixture.store.purge(&db())) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "cut {cut}: {error}"),
            }
        }
        fixture.records.faults().clear();
        let put = fixture.put("new", Expect::Absent).expect("a put after the purge");
        assert_eq!(put.version.as_str(), "1002", "a version was given twice");
        assert_eq!(fixture.versions(), ["1002"]);
    }
}

/// Every step may fail, before or after it took effect. What was acknowledged
/// stays, and every version that is there opens.
#[test]
fn random_faults_lose_nothing_that_was_acknowledged() {
    for seed in 0..20 {
        let fixture = Fixture::new();
        let mut random = Random::new(seed);
        let faults = [
            Fault::Fail(ErrorKind::Unavailable),
            Fault::LoseAnswer(ErrorKind::Unavailable),
            Fault::Fail(ErrorKind::Throttled),
        ];
        fixture.records.faults().sometimes(seed, 150, faults.to_vec());
        fixture.wrapper.faults().sometimes(seed, 50, faults[..1].to_vec());
        let mut acknowledged = Vec::new();
        for round in 0..60 {
            let value = format!("{seed}:{round}");
            match random.below(10) {
                0 => drop(block_on(fixture.store.delete(&db()))),
                1 | 2 => drop(block_on(fixture.store.restore(&db()))),
                _ => match fixture.put(&value, Expect::Any) {
                    Ok(info) => acknowledged.push((info.version, value)),
                    Err(error) => assert!(
                        error.is_retryable() || error.kind() == ErrorKind::AlreadyExists,
                        "seed {seed}: {error}"
                    ),
                },
            }
        }
        fixture.records.faults().clear();
        fixture.wrapper.faults().clear();
        drop(block_on(fixture.store.restore(&db())));
        for (version, value) in &acknowledged {
            let found = block_on(fixture.store.get(&db(), &Select::Version(version.clone())));
            let found = found.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(found.value.expose() == value.as_bytes(), "seed {seed}: another value");
        }
        let versions = fixture.versions();
        let contiguous: Vec<_> = (1..=versions.len()).map(|n| n.to_string()).collect();
        assert_eq!(versions, contiguous, "seed {seed}");
        for version in versions {
            let select = Select::Version(Version::new(version).expect("valid"));
            block_on(fixture.store.get(&db(), &select)).expect("every version opens");
        }
    }
}

#[test]
fn a_get_that_hangs_can_be_dropped_and_blocks_nobody() {
    let fixture = Fixture::new();
    fixture.put("value", Expect::Any).expect("a put");
    fixture.records.faults().next("get", Fault::Hang);
    let hanging = fixture.store.get(&db(), &Select::Latest).now_or_never();
    assert!(hanging.is_none(), "it did not hang");
    fixture.assert_latest("value");
    // A put that hangs holds the name's lock; dropped, it lets go of it.
    fixture.records.faults().next("commit", Fault::Hang);
    let (value, options) = (secret("never"), PutOptions::default());
    assert!(fixture.store.put(&db(), &value, &options).now_or_never().is_none());
    fixture.put("next", Expect::Any).expect("the lock is free");
    fixture.assert_latest("next");
}

#[test]
fn writers_that_meet_at_the_store_all_get_their_version() {
    let fixture = Fixture::new();
    let gate = Gate::closed();
    fixture.records.faults().next("commit", Fault::Wait(gate.clone()));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| fixture.put("slow", Expect::Any));
        gate.wait_for_arrivals(1);
        // Another instance on the same records, as another process would be.
        let other = EnvelopeStore::open(
            fixture.records.clone(),
            fixture.wrapper.clone(),
            "acme",
            EnvelopeOptions::default(),
        );
        let other = block_on(other).expect("the store opens");
        let put = block_on(other.put(&db(), &secret("fast"), &PutOptions::default()));
        assert_eq!(put.expect("a put").version.as_str(), "1");
        gate.open();
        let slow = slow.join().expect("no panic").expect("it tries again");
        assert_eq!(slow.version.as_str(), "2");
    });
    fixture.assert_latest("slow");
}

// === the KMS ===

#[test]
fn a_kms_that_is_down_gives_its_own_error() {
    let kinds = [
        (ErrorKind::Unavailable, true),
        (ErrorKind::Throttled, true),
        (ErrorKind::KeyUnavailable, false),
        (ErrorKind::AccessDenied, false),
        (ErrorKind::Unauthenticated, false),
    ];
    for (kind, retryable) in kinds {
        let fixture = Fixture::new();
        fixture.put("1", Expect::Any).expect("a put");
        fixture.wrapper.faults().always("unwrap", Fault::Fail(kind));
        fixture.wrapper.faults().always("generate", Fault::Fail(kind));
        let get = block_on(fixture.store.get(&db(), &Select::Latest)).expect_err("the KMS is down");
        assert_eq!((get.kind(), get.is_retryable()), (kind, retryable));
        assert_eq!((get.operation(), get.secret()), (Some("get"), Some("account.db")));
        let commits = fixture.records.faults().calls("commit");
        assert_kind(fixture.put("2", Expect::Any), kind, "put");
        assert_kind(block_on(fixture.store.delete(&db())), kind, "delete");
        assert_eq!(fixture.records.faults().calls("commit"), commits, "nothing was written");
        fixture.wrapper.faults().clear();
        fixture.assert_latest("1");
    }
}

#[test]
fn a_kms_that_gives_another_key_is_told_by_the_commitment() {
    let fixture = Fixture::new();
    fixture.put("value", Expect::Any).expect("a put");
    fixture.wrapper.faults().next("unwrap", Fault::Garbage);
    let get = block_on(fixture.store.get(&db(), &Select::Latest));
    assert_kind(get, ErrorKind::Tampered, "another DEK");
    let old = Select::Version(Version::new("1").expect("valid"));
    fixture.put("newer", Expect::Any).expect("a put");
    fixture.wrapper.faults().next("unwrap", Fault::Garbage);
    let get = block_on(fixture.store.get(&db(), &old));
    assert_kind(get, ErrorKind::Tampered, "another DEK for an old version");
    fixture.assert_latest("newer");
}

// === the audit log ===

/// How the log is spoilt, in words and in deed, and what that gives.
type Spoiling<'a> = (&'a str, &'a dyn Fn(&Path), ErrorKind);

/// A log that was removed takes no more lines, since nobody could read them;
/// one that was cut while it was open is an attack.
#[test]
fn an_audit_log_that_cannot_be_written_stops_every_operation() {
    let remove = |path: &Path| fs::remove_file(path).expect("removed");
    let cut = |path: &Path| {
        let file = File::options().write(true).open(path).expect("opened");
        file.set_len(0).expect("cut");
    };
    let ways: [Spoiling<'_>; 2] =
        [("removed", &remove, ErrorKind::Unavailable), ("cut", &cut, ErrorKind::Tampered)];
    for (what, spoil, kind) in ways {
        let dir = tempfile::tempdir().expect("a directory");
        let store = FaultyStore::new(Arc::new(Fixture::new().store));
        let path = dir.path().join("audit.log");
        let log = AuditLog::open(&path, None, SystemClock::shared()).expect("a log");
        let engine = engine(store.clone(), log);
        let options = PutOptions::default();
        block_on(engine.put("account.db", &secret("1"), &options)).expect("a put");
        block_on(engine.get("account.db", &Select::Latest)).expect("a get");

        spoil(&path);
        let before = store.faults().calls("put");
        let put = block_on(engine.put("account.db", &secret("2"), &options));
        assert_kind(put, kind, format!("put, {what}"));
        assert_kind(block_on(engine.delete("account.db")), kind, format!("delete, {what}"));
        assert_kind(block_on(engine.restore("account.db")), kind, format!("restore, {what}"));
        assert_kind(block_on(engine.purge("account.db")), kind, format!("purge, {what}"));
        assert_eq!(store.faults().calls("put"), before, "{what}: the store was touched");
        for operation in ["delete", "restore", "purge"] {
            assert_eq!(store.faults().calls(operation), 0, "{what}: the store was touched");
        }
        let get = block_on(engine.get("account.db", &Select::Latest));
        assert_kind(get, kind, format!("get, {what}"));
        let page = PageRequest::first(1);
        let versions = block_on(engine.versions("account.db", &page));
        assert_kind(versions, kind, format!("versions, {what}"));
        let list = block_on(engine.list(db().scope(), false, &page));
        assert_kind(list, kind, format!("list, {what}"));
        let found = block_on(store.get(&db(), &Select::Latest)).expect("without the engine");
        assert!(found.value.expose() == b"1", "{what}: a put went through");
    }
}

/// The line after an operation fails too: a put that happened does not answer,
/// and the log knows that it may have happened.
#[test]
fn a_put_that_cannot_be_recorded_as_done_does_not_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FaultyStore::new(Arc::new(Fixture::new().store));
    let path = dir.path().join("audit.log");
    let log = AuditLog::open(&path, None, SystemClock::shared()).expect("a log");
    let engine = engine(store.clone(), log);
    let gate = Gate::closed();
    store.faults().next("put", Fault::Wait(gate.clone()));
    std::thread::scope(|scope| {
        let put = scope
            .spawn(|| block_on(engine.put("account.db", &secret("1"), &PutOptions::default())));
        // The intent is written, the store is at work.
        gate.wait_for_arrivals(1);
        fs::remove_file(&path).expect("removed");
        gate.open();
        assert_kind(put.join().expect("no panic"), ErrorKind::Unavailable, "not recorded");
    });
    let found = block_on(store.get(&db(), &Select::Latest)).expect("it happened");
    assert!(found.value.expose() == b"1");
}

#[test]
fn what_happened_without_an_answer_is_told_from_a_store_set_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let fixture = Fixture::new();
    let key = fixture.store.audit_key().expect("a key");
    let log = AuditLog::open(&path, Some(key), SystemClock::shared()).expect("a log");
    let store = FaultyStore::new(Arc::new(fixture.store));
    let engine = engine(store.clone(), log);
    let options = PutOptions::default();
    for fault in [None, Some(Fault::LoseAnswer(ErrorKind::Unavailable)), None] {
        match fault {
            Some(fault) => store.faults().next("put", fault),
            None => store.faults().pass("put"),
        }
        drop(block_on(engine.put("account.db", &secret("value"), &options)));
    }
    store.faults().next("delete", Fault::LoseAnswer(ErrorKind::Unavailable));
    drop(block_on(engine.delete("account.db")));
    store.faults().clear();

    let mut expected = Expected::default();
    let report = audit::verify(&path, None, None, |_| {}).expect("the log is read");
    assert!(report.problem.is_some(), "the chain was made with a key");
    let lines = audit::read(&path, audit::Filter::default()).expect("the log is read");
    for line in lines {
        expected.visit(&*store, &line.expect("a line"));
    }
    let differences = block_on(expected.compare(&*store)).expect("compared");
    assert_eq!(differences, [], "a lost answer is no rollback");
}

// === the cache ===

#[test]
fn a_cache_in_front_of_a_failing_store_gives_the_stores_error() {
    let fixture = Fixture::new();
    fixture.put("value", Expect::Any).expect("a put");
    let store = FaultyStore::new(Arc::new(fixture.store));
    let spawn = Arc::new(ThreadSpawn::new());
    let cached =
        CachedStore::new(store.clone(), CacheOptions::default(), SystemClock::shared(), spawn);
    let cached = cached.expect("a cache");
    for kind in [ErrorKind::Unavailable, ErrorKind::Tampered, ErrorKind::AccessDenied] {
        store.faults().next("get", Fault::Fail(kind));
        assert_kind(block_on(cached.get(&db(), &Select::Latest)), kind, "cold");
    }
    let found = block_on(cached.get(&db(), &Select::Latest)).expect("the store answers again");
    assert!(found.value.expose() == b"value");
    // Warm, it needs no store.
    store.faults().always("get", Fault::Hang);
    let found = block_on(cached.get(&db(), &Select::Latest)).expect("from the cache");
    assert!(found.value.expose() == b"value");
    // A put whose answer is lost must not leave the old value in the cache.
    store.faults().clear();
    store.faults().next("put", Fault::LoseAnswer(ErrorKind::Unavailable));
    let put = block_on(cached.put(&db(), &secret("new"), &PutOptions::default()));
    assert_kind(put, ErrorKind::Unavailable, "the answer is lost");
    let found = block_on(cached.get(&db(), &Select::Latest)).expect("a get");
    assert!(found.value.expose() == b"new", "the cache kept what was overwritten");
}
