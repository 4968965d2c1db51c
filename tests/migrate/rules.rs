//! What moves, what does not, and what each store says afterwards.

use std::time::Duration;

use futures_util::FutureExt;
use strongroom_core::audit::{self, Actor, AuditLog};
use strongroom_core::clock::ManualClock;
use strongroom_core::envelope::backup::WriteSink;
use strongroom_core::migrate::Recorder;
use strongroom_core::rollback::Expected;
use strongroom_core::upkeep::Selection;
use strongroom_core::{
    Clock, Engine, Error, ErrorKind, Expect, PageLimit, Progress, SystemClock, Timestamp,
};
use strongroom_kit::conformance::assert_kind;
use strongroom_kit::faults::{Fault, FaultyRecords, FaultyStore};

use super::*;

fn failures(report: &Migrated) -> Vec<(String, ErrorKind)> {
    let failure = |failed: &strongroom_core::upkeep::Failed| {
        (format!("{}:{}", failed.name.scope(), failed.name.id()), failed.kind)
    };
    report.failures.iter().map(failure).collect()
}

#[test]
fn everything_moves_with_numbers_times_kinds_and_states() {
    let (source, target) = (memory_store(), memory_store());
    fill(&source);
    let before = contents(&source);
    let told = std::sync::Mutex::new(Vec::new());
    let report = block_on(migrating(&source, &target).migrate(&Migrate::default(), &|progress| {
        told.lock().expect("no panic").push(*progress);
    }));
    let report = report.expect("migrated");
    assert_eq!((report.failed, report.moved, report.examined), (0, 28, 28));
    assert_eq!(report.versions, before.len() as u64);
    assert_eq!(contents(&target), before);
    assert!(contents(&source).is_empty());
    let told = told.into_inner().expect("no panic");
    assert!(told.windows(2).all(|two| two[0].done <= two[1].done));
    let last = told.last().expect("progress");
    assert_eq!((last.done, last.total, last.changed), (28, Some(28), 28));

    let deleted = name("acme", "deleted");
    assert_kind(get(&*target, &deleted), ErrorKind::NotFound, "deleted");
    block_on(target.restore(&deleted)).expect("restored");
    assert!(get(&*target, &deleted).expect("there").expose() == b"deleted");
    // The purged one begins anew there, as does one that never was.
    assert_eq!(put(&*target, &name("acme", "purged"), b"x").as_str(), "1");
    assert_eq!(put(&*target, &name("acme", "anew"), b"x").as_str(), "4");
}

#[test]
fn the_recovery_window_goes_along() {
    let clock = ManualClock::new(Timestamp(1_000_000));
    let shared = || Arc::new(clock.clone()) as Arc<dyn Clock>;
    let with_clock = |kek: &Arc<LocalKek>| {
        let records = Arc::new(MemoryRecords::new());
        let options = EnvelopeOptions::default();
        let store = EnvelopeStore::create(records, kek.clone(), "acme", options);
        Arc::new(block_on(store).expect("a store").with_clock(shared()))
    };
    let kek = new_kek();
    let (source, target) = (with_clock(&kek), with_clock(&kek));
    let expired = name("acme", "expired");
    put(&*source, &expired, b"gone");
    block_on(source.delete(&expired)).expect("deleted");
    clock.advance(Duration::from_hours(29 * 24));
    put(&*source, &db(), b"v");
    block_on(source.delete(&db())).expect("deleted");
    clock.advance(Duration::from_hours(2 * 24));
    let Standing::Owned { deleted, .. } = standing(&source, &db()) else { panic!("deleted") };
    assert_eq!(names(&*source), [db()]);
    assert_eq!(standing(&source, &expired), Standing::Absent);
    assert_eq!(migrate(&source, &target, &Migrate::default()).moved, 1);
    assert_eq!(standing(&target, &expired), Standing::Absent);
    let Standing::Owned { deleted: there, .. } = standing(&target, &db()) else { panic!("moved") };
    assert_eq!((deleted.is_some(), there), (true, deleted));
    clock.advance(Duration::from_hours(27 * 24));
    block_on(target.restore(&db())).expect("the last day");
}

