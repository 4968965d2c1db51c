//! Rotate, rewrap, re-encrypt and destroy on a store in memory, with a KMS that
//! rotates and fails.

mod races;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use futures_executor::block_on;
use futures_util::future::{FutureExt, poll_fn};

use super::*;
use crate::context::EncryptionContext;
use crate::envelope::{EnvelopeOptions, Suite};
use crate::error::ErrorKind;
use crate::memory::MemoryRecords;
use crate::name::SecretName;
use crate::record::{PageLimit, Precondition, RecordStore};
use crate::secret::{Kind, Version};
use crate::store::{PageRequest, PutOptions, SecretStore, Select};
use crate::upkeep::{Progress, Selection};
use crate::wrapper::{Dek, KeyWrapper, Keyring, WrappedDek};
use crate::{Batch, SecretBytes, random};

/// A KEK with versions, some of which may be destroyed; it can be made to fail.
#[derive(Debug)]
pub(in crate::envelope) struct Kek {
    name: &'static str,
    keys: Mutex<BTreeMap<u32, [u8; 32]>>,
    current: AtomicU32,
    /// How many calls are answered before it is down.
    calls_left: AtomicU64,
    /// Whether what was wrapped is not given out yet.
    holds: Mutex<bool>,
}

impl Kek {
    pub(in crate::envelope) fn new(name: &'static str) -> Arc<Self> {
        let kek = Self {
            name,
            keys: Mutex::default(),
            current: AtomicU32::new(0),
            calls_left: AtomicU64::new(u64::MAX),
            holds: Mutex::default(),
        };
        kek.turn();
        Arc::new(kek)
    }

    fn turn(&self) {
        let number = self.current.fetch_add(1, Ordering::Relaxed) + 1;
        self.keys.lock().expect("no panic").insert(number, random::array().expect("randomness"));
    }

    pub(in crate::envelope) fn answers(&self, calls: u64) {
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    fn call(&self) -> Result<()> {
        let left = |left: u64| left.checked_sub(1);
        let answered = self.calls_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        answered.map(drop).map_err(|_| Error::unavailable("the KMS is down"))
    }

    fn key(&self, version: &str) -> Result<[u8; 32]> {
        let keys = self.keys.lock().expect("no panic");
        let found = version.parse().ok().and_then(|number: u32| keys.get(&number).copied());
        found.ok_or_else(|| Error::key_unavailable("no such version"))
    }
}

#[async_trait]
impl KeyWrapper for Kek {
    fn identity(&self) -> &str {
        self.name
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        self.call()?;
        let version = self.current.load(Ordering::Relaxed).to_string();
        let nonce = random::array::<12>()?;
        let mut bytes = [&nonce[..], dek.expose()].concat();
        let (key, aad) = (self.key(&version)?, context.as_bytes());
        let tag = Suite::Aes256Gcm.seal_detached(&key, &nonce, aad, &mut bytes[12..])?;
        bytes.extend_from_slice(&tag);
        let held = || *self.holds.lock().expect("no panic");
        poll_fn(|_| if held() { Poll::Pending } else { Poll::Ready(()) }).await;
        Ok(WrappedDek { kek: self.name.into(), kek_version: version.into(), bytes: bytes.into() })
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        self.call()?;
        if wrapped.kek != self.name {
            return Err(Error::key_unavailable("another KEK"));
        }
        let key = self.key(&wrapped.kek_version)?;
        let (nonce, rest) = wrapped.bytes.split_first_chunk::<12>().expect("whole");
        let (sealed, tag) = rest.split_at(32);
        let (tag, aad) = (tag.try_into().expect("whole"), context.as_bytes());
        Dek::from_secret(Suite::Aes256Gcm.open_detached(&key, nonce, aad, sealed, tag)?)
    }

    async fn current_version(&self) -> Result<String> {
        Ok(self.current.load(Ordering::Relaxed).to_string())
    }

    async fn check(&self) -> Result<()> {
        self.call()
    }

    async fn rotate(&self, _: &str) -> Result<String> {
        self.turn();
        self.current_version().await
    }

