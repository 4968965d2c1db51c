//! What the tests share: the conformance suites, stores that fail on demand,
//! and the power-cut harness.

#![allow(clippy::missing_panics_doc, reason = "a test kit says what is wrong by panicking")]

mod block;
pub mod conformance;
pub mod embedded;
pub mod faults;
pub mod memory;
pub mod powercut;
pub mod random;

pub use block::block_on;