/// One whose recovery window has ended, and one whose purge was cut short.
#[test]
fn what_is_over_at_the_target_makes_room_for_what_comes() {
    let (clock, kek) = (ManualClock::new(Timestamp(1_000_000)), new_kek());
    let records = FaultyRecords::new(Arc::new(MemoryRecords::new()));
    let target = EnvelopeStore::create(records.clone(), kek, "acme", EnvelopeOptions::default());
    let target = block_on(target).expect("a store").with_clock(Arc::new(clock.clone()));
    let (source, target) = (memory_store(), Arc::new(target));
    let [expired, purged] = ["expired", "purged"].map(|id| name("acme", id));
    for name in [&expired, &purged] {
        put_as(&*target, name, &vec![7; 200_000], Kind::File);
        // Its numbers begin after those that the target has given.
        put(&*source, name, b"old");
        block_on(source.purge(name)).expect("purged");
        assert_eq!(put(&*source, name, b"new").as_str(), "2");
    }
    block_on(target.delete(&expired)).expect("deleted");
    clock.advance(Duration::from_hours(30 * 24));
    records.faults().pass("commit");
    records.faults().always("commit", Fault::Fail(ErrorKind::Unavailable));
    block_on(target.purge(&purged)).expect_err("cut short");
    records.faults().clear();

    let report = migrate(&source, &target, &Migrate::default());
    assert_eq!((report.moved, failures(&report)), (2, Vec::new()));
    for name in [&expired, &purged] {
        assert!(get(&*target, name).expect("moved").expose() == b"new");
    }
    let left = block_on(records.scan(&[3], None, PageLimit::entries(1))).expect("a page");
    assert!(left.entries.is_empty(), "segments are left");
}

#[test]
fn the_source_says_where_a_secret_went_for_ever() {
    let kek = new_kek();
    let records = Arc::new(MemoryRecords::new());
    let source = store_on(records.clone(), &kek).expect("a store");
    let target = memory_store();
    put(&*source, &db(), b"v");
    migrate(&source, &target, &Migrate { remove_source: true, ..Migrate::default() });
    let again = store_on(records, &kek).expect("opened again");
    for store in [&source, &again] {
        let told = |error: Error, kind, what: &str| {
            assert_eq!(error.kind(), kind, "{what}: {error}");
            assert!(error.to_string().contains(target.describe()), "{what}: {error}");
        };
        told(get(&**store, &db()).expect_err("moved"), ErrorKind::NotFound, "get");
        for expect in [Expect::Any, Expect::Absent] {
            let options = PutOptions { expect, ..PutOptions::default() };
            let put = block_on(store.put(&db(), &secret("stale"), &options));
            told(put.expect_err("moved"), ErrorKind::Conflict, "put");
        }
        let not_found = ErrorKind::NotFound;
        told(block_on(store.delete(&db())).expect_err("moved"), not_found, "delete");
        told(block_on(store.restore(&db())).expect_err("moved"), not_found, "restore");
        told(block_on(store.purge(&db())).expect_err("moved"), not_found, "purge");
        let page = PageRequest::first(10);
        told(block_on(store.versions(&db(), &page)).expect_err("moved"), not_found, "versions");
        let listed = block_on(store.list(db().scope(), true, &page)).expect("listed");
        assert!(listed.items.is_empty());
    }
}

#[test]
fn a_secret_that_the_target_has_is_left_in_both() {
    let (source, target) = (memory_store(), memory_store());
    put(&*source, &db(), b"the source's");
    put(&*source, &name("acme", "other"), b"v");
    put(&*target, &db(), b"the target's");
    for dry_run in [true, false] {
        let report = migrate(&source, &target, &Migrate { dry_run, ..Migrate::default() });
        assert_eq!(failures(&report), [("acme:db".to_owned(), ErrorKind::AlreadyExists)]);
        assert_eq!((report.moved, report.dry_run), (1, dry_run));
        assert_eq!(is_owned(&source, &name("acme", "other")), dry_run, "dry runs change nothing");
    }
    assert!(get(&*source, &db()).expect("there").expose() == b"the source's");
    assert!(get(&*target, &db()).expect("there").expose() == b"the target's");
}

