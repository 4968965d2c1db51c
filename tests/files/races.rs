//! Files beside other writers of the same name.

use std::time::Duration;

use strongroom_core::Timestamp;
use strongroom_core::clock::ManualClock;

use super::*;

/// Runs `meanwhile` when the upload is under way.
fn put_while(
    fixture: &Fixture,
    bytes: &[u8],
    expect: Expect,
    meanwhile: impl Fn() + Send + Sync,
) -> Result<VersionInfo> {
    let mut source = Interrupted::new(bytes, 20, || {
        meanwhile();
        Ok(())
    });
    fixture.upload(&mut source, expect)
}

fn long() -> Vec<u8> {
    file(5, 40, 77)
}

#[test]
fn a_file_becomes_the_version_after_those_that_were_put_meanwhile() {
    let fixture = Fixture::new();
    let value = SecretBytes::copy_from(b"value").expect("memory");
    let put = || {
        block_on(fixture.store.put(&db(), &value, &PutOptions::default())).expect("a put");
    };
    let info = put_while(&fixture, &long(), Expect::Any, put).expect("the upload");
    assert_eq!(info.version.as_str(), "2");
    assert!(fixture.get(&db()).expect("a get") == long());
}

#[test]
fn an_expectation_holds_when_the_file_appears() {
    let fixture = Fixture::new();
    let value = SecretBytes::copy_from(b"value").expect("memory");
    let put = || {
        block_on(fixture.store.put(&db(), &value, &PutOptions::default())).expect("a put");
    };
    let late = put_while(&fixture, &long(), Expect::Absent, put).expect_err("there is one now");
    assert_eq!(late.kind(), ErrorKind::AlreadyExists);
    let expect = Expect::Latest(Version::new("1").expect("valid"));
    let late = put_while(&fixture, &long(), expect.clone(), put).expect_err("there is a newer one");
    assert_eq!(late.kind(), ErrorKind::Conflict);
    fixture.assert_no_garbage("refused at the end");

    // What is in vain already is not read.
    let bytes = long();
    for (expect, kind) in
        [(expect, ErrorKind::Conflict), (Expect::Absent, ErrorKind::AlreadyExists)]
    {
        let mut source = Interrupted::new(&bytes, usize::MAX, || Ok(()));
        let error = fixture.upload(&mut source, expect).expect_err("in vain");
        assert_eq!(error.kind(), kind);
        assert_eq!(source.pieces, 0);
    }
}

#[test]
fn two_uploads_of_one_name_are_two_versions() {
    let fixture = Fixture::new();
    let (outer, inner) = (long(), file(9, 30, 1));
    let put = || drop(fixture.put(&db(), &inner).expect("the other upload"));
    let info = put_while(&fixture, &outer, Expect::Any, put).expect("the upload");
    assert_eq!(info.version.as_str(), "2");
    for (version, bytes) in [("1", &inner), ("2", &outer)] {
        let select = Select::Version(Version::new(version).expect("valid"));
        assert!(read(&*fixture.store, &db(), &select).expect("a get") == *bytes);
    }
}

/// Its segments are gone: a version of it would be broken.
#[test]
fn an_upload_whose_name_is_purged_meanwhile_conflicts() {
    let fixture = Fixture::new();
    fixture.put(&db(), b"old").expect("a put");
    let purge = || block_on(fixture.store.purge(&db())).expect("purged");
    let error = put_while(&fixture, &long(), Expect::Any, purge).expect_err("purged");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    fixture.assert_no_garbage("purged");
    assert_eq!(fixture.get(&db()).expect_err("purged").kind(), ErrorKind::NotFound);
}

/// Another process opens the store, which it must not: then the upload loses.
#[test]
fn an_upload_that_is_swept_meanwhile_conflicts() {
    let fixture = Fixture::new();
    let sweep = || block_on(fixture.reopened().sweep()).expect("swept");
    let error = put_while(&fixture, &long(), Expect::Any, sweep).expect_err("swept");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    fixture.assert_no_garbage("swept");
}

/// The other process dies before it has removed everything: the upload, a part of
/// whose segments is gone, must not become a version.
#[test]
fn an_upload_whose_sweep_was_cut_short_conflicts() {
    use strongroom_kit::faults::Fault;
    let fixture = Fixture::new();
    let sweep = || {
        let faults = fixture.records.faults();
        // The claim and the segments, and not the marker.
        faults.pass("commit");
        faults.pass("commit");
        faults.next("commit", Fault::Fail(ErrorKind::Unavailable));
        drop(fixture.reopened());
        assert_eq!((fixture.entries(&[3]).len(), fixture.entries(&[4]).len()), (0, 1));
    };
    let error = put_while(&fixture, &long(), Expect::Any, sweep).expect_err("swept");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    fixture.assert_no_garbage("swept");
}

