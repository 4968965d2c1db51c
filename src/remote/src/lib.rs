//! What backends across a network share.
//!
//! Their client libraries need tokio, and the engine's futures run on any executor:
//! [`Runtime`] is a small runtime that a backend has for itself. [`Renewing`] holds
//! what a backend is let in with, and takes it anew before it ends. A [`TimeId`] is the
//! id of something in a store that gives none.

mod causes;
mod renewing;
mod runtime;
mod time_id;

pub use self::causes::causes;
pub use self::renewing::{Lasting, Renewing, Source};
pub use self::runtime::{Running, Runtime};
pub use self::time_id::TimeId;
