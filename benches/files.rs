//! A file of 64 MiB from memory to memory, in segments, beside the bare AEAD
//! over the same pieces, for both suites and both providers.

use std::hint::black_box;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::ChaCha20Poly1305;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use strongroom_core::envelope::stream::{FileId, MAX_SEALED_BYTES, Opener, SEGMENT_BYTES, Sealer};
use strongroom_core::{Dek, SecretBytes, Suite};

const SEGMENTS: usize = (64 << 20) / SEGMENT_BYTES;
const FILE_BYTES: usize = SEGMENTS * SEGMENT_BYTES;
/// What one commit of a store takes.
const BATCH: usize = 16;
const FILE: FileId = FileId([7; 16]);

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(format!("file of 64 MiB/{name}"));
    group.throughput(Throughput::Bytes(FILE_BYTES as u64)).sample_size(20);
    group
}

fn strongroom(c: &mut Criterion) {
    let dek = Dek::random().expect("a key");
    let mut file = vec![0x5a; FILE_BYTES];
    let mut sealed = vec![0; SEGMENTS * MAX_SEALED_BYTES];
    for suite in Suite::ALL {
        let mut group = group(c, suite.as_str());
        let sealer = || Sealer::new(&dek, suite, &FILE).expect("a key");
        let opener = || Opener::new(&dek, suite, &FILE).expect("a key");
        // From memory straight into the batch that a store commits.
        let mut batch = vec![0; BATCH * MAX_SEALED_BYTES];
        group.bench_function("strongroom seal into a batch", |b| {
            b.iter(|| {
                let mut sealer = sealer();
                for (at, piece) in file.chunks_exact(SEGMENT_BYTES).enumerate() {
                    let place = &mut batch[at % BATCH * MAX_SEALED_BYTES..][..MAX_SEALED_BYTES];
                    sealer.seal(piece, at + 1 == SEGMENTS, place).expect("sealed");
                }
            });
        });
        // As a store does it, whose source copies each segment into guarded memory,
        // as read(2) does.
        let mut segment = SecretBytes::zeroed(SEGMENT_BYTES).expect("guarded memory");
        group.bench_function("strongroom seal", |b| {
            b.iter(|| {
                let mut sealer = sealer();
                for (at, piece) in file.chunks_exact(SEGMENT_BYTES).enumerate() {
                    segment.expose_mut().copy_from_slice(piece);
                    let mut place = vec![0; MAX_SEALED_BYTES];
                    sealer.seal(segment.expose(), at + 1 == SEGMENTS, &mut place).expect("sealed");
                    black_box(place);
                }
            });
        });
        let mut once = sealer();
        let places = sealed.chunks_exact_mut(MAX_SEALED_BYTES);
        for (at, (piece, place)) in file.chunks_exact(SEGMENT_BYTES).zip(places).enumerate() {
            once.seal(piece, at + 1 == SEGMENTS, place).expect("sealed");
        }
        // From memory straight into memory, as a value is put together.
        group.bench_function("strongroom open into a buffer", |b| {
            b.iter(|| {
                let opener = opener();
                let places = file.chunks_exact_mut(SEGMENT_BYTES);
                for (at, (piece, place)) in
                    sealed.chunks_exact(MAX_SEALED_BYTES).zip(places).enumerate()
                {
                    opener.open_into(at as u64, at + 1 == SEGMENTS, piece, place).expect("opened");
                }
            });
        });
        // As a reader gets them: each in guarded memory of its own, wiped after.
        group.bench_function("strongroom open", |b| {
            b.iter(|| {
                let opener = opener();
                for (at, piece) in sealed.chunks_exact(MAX_SEALED_BYTES).enumerate() {
                    black_box(opener.open(at as u64, at + 1 == SEGMENTS, piece).expect("opened"));
                }
            });
        });
        group.finish();
    }
}

/// One key for the file, expanded once, and each piece encrypted where it lies.
fn bare(c: &mut Criterion) {
    let (key, nonce) = ([9; 32], [3; 12]);
    let mut buffer = vec![0x5a; FILE_BYTES];
    for (suite, algorithm) in
        [("aes-256-gcm", &AES_256_GCM), ("chacha20-poly1305", &CHACHA20_POLY1305)]
    {
        let cipher = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("a key"));
        let mut group = group(c, &format!("bare {suite}"));
        group.bench_function("aws-lc-rs", |b| {
            b.iter(|| {
                for piece in buffer.chunks_exact_mut(SEGMENT_BYTES) {
                    let nonce = Nonce::assume_unique_for_key(nonce);
                    let tag = cipher.seal_in_place_separate_tag(nonce, Aad::empty(), piece);
                    black_box(tag.expect("sealed").as_ref()[0]);
                }
            });
        });
        match suite {
            "aes-256-gcm" => rust_crypto(&mut group, &Aes256Gcm::new(&key.into()), &mut buffer),
            _ => rust_crypto(&mut group, &ChaCha20Poly1305::new(&key.into()), &mut buffer),
        }
        group.finish();
    }
}

fn rust_crypto(
    group: &mut BenchmarkGroup<'_, WallTime>,
    cipher: &impl AeadInOut,
    buffer: &mut [u8],
) {
    group.bench_function("RustCrypto", |b| {
        b.iter(|| {
            for piece in buffer.chunks_exact_mut(SEGMENT_BYTES) {
                let tag = cipher.encrypt_inout_detached(&Default::default(), b"", piece.into());
                black_box(tag.is_ok());
            }
        });
    });
}

criterion_group!(benches, strongroom, bare);
criterion_main!(benches);
