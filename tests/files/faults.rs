//! Uploads that are cut short: at every commit, by every fault, by their source
//! and by being dropped. What is left is swept, and a version is whole.

use futures_util::FutureExt;
use strongroom_core::transfer::Place;
use strongroom_core::{Error, Timestamp};
use strongroom_kit::faults::{Fault, Gate};

use super::*;

/// A commit for the marker, two for 33 segments, and the last one.
const COMMITS: usize = 4;

fn long() -> Vec<u8> {
    file(5, 32, 77)
}

#[test]
fn an_upload_takes_so_many_commits() {
    let fixture = Fixture::new();
    let before = fixture.records.faults().calls("commit");
    fixture.put(&db(), &long()).expect("a put");
    assert_eq!(fixture.records.faults().calls("commit") - before, COMMITS);
}

/// Each commit fails, or happens and its answer is lost; and so do all those
/// after it, as in a crash, or none does.
#[test]
fn whichever_commit_fails_there_is_the_old_version_or_the_new_one() {
    let lost = |kind| [Fault::Fail(kind), Fault::LoseAnswer(kind)];
    for at in 0..COMMITS {
        for fault in lost(ErrorKind::Unavailable) {
            for goes_on in [false, true] {
                let what = format!("commit {at}, {fault:?}, goes on: {goes_on}");
                let fixture = Fixture::new();
                fixture.put(&db(), b"old").expect("a put");
                let faults = fixture.records.faults();
                for _ in 0..at {
                    faults.pass("commit");
                }
                faults.next("commit", fault.clone());
                if !goes_on {
                    faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
                }
                let error = fixture.put(&db(), &long()).expect_err(&what);
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}");
                faults.clear();
                let is_published = at + 1 == COMMITS && matches!(fault, Fault::LoseAnswer(_));
                let store = fixture.reopened();
                let found = read(&store, &db(), &Select::Latest).expect("readable");
                assert!(found == if is_published { long() } else { b"old".to_vec() }, "{what}");
                block_on(store.sweep()).expect("swept");
                assert!(read(&store, &db(), &Select::Latest).expect("readable") == found);
                if is_published {
                    assert_eq!(fixture.entries(&[3]).len(), 33, "{what}");
                    assert_eq!(fixture.entries(&[4]).len(), 0, "{what}");
                } else {
                    fixture.assert_no_garbage(&what);
                }
            }
        }
    }
}

/// The sweep is cut short at each of its own commits, again and again, until
/// nothing is left.
#[test]
fn a_sweep_that_is_cut_short_goes_on_where_it_was() {
    let fixture = Fixture::new();
    let faults = fixture.records.faults();
    // 600 segments: three commits of a sweep.
    let bytes = file(6, 600, 0);
    for _ in 0..35 {
        faults.pass("commit");
    }
    faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
    fixture.put(&db(), &bytes).expect_err("cut short");
    faults.clear();
    let (mut left, mut rounds) = (fixture.entries(&[3]).len(), 0);
    assert!(left > 512, "{left} segments");
    while !fixture.entries(&[4]).is_empty() {
        // The claim and one commit of segments, then the process dies.
        faults.pass("commit");
        faults.pass("commit");
        faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
        drop(fixture.reopened());
        faults.clear();
        let now = fixture.entries(&[3]);
        assert!(now.len() < left || left == 0, "each round removes some");
        // What is left is always the beginning.
        for (number, (key, _)) in now.iter().enumerate() {
            assert!(key.ends_with(&(number as u64).to_be_bytes()), "a gap before {number}");
        }
        (left, rounds) = (now.len(), rounds + 1);
    }
    assert!((3..=5).contains(&rounds), "{rounds} rounds");
    fixture.assert_no_garbage("after the last");
}

/// Opening a store is not held up: it removes a part, and writes remove the rest.
#[test]
fn what_is_left_over_goes_a_step_at_a_time() {
    let fixture = Fixture::new();
    let faults = fixture.records.faults();
    let bytes = file(6, 3000, 0);
    for _ in 0..150 {
        faults.pass("commit");
    }
    faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
    fixture.put(&db(), &bytes).expect_err("cut short");
    faults.clear();
    let all = fixture.entries(&[3]).len();
    assert!(all > 2_200, "{all} segments");
    let store = fixture.reopened();
    let opened = fixture.entries(&[3]).len();
    assert_eq!(all - opened, 8 * 256, "by opening");
    let value = SecretBytes::copy_from(b"value").expect("memory");
    block_on(store.put(&name("other"), &value, &PutOptions::default())).expect("a put");
    assert_eq!(opened - fixture.entries(&[3]).len(), 256.min(opened), "by a put");
    block_on(store.sweep()).expect("swept");
    fixture.assert_no_garbage("after a sweep");
}

