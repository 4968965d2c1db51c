//! What masking costs for each byte of a log, with ten values and with a
//! thousand, beside aho-corasick with the same six forms of each, and beside one
//! memmem after another for ten values as they are.

use std::hint::black_box;

use aho_corasick::{AhoCorasick, MatchKind};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memchr::memmem::Finder;
use strongroom_core::mask::Masker;

/// As much as is read from a pipe at once.
const CHUNK_BYTES: usize = 64 << 10;
const TEXT_BYTES: usize = 4 << 20;

/// Numbers that look random and are the same every time (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn word(&mut self, len: usize) -> String {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..len).map(|_| char::from(digits[(self.next() % 62) as usize])).collect()
    }
}

/// Lines as a server logs them, without any value.
fn log() -> Vec<u8> {
    let mut numbers = Numbers(42);
    let mut text = String::with_capacity(TEXT_BYTES + 200);
    while text.len() < TEXT_BYTES {
        let (id, path) = (numbers.word(12), numbers.word(6));
        let (status, micros) = (200 + numbers.next() % 300, numbers.next() % 100_000);
        text += &format!(
            "2026-11-21T10:11:12.{micros:06}Z INFO http: request id={id} method=GET \
             path=/api/v1/items/{path} status={status} took={micros}us\n"
        );
    }
    text.truncate(TEXT_BYTES);
    text.into_bytes()
}

fn hex(value: &str, upper: bool) -> String {
    let digits = |byte: u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    value.bytes().map(digits).collect()
}

/// The digits of base64 that depend on the value alone, where `before` bytes stand
/// before it.
fn base64(value: &str, before: usize) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = "\0\0"[..before]
        .bytes()
        .chain(value.bytes())
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let all = bits.chunks_exact(6).map(|six| six.iter().fold(0, |n, bit| n << 1 | bit));
    all.skip((8 * before).div_ceil(6)).map(|n| char::from(digits[usize::from(n)])).collect()
}

fn forms(values: &[String]) -> Vec<String> {
    let of = |value: &String| {
        let encoded = (0..3).map(|before| base64(value, before));
        let hex = [hex(value, false), hex(value, true), value.clone()];
        encoded.chain(hex).collect::<Vec<_>>()
    };
    values.iter().flat_map(of).collect()
}

fn mask(c: &mut Criterion) {
    let text = log();
    let mut group = c.benchmark_group("mask 4 MiB of a log");
    group.throughput(Throughput::Bytes(text.len() as u64)).sample_size(20);
    for (count, len) in [(10, 32), (1000, 32), (10, 10), (1000, 10)] {
        let mut numbers = Numbers(7);
        let values: Vec<String> = (0..count).map(|_| numbers.word(len)).collect();
        let named = values.iter().map(|value| ("value", value.as_bytes()));
        let masker = Masker::new(named).expect("guarded memory");
        let what = format!("{count} values of {len} B");
        let mut out = Vec::with_capacity(2 * CHUNK_BYTES);
        group.bench_function(BenchmarkId::new("strongroom", &what), |b| {
            b.iter(|| {
                let mut stream = masker.stream().expect("guarded memory");
                for chunk in text.chunks(CHUNK_BYTES) {
                    out.clear();
                    stream.push(black_box(chunk), &mut out);
                    black_box(&out);
                }
                stream.finish(&mut out);
            });
        });
        // What finds the longest first is the only kind of it that replaces.
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest);
        let peer = builder.build(forms(&values)).expect("an automaton");
        let with = vec!["[masked]"; peer.patterns_len()];
        group.bench_function(BenchmarkId::new("aho-corasick", &what), |b| {
            b.iter(|| {
                for chunk in text.chunks(CHUNK_BYTES) {
                    black_box(peer.replace_all_bytes(black_box(chunk), &with));
                }
            });
        });
        if count == 10 {
            let finders: Vec<_> = values.iter().map(Finder::new).collect();
            group.bench_function(BenchmarkId::new("memmem, as they are", &what), |b| {
                b.iter(|| {
                    for chunk in text.chunks(CHUNK_BYTES) {
                        let found = finders.iter().filter(|finder| finder.find(chunk).is_some());
                        black_box(found.count());
                    }
                });
            });
        }
    }
    // A value in every line, which has to be replaced.
    let value = Numbers(9).word(32);
    let masker = Masker::new([("value", value.as_bytes())]).expect("guarded memory");
    let line = format!("INFO connecting with password={value} to the database of the orders\n");
    let text = line.repeat(TEXT_BYTES / line.len());
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(BenchmarkId::new("strongroom", "a value in every line"), |b| {
        b.iter(|| {
            for chunk in text.as_bytes().chunks(CHUNK_BYTES) {
                black_box(masker.mask(black_box(chunk)));
            }
        });
    });
    group.finish();

    let mut numbers = Numbers(7);
    let values: Vec<String> = (0..1000).map(|_| numbers.word(32)).collect();
    c.bench_function("make a masker of 1,000 values", |b| {
        b.iter(|| {
            let named = values.iter().map(|value| ("value", value.as_bytes()));
            Masker::new(named).expect("guarded memory")
        });
    });
}

criterion_group!(benches, mask);
criterion_main!(benches);
