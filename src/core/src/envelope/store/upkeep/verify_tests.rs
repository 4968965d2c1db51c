//! Whatever is wrong in a store is found, named, and not the end.

use std::sync::Arc;

use futures_executor::block_on;

use super::tests::Kek;
use crate::envelope::{EnvelopeOptions, EnvelopeStore};
use crate::error::ErrorKind;
use crate::memory::MemoryRecords;
use crate::name::SecretName;
use crate::record::{Batch, PageLimit, RecordStore};
use crate::store::{PutOptions, SecretStore};
use crate::transfer::{Place, Transfer};
use crate::upkeep::{Upkeep, Verified};
use crate::wrapper::KeyWrapper;

struct Fixture {
    records: Arc<MemoryRecords>,
    kek: Arc<Kek>,
    store: EnvelopeStore,
}

fn name(id: &str) -> SecretName {
    SecretName::new("acme/ops".parse().expect("valid"), id).expect("valid")
}

/// Three secrets of three versions, one of which has files.
fn filled() -> Fixture {
    let (records, kek) = (Arc::new(MemoryRecords::new()), Kek::new("a"));
    let options = EnvelopeOptions { max_value_bytes: 1000, ..EnvelopeOptions::default() };
    let created = EnvelopeStore::create(records.clone(), kek.clone(), "acme", options);
    let store = block_on(created).expect("created");
    for (id, bytes) in [("a", 5), ("b", 5), ("file", 150_000)] {
        for round in 0..3 {
            let mut value = &vec![round; bytes][..];
            let (name, options) = (name(id), PutOptions::default());
            block_on(store.put_file(&name, &mut value, &options)).expect("put");
        }
    }
    Fixture { records, kek, store }
}

impl Fixture {
    fn entries(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let page = block_on(self.records.scan(prefix, None, PageLimit::entries(1000)));
        let entries = page.expect("scanned").entries.into_iter();
        entries.map(|(key, stored)| (key, stored.value)).collect()
    }

    fn commit(&self, batch: Batch) {
        block_on(self.records.commit(batch)).expect("committed");
    }

    fn verify(&self) -> Verified {
        block_on(self.store.verify(&|_| {})).expect("verified")
    }

    /// What is found: names, versions and kinds.
    fn findings(&self) -> Vec<(String, Option<String>, ErrorKind)> {
        let found = self.verify();
        assert_eq!(found.failed, found.failures.len() as u64);
        let finding = |failed: crate::upkeep::Failed| {
            let version = failed.version.map(|version| version.to_string());
            (failed.name.id().to_owned(), version, failed.kind)
        };
        found.failures.into_iter().map(finding).collect()
    }
}

fn tampered(id: &str, version: Option<&str>) -> (String, Option<String>, ErrorKind) {
    (id.to_owned(), version.map(str::to_owned), ErrorKind::Tampered)
}

#[test]
fn a_good_store_is_good() {
    let fixture = filled();
    let found = fixture.verify();
    assert!(found.is_good(), "{found:?}");
    assert_eq!((found.secrets, found.versions), (3, 9));
}

/// Every entry of the store, altered alone: each is found, and the rest is read.
#[test]
fn every_entry_that_was_altered_is_found() {
    let fixture = filled();
    for prefix in [b"\x01", b"\x02", b"\x03"] {
        for (key, value) in fixture.entries(prefix) {
            let mut altered = value.clone();
            *altered.last_mut().expect("bytes") ^= 1;
            fixture.commit(Batch::new().write(key.clone(), altered));
            let found = fixture.verify();
            assert!(!found.is_good(), "{key:?}");
            assert_eq!(found.versions, 9, "it goes on");
            fixture.commit(Batch::new().write(key, value));
        }
    }
    assert!(fixture.verify().is_good());
}

#[test]
fn every_entry_that_is_missing_is_found() {
    let fixture = filled();
    for prefix in [b"\x01", b"\x02", b"\x03"] {
        for (key, value) in fixture.entries(prefix) {
            fixture.commit(Batch::new().delete(key.clone()));
            assert!(!fixture.verify().is_good(), "{key:?}");
            fixture.commit(Batch::new().write(key, value));
        }
    }
}

#[test]
fn what_is_nobodys_is_found() {
    let fixture = filled();
    let records = fixture.entries(b"\x02");
    // A fourth version, which the head does not know.
    let (mut key, value) = records[2].clone();
    *key.last_mut().expect("a number") = 4;
    fixture.commit(Batch::new().write(key.clone(), value));
    assert_eq!(fixture.findings(), [tampered("a", Some("4"))]);
    fixture.commit(Batch::new().delete(key));
    // Segments of a file that no record names.
    let (mut key, value) = fixture.entries(b"\x03").remove(0);
    let end = key.len();
    key[end - 9] ^= 1;
    fixture.commit(Batch::new().write(key.clone(), value));
    assert_eq!(fixture.findings(), [tampered("file", None)]);
    fixture.commit(Batch::new().delete(key));
    fixture.commit(Batch::new().write(b"\x02junk".to_vec(), vec![1]));
    fixture.commit(Batch::new().write(b"\x01".to_vec(), vec![1]));
    fixture.commit(Batch::new().write(b"\x03x".to_vec(), vec![1]));
    let found = fixture.verify();
    assert_eq!((found.strangers, found.failed, found.versions), (3, 0, 9));
}

#[test]
fn a_move_that_is_not_finished_is_told_and_is_no_fault() {
    let fixture = filled();
    let (here, there) = (&fixture.store, Place::new("1", "elsewhere"));
    block_on(here.reserve(&name("coming"), &there)).expect("reserved");
    let info = crate::VersionInfo::new(
        crate::Version::new("1").expect("valid"),
        crate::Kind::Text,
        crate::Timestamp(1),
    );
    block_on(here.stage(&name("coming"), &info, &mut &b"v"[..])).expect("staged");
    let crate::transfer::Standing::Owned { mark, .. } =
        block_on(here.standing(&name("a"))).expect("a standing")
    else {
        panic!("owned")
    };
    block_on(here.hand_over(&name("a"), &there, mark)).expect("handed over");
    let found = fixture.verify();
    assert!(found.is_good(), "{found:?}");
    assert_eq!((found.secrets, found.moved, found.incoming, found.versions), (2, 1, 1, 10));
    block_on(here.drop_versions(&name("a"))).expect("dropped");
    let found = fixture.verify();
    assert!(found.is_good(), "{found:?}");
    assert_eq!((found.moved, found.versions), (1, 7));
}

#[test]
fn an_outage_ends_it_and_a_lost_key_does_not() {
    let fixture = filled();
    fixture.kek.answers(3);
    let error = block_on(fixture.store.verify(&|_| {})).expect_err("down");
    assert!(error.is_retryable());
    fixture.kek.answers(u64::MAX);
    assert!(fixture.verify().is_good());
    let lost = block_on(fixture.kek.destroy_version("a", "1"));
    lost.expect("destroyed");
    let found = fixture.findings();
    assert!(found.iter().all(|(_, _, kind)| *kind == ErrorKind::KeyUnavailable), "{found:?}");
    assert!(found.len() >= 9, "{found:?}");
}