#[test]
fn a_source_that_fails_leaves_nothing() {
    for at in [0, 1, 2, 17, 18, 19, 32] {
        let fixture = Fixture::new();
        fixture.put(&db(), b"old").expect("a put");
        let fail = || Err(Error::new(ErrorKind::Unavailable, "the client has gone"));
        let bytes = long();
        let mut source = Interrupted::new(&bytes, at, fail);
        let error = fixture.upload(&mut source, Expect::Any).expect_err("the source fails");
        assert_eq!(error.message(), "the client has gone");
        fixture.assert_no_garbage(&format!("piece {at}"));
        assert!(fixture.get(&db()).expect("a get") == b"old");
    }
}

/// Nobody polls the upload any more; the next file that is put removes it.
#[test]
fn a_dropped_upload_is_swept_without_a_restart() {
    for commits in 1..COMMITS {
        let fixture = Fixture::new();
        let faults = fixture.records.faults();
        for _ in 0..commits {
            faults.pass("commit");
        }
        faults.next("commit", Fault::Wait(Gate::closed()));
        let bytes = long();
        let mut source = &bytes[..];
        let (name_of_it, options) = (db(), as_file(Expect::Any));
        let put = fixture.store.put_file(&name_of_it, &mut source, &options);
        assert!(put.now_or_never().is_none(), "it waits in commit {commits}");
        assert_eq!(fixture.entries(&[4]).len(), 1, "a marker tells of it");
        fixture.put(&name("other"), b"short").expect("a put");
        fixture.assert_no_garbage(&format!("dropped in commit {commits}"));
        assert_eq!(fixture.get(&db()).expect_err("nothing was put").kind(), ErrorKind::NotFound);
    }
}

/// Its own end could not remove it: the next file that is put does, however long it is.
#[test]
fn an_upload_that_could_not_be_discarded_is_swept_without_a_restart() {
    let fixture = Fixture::new();
    let faults = fixture.records.faults();
    for _ in 0..35 {
        faults.pass("commit");
    }
    faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
    fixture.put(&db(), &file(6, 600, 0)).expect_err("cut short");
    faults.clear();
    // More than one commit of a sweep removes.
    assert!(fixture.entries(&[3]).len() > 512);
    fixture.put(&name("other"), &long()).expect("a put");
    assert_eq!((fixture.entries(&[3]).len(), fixture.entries(&[4]).len()), (33, 0));
}

/// What comes from another store is cut short as well.
#[test]
fn a_staged_file_that_fails_or_is_too_long_leaves_nothing() {
    let options = EnvelopeOptions { max_file_bytes: 30 * 65_536, ..Default::default() };
    let fixture = Fixture::with(options);
    let transfer = fixture.store.transfer().expect("it moves");
    block_on(transfer.reserve(&db(), &Place::new("1", "elsewhere"))).expect("reserved");
    let first = Version::new("1").expect("valid");
    let info = VersionInfo::new(first, Kind::File, Timestamp(1));
    let stage = |bytes: &[u8], at| {
        let fail = || Err(Error::new(ErrorKind::Unavailable, "the other store has gone"));
        let mut source = Interrupted::new(bytes, at, fail);
        let staged = block_on(transfer.stage(&db(), &info, &mut source));
        fixture.assert_no_garbage(&format!("{} bytes, piece {at}", bytes.len()));
        staged.expect_err("it is not staged").kind()
    };
    let bytes = long();
    for at in [0, 1, 17, 18, 20] {
        assert_eq!(stage(&bytes, at), ErrorKind::Unavailable);
    }
    assert_eq!(stage(&bytes, usize::MAX), ErrorKind::LimitExceeded);
}

/// A full disk: what was left over cannot be removed, and the store opens and
/// reads all the same.
#[test]
fn a_sweep_that_fails_keeps_nobody_from_reading() {
    let fixture = Fixture::new();
    fixture.put(&db(), &long()).expect("a put");
    let faults = fixture.records.faults();
    faults.pass("commit");
    faults.pass("commit");
    faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
    fixture.put(&name("other"), &long()).expect_err("the disk is full");
    let store = fixture.reopened();
    assert!(read(&store, &db(), &Select::Latest).expect("a get") == long());
    assert_eq!(block_on(store.sweep()).expect_err("still full").kind(), ErrorKind::Unavailable);
    faults.clear();
    block_on(store.sweep()).expect("swept");
    assert_eq!((fixture.entries(&[4]).len(), fixture.entries(&[3]).len()), (0, 33));
}