/// Before the last look at the marker: that is told at once, without a key, and
/// trying again is in vain.
#[test]
fn an_upload_that_is_swept_before_it_becomes_a_version_is_not_sealed() {
    use strongroom_kit::faults::{Fault, Gate};
    let fixture = Fixture::new();
    let (bytes, gate) = (long(), Gate::closed());
    let faults = fixture.records.faults();
    // The head, the marker once it is written, and the marker.
    faults.pass("get");
    faults.pass("get");
    faults.next("get", Fault::Wait(gate.clone()));
    let sealed = fixture.wrapper.faults().calls("generate");
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| fixture.put(&db(), &bytes));
        gate.wait_for_arrivals(1);
        assert_eq!(fixture.entries(&[3]).len(), 41, "all of it is stored");
        block_on(fixture.reopened().sweep()).expect("swept");
        gate.open();
        let error = upload.join().expect("no panic").expect_err("its segments are gone");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, false), "{error}");
    });
    assert_eq!(fixture.wrapper.faults().calls("generate"), sealed);
    fixture.assert_no_garbage("swept");
}

/// Between the last look at the marker and the last commit.
#[test]
fn an_upload_that_is_swept_while_it_becomes_a_version_conflicts() {
    use strongroom_kit::faults::{Fault, Gate};
    let fixture = Fixture::new();
    let (bytes, gate) = (long(), Gate::closed());
    fixture.wrapper.faults().next("generate", Fault::Wait(gate.clone()));
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| fixture.put(&db(), &bytes));
        gate.wait_for_arrivals(1);
        block_on(fixture.reopened().sweep()).expect("swept");
        gate.open();
        let error = upload.join().expect("no panic").expect_err("its segments are gone");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    });
    fixture.assert_no_garbage("swept");
    assert_eq!(fixture.get(&db()).expect_err("nothing was put").kind(), ErrorKind::NotFound);
}

#[test]
fn a_purge_removes_every_segment_and_is_resumed() {
    use strongroom_kit::faults::Fault;
    for cut in 0..6 {
        let fixture = Fixture::new();
        for seed in 0..3 {
            fixture.put(&db(), &file(seed, 10, 1)).expect("a put");
        }
        fixture.put(&name("other"), &long()).expect("a put");
        let faults = fixture.records.faults();
        for _ in 0..cut {
            faults.pass("commit");
        }
        faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
        let purged = block_on(fixture.store.purge(&db()));
        faults.clear();
        // Once it has begun, nobody reads a part.
        match fixture.get(&db()) {
            Ok(bytes) => assert!(cut == 0 && bytes == file(2, 10, 1)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "cut {cut}: {error}"),
        }
        if purged.is_err() {
            block_on(fixture.store.purge(&db())).expect("purged");
        }
        assert_eq!(fixture.entries(&[3]).len(), 41, "cut {cut}: the other file's");
        assert!(fixture.get(&name("other")).expect("a get") == long());
    }
}

/// A purge that was cut short is no secret any more: who wants the name for a new
/// one gets it, and what was left goes with that.
#[test]
fn a_file_takes_the_name_of_one_whose_purge_was_cut_short() {
    use strongroom_kit::faults::Fault;
    let fixture = Fixture::new();
    fixture.put(&db(), &long()).expect("a put");
    let faults = fixture.records.faults();
    faults.pass("commit");
    faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
    block_on(fixture.store.purge(&db())).expect_err("cut short");
    faults.clear();
    assert_eq!(fixture.entries(&[3]).len(), 41, "the purge has only begun");
    let newer = file(8, 20, 3);
    let info = fixture.upload(&mut &newer[..], Expect::Absent).expect("the name is free");
    assert_eq!(info.version.as_str(), "2");
    assert!(fixture.get(&db()).expect("a get") == newer);
    assert_eq!((fixture.entries(&[3]).len(), fixture.entries(&[4]).len()), (21, 0));
}

/// Segments that somebody took out leave gaps: the others go all the same.
#[test]
fn a_purge_removes_segments_behind_gaps() {
    let fixture = Fixture::new();
    fixture.put(&db(), &long()).expect("a put");
    for (number, (key, _)) in fixture.entries(&[3]).into_iter().enumerate() {
        if number % 3 == 0 || (10..14).contains(&number) {
            fixture.set(&key, None);
        }
    }
    block_on(fixture.store.purge(&db())).expect("purged");
    fixture.assert_no_garbage("purged");
}

