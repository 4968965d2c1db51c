//! Memory from the kernel: guard page, data, guard page.

#![allow(unsafe_code, reason = "this module talks to the kernel")]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{Error, SecretMemory};

/// `memfd_secret`; the same number on every architecture that has it.
const SYS_MEMFD_SECRET: libc::c_long = 447;

/// Set once the kernel has said that it has no `memfd_secret` for us.
static NO_SECRET_MEMORY: AtomicBool = AtomicBool::new(false);

/// The data pages, between two guard pages that fault on every access.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The first guard page.
    base: NonNull<u8>,
    /// The data's length, a multiple of the page size.
    len: usize,
    /// Whether the data is locked.
    pub(crate) locked: bool,
    /// Whether the data is `memfd_secret` memory.
    pub(crate) secret: bool,
}

// SAFETY: a mapping belongs to the process, not to a thread; it is only moved,
// and unmapped once. What is stored in it is guarded by whoever hands it out.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method writes through a shared reference.
unsafe impl Sync for Mapping {}

/// Why a mapping could not be made.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The kernel locks no more memory for this process.
    LockLimit,
    /// Another failure.
    Other(Error),
}

impl Mapping {
    /// Locked pages, all zero; `len` is a multiple of the page size.
    pub(crate) fn locked(len: usize, secret_memory: SecretMemory) -> Result<Self, Refusal> {
        if secret_memory == SecretMemory::Auto && !NO_SECRET_MEMORY.load(Ordering::Relaxed) {
            match Self::secret(len) {
                Err(Refusal::Other(error)) => {
                    if !is_passing(&error) {
                        NO_SECRET_MEMORY.store(true, Ordering::Relaxed);
                    }
                }
                decided => return decided,
            }
        }
        let mut mapping = Self::unlocked(len).map_err(Refusal::Other)?;
        // SAFETY: the data pages belong to this mapping.
        if unsafe { libc::mlock(mapping.at(0).as_ptr().cast(), len) } != 0 {
            // mlock(2): ENOMEM over the limit, EPERM with a limit of zero, EAGAIN
            // when some pages could not be locked.
            return Err(match io::Error::last_os_error().raw_os_error() {
                Some(libc::ENOMEM | libc::EPERM | libc::EAGAIN) => Refusal::LockLimit,
                _ => Refusal::Other(Error::last_os("mlock")),
            });
        }
        mapping.locked = true;
        Ok(mapping)
    }

    /// Pages that may be swapped out, but are otherwise treated as locked ones are.
    pub(crate) fn unlocked(len: usize) -> Result<Self, Error> {
        let mapping = Self::reserve(len)?;
        let data = mapping.at(0).as_ptr().cast();
        // SAFETY: the range is the inside of a reservation that is ours alone.
        unsafe {
            if libc::mprotect(data, len, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                return Err(Error::last_os("mprotect"));
            }
            if libc::madvise(data, len, libc::MADV_DONTDUMP) != 0 {
                return Err(Error::last_os("madvise(MADV_DONTDUMP)"));
            }
            // Kernels before 4.14 cannot wipe; there the child gets no pages at all.
            if libc::madvise(data, len, libc::MADV_WIPEONFORK) != 0
                && libc::madvise(data, len, libc::MADV_DONTFORK) != 0
            {
                return Err(Error::last_os("madvise(MADV_DONTFORK)"));
            }
        }
        Ok(mapping)
    }

    /// The data byte at `offset`, which is at most the data's length.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.len);
        // SAFETY: inside the reservation, whose first page is a guard.
        unsafe { self.base.add(page_size() + offset) }
    }

    /// The data's length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Pages that the kernel removes from its own direct map.
    fn secret(len: usize) -> Result<Self, Refusal> {
        // Beyond RLIMIT_FSIZE, ftruncate would end the process with SIGXFSZ.
        // SAFETY: the kernel fills the struct.
        let longest = soft_limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit) });
        if longest.is_some_and(|longest| longest < len as u64) {
            let source = io::Error::from_raw_os_error(libc::EFBIG);
            return Err(Refusal::Other(Error::Os { operation: "ftruncate", source }));
        }
        let mut mapping = Self::reserve(len).map_err(Refusal::Other)?;
        let data = mapping.at(0);
        // SAFETY: the file descriptor is ours and is closed here; MAP_FIXED
        // replaces the inside of a reservation that is ours alone.
        unsafe {
            let fd = libc::syscall(SYS_MEMFD_SECRET, libc::O_CLOEXEC);
            let Ok(fd) = libc::c_int::try_from(fd) else { return Err(failed("memfd_secret")) };
            if fd < 0 {
                return Err(failed("memfd_secret"));
            }
            let mapped = match libc::off_t::try_from(len) {
                Ok(size) if libc::ftruncate(fd, size) == 0 => libc::mmap(
                    data.as_ptr().cast(),
                    len,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_FIXED,
                    fd,
                    0,
                ),
                _ => libc::MAP_FAILED,
            };
            let error = io::Error::last_os_error();
            libc::close(fd);
            if mapped == libc::MAP_FAILED {
                // The kernel checks RLIMIT_MEMLOCK here and answers EAGAIN.
                return Err(if error.raw_os_error() == Some(libc::EAGAIN) {
                    Refusal::LockLimit
                } else {
                    Refusal::Other(Error::Os { operation: "mmap(memfd_secret)", source: error })
                });
            }
            // Shared memory cannot be wiped in a child, so the child gets none of
            // it. Its pages are never dumped, whatever is asked (memfd_secret(2)).
            if libc::madvise(data.as_ptr().cast(), len, libc::MADV_DONTFORK) != 0 {
                return Err(failed("madvise(MADV_DONTFORK)"));
            }
            // Take the page faults now: without memory this fails here and not
            // in the middle of a secret.
            for offset in (0..len).step_by(page_size()) {
                data.add(offset).write_volatile(0);
            }
        }
        mapping.locked = true;
        mapping.secret = true;
        Ok(mapping)
    }

    /// An inaccessible range with room for the data and its two guard pages.
    fn reserve(len: usize) -> Result<Self, Error> {
        let Some(total) = len.checked_add(2 * page_size()) else {
            return Err(Error::Os {
                operation: "mmap",
                source: io::Error::from_raw_os_error(libc::ENOMEM),
            });
        };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                total,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => {
                Ok(Self { base, len, locked: false, secret: false })
            }
            _ => Err(Error::last_os("mmap")),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `reserve` mapped, once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len + 2 * page_size()) };
    }
}

/// The kernel's page size in bytes.
pub(crate) fn page_size() -> usize {
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    let size = SIZE.load(Ordering::Relaxed);
    if size != 0 {
        return size;
    }
    // SAFETY: sysconf has no preconditions.
    let size = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    SIZE.store(size, Ordering::Relaxed);
    size
}

/// The soft limit `RLIMIT_MEMLOCK` in bytes; `None` where there is none.
pub(crate) fn lock_limit() -> Option<u64> {
    // SAFETY: the kernel fills the struct.
    soft_limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, limit) })
}

/// The soft limit that `get` asks for. (The resource's type differs between C libraries.)
fn soft_limit(get: impl FnOnce(*mut libc::rlimit) -> libc::c_int) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let answer = get(&raw mut limit);
    (answer == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Whether another attempt may fare better: no descriptor or no memory just now, or
/// too long.
fn is_passing(error: &Error) -> bool {
    let Error::Os { source, .. } = error else { return false };
    matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EFBIG))
}

fn failed(operation: &'static str) -> Refusal {
    Refusal::Other(Error::last_os(operation))
}
