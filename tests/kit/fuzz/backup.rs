//! Backups: altered ones, and those that only who has the KEK can make.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use strongroom_core::envelope::Record;
use strongroom_core::envelope::backup::{BackupInfo, WriteSink};
use strongroom_core::{
    EnvelopeStore, ErrorKind, FileSource, RecordStore, Result, SecretStore, Upkeep,
};

use super::hostile::{ACCOUNT, Bounded, Entries, Kek, create, name, open, put};
use super::input::Input;
use crate::block_on;

/// How often one input changes something.
const MOST_EDITS: usize = 8;
/// The longest body of a frame that is read, whatever its length says.
const MOST_ASKED: usize = 66 << 20;
const ENTRIES: u8 = 1;
const RETRACT: u8 = 2;
const END: u8 = 3;
/// Magic, id, time, flags, length of the identity.
const HEADER_BYTES: usize = 32;

struct Template {
    kek: Arc<Kek>,
    store_key: Vec<u8>,
    /// What is restored.
    entries: Entries,
    /// As the store writes it, in one frame.
    whole: Vec<u8>,
    /// The same, written here: header and frames, an entry each, and one secret
    /// that comes twice. Then with another id.
    frames: [Vec<Vec<u8>>; 2],
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let (kek, records) = (Kek::new(), Bounded::new(&Entries::new()));
    let store = create(records.clone(), kek.clone());
    for (id, len) in [("long", 40), ("long", 5), ("short", 9), ("gone", 30), ("past", 20)] {
        put(&store, &name(id), &vec![len; usize::from(len)]);
    }
    block_on(store.delete(&name("gone"))).expect("deleted");
    block_on(store.purge(&name("past"))).expect("purged");
    let mut sink = WriteSink(Vec::new());
    block_on(store.backup(&mut sink, &|_| {})).expect("a backup");
    let whole = sink.0;
    let identity = &whole[HEADER_BYTES..][..word(&whole[HEADER_BYTES - 4..])];
    let claims = usize::from(u16::from_le_bytes([identity[0], identity[1]]));
    let record = Record::parse(&identity[2 + claims + 32..]).expect("a record");
    let opened = block_on(record.open(&*kek, kek.first())).expect("the store's key");
    let store_key = opened.expose().to_vec();

    let header: Vec<u8> = whole[..HEADER_BYTES + identity.len()].to_vec();
    let body = &whole[header.len() + 5..][..word(&whole[header.len()..])];
    let mut bodies: Vec<_> = each(body).into_iter().map(|entry| (ENTRIES, entry)).collect();
    let head = [&[1, 1, 4, 0], ACCOUNT.as_bytes(), b"gone"].concat();
    bodies.insert(1, (RETRACT, head));
    bodies.insert(2, bodies[0].clone());
    bodies.push((END, whole[whole.len() - 48..whole.len() - 32].to_vec()));
    let frames = [header.clone(), another(header)].map(|header| {
        let mut chain = Chain::begin(&store_key, &header);
        let frames = bodies.iter().map(|(kind, body)| chain.frame(*kind, body));
        [header].into_iter().chain(frames).collect::<Vec<_>>()
    });
    Template { kek, store_key, entries: records.entries(), whole, frames }
});

fn word(bytes: &[u8]) -> usize {
    bytes[..4].iter().rev().fold(0, |word, byte| word << 8 | usize::from(*byte))
}

/// The entries of a frame.
fn each(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while !body.is_empty() {
        let key = 2 + usize::from(u16::from_le_bytes([body[0], body[1]]));
        let (entry, rest) = body.split_at(key + 4 + word(&body[key..]));
        entries.push(entry.to_vec());
        body = rest;
    }
    entries
}

/// A header with another id.
fn another(mut header: Vec<u8>) -> Vec<u8> {
    header[5] ^= 1;
    header
}

/// The tags, as FORMAT.md has them, by code of its own.
struct Chain {
    key: [u8; 32],
    last: [u8; 32],
}

impl Chain {
    fn begin(store_key: &[u8], header: &[u8]) -> Self {
        let key = hmac(store_key, &[b"strongroom backup v1", &header[3..19], &[1]]);
        Self { key, last: hmac(&key, &[header]) }
    }

    fn frame(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_le_bytes();
        self.last = hmac(&self.key, &[&self.last, &length, &[kind], body]);
        [&length[..], &[kind], body, &self.last].concat()
    }
}

/// RFC 2104, for keys no longer than a block; with a 1 behind it, HKDF-Expand.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |byte| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        Sha256::new().chain_update(block)
    };
    let inner = parts.iter().fold(pad(0x36), Digest::chain_update).finalize();
    pad(0x5c).chain_update(inner).finalize().into()
}

/// Bytes that are asked for in bounded pieces, and no more once they have ended.
struct Measured<'a> {
    bytes: &'a [u8],
    has_ended: bool,
}

#[async_trait]
impl FileSource for Measured<'_> {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        assert!(buffer.len() <= MOST_ASKED, "{} bytes at once", buffer.len());
        assert!(!self.has_ended, "it goes on after the end");
        let filled = self.bytes.fill(buffer).await?;
        self.has_ended = filled < buffer.len();
        Ok(filled)
    }
}

