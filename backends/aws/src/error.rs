//! What a failed call of an AWS service means.

use std::error::Error as StdError;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use strongroom_core::{Error, ErrorKind};
use strongroom_remote::causes;

use crate::failure::Refused;
use crate::region::partition;

/// Which call it was.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The service, as people say it.
    pub(crate) service: &'static str,
    /// The permission that the call needs.
    pub(crate) action: &'static str,
    /// What it was about.
    pub(crate) resource: String,
    pub(crate) region: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action, self.resource)
    }
}

impl Call {
    /// The error of this call that ended with `error`.
    ///
    /// The answer itself is not kept: what a service answers may hold a key or a value.
    pub(crate) fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let Self { service, region, .. } = self;
        if let Some(ours) = own_error(&error) {
            let message = format!("{self}: there is no AWS credential: {}", ours.message());
            return Error::new(ours.kind(), message).retryable(ours.is_retryable());
        }
        match error {
            SdkError::TimeoutError(_) => {
                Error::unavailable(format!("{service} in {region} did not answer {self} in time"))
            }
            SdkError::DispatchFailure(failed) => {
                let why =
                    failed.as_connector_error().map(|error| causes(error)).unwrap_or_default();
                Error::unavailable(format!("{service} in {region} cannot be reached{why}"))
            }
            SdkError::ResponseError(_) => {
                Error::unavailable(format!("{service} in {region} answered nonsense to {self}"))
            }
            SdkError::ServiceError(failed) => {
                let status = failed.raw().status().as_u16();
                // A status of success with an error in it is none that a service makes.
                if (200..300).contains(&status) {
                    let what = format!("{service} in {region} answered nonsense to {self}");
                    return Error::unavailable(what);
                }
                let refused = self.refused(failed.err(), status);
                refused.with_source(failed.into_err())
            }
            _ => Error::internal(format!("{self} could not be asked")),
        }
    }

    fn refused(&self, error: &impl ProvideErrorMetadata, status: u16) -> Error {
        let code = error.code().unwrap_or("no code");
        let said = error.message().unwrap_or("no message");
        let told = format!("{self}: {code}: {said}");
        match kind_of(code, status) {
            ErrorKind::Unavailable => Error::unavailable(told),
            kind @ ErrorKind::Throttled => Error::new(kind, told).retryable(true),
            ErrorKind::AccessDenied => Error::access_denied(format!(
                "{told}: the credential may not do this; a policy has to allow {}",
                self.action
            )),
            ErrorKind::Unauthenticated if Refused::of_code(code) == Some(Refused::Ended) => {
                Error::unauthenticated(format!("{told}: {}", self.ended_hint()))
            }
            ErrorKind::Unauthenticated => {
                Error::unauthenticated(format!("{told}{}", self.partition_hint()))
            }
            kind => Error::new(kind, told),
        }
    }

    /// What was given for a while has ended, and nobody here can renew it.
    fn ended_hint(&self) -> &'static str {
        if self.action == "sts:AssumeRoleWithWebIdentity" {
            return "the issuer's token has ended, and has to be written anew";
        }
        "the session token has ended; one that is set together with an access key is not \
         renewed here: set a new one, or take a role, a web identity or the host's credential"
    }

    /// A credential is of one partition, and the others do not know it.
    fn partition_hint(&self) -> &'static str {
        match partition(&self.region) {
            "aws-us-gov" => "; a GovCloud region takes credentials of GovCloud only",
            "aws-cn" => "; a region in China takes credentials of AWS China only",
            _ => "; credentials of GovCloud or AWS China are not valid in other regions",
        }
    }
}

/// Codes of KMS and STS, and those that every service has (API reference of each,
/// "Common errors").
fn kind_of(code: &str, status: u16) -> ErrorKind {
    match code {
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => {
            ErrorKind::AccessDenied
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException" => ErrorKind::Unauthenticated,
        "NotFoundException" | "DisabledException" | "KMSInvalidStateException" => {
            ErrorKind::KeyUnavailable
        }
        "InvalidCiphertextException" | "IncorrectKeyException" => ErrorKind::Tampered,
        // Secrets Manager. An invalid request is one that the secret's state forbids.
        "ResourceNotFoundException" => ErrorKind::NotFound,
        "ResourceExistsException" => ErrorKind::AlreadyExists,
        "InvalidRequestException" | "PreconditionNotMetException" => ErrorKind::Conflict,
        "DecryptionFailure" | "EncryptionFailure" => ErrorKind::KeyUnavailable,
        "LimitExceededException" => ErrorKind::LimitExceeded,
        "InvalidNextTokenException" => ErrorKind::InvalidName,
        "KeyUnavailableException"
        | "DependencyTimeoutException"
        | "KMSInternalException"
        | "InternalServiceError"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "RequestExpired"
        | "RequestTimeout"
        | "RequestTimeoutException" => ErrorKind::Unavailable,
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown" => ErrorKind::Throttled,
        "InvalidArnException"
        | "InvalidParameterException"
        | "InvalidKeyUsageException"
        | "ValidationException"
        | "ValidationError"
        | "InvalidGrantTokenException"
        | "OptInRequired" => ErrorKind::Configuration,
        _ => match status {
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::AccessDenied,
            429 => ErrorKind::Throttled,
            500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        },
    }
}

/// Our own error in the chain of the client library's: that of a source of credentials.
fn own_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_more_than_a_status() {
        assert_eq!(kind_of("InvalidCiphertextException", 400), ErrorKind::Tampered);
        assert_eq!(kind_of("DisabledException", 400), ErrorKind::KeyUnavailable);
        assert_eq!(kind_of("KeyUnavailableException", 500), ErrorKind::Unavailable);
        assert_eq!(kind_of("ThrottlingException", 400), ErrorKind::Throttled);
        assert_eq!(kind_of("SomethingNew", 429), ErrorKind::Throttled);
        assert_eq!(kind_of("SomethingNew", 503), ErrorKind::Unavailable);
        assert_eq!(kind_of("SomethingNew", 403), ErrorKind::AccessDenied);
        assert_eq!(kind_of("SomethingNew", 400), ErrorKind::Internal);
    }
}
