//! Files in segments: whole or not at all, whatever happens to their segments,
//! their store or their neighbours.

mod faults;
mod races;
mod tamper;

use std::sync::Arc;

use async_trait::async_trait;
use strongroom_core::envelope::stream::SEGMENT_BYTES;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    Batch, EnvelopeOptions, EnvelopeStore, ErrorKind, Expect, FileReader, FileSource, Kind,
    PageLimit, PutOptions, RecordStore, Result, SecretBytes, SecretName, SecretStore, Select,
    Suite, Version, VersionInfo,
};
use strongroom_kit::block_on;
use strongroom_kit::faults::{FaultyRecords, FaultyWrapper};
use strongroom_kit::random::Random;
use strongroom_local::kek::LocalKek;

/// A store, and its entries as whoever can write to the disk sees them.
struct Fixture {
    records: Arc<FaultyRecords>,
    wrapper: Arc<FaultyWrapper>,
    store: Arc<EnvelopeStore>,
    options: EnvelopeOptions,
}

impl Fixture {
    fn new() -> Self {
        Self::with(EnvelopeOptions::default())
    }

    fn of_suite(suite: Suite) -> Self {
        Self::with(EnvelopeOptions { suite, ..EnvelopeOptions::default() })
    }

    fn with(options: EnvelopeOptions) -> Self {
        let records = FaultyRecords::new(Arc::new(MemoryRecords::new()));
        let wrapper = FaultyWrapper::new(Arc::new(LocalKek::in_memory().expect("a KEK")));
        let made = EnvelopeStore::create(records.clone(), wrapper.clone(), "acme", options.clone());
        let store = Arc::new(block_on(made).expect("a store"));
        Self { records, wrapper, store, options }
    }

    /// As after a restart of the process.
    fn reopened(&self) -> EnvelopeStore {
        let (records, wrapper) = (self.records.clone(), self.wrapper.clone());
        let opened = EnvelopeStore::open(records, wrapper, "acme", self.options.clone());
        block_on(opened).expect("the store opens")
    }

    fn put(&self, name: &SecretName, file: &[u8]) -> Result<VersionInfo> {
        block_on(self.store.put_file(name, &mut &file[..], &as_file(Expect::Any)))
    }

    fn upload(&self, source: &mut dyn FileSource, expect: Expect) -> Result<VersionInfo> {
        block_on(self.store.put_file(&db(), source, &as_file(expect)))
    }

    fn get(&self, name: &SecretName) -> Result<Vec<u8>> {
        read(&*self.store, name, &Select::Latest)
    }

    fn entries(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let page = block_on(self.records.scan(prefix, None, PageLimit::entries(10_000)));
        let entries = page.expect("a scan").entries.into_iter();
        entries.map(|(key, stored)| (key, stored.value)).collect()
    }

    /// Whether nothing of any file is left, nor of any upload.
    fn assert_no_garbage(&self, what: &str) {
        for (prefix, is) in [(&[3][..], "segments"), (&[4], "markers")] {
            let left = self.entries(prefix).len();
            assert_eq!(left, 0, "{what}: {left} {is} are left");
        }
    }

    fn set(&self, key: &[u8], value: Option<Vec<u8>>) {
        let batch = match value {
            Some(value) => Batch::new().write(key.to_vec(), value),
            None => Batch::new().delete(key.to_vec()),
        };
        block_on(self.records.commit(batch)).expect("written");
    }
}

/// Everything that a reader gets, or the first error.
fn read(store: &dyn SecretStore, name: &SecretName, select: &Select) -> Result<Vec<u8>> {
    let mut file = block_on(store.get_file(name, select))?;
    let mut bytes = Vec::new();
    drain(&mut file, &mut bytes)?;
    assert_eq!(bytes.len() as u64, file.info().length);
    Ok(bytes)
}

/// Reads on; what was released before an error is in `bytes`.
fn drain(file: &mut FileReader, bytes: &mut Vec<u8>) -> Result<()> {
    while let Some(segment) = block_on(file.next())? {
        bytes.extend_from_slice(segment.expose());
    }
    Ok(())
}

fn as_file(expect: Expect) -> PutOptions {
    PutOptions { kind: Kind::File, expect, ..PutOptions::default() }
}

fn name(id: &str) -> SecretName {
    SecretName::new("acme".parse().expect("valid"), id).expect("valid")
}

fn db() -> SecretName {
    name("db")
}

/// So many segments, and some bytes.
fn file(seed: u64, segments: usize, bytes: usize) -> Vec<u8> {
    Random::new(seed).bytes(segments * SEGMENT_BYTES + bytes)
}

/// A source that does something before it gives a certain piece.
struct Interrupted<'a, F> {
    bytes: &'a [u8],
    pieces: usize,
    at: usize,
    then: F,
}

impl<'a, F> Interrupted<'a, F> {
    fn new(bytes: &'a [u8], at: usize, then: F) -> Self {
        Self { bytes, pieces: 0, at, then }
    }
}

#[async_trait]
impl<F: FnMut() -> Result<()> + Send> FileSource for Interrupted<'_, F> {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.pieces == self.at {
            (self.then)()?;
        }
        self.pieces += 1;
        self.bytes.fill(buffer).await
    }
}

/// A source of so many bytes, as it says, that nobody is to read.
struct Declared(u64);