/// The input is a backup, or what somebody does to one. Only as it was written it
/// is accepted, and what is not never becomes a store; what who has the KEK writes
/// into one is read or refused, and nothing panics or goes on for ever.
///
/// # Panics
/// When that does not hold.
pub fn backup(input: &[u8]) {
    let template = &*TEMPLATE;
    let mut input = Input(input);
    let [frames, others] = &template.frames;
    let many = frames.concat();
    match input.byte() % 5 {
        0 => accepted(input.0, &[]),
        // What a header that is ours leads to.
        1 => accepted(&[&frames[0], input.0].concat(), &[]),
        2 => {
            let good = if input.byte() & 1 == 0 { &template.whole } else { &many };
            let mut bytes = good.clone();
            for _ in 0..MOST_EDITS {
                if input.is_empty() {
                    break;
                }
                edit(&mut bytes, &mut input);
            }
            accepted(&bytes, &[&template.whole, &many]);
        }
        // Frames left out, doubled, moved, and of another backup of the same store.
        3 => {
            let mut chosen = frames.clone();
            for _ in 0..MOST_EDITS {
                if input.is_empty() || chosen.is_empty() {
                    break;
                }
                let (what, at) = (input.byte(), input.below(chosen.len()));
                match what % 4 {
                    0 => drop(chosen.remove(at)),
                    1 => chosen.insert(at, frames[input.below(frames.len())].clone()),
                    2 => chosen[at].clone_from(&others[input.below(others.len())]),
                    _ => {
                        let other = input.below(chosen.len());
                        chosen.swap(at, other);
                    }
                }
            }
            accepted(&chosen.concat(), &[&many, &others.concat()]);
        }
        _ => authentic(&mut input),
    }
}

fn verify(bytes: &[u8]) -> Result<BackupInfo> {
    let mut source = Measured { bytes, has_ended: false };
    block_on(EnvelopeStore::verify_backup(&mut source, &*TEMPLATE.kek, ACCOUNT))
}

/// Restores into records of its own; without an error there is a store, and
/// otherwise none.
fn restore(bytes: &[u8]) -> (Result<BackupInfo>, Arc<Bounded>) {
    let mut source = Measured { bytes, has_ended: false };
    let records = Bounded::new(&Entries::new());
    let target: Arc<dyn RecordStore> = records.clone();
    let (kek, quiet) = (&*TEMPLATE.kek, |_: &_| ());
    let restore = EnvelopeStore::restore_backup(&target, &mut source, kek, ACCOUNT, &quiet);
    let restored = block_on(restore);
    if let Err(error) = &restored {
        assert!(error.kind() != ErrorKind::Internal, "{error}");
        let none = open(&records, &TEMPLATE.kek).expect_err("it is a store");
        assert_eq!(none.kind(), ErrorKind::Configuration, "{none}");
    }
    (restored, records)
}

/// `bytes` are accepted if they are one of `good`, and only then.
fn accepted(bytes: &[u8], good: &[&[u8]]) {
    let is_good = good.contains(&bytes);
    let verified = verify(bytes);
    if let Err(error) = &verified {
        assert!(error.kind() != ErrorKind::Internal, "{error}");
    }
    assert_eq!(verified.is_ok(), is_good, "verified");
    let (restored, records) = restore(bytes);
    assert_eq!(restored.is_ok(), is_good, "restored");
    if is_good {
        assert_eq!(restored.expect("restored"), verified.expect("verified"));
        assert!(records.entries() == TEMPLATE.entries, "another store was restored");
    }
}

/// Frames whose tags are right, whatever they hold.
fn authentic(input: &mut Input<'_>) {
    let template = &*TEMPLATE;
    let header = &template.frames[0][0];
    let mut chain = Chain::begin(&template.store_key, header);
    let mut bytes = header.clone();
    for _ in 0..MOST_EDITS {
        if input.is_empty() {
            break;
        }
        let kind = input.byte();
        let body = match kind >> 6 {
            0 => input.some(64).to_vec(),
            // Entries, or parts of them, one after the other.
            _ => (0..=kind >> 6).fold(Vec::new(), |mut body, _| {
                let at = input.below(template.entries.len());
                let (key, value) = template.entries.iter().nth(at).expect("an entry");
                let mut key = key.clone();
                if input.byte() & 1 == 1 {
                    key.truncate(input.below(key.len() + 1));
                    key.extend_from_slice(input.some(32));
                }
                body.extend_from_slice(&(key.len() as u16).to_le_bytes());
                body.extend_from_slice(&key);
                body.extend_from_slice(&(value.len() as u32).to_le_bytes());
                body.extend_from_slice(value);
                body.truncate(body.len() - usize::from(input.byte() % 8));
                body
            }),
        };
        bytes.extend_from_slice(&chain.frame(kind % 8, &body));
    }
    bytes.extend_from_slice(&chain.frame(END, &[0; 16]));
    let verified = verify(&bytes);
    let (restored, records) = restore(&bytes);
    if restored.is_ok() {
        assert!(verified.is_ok(), "restored, and does not verify");
        let store = open(&records, &template.kek).expect("it is a store");
        for error in [block_on(store.verify(&|_| {})).err(), block_on(store.sweep()).err()] {
            assert!(error.is_none_or(|error| error.kind() != ErrorKind::Internal));
        }
    }
}

/// One change of a file.
fn edit(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let (what, at) = (input.byte(), input.below(bytes.len()));
    let end = bytes.len().min(at + input.below(256));
    match what % 5 {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= input.byte();
            }
        }
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            let to = input.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        _ => {
            let piece = input.some(64).to_vec();
            bytes.splice(at..at, piece);
        }
    }
}
