//! The fork generation: a number that differs in a forked child.
//!
//! A page with `MADV_WIPEONFORK` holds it. In a child the kernel hands that page
//! out as zeroes, so that reading zero means "forked since the last look"
//! (madvise(2)). This sees every fork, also one made by a raw system call, which
//! `pthread_atfork` does not, and costs one load.

#![allow(unsafe_code, reason = "the generation lives in a page of its own")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The word in the wiped page; null until the first look, and for ever where the
/// kernel is older than 4.14 and has no `MADV_WIPEONFORK`.
static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The last generation given out, in this process or an ancestor.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The fallback: process id in the upper half, generation in the lower.
static BY_PID: AtomicU64 = AtomicU64::new(0);

/// A number that a forked child does not share with its ancestors. Never zero.
///
/// A generator of random numbers compares it to know when to seed itself anew.
#[inline]
pub fn fork_generation() -> u64 {
    let word = WORD.load(Ordering::Acquire);
    if !word.is_null() {
        // SAFETY: a word that was published is mapped for the life of the process.
        let generation = unsafe { &*word }.load(Ordering::Acquire);
        if generation != 0 {
            return generation;
        }
    }
    first_look()
}

/// The first look of this process: sets the generation.
#[cold]
fn first_look() -> u64 {
    let mut word = WORD.load(Ordering::Acquire);
    if word.is_null() {
        match map_word() {
            Some(new) => {
                match WORD.compare_exchange(
                    ptr::null_mut(),
                    new,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                ) {
                    Ok(_) => word = new,
                    // Another thread was first; this page stays, unused.
                    Err(theirs) => word = theirs,
                }
            }
            None => return by_pid(),
        }
    }
    let next = LAST.fetch_add(1, Ordering::AcqRel) + 1;
    // SAFETY: as above.
    match unsafe { &*word }.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => next,
        Err(theirs) => theirs,
    }
}

/// A page that the kernel wipes on fork, or `None` where it cannot.
fn map_word() -> Option<*mut AtomicU64> {
    let len = crate::mapping::page_size();
    // SAFETY: a new private mapping; nothing else refers to it.
    unsafe {
        let page = libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(page, len, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, len);
            return None;
        }
        Some(page.cast())
    }
}

/// The generation by process id: a system call for each look. A descendant that
/// is given the id of a dead ancestor would be missed; the page has no such gap.
fn by_pid() -> u64 {
    let pid = u64::from(std::process::id());
    let mut seen = BY_PID.load(Ordering::Acquire);
    loop {
        let generation = seen & 0xffff_ffff;
        if seen >> 32 == pid {
            return generation;
        }
        let next = generation + 1;
        match BY_PID.compare_exchange(seen, pid << 32 | next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return next,
            Err(theirs) => seen = theirs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_id_tells_as_well() {
        let parent = by_pid();
        assert_eq!(by_pid(), parent);
        // SAFETY: the child only computes and ends; the parent waits for it.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                let fresh = by_pid();
                libc::_exit(i32::from(fresh != parent && fresh != 0 && fresh == by_pid()));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            status
        };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 1);
        assert_eq!(by_pid(), parent);
    }
}