    async fn versions(&self, _: &str) -> Result<Vec<KekVersion>> {
        let current = self.current.load(Ordering::Relaxed);
        let keys = self.keys.lock().expect("no panic");
        let version = |number: &u32| KekVersion {
            version: number.to_string(),
            created: None,
            is_current: *number == current,
        };
        Ok(keys.keys().map(version).collect())
    }

    async fn destroy_version(&self, _: &str, version: &str) -> Result<()> {
        self.keys.lock().expect("no panic").remove(&version.parse().expect("a number"));
        Ok(())
    }
}

struct Fixture {
    records: Arc<MemoryRecords>,
    kek: Arc<Kek>,
    store: EnvelopeStore,
}

const SCOPES: [&str; 3] = ["acme", "acme/ops", "acme/ops/web"];

/// Sixty secrets of three versions each, in three scopes; every seventh deleted.
fn filled() -> Fixture {
    let (records, kek) = (Arc::new(MemoryRecords::new()), Kek::new("a"));
    let options = EnvelopeOptions::default();
    let created = EnvelopeStore::create(records.clone(), kek.clone(), "acme", options);
    let store = block_on(created).expect("created");
    for name in names() {
        for round in 0..3 {
            put(&store, &name, &value(&name, round));
        }
    }
    for name in names().step_by(7) {
        block_on(store.delete(&name)).expect("deleted");
    }
    Fixture { records, kek, store }
}

fn names() -> impl DoubleEndedIterator<Item = SecretName> + ExactSizeIterator {
    (0..60).map(|index: usize| {
        let scope = SCOPES[index % 3].parse().expect("valid");
        SecretName::new(scope, &format!("s{index}")).expect("valid")
    })
}

fn value(name: &SecretName, round: usize) -> Vec<u8> {
    format!("{name:?} {round}").into_bytes()
}

fn put(store: &EnvelopeStore, name: &SecretName, value: &[u8]) {
    let value = SecretBytes::copy_from(value).expect("memory");
    let options = PutOptions { kind: Kind::File, ..PutOptions::default() };
    block_on(store.put(name, &value, &options)).expect("put");
}

/// Every version is readable and what it was; the deleted ones once restored.
fn everything_is_as_it_was(store: &EnvelopeStore) {
    for (index, name) in names().enumerate() {
        if index % 7 == 0 {
            let hidden = block_on(store.get(&name, &Select::Latest)).expect_err("deleted");
            assert_eq!(hidden.kind(), ErrorKind::NotFound);
            block_on(store.restore(&name)).expect("restored");
        }
        for round in 0..3 {
            let version = Version::new((round + 1).to_string()).expect("valid");
            let secret = block_on(store.get(&name, &Select::Version(version))).expect("read");
            assert!(secret.value.expose() == value(&name, round), "{name:?} {round}");
            assert_eq!(secret.kind, Kind::File);
        }
        let page = block_on(store.versions(&name, &PageRequest::first(10))).expect("versions");
        assert_eq!(page.items.len(), 3);
        if index % 7 == 0 {
            block_on(store.delete(&name)).expect("deleted");
        }
    }
}

fn quiet(_: &Progress) {}

fn ciphertexts(records: &MemoryRecords) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let page = block_on(records.scan(&[2], None, PageLimit::entries(10_000))).expect("a page");
    let tail = |bytes: &[u8]| {
        let prelude = usize::from(u16::from_le_bytes([bytes[3], bytes[4]]));
        bytes[prelude..].to_vec()
    };
    page.entries.into_iter().map(|(key, stored)| (key, tail(&stored.value))).collect()
}

fn stale(store: &EnvelopeStore) -> u64 {
    block_on(store.key_report(&quiet)).expect("a report").stale
}

