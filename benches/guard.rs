//! What a secret in guarded memory costs, beside an ordinary allocation.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use strongroom_core::SecretBytes;

fn allocate(c: &mut Criterion) {
    for size in [32, 1024, 4096, 65536] {
        let mut group = c.benchmark_group(format!("allocate, wipe and free {size} B"));
        group.bench_function("guarded", |b| {
            b.iter(|| SecretBytes::zeroed(black_box(size)).expect("guarded memory"));
        });
        group.bench_function("Vec", |b| b.iter(|| vec![0u8; black_box(size)]));
        group.finish();
    }
}

criterion_group!(benches, allocate);
criterion_main!(benches);
