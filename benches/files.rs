//! A file of 64 MiB from memory to memory, in segments, beside the bare AEAD
//! over the same pieces, for both suites and both providers.

use std::hint::black_box;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::ChaCha20Poly1305;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strongroom_core::envelope::stream::{FileId, MAX_SEALED_BYTES, Opener, SEGMENT_BYTES, Sealer};
use strongroom_core::{Dek, SecretBytes, Suite};

const FILE_BYTES: usize = 64 << 20;
const SEGMENTS: usize = FILE_BYTES / SEGMENT_BYTES;
const FILE: FileId = FileId([7; 16]);

/// As a store does it: a segment is read into guarded memory, sealed there, and
/// copied out. Back again, what was opened is copied from guarded memory.
fn strongroom(c: &mut Criterion) {
    let dek = Dek::random().expect("a key");
    for suite in Suite::ALL {
        let plain = vec![0x5a; FILE_BYTES];
        let mut sealed = vec![0; SEGMENTS * MAX_SEALED_BYTES];
        let mut seal = || {
            let mut sealer = Sealer::new(&dek, suite, &FILE).expect("a key");
            let mut segment = SecretBytes::zeroed(SEGMENT_BYTES).expect("guarded memory");
            let places = sealed.chunks_exact_mut(MAX_SEALED_BYTES);
            for (at, (piece, place)) in plain.chunks_exact(SEGMENT_BYTES).zip(places).enumerate() {
                segment.expose_mut().copy_from_slice(piece);
                let tag = sealer.seal(segment.expose_mut(), at + 1 == SEGMENTS).expect("sealed");
                place[..SEGMENT_BYTES].copy_from_slice(segment.expose());
                place[SEGMENT_BYTES..].copy_from_slice(&tag);
            }
        };
        let mut group = c.benchmark_group(format!("file of 64 MiB/{}", suite.as_str()));
        group.throughput(Throughput::Bytes(FILE_BYTES as u64)).sample_size(20);
        group.bench_function("strongroom seal", |b| b.iter(&mut seal));
        let mut plain = vec![0; FILE_BYTES];
        group.bench_function("strongroom open", |b| {
            b.iter(|| {
                let opener = Opener::new(&dek, suite, &FILE).expect("a key");
                let pieces = sealed.chunks_exact(MAX_SEALED_BYTES);
                let places = plain.chunks_exact_mut(SEGMENT_BYTES);
                for (at, (piece, place)) in pieces.zip(places).enumerate() {
                    let opened = opener.open(at as u64, at + 1 == SEGMENTS, piece);
                    place.copy_from_slice(opened.expect("opened").expose());
                }
                black_box(&plain);
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
        let mut group = c.benchmark_group(format!("file of 64 MiB/bare {suite}"));
        group.throughput(Throughput::Bytes(FILE_BYTES as u64)).sample_size(20);
        let cipher = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("a key"));
        group.bench_function("aws-lc-rs", |b| {
            b.iter(|| {
                for piece in buffer.chunks_exact_mut(SEGMENT_BYTES) {
                    let nonce = Nonce::assume_unique_for_key(nonce);
                    let tag = cipher.seal_in_place_separate_tag(nonce, Aad::empty(), piece);
                    black_box(tag.expect("sealed"));
                }
            });
        });
        group.finish();
    }
    let mut group = c.benchmark_group("file of 64 MiB/bare aes-256-gcm");
    group.throughput(Throughput::Bytes(FILE_BYTES as u64)).sample_size(20);
    rust_crypto(&mut group, "aes-gcm", &Aes256Gcm::new(&key.into()), &mut buffer);
    group.finish();
    let mut group = c.benchmark_group("file of 64 MiB/bare chacha20-poly1305");
    group.throughput(Throughput::Bytes(FILE_BYTES as u64)).sample_size(20);
    rust_crypto(&mut group, "chacha20poly1305", &ChaCha20Poly1305::new(&key.into()), &mut buffer);
    group.finish();
}

fn rust_crypto<M: criterion::measurement::Measurement>(
    group: &mut criterion::BenchmarkGroup<'_, M>,
    name: &str,
    cipher: &impl AeadInOut,
    buffer: &mut [u8],
) {
    group.bench_function(name, |b| {
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
