//! The AWS backend.

mod backoff;
mod failure;
mod retry;

pub use backoff::Backoff;
pub use failure::Failure;
pub use retry::Retry;
