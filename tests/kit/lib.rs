//! What the tests share: the conformance suites, stores that fail on demand,
//! and the power-cut harness.

#![allow(clippy::missing_panics_doc, reason = "a test kit says what is wrong by panicking")]

pub mod conformance;
pub mod powercut;
pub mod random;