#[test]
fn a_rewrap_changes_every_wrap_and_no_ciphertext() {
    let Fixture { records, kek, store } = filled();
    let before = ciphertexts(&records);
    assert_eq!(stale(&store), 0);
    let made = block_on(store.rotate(None)).expect("rotated");
    assert_eq!((made.version.as_str(), made.is_current), ("2", true));
    assert_eq!(stale(&store), 180);
    everything_is_as_it_was(&store);
    let told = Mutex::new(Vec::new());
    let observer = |progress: &Progress| told.lock().expect("no panic").push(*progress);
    let outcome = block_on(store.rewrap(&observer)).expect("rewrapped");
    assert_eq!((outcome.examined, outcome.changed, outcome.failed), (180, 180, 0));
    let told = told.into_inner().expect("no panic");
    assert_eq!(told.first().and_then(Progress::left), Some(180));
    assert_eq!(told.last().and_then(Progress::left), Some(0));
    assert!(ciphertexts(&records) == before, "a ciphertext changed");
    assert_eq!(stale(&store), 0);
    // Also the store's own key: version 1 is needed by nothing.
    kek.keys.lock().expect("no panic").remove(&1);
    everything_is_as_it_was(&store);
    let options = EnvelopeOptions::default();
    block_on(EnvelopeStore::open(records, kek, "acme", options)).expect("opens without version 1");
    assert_eq!(block_on(store.rewrap(&quiet)).expect("rewrapped").changed, 0);
}

#[test]
fn an_outage_ends_a_rewrap_which_the_next_finishes() {
    let Fixture { kek, store, .. } = filled();
    kek.turn();
    // A record costs an unwrap and a wrap; pages are committed whole.
    kek.answers(100);
    let error = block_on(store.rewrap(&quiet)).expect_err("down");
    assert!(error.is_retryable() && error.kind() == ErrorKind::Unavailable, "{error}");
    kek.answers(u64::MAX);
    everything_is_as_it_was(&store);
    block_on(store.rewrap(&quiet)).expect("finished");
    assert_eq!(stale(&store), 0);
    everything_is_as_it_was(&store);
}

#[test]
fn what_cannot_be_rewrapped_is_reported_and_left() {
    let Fixture { records, kek, store } = filled();
    kek.turn();
    let (bad, key) = {
        let name = names().next_back().expect("some");
        let key = super::super::super::keys::version(&name, 2);
        (name, key)
    };
    let stored = block_on(records.get(&key)).expect("read").expect("there");
    let mut altered = stored.value.clone();
    // The last byte of the wrapped DEK; the checksum of the prelude with it.
    let prelude = usize::from(u16::from_le_bytes([altered[3], altered[4]]));
    altered[prelude - 1] ^= 1;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&altered[..5]);
    crc.update(&altered[9..prelude]);
    let sum = crc.finalize().to_le_bytes();
    altered[5..9].copy_from_slice(&sum);
    block_on(records.commit(Batch::new().write(key.clone(), altered.clone()))).expect("written");

    let outcome = block_on(store.rewrap(&quiet)).expect("the others are done");
    assert_eq!((outcome.changed, outcome.failed), (179, 1));
    let failed = &outcome.failures[0];
    assert_eq!((&failed.name, failed.kind), (&bad, ErrorKind::Tampered));
    assert_eq!(failed.version.as_ref().map(Version::as_str), Some("2"));
    let now = block_on(records.get(&key)).expect("read").expect("there");
    assert!(now.value == altered, "it was changed");
    let error = block_on(store.destroy_key_version(None, "1", &quiet)).expect_err("needed");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("acme/ops/web:s59"), "{error}");
}

#[test]
fn a_key_version_is_destroyed_when_nothing_needs_it() {
    let Fixture { kek, store, .. } = filled();
    let destroy = |version: &str| block_on(store.destroy_key_version(None, version, &quiet));
    let kind = |answer: Result<()>| answer.err().map(|error| error.kind());
    assert_eq!(kind(destroy("1")), Some(ErrorKind::Conflict), "it is the current one");
    kek.turn();
    assert_eq!(kind(destroy("2")), Some(ErrorKind::Conflict), "current, and needed by nothing");
    assert_eq!(kind(destroy("1")), Some(ErrorKind::Conflict), "it is needed");
    assert_eq!(kind(destroy("7")), Some(ErrorKind::NotFound));
    block_on(store.rewrap(&quiet)).expect("rewrapped");
    assert_eq!(kind(destroy("1")), None);
    let report = block_on(store.key_report(&quiet)).expect("a report");
    let versions: Vec<_> = report.keks[0].versions.iter().map(|one| &*one.kek.version).collect();
    assert_eq!(versions, ["2"]);
    everything_is_as_it_was(&store);
}