#[test]
fn a_number_that_was_purged_is_never_given_twice() {
    let (source, target) = (memory_store(), memory_store());
    put(&*target, &db(), b"once");
    block_on(target.purge(&db())).expect("purged");
    put(&*source, &db(), b"v");
    let report = migrate(&source, &target, &Migrate::default());
    assert_eq!(failures(&report), [("acme:db".to_owned(), ErrorKind::AlreadyExists)]);
    assert!(is_owned(&source, &db()));
    // What was staged was taken back: the name is free, and its number is kept.
    assert_eq!(put(&*target, &db(), b"x").as_str(), "2");
}

#[test]
fn a_selection_moves_and_the_rest_stays() {
    let (source, target) = (memory_store(), memory_store());
    fill(&source);
    let within = Selection::within(&"acme/ops".parse().expect("valid"));
    let what = Migrate { selection: within, ..Migrate::default() };
    assert_eq!(migrate(&source, &target, &what).moved, 14);
    for name in names(&*source) {
        let below = name.scope().org_id() == Some("ops");
        assert_eq!(is_owned(&target, &name), below, "{name:?}");
        assert_eq!(is_owned(&source, &name), !below, "{name:?}");
    }
    let missing = name("acme", "missing");
    let chosen = [name("acme", "s1"), missing.clone(), name("acme/ops", "s1")];
    let what = Migrate { selection: Selection::names(&chosen), ..Migrate::default() };
    let report = migrate(&source, &target, &what);
    assert_eq!((report.moved, report.already), (1, 1));
    assert_eq!(failures(&report), [("acme:missing".to_owned(), ErrorKind::NotFound)]);
}

#[test]
fn a_dry_run_tells_what_would_not_fit() {
    let options = EnvelopeOptions {
        max_value_bytes: 100,
        max_file_bytes: 150_000,
        ..EnvelopeOptions::default()
    };
    let kek = new_kek();
    let small = EnvelopeStore::create(Arc::new(MemoryRecords::new()), kek, "acme", options);
    let small = Arc::new(block_on(small).expect("a store"));
    let large = EnvelopeOptions { max_value_bytes: 100_000, ..EnvelopeOptions::default() };
    let kek = new_kek();
    let source = EnvelopeStore::create(Arc::new(MemoryRecords::new()), kek, "acme", large);
    let source = Arc::new(block_on(source).expect("a store"));
    put(&*source, &name("acme", "fits"), &[1; 100]);
    put(&*source, &name("acme", "value"), &[1; 101]);
    put(&*source, &name("acme", "long"), &vec![1; 150_000]);
    put(&*source, &name("acme", "longer"), &vec![1; 150_001]);
    let expected = [
        ("acme:longer".to_owned(), ErrorKind::LimitExceeded),
        ("acme:value".to_owned(), ErrorKind::LimitExceeded),
    ];
    for dry_run in [true, false] {
        let report = migrate(&source, &small, &Migrate { dry_run, ..Migrate::default() });
        let mut found = failures(&report);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, expected);
        assert_eq!(report.moved, 2);
    }
    assert!(is_owned(&source, &name("acme", "value")));
    assert_eq!(standing(&small, &name("acme", "value")), Standing::Absent);
}

#[test]
fn a_secret_comes_back_the_way_that_it_went() {
    let (first, second) = (memory_store(), memory_store());
    fill(&first);
    let before = contents(&first);
    for remove_source in [false, true, false] {
        let what = Migrate { remove_source, ..Migrate::default() };
        assert_eq!(migrate(&first, &second, &what).failed, 0);
        assert_eq!(contents(&second), before);
        assert_eq!(migrate(&second, &first, &what).failed, 0);
        assert_eq!(contents(&first), before);
        assert!(contents(&second).is_empty());
    }
    assert_eq!(put(&*first, &name("acme", "s2"), b"next").as_str(), "4");
}

#[test]
fn a_secret_that_went_elsewhere_does_not_move_twice() {
    let (source, target, third) = (memory_store(), memory_store(), memory_store());
    put(&*source, &db(), b"v");
    migrate(&source, &target, &Migrate::default());
    let report = migrate(&source, &third, &Migrate::default());
    assert_eq!(failures(&report), [("acme:db".to_owned(), ErrorKind::Conflict)]);
    assert_eq!(standing(&third, &db()), Standing::Absent);
    assert_eq!(migrate(&target, &third, &Migrate::default()).moved, 1);
}

