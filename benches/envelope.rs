//! Seal and open, from and to the bytes of a record, beside the peers that do
//! the same and beside the bare AEAD that bounds both.

use std::hint::black_box;
use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_executor::block_on;
use strongroom_benches::context;
use strongroom_core::envelope::{Header, Record, seal};
use strongroom_core::{Kind, SecretBytes, Suite, Timestamp};
use strongroom_local::kek::LocalKek;

const SIZES: [(usize, &str); 3] = [(64, "64B"), (1024, "1KiB"), (65536, "64KiB")];

fn seal_and_open(c: &mut Criterion) {
    let kek = LocalKek::in_memory().expect("a KEK");
    for (size, label) in SIZES {
        let value = SecretBytes::copy_from(&vec![0x5a; size]).expect("guarded memory");
        let context = context();
        for suite in Suite::ALL {
            let header = Header::of_value(suite, Kind::Text, Timestamp(1));
            let seal_once = || block_on(seal(&kek, &context, &header, value.expose()));
            let record = seal_once().expect("sealed").bytes;
            let mut group = c.benchmark_group(format!("{label}/{}", suite.as_str()));
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function("strongroom seal", |b| {
                b.iter(|| black_box(seal_once().expect("sealed").bytes));
            });
            group.bench_function("strongroom open", |b| {
                b.iter(|| {
                    let record = Record::parse(black_box(&record)).expect("a record");
                    block_on(record.open(&kek, &context)).expect("opened")
                });
            });
            group.finish();
        }
    }
}

fn asherah(c: &mut Criterion) {
    let crypto = Arc::new(asherah::aead::AES256GCM::new());
    let metastore = Arc::new(asherah::metastore::InMemoryMetastore::new());
    let kms = asherah::kms::StaticKMS::new(crypto.clone(), vec![7; 32]).expect("a static KMS");
    let config = asherah::Config::new("service", "product");
    let factory = asherah::api::new_session_factory(config, metastore, Arc::new(kms), crypto);
    let session = factory.get_session("partition-1");
    for (size, label) in SIZES {
        let value = vec![0x5a; size];
        let sealed = session.encrypt(&value).expect("encrypted");
        let mut group = c.benchmark_group(format!("{label}/peers"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("asherah encrypt, struct", |b| {
            b.iter(|| black_box(session.encrypt(black_box(&value)).expect("encrypted")));
        });
        group.bench_function("asherah encrypt, JSON", |b| {
            b.iter(|| {
                let record = session.encrypt(black_box(&value)).expect("encrypted");
                black_box(record.to_json_fast())
            });
        });
        group.bench_function("asherah decrypt, struct", |b| {
            b.iter_batched(
                || sealed.clone(),
                |record| session.decrypt(record).expect("decrypted"),
                criterion::BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

fn bare_aead(c: &mut Criterion) {
    let (key, nonce) = ([9; 32], [3; 12]);
    for (size, label) in SIZES {
        let mut buffer = vec![0x5a; size];
        let mut group = c.benchmark_group(format!("{label}/bare AES-256-GCM, new key"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("aes-gcm", |b| {
            b.iter(|| {
                let cipher = Aes256Gcm::new(black_box(&key).into());
                cipher.encrypt_inout_detached(&nonce.into(), b"", buffer.as_mut_slice().into())
            });
        });
        group.bench_function("aws-lc-rs", |b| {
            b.iter(|| {
                let unbound = UnboundKey::new(&AES_256_GCM, black_box(&key)).expect("a key");
                let nonce = Nonce::assume_unique_for_key(nonce);
                LessSafeKey::new(unbound)
                    .seal_in_place_separate_tag(nonce, Aad::empty(), &mut buffer)
                    .expect("sealed")
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default();
    targets = seal_and_open, asherah, bare_aead
}
criterion_main!(benches);