#[test]
fn a_kek_is_added_and_another_taken_away_by_rewraps() {
    let Fixture { records, kek, store } = filled();
    drop(store);
    let open = |members: Vec<Arc<dyn KeyWrapper>>, quorum| {
        let keyring = Arc::new(Keyring::new(members, quorum).expect("valid"));
        let options = EnvelopeOptions::default();
        block_on(EnvelopeStore::open(records.clone(), keyring, "acme", options)).expect("opened")
    };
    let glass = Kek::new("b");
    let both = open(vec![kek.clone(), glass.clone()], 2);
    assert_eq!(stale(&both), 180);
    block_on(both.rewrap(&quiet)).expect("rewrapped");
    assert_eq!(stale(&both), 0);
    let report = block_on(both.key_report(&quiet)).expect("a report");
    let uses: Vec<_> = report.keks.iter().map(|one| (&*one.kek, one.versions[0].records)).collect();
    assert_eq!(uses, [("a", 181), ("b", 181)], "records and the store's identity");
    drop(both);

    // The first KEK is lost: everything is read by the other, and rewrapped.
    let other = open(vec![glass.clone(), Kek::new("c")], 1);
    kek.answers(0);
    everything_is_as_it_was(&other);
    glass.answers(u64::MAX);
    block_on(other.rewrap(&quiet)).expect("rewrapped");
    let report = block_on(other.key_report(&quiet)).expect("a report");
    let names: Vec<_> = report.keks.iter().map(|one| &*one.kek).collect();
    assert_eq!(names, ["b", "c"], "nothing is under a any more");
    drop(other);
    let stranger =
        EnvelopeStore::open(records.clone(), Kek::new("x"), "acme", EnvelopeOptions::default());
    let error = block_on(stranger).expect_err("another KEK");
    assert!(error.message().contains("made for KEK b"), "{error}");
    let alone = open(vec![glass], 1);
    everything_is_as_it_was(&alone);
}

#[test]
fn a_reencryption_changes_every_ciphertext_and_nothing_else() {
    let Fixture { records, store, .. } = filled();
    let before = ciphertexts(&records);
    let created = |store: &EnvelopeStore| {
        let all = |name: SecretName| block_on(store.versions(&name, &PageRequest::first(9)));
        names().map(|name| all(name).expect("versions").items).collect::<Vec<_>>()
    };
    let times = created(&store);
    let what = Reencrypt { suite: Some(Suite::ChaCha20Poly1305), ..Reencrypt::default() };
    let outcome = block_on(store.reencrypt(&what, &quiet)).expect("done");
    assert_eq!((outcome.examined, outcome.changed, outcome.failed), (180, 180, 0));
    let after = ciphertexts(&records);
    assert!(before.keys().eq(after.keys()));
    assert!(before.iter().all(|(key, old)| after[key] != *old), "an old ciphertext is left");
    let page = block_on(records.scan(&[2], None, PageLimit::entries(1000))).expect("a page");
    assert!(page.entries.iter().all(|(_, stored)| stored.value[9] == 2), "another suite is left");
    assert_eq!(created(&store), times);
    everything_is_as_it_was(&store);
    assert!(block_on(records.get(keys_of_job())).expect("read").is_none(), "the job is left");
}

