//! A backup is whole, or it is nothing.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_executor::block_on;

use super::*;
use crate::envelope::store::upkeep::tests::Kek;
use crate::envelope::{EnvelopeOptions, EnvelopeStore};
use crate::error::ErrorKind;
use crate::memory::MemoryRecords;
use crate::name::SecretName;
use crate::record::{Batch, PageLimit, RecordPage, RecordStore, Stored};
use crate::store::{PageRequest, PutOptions, SecretStore, Select};
use crate::upkeep::Upkeep;
use crate::{Kind, SecretBytes, Version};

/// Records without snapshots; something happens when a key is read.
#[derive(Debug, Default)]
struct Live {
    inner: MemoryRecords,
    disturb: Mutex<Option<(Vec<u8>, Batch)>>,
}

#[async_trait]
impl RecordStore for Live {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn max_value_bytes(&self) -> usize {
        self.inner.max_value_bytes()
    }

    fn max_batch_bytes(&self) -> usize {
        self.inner.max_batch_bytes()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        self.inner.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage> {
        let page = self.inner.scan(prefix, after, limit).await?;
        let due = {
            let mut disturb = self.disturb.lock().expect("no panic");
            let is_due = disturb.as_ref().is_some_and(|(at, _)| at == prefix);
            is_due.then(|| disturb.take()).flatten()
        };
        if let Some((_, batch)) = due {
            self.inner.commit(batch).await?;
        }
        Ok(page)
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        self.inner.commit(batch).await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
}

fn name(id: &str) -> SecretName {
    SecretName::new("acme".parse().expect("valid"), id).expect("valid")
}

fn put(store: &EnvelopeStore, id: &str, mut value: &[u8]) {
    let options = PutOptions { kind: Kind::File, ..PutOptions::default() };
    block_on(store.put_file(&name(id), &mut value, &options)).expect("put");
}

fn store(records: Arc<dyn RecordStore>, kek: &Arc<Kek>) -> EnvelopeStore {
    let options = EnvelopeOptions::default();
    block_on(EnvelopeStore::create(records, kek.clone(), "acme", options)).expect("created")
}

fn filled(records: Arc<dyn RecordStore>, kek: &Arc<Kek>) -> EnvelopeStore {
    let store = store(records, kek);
    put(&store, "a", b"1");
    put(&store, "a", b"2");
    put(&store, "file", &vec![5; 200_000]);
    put(&store, "deleted", b"x");
    block_on(store.delete(&name("deleted"))).expect("deleted");
    put(&store, "purged", b"x");
    block_on(store.purge(&name("purged"))).expect("purged");
    store
}

fn backup(store: &EnvelopeStore) -> (Vec<u8>, BackupInfo) {
    let mut sink = WriteSink(Vec::new());
    let info = block_on(store.backup(&mut sink, &|_| {})).expect("a backup");
    assert_eq!(info.bytes, sink.0.len() as u64);
    (sink.0, info)
}

fn verify(bytes: &[u8], kek: &Kek) -> Result<BackupInfo> {
    block_on(EnvelopeStore::verify_backup(&mut &bytes[..], kek, "acme"))
}

fn restore(bytes: &[u8], kek: &Arc<Kek>, records: &Arc<dyn RecordStore>) -> Result<BackupInfo> {
    let mut source = bytes;
    let restored = EnvelopeStore::restore_backup(records, &mut source, &**kek, "acme", &|_| {});
    block_on(restored)
}

fn entries(records: &dyn RecordStore) -> Vec<(Vec<u8>, Vec<u8>)> {
    let page = block_on(records.scan(b"", None, PageLimit::entries(10_000))).expect("scanned");
    page.entries.into_iter().map(|(key, stored)| (key, stored.value)).collect()
}

#[test]
fn what_is_restored_is_what_was_there_to_the_byte() {
    let (records, kek) = (Arc::new(MemoryRecords::new()), Kek::new("a"));
    let store = filled(records.clone(), &kek);
    let (bytes, info) = backup(&store);
    assert_eq!((info.names, info.one_moment), (4, true));
    assert_eq!(verify(&bytes, &kek).expect("whole"), info);
    let fresh: Arc<dyn RecordStore> = Arc::new(MemoryRecords::new());
    assert_eq!(restore(&bytes, &kek, &fresh).expect("restored"), info);
    assert!(entries(&*fresh) == entries(&*records), "another store");
    let opened = EnvelopeStore::open(fresh, kek.clone(), "acme", EnvelopeOptions::default());
    let opened = block_on(opened).expect("opened");
    assert!(block_on(opened.verify(&|_| {})).expect("verified").is_good());
    block_on(opened.restore(&name("deleted"))).expect("restored");
    let again: Arc<dyn RecordStore> = records;
    let refused = restore(&bytes, &kek, &again).expect_err("there is a store");
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
}

/// The file is small here, so that every byte and every length is tried.
#[test]
fn every_flipped_byte_cut_and_addition_is_told() {
    let kek = Kek::new("a");
    let store = store(Arc::new(MemoryRecords::new()), &kek);
    put(&store, "a", b"1");
    let (bytes, _) = backup(&store);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(verify(&flipped, &kek).is_err(), "byte {at}");
        assert!(verify(&bytes[..at], &kek).is_err(), "cut at {at}");
    }
    assert!(verify(&[&bytes[..], b"\0"].concat(), &kek).is_err(), "longer");
    assert!(verify(&[&bytes[..], &bytes[..]].concat(), &kek).is_err(), "twice");
    let other = Kek::new("b");
    assert_eq!(verify(&bytes, &other).expect_err("another KEK").kind(), ErrorKind::Configuration);
    let mut source = &bytes[..];
    let elsewhere = EnvelopeStore::verify_backup(&mut source, &*kek, "other");
    assert!(block_on(elsewhere).is_err(), "another account");
}

/// The frames after a header: where each begins.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let length = |at: usize| {
        let word: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(word) as usize
    };
    let identity = length(3 + 16 + 8 + 1);
    let mut at = 3 + 16 + 8 + 1 + 4 + identity;
    let mut found = vec![&bytes[..at]];
    while at < bytes.len() {
        let end = at + 5 + length(at) + 32;
        found.push(&bytes[at..end]);
        at = end;
    }
    found
}

