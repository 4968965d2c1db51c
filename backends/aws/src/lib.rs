//! The AWS backend. So far it has how a failed call is made again: [`Backoff`] says
//! when, [`Failure`] for what, and [`Retry`] makes the SDK's clients do so.

mod backoff;
mod failure;
mod retry;

pub use backoff::Backoff;
pub use failure::Failure;
pub use retry::Retry;
