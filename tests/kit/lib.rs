//! Tests.
pub mod powercut;
