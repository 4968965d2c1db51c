//! What the tests share: the conformance suites, stores that fail on demand,
//! and the power-cut harness.

#![allow(clippy::missing_panics_doc, reason = "a test kit says what is wrong by panicking")]

pub mod binary;
mod block;
pub mod conformance;
pub mod daemon;
mod digest;
pub mod embedded;
pub mod faults;
pub mod fuzz;
pub mod http2;
pub mod memory;
pub mod moto;
pub mod postgres;
pub mod powercut;
pub mod powercut_store;
pub mod proxy;
pub mod python;
pub mod random;
mod server;
pub mod sidecar;
pub mod vault;

pub use block::block_on;
pub use digest::sha256_hex;
