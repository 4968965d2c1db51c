//! kill -9 at random moments while a store is rotated, rewrapped and encrypted
//! anew, and others read and write: nothing is lost, double or stale, and what
//! was cut short is finished by the next run.
//!
//! 10 rounds, or 50 with `STRONGROOM_NIGHTLY=1`.

use std::path::Path;

use strongroom_core::upkeep::Reencrypt;
use strongroom_core::{EnvelopeOptions, EnvelopeStore, PageLimit, SecretStore, Suite};
use strongroom_kit::random::Random;
use strongroom_kit::{block_on, embedded};
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

use crate::victim::{Acknowledged, contents, is_nightly, run_and_kill, verify_store};

const KEEPER: &str = env!("CARGO_BIN_EXE_upkeep-victim");

#[test]
fn a_redb_store_survives_upkeep_that_is_killed() {
    kill_again_and_again(RecordStoreKind::Redb);
}

#[test]
fn a_sled_store_survives_upkeep_that_is_killed() {
    kill_again_and_again(RecordStoreKind::Sled);
}

fn kill_again_and_again(kind: RecordStoreKind) {
    let rounds = if is_nightly() { 50 } else { 10 };
    let (mut random, seed) = Random::fresh();
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Acknowledged::new();
    for round in 0..rounds {
        let what = format!("{kind}, seed {seed}, round {round}");
        let lines = 1 + random.below(120);
        run_and_kill(KEEPER, kind, dir.path(), random.next_u64(), lines, &mut acknowledged);
        let store = open(kind, dir.path(), &what);
        verify_store(&store, &embedded::audit_path(dir.path()), &acknowledged, &what);
        if random.below(3) == 0 {
            finish(&store, &what);
            drop(store);
            nothing_is_left(kind, dir.path(), &what);
        }
    }
    let store = open(kind, dir.path(), "at the end");
    finish(&store, "at the end");
    verify_store(&store, &embedded::audit_path(dir.path()), &acknowledged, "at the end");
    drop(store);
    nothing_is_left(kind, dir.path(), "at the end");
}

fn open(kind: RecordStoreKind, dir: &Path, what: &str) -> EnvelopeStore {
    let store = embedded::store(kind, dir, EnvelopeOptions::default());
    block_on(store).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Whatever was cut short is finished, and then every key but the current one
/// can go.
fn finish(store: &EnvelopeStore, what: &str) {
    let quiet = |_: &_| ();
    let upkeep = store.upkeep().expect("it has keys of ours");
    let before = contents(store, what);
    let anew =
        Reencrypt { suite: Some(Suite::ChaCha20Poly1305), restart: true, ..Reencrypt::default() };
    for _ in 0..2 {
        let outcome = block_on(upkeep.rewrap(&quiet)).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(outcome.failed, 0, "{what}: {outcome:?}");
        let outcome =
            block_on(upkeep.reencrypt(&anew, &quiet)).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(outcome.failed, 0, "{what}: {outcome:?}");
    }
    let report = block_on(upkeep.key_report(&quiet)).expect("a report");
    assert_eq!(report.stale, 0, "{what}");
    for version in &report.keks[0].versions {
        if !version.kek.is_current {
            let destroyed = upkeep.destroy_key_version(None, &version.kek.version, &quiet);
            block_on(destroyed).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    // Nothing lost, and nothing double.
    assert!(contents(store, what) == before, "{what}: other values or versions than before");
    block_on(store.sweep()).unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// No job, no marker, no segment of a file that is gone.
fn nothing_is_left(kind: RecordStoreKind, dir: &Path, what: &str) {
    let records = open_records(kind, &dir.join("records"), &RecordOptions::default());
    let records = records.expect("the records open");
    let count = |prefix: &[u8]| {
        let page = block_on(records.scan(prefix, None, PageLimit::entries(100_000)));
        page.expect("a page").entries.len()
    };
    assert_eq!(count(b"\x04"), 0, "{what}: a job or a marker is left");
    // The one file of the victim has so many segments.
    let segments = count(b"\x03");
    assert!(segments == 0 || segments == 6, "{what}: {segments} segments are left");
}
