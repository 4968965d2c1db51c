//! An [`Error`] as a gRPC status and back: the kind travels as the reason of
//! `google.rpc.ErrorInfo`, a wait as `google.rpc.RetryInfo` (AIP-193).

use std::collections::HashMap;
use std::time::Duration;

use strongroom_core::{Error, ErrorKind};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{from_duration, v1};

/// The domain of our error details.
pub const DOMAIN: &str = "strongroom";

/// The one gRPC code of a kind.
#[must_use]
pub fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::InvalidName => Code::InvalidArgument,
        ErrorKind::AccessDenied => Code::PermissionDenied,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Throttled | ErrorKind::LimitExceeded => Code::ResourceExhausted,
        ErrorKind::Tampered => Code::DataLoss,
        ErrorKind::KeyUnavailable | ErrorKind::Configuration => Code::FailedPrecondition,
        ErrorKind::Unsupported => Code::Unimplemented,
        _ => Code::Internal,
    }
}

/// A kind as the reason of an `ErrorInfo`: `NOT_FOUND`.
#[must_use]
pub fn reason_of(kind: ErrorKind) -> String {
    kind.as_str().to_ascii_uppercase()
}

/// The status of an error: code, message, and the details that a program acts
/// on. Errors never hold a value.
#[must_use]
pub fn status_of(error: &Error) -> Status {
    let mut metadata = HashMap::new();
    let place =
        [("operation", error.operation()), ("store", error.store()), ("secret", error.secret())];
    for (key, value) in place {
        if let Some(value) = value {
            metadata.insert(key.to_owned(), value.to_owned());
        }
    }
    let mut details = ErrorDetails::with_error_info(reason_of(error.kind()), DOMAIN, metadata);
    if error.is_retryable() {
        details.set_retry_info(Some(error.retry_after().unwrap_or_default()));
    }
    Status::with_error_details(code_of(error.kind()), error.message(), details)
}

/// The error of a status. One that is not ours, from the transport or another
/// server, becomes the kind that its code is closest to.
#[must_use]
pub fn error_of(status: &Status) -> Error {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let retry = details.retry_info().map(|retry| retry.retry_delay.unwrap_or_default());
    let Some(info) = info else { return foreign(status, retry) };
    let kind = kind_of_reason(&info.reason).unwrap_or(ErrorKind::Internal);
    let mut error = wait(Error::new(kind, status.message().to_owned()), retry);
    if let Some(operation) = info.metadata.get("operation") {
        error = error.during(known_operation(operation));
    }
    if let Some(store) = info.metadata.get("store") {
        error = error.in_store(store);
    }
    if let Some(secret) = info.metadata.get("secret") {
        error = error.about(secret);
    }
    error
}

/// An error within a batch.
#[must_use]
pub fn to_wire(error: &Error) -> v1::Error {
    v1::Error {
        code: code_of(error.kind()) as i32,
        reason: reason_of(error.kind()),
        message: error.to_string(),
        retryable: error.is_retryable(),
        retry_after: error.retry_after().map(crate::duration),
    }
}

/// The error of an item of a batch.
#[must_use]
pub fn from_wire(error: v1::Error) -> Error {
    let kind = kind_of_reason(&error.reason).unwrap_or(ErrorKind::Internal);
    let retry = error.retryable.then(|| error.retry_after.map(from_duration).unwrap_or_default());
    wait(Error::new(kind, error.message), retry)
}

fn wait(error: Error, retry: Option<Duration>) -> Error {
    match retry {
        Some(wait) if !wait.is_zero() => error.after(wait),
        retry => error.retryable(retry.is_some()),
    }
}

fn kind_of_reason(reason: &str) -> Option<ErrorKind> {
    ErrorKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(reason))
}

fn foreign(status: &Status, retry: Option<Duration>) -> Error {
    let kind = match status.code() {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::Aborted => ErrorKind::Conflict,
        Code::InvalidArgument => ErrorKind::InvalidName,
        Code::PermissionDenied => ErrorKind::AccessDenied,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Unavailable,
        Code::ResourceExhausted | Code::OutOfRange => ErrorKind::LimitExceeded,
        Code::DataLoss => ErrorKind::Tampered,
        Code::FailedPrecondition => ErrorKind::Configuration,
        Code::Unimplemented => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    };
    let retryable = retry.is_some() || kind == ErrorKind::Unavailable;
    let message = match (status.message(), status.code()) {
        ("", code) => format!("the sidecar answered {:?}: {}", code, code.description()),
        (message, _) => message.to_owned(),
    };
    wait(Error::new(kind, message), retryable.then(|| retry.unwrap_or_default()))
}

/// The engine's errors name their operation with a static text.
fn known_operation(operation: &str) -> &'static str {
    const KNOWN: [&str; 27] = [
        "get",
        "put",
        "describe",
        "list",
        "list versions of",
        "versions",
        "delete",
        "restore",
        "purge",
        "watch",
        "seal",
        "open",
        "upload",
        "download",
        "render",
        "rotate",
        "rewrap",
        "re-encrypt",
        "reencrypt",
        "report-keys",
        "destroy a key version",
        "destroy-key-version",
        "migrate",
        "verify",
        "backup",
        "status",
        "check",
    ];
    KNOWN.into_iter().find(|known| *known == operation).unwrap_or("request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_wire() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "what was wrong")
                .during("get")
                .in_store("a store")
                .about(&"account.db");
            for error in [error.clone(), error.after(Duration::from_millis(1_500))] {
                let back = error_of(&status_of(&error));
                assert_eq!(back.kind(), kind);
                assert_eq!(back.to_string(), error.to_string());
                assert_eq!(back.is_retryable(), error.is_retryable());
                assert_eq!(back.retry_after(), error.retry_after());
                let back = from_wire(to_wire(&error));
                assert_eq!((back.kind(), back.retry_after()), (kind, error.retry_after()));
                assert_eq!(back.is_retryable(), error.is_retryable());
            }
        }
    }

    #[test]
    fn a_status_that_is_not_ours_becomes_the_nearest_kind() {
        let unavailable = error_of(&Status::unavailable("connection refused"));
        assert_eq!(unavailable.kind(), ErrorKind::Unavailable);
        assert!(unavailable.is_retryable());
        let unknown = error_of(&Status::new(Code::Unknown, ""));
        assert_eq!(unknown.kind(), ErrorKind::Internal);
        assert!(!unknown.message().is_empty() && !unknown.is_retryable());
        let other = ErrorDetails::with_error_info("NOT_FOUND", "elsewhere.example", HashMap::new());
        let other = Status::with_error_details(Code::Internal, "x", other);
        assert_eq!(error_of(&other).kind(), ErrorKind::Internal);
    }
}