#[test]
fn a_file_is_encrypted_anew_segment_by_segment_and_leaves_nothing_behind() {
    let name = SecretName::new("acme".parse().expect("valid"), "big").expect("valid");
    let content: Vec<u8> = (0..700_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    let options = EnvelopeOptions { max_value_bytes: 1000, ..EnvelopeOptions::default() };
    let (records, kek) = (Arc::new(MemoryRecords::new()), Kek::new("f"));
    let made = EnvelopeStore::create(records.clone(), kek.clone(), "acme", options);
    let store = block_on(made).expect("created");
    let put = block_on(store.put_file(&name, &mut &content[..], &PutOptions::default()));
    put.expect("put");
    let segments = || {
        let page = block_on(records.scan(&[3], None, PageLimit::entries(1000)));
        page.expect("a page").entries
    };
    let before = segments();
    let read = || {
        let mut reader = block_on(store.get_file(&name, &Select::Latest)).expect("read");
        let mut all = Vec::new();
        while let Some(segment) = block_on(reader.next()).expect("a segment") {
            all.extend_from_slice(segment.expose());
        }
        all
    };
    assert!(read() == content);
    let mut begun = block_on(store.get_file(&name, &Select::Latest)).expect("read");
    block_on(begun.next()).expect("the first segment");

    let what = Reencrypt { suite: Some(Suite::ChaCha20Poly1305), ..Reencrypt::default() };
    let outcome = block_on(store.reencrypt(&what, &quiet)).expect("done");
    assert_eq!((outcome.changed, outcome.failed), (1, 0), "{outcome:?}");
    assert!(read() == content);
    let after = segments();
    assert_eq!(after.len(), before.len(), "old segments are left");
    assert!(after.iter().zip(&before).all(|(new, old)| new.0 != old.0 && new.1 != old.1));
    let markers = block_on(records.scan(b"\x04", None, PageLimit::entries(9)));
    assert!(markers.expect("a page").entries.is_empty(), "a marker is left");
    let error = block_on(begun.next()).expect_err("its segments have gone");
    assert!(error.is_retryable(), "{error}");

    kek.turn();
    block_on(store.rewrap(&quiet)).expect("rewrapped");
    assert!(read() == content && segments() == after, "a rewrap touches no segment");
}

fn keys_of_job() -> &'static [u8] {
    super::super::super::keys::REENCRYPT_JOB
}

#[test]
fn a_reencryption_keeps_to_its_selection() {
    let Fixture { records, store, .. } = filled();
    let before = ciphertexts(&records);
    let changed = |selection: Selection| {
        let what = Reencrypt { selection, ..Reencrypt::default() };
        block_on(store.reencrypt(&what, &quiet)).expect("done").changed
    };
    let within: crate::Scope = "acme/ops".parse().expect("valid");
    assert_eq!(changed(Selection::within(&within)), 120);
    let one = names().next().expect("some");
    assert_eq!(changed(Selection::names([&one])), 3);
    let other = ciphertexts(&records);
    let same = before.iter().filter(|(key, old)| other[*key] == **old).count();
    assert_eq!(same, 57);
    everything_is_as_it_was(&store);
}

#[test]
fn a_reencryption_that_was_cut_short_goes_on_where_it_was() {
    let Fixture { records, kek, store } = filled();
    let job = br#"{"selection":"All","suite":1,"started":0,"after":"KEY","examined":77,"changed":77,"failed":0}"#;
    let page = block_on(records.scan(&[2], None, PageLimit::entries(77))).expect("a page");
    let last = page.entries.last().expect("some").0.clone();
    let hex = super::reencrypt::to_hex(&last);
    let job = String::from_utf8(job.to_vec()).expect("text").replace("KEY", &hex);
    let batch = Batch::new().write(keys_of_job().to_vec(), job.into_bytes());
    block_on(records.commit(batch)).expect("written");
    let before = ciphertexts(&records);

    let other = Reencrypt { suite: Some(Suite::ChaCha20Poly1305), ..Reencrypt::default() };
    let error = block_on(store.reencrypt(&other, &quiet)).expect_err("another is not finished");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    kek.answers(50);
    let what = Reencrypt::default();
    assert!(block_on(store.reencrypt(&what, &quiet)).expect_err("down").is_retryable());
    kek.answers(u64::MAX);
    let outcome = block_on(store.reencrypt(&what, &quiet)).expect("done");
    assert_eq!((outcome.examined, outcome.changed, outcome.resumed), (180, 180, true));
    let after = ciphertexts(&records);
    let same: Vec<_> = before.iter().filter(|(key, old)| after[*key] == **old).collect();
    assert_eq!(same.len(), 77, "what was done before is not done again");
    let restart = Reencrypt { restart: true, ..Reencrypt::default() };
    assert_eq!(block_on(store.reencrypt(&restart, &quiet)).expect("done").changed, 180);
    everything_is_as_it_was(&store);
}

