//! Proves or disproves that a store survives a power cut.
//!
//! A kill test keeps the page cache and so says nothing about a power cut. Here
//! a [`Recorder`] runs a workload under `strace` and keeps every change and
//! every sync of a directory in one order. [`sweep`] then builds the states in
//! which a power cut at one of many moments can leave that directory, and has
//! a check reopen the store in each and compare it with what the workload had
//! acknowledged by then.
//!
//! The workload is a program that works below one directory and prints a line
//! to standard output for each operation: `ACK …` once an operation is
//! acknowledged, and any other line for what the check wants to know besides,
//! for instance what has been started. A line counts from the moment at which
//! its write starts.
//!
//! ```no_run
//! use std::process::Command;
//! use strongroom_kit::powercut::{Options, Recorder, sweep};
//!
//! let mut recorder = Recorder::new()?;
//! let mut workload = Command::new("workload");
//! workload.arg(recorder.dir());
//! recorder.run(&workload)?;
//! let trace = recorder.finish()?;
//! let report = sweep(&trace, &Options::default(), |dir, output| {
//!     let acknowledged = output.acknowledged().count();
//!     // Reopen the store in `dir` and compare.
//!     Ok(())
//! })?;
//! report.assert_survived();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it cannot model it refuses: shared writable mappings, asynchronous I/O,
//! workloads of several processes, strings that strace shortened.

mod model;
mod program;
mod random;
mod recorder;
#[cfg(test)]
mod selftest;
mod strace;
mod sweep;
mod trace;

pub use model::{Contents, Names};
pub use recorder::Recorder;
pub use sweep::{Failure, Options, Output, Report, State, replay, sweep};
pub use trace::Trace;