#[test]
fn a_store_does_not_move_into_itself() {
    let source = memory_store();
    let moved = block_on(migrating(&source, &source).migrate(&Migrate::default(), &|_| {}));
    assert_kind(moved, ErrorKind::Configuration, "itself");
}

/// The source's versions go only once the target has given them back.
#[test]
fn what_the_target_does_not_give_back_is_not_removed() {
    let (source, target) = (memory_store(), memory_store());
    put(&*source, &db(), b"v");
    migrate(&source, &target, &Migrate::default());
    block_on(target.purge(&db())).expect("purged");
    put(&*target, &db(), b"another");
    let what = Migrate { remove_source: true, ..Migrate::default() };
    let report = migrate(&source, &target, &what);
    assert_eq!((report.removed, report.failed), (0, 1));
    let Standing::Moved { has_versions, .. } = standing(&source, &db()) else { panic!("moved") };
    assert!(has_versions);
}

/// Nobody else may take a name that is being brought.
#[test]
fn a_reserved_name_is_nobody_elses() {
    let (source, target) = (memory_store(), memory_store());
    let transfer = target.transfer().expect("moves");
    let place = source.transfer().expect("moves").place();
    block_on(transfer.reserve(&db(), &place)).expect("reserved");
    let put = block_on(target.put(&db(), &secret("x"), &PutOptions::default()));
    let error = put.expect_err("reserved");
    assert!(error.is_retryable() && error.kind() == ErrorKind::Unavailable, "{error}");
    let other = memory_store().transfer().expect("moves").place();
    assert_kind(block_on(transfer.reserve(&db(), &other)), ErrorKind::Conflict, "another's");
    // Purging it gives the name back.
    block_on(target.purge(&db())).expect("given up");
    assert_eq!(super::put(&*target, &db(), b"x").as_str(), "1");
}

#[test]
fn both_logs_agree_with_their_stores() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, target) = (memory_store(), memory_store());
    let open = |store: &EnvelopeStore, file: &str| {
        let key = store.audit_key().expect("a key");
        let log = AuditLog::open(dir.path().join(file), Some(key), SystemClock::shared());
        Arc::new(log.expect("a log"))
    };
    let logs = [open(&source, "source.log"), open(&target, "target.log")];
    let actor = Arc::new(Actor::default());
    let engine = Engine::new(source.clone(), "acme".parse().expect("valid"));
    let engine = engine.with_audit(logs[0].clone());
    for id in 0..3 {
        let (name, value) = (name("acme", &format!("s{id}")), secret("v"));
        block_on(engine.put(name, &value, &PutOptions::default())).expect("put");
    }
    block_on(engine.delete(name("acme", "s0"))).expect("deleted");
    let recorder = |at: usize| Some(Recorder { log: logs[at].clone(), actor: actor.clone() });
    let both = Migrating::new(source.clone(), target.clone()).with_logs(recorder(0), recorder(1));
    let both = Arc::new(both);
    let report = block_on(both.migrate(&Migrate::default(), &|_| {})).expect("migrated");
    assert_eq!((report.moved, report.failed), (3, 0));
    // A process that goes on with both, and writes what moved.
    let engine = Engine::new(both, "acme".parse().expect("valid")).with_audit(logs[0].clone());
    block_on(engine.put("account.s1", &secret("w"), &PutOptions::default())).expect("put");
    block_on(engine.purge("account.s2")).expect("purged");
    for (store, file) in [(&source, "source.log"), (&target, "target.log")] {
        let key = store.audit_key().expect("a key");
        let mut expected = Expected::default();
        let report = audit::verify(&dir.path().join(file), Some(&key), None, |line| {
            expected.visit(&**store, line);
        });
        assert_eq!(report.expect("read").problem, None, "{file}");
        let differences = block_on(expected.compare(&**store)).expect("compared");
        assert!(differences.is_empty(), "{file}: {differences:?}");
    }
}