#[async_trait]
impl FileSource for Declared {
    async fn fill(&mut self, _: &mut [u8]) -> Result<usize> {
        panic!("it is read");
    }

    fn length(&self) -> Option<u64> {
        Some(self.0)
    }
}

// === what is put comes back ===

#[test]
fn a_file_of_any_length_comes_back_in_both_suites() {
    for suite in Suite::ALL {
        let fixture = Fixture::of_suite(suite);
        let lengths = [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1];
        let longer = [2, 15, 16, 33].map(|segments| segments * SEGMENT_BYTES);
        for length in lengths.into_iter().chain(longer).chain([2_500_000]) {
            let file = Random::new(length as u64).bytes(length);
            fixture.put(&db(), &file).expect("a put");
            assert!(fixture.get(&db()).expect("a get") == file, "{length} bytes");
            // It is a value too, as long as it is no longer than those.
            let secret = block_on(fixture.store.get(&db(), &Select::Latest)).expect("a value");
            assert!(secret.value.expose() == file && secret.kind == Kind::File);
        }
        assert_eq!(fixture.entries(&[4]).len(), 0, "no upload is under way");
    }
}

#[test]
fn what_fits_one_segment_is_a_value_and_has_none() {
    let fixture = Fixture::new();
    fixture.put(&db(), &file(1, 1, 0)).expect("a put");
    assert_eq!(fixture.entries(&[3]).len(), 0);
    fixture.put(&db(), &file(1, 1, 1)).expect("a put");
    assert_eq!(fixture.entries(&[3]).len(), 2);
}

#[test]
fn where_values_are_short_a_short_file_has_a_segment() {
    let fixture = Fixture::with(EnvelopeOptions { max_value_bytes: 10, ..Default::default() });
    for length in [10, 11] {
        let file = Random::new(1).bytes(length);
        fixture.put(&db(), &file).expect("a put");
        assert!(fixture.get(&db()).expect("a get") == file);
    }
    assert_eq!(fixture.entries(&[3]).len(), 1);
    let error = block_on(fixture.store.get(&db(), &Select::Latest)).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.message().contains("as a file"), "{error}");
}

#[test]
fn any_segment_can_be_read_alone() {
    let fixture = Fixture::new();
    let file = file(1, 5, 100);
    fixture.put(&db(), &file).expect("a put");
    let reader = block_on(fixture.store.get_file(&db(), &Select::Latest)).expect("a file");
    assert_eq!((reader.info().segments(), reader.info().segment_bytes), (6, SEGMENT_BYTES));
    for number in [5, 0, 3, 3] {
        let segment = block_on(reader.read(number as u64)).expect("a segment");
        let rest = &file[number * SEGMENT_BYTES..];
        assert!(segment.expose() == &rest[..rest.len().min(SEGMENT_BYTES)], "segment {number}");
    }
    let beyond = block_on(reader.read(6)).expect_err("there is none");
    assert_eq!(beyond.kind(), ErrorKind::NotFound);
}

#[test]
fn every_version_of_a_file_stays_readable() {
    let fixture = Fixture::new();
    let files = [file(1, 3, 1), file(2, 0, 5), file(3, 2, 9)];
    for file in &files {
        fixture.put(&db(), file).expect("a put");
    }
    let value = SecretBytes::copy_from(b"a value").expect("memory");
    block_on(fixture.store.put(&db(), &value, &PutOptions::default())).expect("a put");
    for (number, file) in files.iter().enumerate() {
        let select = Select::Version(Version::new((number + 1).to_string()).expect("valid"));
        assert!(read(&*fixture.store, &db(), &select).expect("a get") == *file);
    }
    assert!(fixture.get(&db()).expect("a get") == b"a value");
}

/// Whether a piece is the last one shows by its length, or by nothing behind it.
#[test]
fn a_source_is_asked_as_often_as_it_has_pieces_and_not_after_its_end() {
    let fixture = Fixture::new();
    let whole = file(1, 4, 0);
    for (length, pieces) in [
        (0, 1),
        (10, 1),
        (SEGMENT_BYTES, 2),
        (SEGMENT_BYTES + 5, 2),
        (2 * SEGMENT_BYTES, 3),
        (3 * SEGMENT_BYTES + 1, 4),
    ] {
        let mut source = Interrupted::new(&whole[..length], usize::MAX, || Ok(()));
        fixture.upload(&mut source, Expect::Any).expect("a put");
        assert_eq!(source.pieces, pieces, "{length} bytes");
    }
}

#[test]
fn a_file_that_is_too_long_is_refused_before_or_while_it_is_read() {
    let options = EnvelopeOptions { max_file_bytes: 200_000, ..Default::default() };
    let fixture = Fixture::with(options);
    let bytes = file(1, 10, 0);
    let known = fixture.upload(&mut Declared(200_001), Expect::Any).expect_err("too long");
    let mut unknown = Interrupted::new(&bytes, usize::MAX, || Ok(()));
    let found_out = fixture.upload(&mut unknown, Expect::Any).expect_err("too long");
    for error in [known, found_out] {
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert_eq!(error.secret(), Some("account.db"));
    }
    assert!(unknown.pieces <= 4, "{} pieces were read", unknown.pieces);
    fixture.assert_no_garbage("a refused upload");
    fixture.put(&db(), &bytes[..200_000]).expect("as many as there may be");
}
