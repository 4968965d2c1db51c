//! A store that somebody else writes to, and the manifest of a file that says
//! anything at all.

use std::sync::{Arc, LazyLock};

use strongroom_core::envelope::backup::WriteSink;
use strongroom_core::envelope::stream::{FileId, MAX_SEALED_BYTES, SEGMENT_BYTES, Sealer};
use strongroom_core::envelope::{Content, Header, seal};
use strongroom_core::{
    Dek, EncryptionContext, EnvelopeStore, Error, ErrorKind, KeyWrapper, Kind, PageRequest,
    PutOptions, SecretBytes, SecretName, SecretStore, Select, Suite, Timestamp, Upkeep, Version,
};

use super::hostile::{ACCOUNT, Bounded, Entries, Kek, create, name, open, put};
use super::input::Input;
use super::repair_checksum;
use crate::block_on;

/// How often one input changes something.
const MOST_EDITS: usize = 12;
/// Where a manifest says how long the file is.
const LENGTH: std::ops::Range<usize> = 49..57;

/// A secret, and its versions' values.
struct Known {
    name: SecretName,
    versions: Vec<Vec<u8>>,
    is_there: bool,
}

struct Template {
    kek: Arc<Kek>,
    entries: Entries,
    known: Vec<Known>,
    /// The payload of the record of the first version of the first of `known`.
    manifest: Vec<u8>,
}

/// A file of two segments, whose manifest is written here, and which has a newer
/// version; one of a short segment, with a value as its newer version; one that
/// was deleted, a name that was purged, and what a killed upload has left.
static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let (kek, records) = (Kek::new(), Bounded::new(&Entries::new()));
    let store = create(records.clone(), kek.clone());
    let bytes = |len: usize| (0..len).map(|at| (at % 251) as u8).collect::<Vec<_>>();
    let secret = |id: &str, versions: Vec<Vec<u8>>, is_there| {
        for version in &versions {
            // What is longer gets its record and its segments below.
            let is_long = version.len() > SEGMENT_BYTES;
            put(&store, &name(id), if is_long { b"" } else { version });
        }
        Known { name: name(id), versions, is_there }
    };
    let known = vec![
        secret("long", vec![bytes(SEGMENT_BYTES + 100), bytes(40)], true),
        secret("short", vec![bytes(60), bytes(9)], true),
        secret("gone", vec![bytes(30)], false),
        secret("past", vec![bytes(20)], false),
    ];
    block_on(store.delete(&name("gone"))).expect("deleted");
    block_on(store.purge(&name("past"))).expect("purged");
    let mut entries = records.entries();
    entries.extend(segments(&name("long"), [9; 16], &[vec![1; 40], vec![2; 40]]));
    entries.insert(key(b"\x04upload", &name("long"), &[9; 16]), vec![1; 9]);

    // As FORMAT.md has it.
    let (id, file_key) = ([7; 16], [8; 32]);
    let dek = Dek::from_secret(SecretBytes::copy_from(&file_key).expect("memory")).expect("a key");
    let mut sealer = Sealer::new(&dek, Suite::Aes256Gcm, &FileId(id)).expect("a key");
    let file = &known[0].versions[0];
    let sealed = file.chunks(SEGMENT_BYTES).enumerate().map(|(number, piece)| {
        let mut out = vec![0; piece.len() + MAX_SEALED_BYTES - SEGMENT_BYTES];
        sealer.seal(piece, number == 1, &mut out).expect("sealed");
        out
    });
    entries.extend(segments(&name("long"), id, &sealed.collect::<Vec<_>>()));
    let length = (file.len() as u64).to_le_bytes();
    let segment = (SEGMENT_BYTES as u32).to_le_bytes();
    let manifest = [&[1], &id[..], &file_key, &length, &segment].concat();
    entries.insert(record_key(&name("long"), 1), manifest_record(&*kek, &manifest));
    Template { kek, entries, known, manifest }
});

fn key(prefix: &[u8], name: &SecretName, rest: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    name.encode_into(&mut key);
    [&key[..], rest].concat()
}

fn head_key(name: &SecretName) -> Vec<u8> {
    let mut key = vec![1];
    name.scope().encode_into(&mut key);
    [&key[..], name.id().as_bytes()].concat()
}

fn record_key(name: &SecretName, number: u64) -> Vec<u8> {
    key(&[2], name, &number.to_be_bytes())
}

fn segments(name: &SecretName, id: [u8; 16], sealed: &[Vec<u8>]) -> Entries {
    let numbered = (0_u64..).zip(sealed);
    let entry = |(number, sealed): (u64, &Vec<u8>)| {
        (key(&[3], name, &[&id[..], &number.to_be_bytes()].concat()), sealed.clone())
    };
    numbered.map(entry).collect()
}