#[test]
fn a_file_whose_recovery_window_has_ended_goes_with_the_next_put() {
    let clock = ManualClock::new(Timestamp(1_700_000_000_000));
    let fixture = Fixture::new();
    let store = fixture.reopened().with_clock(Arc::new(clock.clone()));
    let put =
        |bytes: &[u8]| block_on(store.put_file(&db(), &mut &bytes[..], &as_file(Expect::Absent)));
    put(&long()).expect("a put");
    block_on(store.delete(&db())).expect("deleted");
    assert_eq!(put(&long()).expect_err("it can be restored").kind(), ErrorKind::AlreadyExists);
    let moment = Duration::from_millis(1);
    clock.advance(Duration::from_hours(30 * 24).saturating_sub(moment));
    assert_eq!(put(&long()).expect_err("for a moment").kind(), ErrorKind::AlreadyExists);
    clock.advance(moment);
    // Its own segments stand there already when the old ones are removed.
    let newer = file(8, 20, 3);
    put(&newer).expect("a put");
    assert!(read(&store, &db(), &Select::Latest).expect("a get") == newer);
    assert_eq!(fixture.entries(&[3]).len(), 21);
}

/// Whole or an error: what has been read of it stays good.
#[test]
fn a_file_that_is_purged_while_it_is_read_ends_in_an_error() {
    let fixture = Fixture::new();
    fixture.put(&db(), &long()).expect("a put");
    let mut reader = block_on(fixture.store.get_file(&db(), &Select::Latest)).expect("a file");
    block_on(reader.next()).expect("a segment").expect("the first");
    fixture.put(&db(), b"newer").expect("a put");
    block_on(reader.next()).expect("a segment").expect("a newer version changes nothing");
    block_on(fixture.store.purge(&db())).expect("purged");
    fixture.put(&db(), &file(11, 40, 77)).expect("a put");
    let error = block_on(reader.next()).expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// Readers and a purge at the same time: a reader has the whole file, or an
/// error that says that it is gone.
#[test]
fn readers_beside_a_purge_never_get_a_mix() {
    let fixture = Fixture::new();
    for round in 0..20 {
        let bytes = file(round, 30, 5);
        fixture.put(&db(), &bytes).expect("a put");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| match fixture.get(&db()) {
                    Ok(read) => assert!(read == bytes, "a mix"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                });
            }
            scope.spawn(|| block_on(fixture.store.purge(&db())).expect("purged"));
        });
        fixture.assert_no_garbage("purged");
    }
}

/// The cache never gives what was the latest before a file became it.
#[test]
fn a_cache_forgets_what_a_file_replaces() {
    use strongroom_core::SystemClock;
    use strongroom_core::cache::{CacheOptions, CachedStore, ThreadSpawn};
    let fixture = Fixture::new();
    let (clock, spawn) = (SystemClock::shared(), Arc::new(ThreadSpawn::new()));
    let cached = CachedStore::new(fixture.store.clone(), CacheOptions::default(), clock, spawn);
    let cached = cached.expect("a cache");
    let value = SecretBytes::copy_from(b"old").expect("memory");
    block_on(cached.put(&db(), &value, &PutOptions::default())).expect("a put");
    let get = || block_on(cached.get(&db(), &Select::Latest)).expect("a get");
    assert!(get().value.expose() == b"old");
    let bytes = long();
    // Somebody reads, and so caches, the old version while the upload runs.
    let mut source = Interrupted::new(&bytes, 20, || {
        assert!(block_on(cached.get(&db(), &Select::Latest))?.value.expose() == b"old");
        Ok(())
    });
    block_on(cached.put_file(&db(), &mut source, &as_file(Expect::Any))).expect("the upload");
    assert!(get().value.expose() == bytes);
    assert!(read(&cached, &db(), &Select::Latest).expect("a file") == bytes);
}

/// What is read as a file is not kept, also where it would be short enough for a
/// value: the store is asked for its segments each time.
#[test]
fn a_cache_keeps_no_file_that_is_read_as_one() {
    use strongroom_core::SystemClock;
    use strongroom_core::cache::{CacheOptions, CachedStore, ThreadSpawn};
    let fixture = Fixture::new();
    let (clock, spawn) = (SystemClock::shared(), Arc::new(ThreadSpawn::new()));
    let cached = CachedStore::new(fixture.store.clone(), CacheOptions::default(), clock, spawn);
    let (cached, bytes) = (cached.expect("a cache"), long());
    block_on(cached.put_file(&db(), &mut &bytes[..], &as_file(Expect::Any))).expect("the upload");
    for _ in 0..2 {
        let before = fixture.records.faults().calls("get");
        assert!(read(&cached, &db(), &Select::Latest).expect("a file") == bytes);
        assert!(fixture.records.faults().calls("get") - before >= 41);
    }
}
