//! The limits of guarded memory, and what it holds at the moment.

use crate::Error;
use crate::pool;

/// Limits of guarded memory, for the whole process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The most bytes that are locked, in slabs and in mappings of large values.
    /// The default is 64 MiB; `RLIMIT_MEMLOCK` is usually lower and ends it first.
    pub max_locked_bytes: usize,
    /// Whether to continue in memory that is not locked, and may so be written to
    /// swap, once a limit is reached. It still has guard pages, stays out of core
    /// dumps and forks, and is wiped; [`Stats::unguarded_bytes`] counts it.
    pub accept_unguarded_memory: bool,
    /// Whether to use `memfd_secret`.
    pub secret_memory: SecretMemory,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_locked_bytes: 64 << 20,
            accept_unguarded_memory: false,
            secret_memory: SecretMemory::Auto,
        }
    }
}

/// Whether secrets live in `memfd_secret(2)` memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretMemory {
    /// Where the kernel has it, otherwise in locked anonymous memory.
    Auto,
    /// Never: locked anonymous memory only.
    Never,
}

/// What guarded memory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that are locked, in use or not.
    pub locked_bytes: usize,
    /// Bytes of the slots and mappings that live values occupy.
    pub in_use_bytes: usize,
    /// Bytes that could not be locked, in use or not. Zero unless
    /// [`Config::accept_unguarded_memory`] is set.
    pub unguarded_bytes: usize,
    /// Slab regions.
    pub slabs: usize,
    /// Large values with a mapping of their own.
    pub mappings: usize,
    /// Whether the newest memory came from `memfd_secret`.
    pub memfd_secret: bool,
    /// The soft limit `RLIMIT_MEMLOCK` in bytes; `None` where it is unlimited.
    pub lock_limit: Option<u64>,
    /// [`Config::max_locked_bytes`].
    pub max_locked_bytes: usize,
}

/// Sets the limits of guarded memory, before the first secret exists.
///
/// A forked child inherits them, and may set others before its own first secret.
///
/// # Errors
/// [`Error::AlreadyInUse`] when guarded memory works under a different configuration
/// by now: an earlier call's, or the default with the first secret. The same
/// configuration again is accepted.
pub fn configure(config: Config) -> Result<(), Error> {
    pool::configure(config)
}

/// What guarded memory holds at this moment.
pub fn stats() -> Stats {
    pool::stats()
}