/// What only who has the KEK can make: a record whose manifest is `payload`.
fn manifest_record(kek: &dyn KeyWrapper, payload: &[u8]) -> Vec<u8> {
    let version = Version::new("1").expect("a version");
    let context = EncryptionContext::new(&name("long"), &version, Kind::File);
    let header = Header {
        content: Content::Manifest,
        suite: Suite::Aes256Gcm,
        kind: Kind::File,
        created: Timestamp(1),
    };
    block_on(seal(kek, &context, &header, payload)).expect("sealed").bytes
}

/// The input is a list of changes: of what somebody can do who writes to a record
/// store, and of the manifest as a later release might write it. Whatever stands
/// there, a version is what was put or an error, what nobody touched is read as
/// before, and nothing panics or goes on for ever.
///
/// # Panics
/// When that does not hold.
pub fn files(input: &[u8]) {
    let template = &*TEMPLATE;
    let (mut entries, mut input) = (template.entries.clone(), Input(input));
    let mut manifest = template.manifest.clone();
    for _ in 0..MOST_EDITS {
        if input.is_empty() {
            break;
        }
        edit(&mut entries, &mut manifest, &mut input);
    }
    let whole = &template.entries;
    let changed: Vec<&Vec<u8>> = whole
        .keys()
        .chain(entries.keys())
        .filter(|key| whole.get(*key) != entries.get(*key))
        .collect();

    let records = Bounded::new(&entries);
    let store = match open(&records, &template.kek) {
        Ok(store) => store,
        Err(error) => {
            assert!(changed.iter().any(|key| key.starts_with(&[0])), "it does not open: {error}");
            return told(&error);
        }
    };
    for known in &template.known {
        let is_touched = changed.iter().any(|key| is_about(&known.name, key));
        // Of who can seal one, an empty file needs no segments.
        let is_emptied = manifest[..] != template.manifest && manifest.get(LENGTH) == Some(&[0; 8]);
        read(&store, known, is_touched, is_emptied);
    }
    let report = block_on(store.verify(&|_| {}));
    match &report {
        // What the upload has left is swept, and all that was made is known.
        Ok(report) => assert!(!changed.is_empty() || report.is_good(), "{report:?}"),
        Err(error) => told(error),
    }
    change(&store, template);
}

/// What is told is why, and never that something of our own went wrong.
fn told(error: &Error) {
    assert!(error.kind() != ErrorKind::Internal, "{error}");
}

/// Whether an entry under `key` is one of this secret.
fn is_about(name: &SecretName, entry: &[u8]) -> bool {
    let prefixes: [&[u8]; 3] = [&[2], &[3], b"\x04upload"];
    entry == head_key(name)
        || prefixes.iter().any(|prefix| entry.starts_with(&key(prefix, name, &[])))
}

fn read(store: &EnvelopeStore, known: &Known, is_touched: bool, is_emptied: bool) {
    let numbered = (1..).zip(&known.versions);
    let one = |(number, value): (u64, _)| {
        (Select::Version(Version::new(number.to_string()).expect("a version")), value)
    };
    let latest = known.versions.last().expect("a version");
    for (select, value) in numbered.map(one).chain([(Select::Latest, latest)]) {
        let whole = block_on(store.get(&known.name, &select));
        let (released, streamed) = stream(store, &known.name, &select);
        assert!(value.starts_with(&released), "{}: {select:?} released something else", known.name);
        match &streamed {
            Ok(()) => {
                let is_empty = is_emptied && released.is_empty();
                assert!(is_empty || released == *value, "{}: {select:?} was cut", known.name);
                assert!(known.is_there, "{} is back", known.name);
            }
            Err(error) => {
                told(error);
                assert!(is_touched || !known.is_there, "{}: {select:?}: {error}", known.name);
            }
        }
        match whole {
            Ok(secret) => {
                let is_same = secret.value.expose() == released;
                assert!(streamed.is_ok() && is_same, "{}: {select:?} has two values", known.name);
            }
            Err(error) => {
                told(&error);
                assert!(streamed.is_err(), "{}: {select:?}: {error}", known.name);
            }
        }
    }
}

fn stream(
    store: &EnvelopeStore,
    name: &SecretName,
    select: &Select,
) -> (Vec<u8>, Result<(), Error>) {
    let mut released = Vec::new();
    let mut file = match block_on(store.get_file(name, select)) {
        Ok(file) => file,
        Err(error) => return (released, Err(error)),
    };
    for number in [file.info().segments(), file.info().segments() / 2, u64::MAX] {
        if let Err(error) = block_on(file.read(number)) {
            told(&error);
        }
    }
    loop {
        match block_on(file.next()) {
            Ok(Some(segment)) => released.extend_from_slice(segment.expose()),
            Ok(None) => return (released, Ok(())),
            Err(error) => return (released, Err(error)),
        }
    }
}

