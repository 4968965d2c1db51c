//! What went wrong, as an [`Error`]: the sidecar's own errors, and those of the
//! connection to it.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use strongroom_core::Error;
use tonic::{Code, Status};

/// An error of ours on its way through tonic, which knows sources only.
#[derive(Clone, Debug)]
pub(crate) struct Refused(pub(crate) Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Refused {}

/// The error that the connector gave, if it is somewhere among the sources.
pub(crate) fn refused(error: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(Refused(error)) = error.downcast_ref() {
            return Some(error.clone());
        }
        next = error.source();
    }
    None
}

/// The error of a call that ended with `status`.
pub(crate) fn of_status(status: Status, path: &Path, timeout: Option<Duration>) -> Error {
    // Only a status that was made on this side has a source.
    let Some(source) = status.source() else { return strongroom_rpc::error_of(&status) };
    if let Some(error) = refused(source) {
        return error;
    }
    if status.code() == Code::Cancelled {
        return too_late(path, timeout);
    }
    let what = format!("the sidecar at {} ended the connection before it answered", path.display());
    Error::unavailable(what).with_source(status)
}

/// The error of a call that took too long.
pub(crate) fn too_late(path: &Path, timeout: Option<Duration>) -> Error {
    let within = timeout.map_or_else(|| "in time".to_owned(), |time| format!("within {time:?}"));
    Error::unavailable(format!("the sidecar at {} did not answer {within}", path.display()))
}

/// The error of an answer that breaks the protocol.
pub(crate) fn nonsense(what: &str) -> Error {
    Error::internal(format!("the sidecar's answer makes no sense: {what}"))
}
