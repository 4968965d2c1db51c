//! What guarded memory can refuse, and what to do about it.

use std::fmt;
use std::io;

/// Why guarded memory was not given.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused to lock more memory: `RLIMIT_MEMLOCK` is reached.
    LockLimit {
        /// Bytes that were to be locked, a multiple of the page size.
        requested: usize,
        /// Bytes that this crate holds locked already.
        locked: usize,
        /// The soft limit, in bytes; `None` where it is unlimited or unknown.
        limit: Option<u64>,
    },
    /// [`Config::max_locked_bytes`](crate::Config::max_locked_bytes) is reached.
    Limit {
        /// Bytes that were to be locked, a multiple of the page size.
        requested: usize,
        /// Bytes that this crate holds locked already.
        locked: usize,
        /// The configured maximum, in bytes.
        max: usize,
    },
    /// Guarded memory is in use already, under another configuration.
    AlreadyInUse,
    /// A system call failed for another reason.
    Os {
        /// The system call.
        operation: &'static str,
        /// What it answered.
        source: io::Error,
    },
}

impl Error {
    /// The error of the system call that has just failed.
    pub(crate) fn last_os(operation: &'static str) -> Self {
        Self::Os { operation, source: io::Error::last_os_error() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LockLimit { requested, locked, limit } => {
                write!(f, "cannot lock {requested} more bytes of memory ({locked} are locked, ")?;
                match limit {
                    Some(limit) => write!(f, "RLIMIT_MEMLOCK is {limit}")?,
                    None => write!(f, "RLIMIT_MEMLOCK is not the limit")?,
                }
                f.write_str(
                    "): raise the limit (`ulimit -l`, `LimitMEMLOCK=` of a systemd unit, \
                     `--ulimit memlock=` of a container), or set accept_unguarded_memory",
                )
            }
            Self::Limit { requested, locked, max } => write!(
                f,
                "cannot lock {requested} more bytes of memory ({locked} are locked): \
                 max_locked_bytes is {max}; raise it, or set accept_unguarded_memory"
            ),
            Self::AlreadyInUse => f.write_str(
                "guarded memory is in use already: configure it before the first secret exists",
            ),
            Self::Os { operation, source } => write!(f, "{operation} failed: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a reader's bytes did not reach guarded memory.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The reader failed.
    Io(io::Error),
    /// Guarded memory was not given.
    Guard(Error),
    /// The reader holds more bytes than are allowed.
    TooLarge {
        /// The most bytes that were allowed.
        max: usize,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(source) => write!(f, "read failed: {source}"),
            Self::Guard(source) => source.fmt(f),
            Self::TooLarge { max } => write!(f, "more than {max} bytes"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            Self::Guard(source) => Some(source),
            Self::TooLarge { .. } => None,
        }
    }
}

impl From<Error> for ReadError {
    fn from(source: Error) -> Self {
        Self::Guard(source)
    }
}