#[test]
fn frames_that_are_left_out_moved_doubled_or_mixed_are_told() {
    let kek = Kek::new("a");
    let store = store(Arc::new(MemoryRecords::new()), &kek);
    for id in ["a", "b", "c"] {
        put(&store, id, &vec![1; 1_100_000]);
    }
    let ((one, _), (two, _)) = (backup(&store), backup(&store));
    let (one, two) = (frames(&one), frames(&two));
    assert!(one.len() >= 5, "{} frames", one.len());
    assert!(verify(&one.concat(), &kek).is_ok());
    for at in 0..one.len() {
        let mut without = one.clone();
        without.remove(at);
        assert!(verify(&without.concat(), &kek).is_err(), "without {at}");
        let mut doubled = one.clone();
        doubled.insert(at, one[at]);
        assert!(verify(&doubled.concat(), &kek).is_err(), "{at} twice");
        let mut mixed = one.clone();
        mixed[at] = two[at];
        assert!(verify(&mixed.concat(), &kek).is_err(), "{at} of another backup");
        if at + 1 < one.len() {
            let mut moved = one.clone();
            moved.swap(at, at + 1);
            assert!(verify(&moved.concat(), &kek).is_err(), "{at} moved");
        }
    }
}

#[test]
fn what_is_not_whole_never_becomes_a_store() {
    let kek = Kek::new("a");
    let store = filled(Arc::new(MemoryRecords::new()), &kek);
    let (bytes, info) = backup(&store);
    let fresh: Arc<dyn RecordStore> = Arc::new(MemoryRecords::new());
    let mut altered = bytes.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for bad in [&altered[..], &bytes[..bytes.len() - 60], &[&bytes[..], b"x"].concat()] {
        assert_eq!(restore(bad, &kek, &fresh).expect_err("bad").kind(), ErrorKind::Tampered);
        let options = EnvelopeOptions::default;
        let opened = EnvelopeStore::open(fresh.clone(), kek.clone(), "acme", options());
        assert_eq!(block_on(opened).expect_err("none").kind(), ErrorKind::Configuration);
        // What is half there does not become part of a new store either.
        let created = EnvelopeStore::create(fresh.clone(), kek.clone(), "acme", options());
        assert_eq!(block_on(created).expect_err("half").kind(), ErrorKind::Configuration);
    }
    // Begun anew, it comes to the end, and nothing of before is left.
    let stray = Batch::new().write(b"\x02stray".to_vec(), vec![1]);
    block_on(fresh.commit(stray)).expect("committed");
    assert_eq!(restore(&bytes, &kek, &fresh).expect("restored"), info);
    assert!(!entries(&*fresh).iter().any(|(key, _)| key == b"\x02stray"));
}

#[test]
fn records_that_are_somebody_elses_are_not_wiped() {
    let kek = Kek::new("a");
    let (bytes, _) = backup(&filled(Arc::new(MemoryRecords::new()), &kek));
    let records: Arc<dyn RecordStore> = Arc::new(MemoryRecords::new());
    block_on(records.commit(Batch::new().write(b"theirs".to_vec(), vec![1]))).expect("committed");
    let refused = restore(&bytes, &kek, &records).expect_err("not empty");
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    assert_eq!(entries(&*records).len(), 1);
}

/// Without snapshots, a secret that is written while it is read comes once more.
#[test]
fn a_secret_that_changes_meanwhile_is_read_again() {
    let (records, kek) = (Arc::new(Live::default()), Kek::new("a"));
    let store = filled(records.clone(), &kek);
    // What a second put of another store of the same records would commit.
    let before = entries(&records.inner);
    put(&store, "a", b"3");
    let after = entries(&records.inner);
    let mut later = Batch::new();
    for (key, value) in after.iter().filter(|entry| !before.contains(entry)) {
        later = later.write(key.clone(), value.clone());
    }
    let mut undo = Batch::new();
    for (key, _) in &after {
        undo = match before.iter().find(|(old, _)| old == key) {
            Some((_, value)) => undo.write(key.clone(), value.clone()),
            None => undo.delete(key.clone()),
        };
    }
    block_on(records.inner.commit(undo)).expect("set back");
    let prefix = crate::envelope::keys::files(&name("a"));
    *records.disturb.lock().expect("no panic") = Some((prefix, later));
    let (bytes, info) = backup(&store);
    assert!(records.disturb.lock().expect("no panic").is_none(), "it was disturbed");
    assert!(!info.one_moment);
    let fresh: Arc<dyn RecordStore> = Arc::new(MemoryRecords::new());
    assert_eq!(restore(&bytes, &kek, &fresh).expect("restored"), info);
    assert!(entries(&*fresh) == entries(&records.inner), "not as it is");
    let opened = EnvelopeStore::open(fresh, kek, "acme", EnvelopeOptions::default());
    let opened = block_on(opened).expect("opened");
    let third = Select::Version(Version::new("3").expect("valid"));
    let got: SecretBytes = block_on(opened.get(&name("a"), &third)).expect("got").value;
    assert!(got.expose() == b"3");
    assert!(block_on(opened.verify(&|_| {})).expect("verified").is_good());
    let versions = block_on(opened.versions(&name("a"), &PageRequest::first(9)));
    assert_eq!(versions.expect("versions").items.len(), 3);
}
