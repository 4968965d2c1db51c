//! Which failures of AWS are worth another attempt, and of which class they are.
//!
//! Two lists decide. A service names its error by a code; where it is not listed,
//! the HTTP status counts. What is in neither list is not tried again.

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use serde_json::Value;

/// The classes of failures that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service or the way to it failed, or the clocks disagree.
    Ordinary,
    /// The service was asked too often.
    Throttled,
}

/// The second half is what a wrong clock leads to: the SDK learns the time from
/// the `Date` of the response and signs the next attempt with it.
const ORDINARY: &[&str] = &[
    "TransactionInProgressException",
    "RequestTimeout",
    "RequestTimeoutException",
    "IDPCommunicationError",
    "RequestTimeTooSkewed",
    "RequestExpired",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "RequestInTheFuture",
];

const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "ProvisionedThroughputExceededException",
    "SlowDown",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
];

/// The session token has ended (API reference of each service, "Common errors").
const ENDED: &[&str] = &["ExpiredToken", "ExpiredTokenException"];

/// No such access key: the services that speak JSON and those that speak XML. Of a
/// session it means that AWS has forgotten it.
const UNKNOWN: &[&str] = &["UnrecognizedClientException", "InvalidClientTokenId"];

/// How a service refuses the session that a request was signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has ended.
    Ended,
    /// There is none.
    Unknown,
}

impl Refused {
    /// What became of an attempt, if another session may help.
    pub(crate) fn of(attempt: &InterceptorContext) -> Option<Self> {
        let response = attempt.response().filter(|response| !response.status().is_success())?;
        Self::of_code(&error_code(response)?)
    }

    pub(crate) fn of_code(code: &str) -> Option<Self> {
        if ENDED.contains(&code) {
            Some(Self::Ended)
        } else if UNKNOWN.contains(&code) {
            Some(Self::Unknown)
        } else {
            None
        }
    }
}

impl Failure {
    /// What became of an attempt, if another one may help.
    pub(crate) fn of(attempt: &InterceptorContext) -> Option<Self> {
        let Err(error) = attempt.output_or_error()? else {
            return None;
        };
        let of_response = attempt.response().and_then(Self::of_response);
        of_response.or_else(|| is_io(error).then_some(Self::Ordinary))
    }

    fn of_response(response: &HttpResponse) -> Option<Self> {
        if response.status().is_success() {
            return None;
        }
        let of_code = error_code(response).and_then(|code| Self::of_code(&code));
        of_code.or_else(|| Self::of_status(response.status().as_u16()))
    }

    fn of_code(code: &str) -> Option<Self> {
        if THROTTLED.contains(&code) {
            Some(Self::Throttled)
        } else if ORDINARY.contains(&code) {
            Some(Self::Ordinary)
        } else {
            None
        }
    }

    fn of_status(status: u16) -> Option<Self> {
        match status {
            429 => Some(Self::Throttled),
            500 | 502 | 503 | 504 => Some(Self::Ordinary),
            _ => None,
        }
    }
}

/// Whether the way to the service failed: no connection, a lost one, a timeout, a
/// response that is cut short or is none. A connector also has errors of whoever
/// uses it, which stay as they are.
fn is_io(error: &OrchestratorError<impl std::fmt::Debug>) -> bool {
    error.is_timeout_error()
        || error.is_response_error()
        || error.as_connector_error().is_some_and(|error| !error.is_user())
}

/// The error code, from where each protocol of AWS has it: a header, a field of
/// JSON, an element of XML.
fn error_code(response: &HttpResponse) -> Option<String> {
    let named = match response.headers().get("x-amzn-errortype") {
        Some(named) => named.to_owned(),
        None => code_in_body(response.body().bytes()?.trim_ascii_start())?,
    };
    // `namespace#Code:URL`
    let code = named.split(':').next()?;
    Some(code.rsplit('#').next()?.trim().to_owned())
}

fn code_in_body(body: &[u8]) -> Option<String> {
    match body.first()? {
        b'{' => {
            let body = serde_json::from_slice::<Value>(body).ok()?;
            let code = body.get("__type").or_else(|| body.get("code"))?;
            Some(code.as_str()?.to_owned())
        }
        b'<' => {
            // A message cannot hold the tag: XML would have escaped it.
            let (_, rest) = std::str::from_utf8(body).ok()?.split_once("<Code>")?;
            Some(rest.split_once("</Code>")?.0.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
    }

    fn code(body: &str) -> Option<String> {
        error_code(&response(400, body))
    }

    #[test]
    fn codes_are_found_where_protocols_have_them() {
        for body in [
            r#"{"__type":"SlowDown"}"#,
            r#" {"code":"SlowDown","message":"<Code>Other</Code>"}"#,
            r#"{"__type":"com.amazonaws.kms#SlowDown","code":"Other"}"#,
            r#"{"__type":"SlowDown:http://internal.amazon.com/#other"}"#,
            "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code></Error>",
            "<ErrorResponse><Error><Type>Sender</Type><Code> SlowDown </Code></Error>",
        ] {
            assert_eq!(code(body).as_deref(), Some("SlowDown"), "{body}");
        }
        let mut response = response(400, r#"{"__type":"Other"}"#);
        response.headers_mut().insert("x-amzn-errortype", "a.b#SlowDown:http://c/");
        assert_eq!(error_code(&response).as_deref(), Some("SlowDown"));
    }

    #[test]
    fn no_body_is_too_odd() {
        for body in [
            "",
            " ",
            "SlowDown",
            "{",
            "[]",
            r#"{"__type":null}"#,
            r#"{"code":7}"#,
            "<",
            "<Code>SlowDown",
            "<Error><Message>&lt;Code&gt;SlowDown&lt;/Code&gt;</Message></Error>",
        ] {
            assert_eq!(code(body), None, "{body}");
        }
        let bytes = HttpResponse::new(400.try_into().unwrap(), SdkBody::from(&b"<\xff"[..]));
        assert_eq!(error_code(&bytes), None);
    }

    #[test]
    fn a_listed_code_comes_before_the_status() {
        let of = |status, body| Failure::of_response(&response(status, body));
        assert_eq!(of(503, r#"{"__type":"SlowDown"}"#), Some(Failure::Throttled));
        assert_eq!(of(429, r#"{"__type":"RequestTimeout"}"#), Some(Failure::Ordinary));
        assert_eq!(of(500, r#"{"__type":"KMSInternalException"}"#), Some(Failure::Ordinary));
        assert_eq!(of(400, r#"{"__type":"KMSInternalException"}"#), None);
        assert_eq!(of(200, r#"{"__type":"SlowDown"}"#), None);
        assert_eq!(of(501, ""), None);
    }
}