/// As after a change of the configuration, while a migration runs.
#[test]
fn two_views_of_the_same_stores_take_turns() {
    let (source, target) = (memory_store(), memory_store());
    put(&*source, &db(), b"v");
    let first = migrating(&source, &target);
    let second = migrating(&source, &target).taking_turns_with(&first);
    let what = Migrate::default();
    let refused = std::sync::Mutex::new(None);
    let observer = |_: &Progress| {
        let answer = second.migrate(&what, &|_| {}).now_or_never().expect("at once");
        *refused.lock().expect("no panic") = Some(answer.expect_err("busy"));
    };
    assert_eq!(block_on(first.migrate(&what, &observer)).expect("migrated").moved, 1);
    let error = refused.into_inner().expect("no panic").expect("it was tried");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, true));
}

/// The target may wrap under the same KEK.
#[test]
fn upkeep_means_the_source_and_destroys_no_key_while_secrets_move() {
    let (source, target) = (memory_store(), memory_store());
    put(&*source, &db(), b"v");
    let both = migrating(&source, &target);
    let upkeep = both.upkeep().expect("it has one");
    block_on(upkeep.rotate(None)).expect("rotated");
    assert_eq!(block_on(upkeep.rewrap(&|_| {})).expect("rewrapped").changed, 1);
    assert_eq!(block_on(upkeep.key_report(&|_| {})).expect("a report").records, 1);
    let destroyed = block_on(upkeep.destroy_key_version(None, "1", &|_| {}));
    assert_eq!(destroyed.expect_err("refused").kind(), ErrorKind::Conflict);
    let mut sink = WriteSink(Vec::new());
    let backup = block_on(upkeep.backup(&mut sink, &|_| {}));
    assert_eq!(backup.expect_err("refused").kind(), ErrorKind::Conflict);
    put(&*target, &name("acme", "own"), b"v");
    assert_eq!(block_on(upkeep.migrate(&Migrate::default(), &|_| {})).expect("moved").moved, 1);
    let last = std::sync::Mutex::new(Progress::default());
    let observer = |now: &Progress| *last.lock().expect("no panic") = *now;
    let verified = block_on(upkeep.verify(&observer)).expect("verified");
    // What moved is in both, and one of them has it.
    let found = (verified.secrets, verified.versions, verified.moved, verified.failed);
    assert_eq!(found, (2, 3, 1, 0));
    assert_eq!(last.into_inner().expect("no panic").done, 3);
    let alone = source.upkeep().expect("it has one");
    let nowhere = block_on(alone.migrate(&Migrate::default(), &|_| {}));
    assert_eq!(nowhere.expect_err("nowhere to go").kind(), ErrorKind::Configuration);
}

#[test]
fn many_are_asked_of_each_store_once() {
    let (source, target) = (memory_store(), memory_store());
    let [moved, left, none] = ["moved", "left", "none"].map(|id| name("acme", id));
    put(&*source, &moved, b"m");
    migrate(&source, &target, &Migrate::default());
    put(&*source, &left, b"l");
    let (source, target) = (FaultyStore::new(source), FaultyStore::new(target));
    let both = Migrating::new(source.clone(), target.clone());
    let wanted = [&moved, &left, &none].map(|name| (name, &Select::Latest));
    let read = || {
        let value = |secret: strongroom_core::Secret| secret.value.expose().to_vec();
        let answers = block_on(both.get_many(&wanted)).into_iter();
        let answers = answers.map(|answer| answer.map(value).map_err(|error| error.kind()));
        answers.collect::<Vec<_>>()
    };
    let calls = || {
        let of =
            |store: &FaultyStore| (store.faults().calls("get_many"), store.faults().calls("get"));
        (of(&source), of(&target))
    };
    let all = [Ok(b"m".to_vec()), Ok(b"l".to_vec()), Err(ErrorKind::NotFound)];
    assert!(read() == all);
    assert_eq!(calls(), ((1, 1), (1, 0)), "one is asked for again: it may have been moving");
    target.faults().next("get_many", Fault::Fail(ErrorKind::Unavailable));
    assert!(read() == all, "whoever has it is asked again");
    assert_eq!(calls(), ((2, 2), (2, 1)));
    source.faults().next("get_many", Fault::Fail(ErrorKind::Unavailable));
    assert!(read() == [const { Err(ErrorKind::Unavailable) }; 3]);
    assert_eq!(calls(), ((3, 2), (2, 1)), "nobody knows yet whether the target is to be asked");
}
