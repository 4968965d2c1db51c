//! Guarded memory.

#[cfg(not(target_os = "linux"))]
compile_error!("strongroom-guard builds on Linux's mlock, madvise and memfd_secret");

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

pub use buffer::SecretBuffer;
pub use bytes::SecretBytes;
pub use config::{Config, SecretMemory, Stats, configure, stats};
pub use error::{Error, ReadError};
pub use fork::fork_generation;
pub use process::harden_process;
