//! A piece of guarded memory and whose it is.

#![allow(unsafe_code, reason = "turns the slab's pointers into slices")]

use std::ptr::NonNull;

use crate::Error;
use crate::fork::fork_generation;
use crate::mapping::Mapping;
use crate::pool;
use crate::slab::PageId;
use crate::wipe::wipe;

/// Owned guarded memory, zero when handed out and wiped when given back.
pub(crate) struct Block {
    start: NonNull<u8>,
    capacity: usize,
    home: Home,
    /// The process that it belongs to.
    generation: u64,
}

/// Where a block came from.
pub(crate) enum Home {
    /// Nowhere: it has no bytes.
    Nothing,
    /// A slot of this page.
    Slot(PageId),
    /// A mapping of its own. `None` once it was given back.
    Own(Option<Mapping>),
}

// SAFETY: a block is the only owner of its bytes, and memory of the process is
// the same for every thread.
unsafe impl Send for Block {}
// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for Block {}

impl Block {
    /// At least `len` zero bytes.
    pub(crate) fn zeroed(len: usize) -> Result<Self, Error> {
        if len == 0 {
            return Ok(Self {
                start: NonNull::dangling(),
                capacity: 0,
                home: Home::Nothing,
                generation: 0,
            });
        }
        let grant = pool::allocate(len)?;
        let mut block = Self {
            start: grant.start,
            capacity: grant.capacity,
            home: grant.home,
            generation: grant.generation,
        };
        if cfg!(feature = "danger_keep_freed_secrets") {
            block.bytes_mut().fill(0);
        }
        Ok(block)
    }

    /// All bytes of the block.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.assert_ours();
        // SAFETY: `start` and `capacity` describe memory that this block owns, that
        // was zero when handed out, and that this process has (asserted above).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.capacity) }
    }

    /// All bytes of the block, to write to.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.assert_ours();
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.capacity) }
    }

    /// The number of bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    fn is_ours(&self) -> bool {
        self.capacity == 0 || self.generation == fork_generation()
    }

    #[inline]
    fn assert_ours(&self) {
        assert!(
            self.is_ours(),
            "a secret of the parent process was used in a forked child, where it does not exist"
        );
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !self.is_ours() {
            // A child: the bytes are not here, and the pool is the parent's. The
            // addresses may belong to something else by now, so unmap nothing.
            if let Home::Own(mapping) = &mut self.home {
                std::mem::forget(mapping.take());
            }
            return;
        }
        if !cfg!(feature = "danger_keep_freed_secrets") {
            wipe(self.bytes_mut());
        }
        match &mut self.home {
            Home::Nothing => {}
            Home::Slot(page) => pool::give_back(*page, self.start),
            Home::Own(mapping) => {
                if let Some(mapping) = mapping.take() {
                    pool::give_back_large(mapping);
                }
            }
        }
    }
}
