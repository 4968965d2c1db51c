//! Guarded memory: where Strongroom keeps plaintexts and keys while they are used.
//!
//! ```
//! use strongroom_guard::SecretBytes;
//!
//! # fn main() -> Result<(), strongroom_guard::Error> {
//! let mut key = SecretBytes::zeroed(32)?;
//! key.expose_mut()[0] = 1; // written in place, never through a buffer elsewhere
//! assert_eq!(format!("{key:?}"), "[redacted]");
//! drop(key); // wiped here
//! # Ok(())
//! # }
//! ```
//!
//! # What stops what
//! | measure | stops |
//! |---|---|
//! | the pages are locked, once for a whole region (mlock(2)) | a secret in swap space |
//! | `memfd_secret(2)` where the kernel has it: the pages leave the kernel's direct map | reading them through a flaw in the kernel, or from outside through `/proc/PID/mem` and `ptrace`, by root too; hibernation to disk |
//! | never dumped (`MADV_DONTDUMP`, madvise(2)) | a secret in a core file |
//! | wiped in forked children (`MADV_WIPEONFORK`), or absent there (`MADV_DONTFORK`, for shared `memfd_secret` pages) | a copy in a child that runs other code |
//! | inaccessible pages around every region | an overrun into it or out of it: the process stops (from one value to its neighbour within a region, it does not) |
//! | what is free or in use is recorded elsewhere | a stray write that turns two values into one |
//! | wiped when dropped or truncated, in a way that the optimizer keeps | a secret in memory that nobody uses any more |
//! | no `Clone`, no `Display`, no serde, `Debug` prints `[redacted]` | a copy or a log line by accident |
//! | comparison in constant time | guessing a value byte by byte |
//! | [`WipingAllocator`], where a program installs it | what other libraries leave behind in the heap |
//! | [`harden_process`] (prctl(2), setrlimit(2)) | core dumps of everything else, debuggers of the same user |
//!
//! It does not stop code that runs inside the process, nor whoever can make the
//! process run code: root, who may trace it. It does not stop whoever reads the
//! machine's memory from below, such as a hypervisor. Registers and the stack hold
//! bytes while they are computed with; what a library copies into a buffer of its own
//! is in ordinary memory for as long as it uses it, and wiped afterwards where the
//! program runs on [`WipingAllocator`].
//!
//! # Memory and its limits
//! Values of up to 4 KiB are slots of a slab: regions of 16 KiB, then doubling up to
//! 1 MiB, cut into pages, each with slots of one size from 32 bytes to 4 KiB. To
//! allocate and drop one takes tens of nanoseconds and no system call. Larger values
//! have a mapping of their own; up to 1 MiB of those stay locked for the next ones.
//!
//! Locked memory counts against `RLIMIT_MEMLOCK`. Regions shrink where the limit is
//! near, so that all of it is used: within 64 KiB, the limit of some containers,
//! there is room for some 300 values of 32 to 256 bytes. Beyond it an allocation
//! fails with [`Error::LockLimit`], which says how to raise the limit; or it
//! continues in memory that is not locked, where
//! [`Config::accept_unguarded_memory`] says so.
//!
//! # Forks
//! A child has no secrets of its parent: reading one panics, since a wiped key must
//! never be used as a key of zeroes. Its own allocations work, in a pool of their
//! own, whatever the parent's threads were doing. [`fork_generation`] tells other
//! code, such as a random number generator, that it runs in a child.

#[cfg(not(target_os = "linux"))]
compile_error!("strongroom-guard builds on Linux's mlock, madvise and memfd_secret");

mod allocator;
mod block;
mod buffer;
mod bytes;
mod config;
mod error;
mod fork;
mod mapping;
mod pool;
mod process;
mod slab;
mod wipe;

pub use allocator::WipingAllocator;
pub use buffer::SecretBuffer;
pub use bytes::SecretBytes;
pub use config::{Config, SecretMemory, Stats, configure, stats};
pub use error::{Error, ReadError};
pub use fork::fork_generation;
pub use process::harden_process;
