//! The embedded backend.

pub mod kek;
pub mod records;
