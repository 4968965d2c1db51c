//! An allocator that wipes what is freed, for a whole program.
//!
//! Guarded memory keeps what this library holds. What other libraries copy into
//! buffers of their own (a gRPC message, a TLS record, an SDK's response) lies in
//! ordinary memory, and `free` leaves it there until something else is written over it.

#![allow(unsafe_code, reason = "implements an unsafe trait over the system's allocator")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Freed memory keeps what was in it: the tests then demand to find it.
const KEEP: bool = cfg!(feature = "danger_keep_freed_secrets");

/// The system's allocator, with every block zeroed before it is given back.
///
/// A program installs it, once, for all of its Rust code:
/// ```
/// use strongroom_guard::WipingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: WipingAllocator = WipingAllocator;
/// # fn main() { drop(vec![1u8; 100]); }
/// ```
/// The `strongroom` binary does. A library cannot: whoever builds a program that holds
/// secrets decides. Do it where secrets pass through libraries that know nothing of
/// them: a client of the sidecar, for one, since gRPC decodes every answer into a
/// buffer of its own before the value reaches guarded memory.
///
/// # What it stops
/// A copy left behind in the heap by anything that was allocated in Rust: dropped
/// buffers, strings, collections, boxed futures, and the old block of a vector that
/// grew or shrank, which is never reused in place and never freed unwiped. Whoever
/// reads the process's memory later (a core file, swap, a debugger, a bug that reads
/// freed memory) finds zeroes.
///
/// # What it does not stop
/// - Memory that is in use, and memory that is leaked or still cached: a connection's
///   read buffer is wiped with the connection, not with the message.
/// - A vector's bytes beyond its length: `clear`, `truncate` and `pop` free nothing.
/// - What C code allocates: `malloc` in AWS-LC or a database's library does not pass
///   through here (AWS-LC wipes its own).
/// - Stacks and registers, also a thread's stack after the thread has ended, and the
///   inline value of what is moved: a move copies, and the source stays as it was.
/// - What is mapped and not allocated: files, shared memory, the kernel's buffers of
///   sockets and pipes.
/// - Swap and core dumps of what is in use. That takes [`SecretBytes`] and
///   [`harden_process`].
///
/// [`SecretBytes`]: crate::SecretBytes
/// [`harden_process`]: crate::harden_process
///
/// # What it costs
/// One pass of zeroes over what is freed: some nanoseconds for a small block, the
/// bandwidth of `memset` for a large one (1 MiB: 34 µs). A block that was allocated and
/// never written is touched, too, so that its pages become resident for an instant. A
/// vector that grows is copied where the system could have extended it in place: one
/// of 1 MiB that began with 8 bytes takes 5 times as long, and more where the system
/// gives the old blocks' pages back in between. Reserve what is known to be needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct WipingAllocator;

// SAFETY: every block comes from `System` and goes back to it with the layout that it
// was allocated with. Nothing here allocates, unwinds or panics.
unsafe impl GlobalAlloc for WipingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is System's.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is System's.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !KEEP {
            // SAFETY: until it is freed below, the block is `layout.size()` bytes that
            // the caller gave up, and that are initialized once they are written.
            let bytes = unsafe {
                block.write_bytes(0, layout.size());
                std::slice::from_raw_parts(block, layout.size())
            };
            // The compiler knows what `free` does and drops stores that nothing reads
            // before it.
            zeroize::optimization_barrier(bytes);
        }
        // SAFETY: the caller's contract is System's.
        unsafe { System.dealloc(block, layout) }
    }

    /// Never in place: `System.realloc` may move a block and free the old one as it is,
    /// to grow it, to keep an alignment, and, with another `malloc` than glibc's (which
    /// may be preloaded), to shrink it too. To move a block that shrinks is as fast up
    /// to some KiB; at 1 MiB it costs 55 µs more than a wiped tail would.
    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if KEEP {
            // SAFETY: the caller's contract is System's.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller makes sure that the new size, rounded up to the alignment,
        // is within `isize`, and that it is not zero.
        let new =
            unsafe { System.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks have that many bytes, and no byte in common. Whoever
            // calls gives the old block up unless it gets null.
            unsafe {
                block.copy_to_nonoverlapping(new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn a_block_keeps_its_bytes_and_its_alignment_when_it_changes_its_size() {
        for align in [1, 8, 16, 64, 4096] {
            for (size, new_size) in [(1, 2), (24, 25), (100, 7), (5000, 5001), (70_000, 300_000)] {
                // SAFETY: the layouts are those of the blocks, and within them is
                // written and read.
                unsafe {
                    let block = WipingAllocator.alloc(layout(size, align));
                    assert!(!block.is_null());
                    block.write_bytes(0xa5, size);
                    let block = WipingAllocator.realloc(block, layout(size, align), new_size);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align));
                    let kept = std::slice::from_raw_parts(block, size.min(new_size));
                    assert!(kept.iter().all(|byte| *byte == 0xa5), "{size} to {new_size}");
                    block.write_bytes(1, new_size);
                    WipingAllocator.dealloc(block, layout(new_size, align));
                }
            }
        }
    }

    #[test]
    fn a_block_that_cannot_grow_stays_as_it_is() {
        // SAFETY: as above; a block that was not reallocated keeps its layout.
        unsafe {
            let block = WipingAllocator.alloc(layout(100, 8));
            assert!(!block.is_null());
            block.write_bytes(0xa5, 100);
            let too_large = isize::MAX as usize - 4096;
            // The optimizer takes an allocation that nobody uses for one that succeeds.
            let new = black_box(WipingAllocator.realloc(block, layout(100, 8), too_large));
            assert!(new.is_null());
            let kept = std::slice::from_raw_parts(block, 100);
            assert!(kept.iter().all(|byte| *byte == 0xa5));
            WipingAllocator.dealloc(block, layout(100, 8));
        }
    }

    #[test]
    fn zeroed_memory_is_zero() {
        for size in [1, 100, 5000, 300_000] {
            // SAFETY: as above; all of the bytes are initialized.
            unsafe {
                let block = WipingAllocator.alloc_zeroed(layout(size, 8));
                assert!(!block.is_null());
                assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == 0));
                WipingAllocator.dealloc(block, layout(size, 8));
            }
        }
    }
}
