//! The embedded backend.

pub mod records;
