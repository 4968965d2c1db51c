//! Why a command did not do what it was asked.

use std::io;

use strongroom::Error;

#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine, or something that has an error kind.
    Engine(Error),
    /// The command line was wrong in a way that only shows when it runs.
    Usage(String),
    /// A signal ended a prompt.
    Signalled(u8),
    /// A command that was run ended with this code, and has said why itself.
    Ended(u8),
    /// A command could not be run.
    NotRun { code: u8, message: String },
    /// Whoever read our output has gone: nobody is left to tell.
    BrokenPipe,
}

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<strongroom::guard::Error> for Failure {
    fn from(error: strongroom::guard::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// Errors of our own output; files have paths to name and map their errors
/// themselves.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        let what = format!("the output cannot be written: {error}");
        Self::Engine(Error::unavailable(what).with_source(error))
    }
}
