//! What a secret in guarded memory costs, beside an ordinary allocation; and what a
//! whole program pays that runs on the wiping allocator, beside the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use strongroom_core::SecretBytes;
use strongroom_core::guard::WipingAllocator;

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

fn wipe_what_is_freed(c: &mut Criterion) {
    for size in [32, 1024, 16 * 1024, 1024 * 1024] {
        let what = |does| format!("{does} {size} B");
        let mut group = c.benchmark_group(what("allocate, fill and free"));
        group.bench_function("wiping", |b| b.iter(|| fill(&WipingAllocator, size)));
        group.bench_function("system", |b| b.iter(|| fill(&System, size)));
        group.finish();
        // As a vector does that grows by one byte at a time: 8, 16, 32 bytes and so on.
        let mut group = c.benchmark_group(what("grow to"));
        group.bench_function("wiping", |b| b.iter(|| grow(&WipingAllocator, size)));
        group.bench_function("system", |b| b.iter(|| grow(&System, size)));
        group.finish();
        let mut group = c.benchmark_group(what("allocate, fill, shrink by a quarter and free"));
        group.bench_function("wiping", |b| b.iter(|| shrink(&WipingAllocator, size)));
        group.bench_function("system", |b| b.iter(|| shrink(&System, size)));
        group.finish();
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 1).expect("a layout")
}

fn fill(allocator: &impl GlobalAlloc, size: usize) {
    let size = black_box(size);
    // SAFETY: the block is written within its layout and freed with it.
    unsafe {
        let block = allocator.alloc(layout(size));
        assert!(!block.is_null());
        black_box(block).write_bytes(1, size);
        allocator.dealloc(black_box(block), layout(size));
    }
}

/// Fills what each step adds.
fn grow(allocator: &impl GlobalAlloc, end: usize) {
    let mut size = black_box(8);
    // SAFETY: as above; a block has the layout that it was reallocated to.
    unsafe {
        let mut block = allocator.alloc(layout(size));
        assert!(!block.is_null());
        block.write_bytes(1, size);
        while size < end {
            let new_size = size * 2;
            block = black_box(allocator.realloc(block, layout(size), new_size));
            assert!(!block.is_null());
            block.add(size).write_bytes(1, new_size - size);
            size = new_size;
        }
        allocator.dealloc(black_box(block), layout(size));
    }
}

fn shrink(allocator: &impl GlobalAlloc, size: usize) {
    let (size, new_size) = (black_box(size), black_box(size / 4 * 3));
    // SAFETY: as above.
    unsafe {
        let block = allocator.alloc(layout(size));
        assert!(!block.is_null());
        black_box(block).write_bytes(1, size);
        let block = allocator.realloc(block, layout(size), new_size);
        assert!(!block.is_null());
        allocator.dealloc(black_box(block), layout(new_size));
    }
}

criterion_group!(benches, allocate, wipe_what_is_freed);
criterion_main!(benches);