#[test]
fn one_operation_runs_at_a_time() {
    let Fixture { store, .. } = filled();
    let _running = store.one_at_a_time().expect("free");
    let error = block_on(store.rewrap(&quiet)).expect_err("busy");
    assert!(error.is_retryable() && error.kind() == ErrorKind::Conflict);
    assert!(block_on(store.rotate(None)).is_err());
    assert!(block_on(store.reencrypt(&Reencrypt::default(), &quiet)).is_err());
}

/// As after a change of the configuration, while the store is still in use.
#[test]
fn a_store_that_was_opened_anew_takes_turns_with_the_first() {
    let Fixture { kek, store, .. } = filled();
    let anew = store.reopen(kek.clone(), "acme", EnvelopeOptions::default());
    let anew = block_on(anew).expect("opened");
    let running = store.one_at_a_time().expect("free");
    assert_eq!(block_on(anew.rewrap(&quiet)).expect_err("busy").kind(), ErrorKind::Conflict);
    drop(running);
    let name = names().next().expect("one");
    let lock = block_on(store.lock(&name));
    assert!(anew.lock(&name).now_or_never().is_none(), "two write at once");
    drop(lock);
    assert!(anew.lock(&name).now_or_never().is_some());
    let other = store.reopen(kek, "other", EnvelopeOptions::default());
    assert_eq!(block_on(other).expect_err("not its").kind(), ErrorKind::Configuration);
}

#[test]
fn a_reencryption_keeps_its_place_page_by_page() {
    let Fixture { records, kek, store } = filled();
    // Two calls for each version: the first page is done, the second is not.
    kek.answers(200);
    let what = Reencrypt::default();
    assert!(block_on(store.reencrypt(&what, &quiet)).expect_err("down").is_retryable());
    kek.answers(u64::MAX);
    let between = ciphertexts(&records);
    let outcome = block_on(store.reencrypt(&what, &quiet)).expect("done");
    assert_eq!((outcome.examined, outcome.changed, outcome.resumed), (180, 180, true));
    let after = ciphertexts(&records);
    let same = between.iter().filter(|(key, old)| after[*key] == **old).count();
    assert_eq!(same, 64, "the first page, and only that, is not done again");
    everything_is_as_it_was(&store);
}

/// Somebody else changes the same records between our read and our commit.
#[test]
fn changes_that_meet_others_are_made_anew() {
    let Fixture { records, store, .. } = filled();
    let page = block_on(records.scan(&[2], None, PageLimit::entries(3))).expect("a page");
    let change = |(key, stored): &(Vec<u8>, crate::Stored)| {
        Batch::new()
            .require(key.clone(), Precondition::At(stored.revision))
            .write(key.clone(), stored.value.clone())
    };
    let changes: Vec<_> = page.entries.iter().map(change).collect();
    let (key, stored) = &page.entries[1];
    let batch = Batch::new()
        .require(key.clone(), Precondition::At(stored.revision))
        .write(key.clone(), stored.value.clone());
    block_on(records.commit(batch)).expect("somebody else");
    assert_eq!(block_on(store.commit_all(&changes)).expect("the others"), [1]);
    let now = block_on(records.scan(&[2], None, PageLimit::entries(3))).expect("a page");
    for (index, (_, stored)) in now.entries.iter().enumerate() {
        assert_ne!(stored.revision, page.entries[index].1.revision, "{index}");
    }
}
