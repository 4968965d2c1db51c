//! The real binary as a child process.

mod audit;
mod aws;
mod configuration;
mod documents;
mod errors;
mod keys;
mod kinds;
mod kit;
mod moving;
mod render;
mod run;
mod run_signals;
mod secrets;
mod serving;
mod sidecar;
mod terminal;
