//! The real binary as a child process.

mod audit;
mod configuration;
mod documents;
mod errors;
mod kit;
mod secrets;
mod serving;
mod sidecar;
mod terminal;