/// Everything else that a store does, among it what writes.
fn change(store: &EnvelopeStore, template: &Template) {
    let scope = ACCOUNT.parse().expect("a scope");
    let page = PageRequest::first(3);
    let answers = [
        block_on(store.list(&scope, true, &page)).map(drop),
        block_on(store.names(None, &page)).map(drop),
        block_on(store.backup(&mut WriteSink(std::io::sink()), &|_| {})).map(drop),
        block_on(store.key_report(&|_| {})).map(drop),
        block_on(store.sweep()),
    ];
    answers.into_iter().filter_map(Result::err).for_each(|error| told(&error));
    for known in &template.known {
        let versions = block_on(store.versions(&known.name, &page)).map(drop);
        let value = SecretBytes::copy_from(b"newer").expect("memory");
        let put = block_on(store.put(&known.name, &value, &PutOptions::default())).map(drop);
        if put.is_ok() {
            let read = block_on(store.get(&known.name, &Select::Latest)).expect("what was put");
            assert!(read.value.expose() == b"newer");
        }
        let purged = block_on(store.purge(&known.name));
        if purged.is_ok() {
            let read = block_on(store.get(&known.name, &Select::Latest));
            assert!(read.is_err(), "{} is still there", known.name);
        }
        [versions, put, purged].into_iter().filter_map(Result::err).for_each(|e| told(&e));
    }
}

/// One change.
fn edit(entries: &mut Entries, manifest: &mut Vec<u8>, input: &mut Input<'_>) {
    let template = &*TEMPLATE;
    let what = input.byte();
    let pick = |input: &mut Input<'_>| {
        let at = usize::from(input.byte()) % template.entries.len();
        template.entries.iter().nth(at).map(|(key, value)| (key.clone(), value.clone()))
    };
    let (key, value) = pick(input).expect("an entry");
    match what % 8 {
        0 => {
            if let Some(value) = entries.get_mut(&key).filter(|value| !value.is_empty()) {
                let at = input.below(value.len());
                value[at] ^= input.byte();
                repair(&key, value);
            }
        }
        1 => {
            if let Some(value) = entries.get_mut(&key) {
                value.truncate(input.below(value.len() + 1));
                value.extend_from_slice(input.some(8));
            }
        }
        2 => drop(entries.remove(&key)),
        3 => {
            let (other, _) = pick(input).expect("an entry");
            entries.insert(other, value);
        }
        // Under a key that is nearly one of ours.
        4 | 5 => {
            let mut other = key[..key.len() - input.below(key.len())].to_vec();
            other.extend_from_slice(input.some(32));
            let value = if what % 8 == 4 { value } else { input.some(64).to_vec() };
            entries.insert(other, value);
        }
        6 if key[0] == 1 => forge_head(key, value, entries, input),
        6 => {
            // Any number, and those by which an end is searched for.
            let number = input.number();
            let number = if what < 128 { number } else { u64::MAX >> (number % 65).min(63) };
            let at = key.len() - 8;
            entries.insert([&key[..at], &number.to_be_bytes()].concat(), value);
        }
        _ => {
            match input.byte() % 4 {
                0 => manifest.truncate(input.below(manifest.len() + 1)),
                1 => manifest.extend_from_slice(input.some(16)),
                _ => {
                    let at = input.below(manifest.len());
                    let bytes = input.some(17);
                    manifest[at..].iter_mut().zip(bytes).for_each(|(old, new)| *old = *new);
                }
            }
            let record = manifest_record(&*template.kek, manifest);
            entries.insert(record_key(&name("long"), 1), record);
        }
    }
}

/// Another state and other numbers, above the MAC that it had.
fn forge_head(key: Vec<u8>, mut head: Vec<u8>, entries: &mut Entries, input: &mut Input<'_>) {
    let which = input.byte();
    if which & 1 == 1 {
        head[7] = input.byte() % 8;
    }
    for field in 0..5 {
        if which >> 1 >> field & 1 == 1 {
            let at = 9 + 8 * field;
            head[at..at + 8].copy_from_slice(&input.number().to_le_bytes());
        }
    }
    repair(&key, &mut head);
    entries.insert(key, head);
}

/// The checksums of FORMAT.md; an attacker computes them as we do.
fn repair(key: &[u8], value: &mut [u8]) {
    match key.first() {
        Some(1) if value.len() > 7 => {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&value[..3]);
            crc.update(&value[7..]);
            value[3..7].copy_from_slice(&crc.finalize().to_le_bytes());
        }
        Some(2) => repair_checksum(value),
        _ => {}
    }
}
