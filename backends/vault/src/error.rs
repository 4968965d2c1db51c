//! What a failed request to Vault means.

use std::time::Duration;

use serde::Deserialize;
use strongroom_core::{Error, ErrorKind};
use strongroom_remote::causes;

use crate::message::{Answer, Request};

/// How much of a server's words is repeated, in characters.
const MAX_WORDS: usize = 400;

/// The error of a request that was not answered. An address is no secret, a URL with
/// its query may be one: it is left out.
pub(crate) fn unanswered(request: &Request, address: &str, error: &reqwest::Error) -> Error {
    let what = if error.is_timeout() && !error.is_connect() {
        format!("Vault at {address} did not answer {request} in time")
    } else if error.is_connect() {
        format!("Vault at {address} cannot be reached{}", causes(error))
    } else {
        format!("the connection to Vault at {address} broke during {request}{}", causes(error))
    };
    Error::unavailable(what)
}

/// The error of a request that Vault refused.
pub(crate) fn refused(request: &Request, answer: &Answer, after: Option<Duration>) -> Error {
    let said = words(answer);
    let told = format!("{request}: {said}");
    match kind_of(answer.status, &said) {
        kind @ ErrorKind::Throttled => {
            let error = Error::new(kind, told).retryable(true);
            match after {
                Some(wait) => error.after(wait),
                None => error,
            }
        }
        kind => Error::new(kind, told),
    }
}

/// The error of a request that Vault refused though it accepts the token.
pub(crate) fn not_allowed(request: &Request, refused: &Error) -> Error {
    Error::access_denied(format!(
        "{}; a policy has to say: path \"{}\" {{ capabilities = [\"{}\"] }}",
        refused.message(),
        request.path,
        request.capability
    ))
}

/// Whether Vault says that the token is none. Older servers, and `OpenBao`, say only
/// that something is not allowed.
pub(crate) fn is_no_token(refused: &Error) -> bool {
    refused.kind() == ErrorKind::AccessDenied && refused.message().contains("invalid token")
}

/// API documentation, "HTTP status codes". 412 and 472 to 474 are of servers that are
/// behind, or whose place another one has to take.
fn kind_of(status: u16, said: &str) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::AccessDenied,
        404 => ErrorKind::NotFound,
        405 => ErrorKind::Unsupported,
        413 => ErrorKind::LimitExceeded,
        429 => ErrorKind::Throttled,
        // What the storage behind Vault does not take stays too long for it.
        500 if said.contains("due to value being too large") => ErrorKind::LimitExceeded,
        412 | 472..=474 | 500.. => ErrorKind::Unavailable,
        // A mount that becomes one with versions.
        400 if said.contains("unavailable for a brief period") => ErrorKind::Unavailable,
        400 if said.contains("check-and-set parameter") => ErrorKind::Conflict,
        400 if said.contains("custom_metadata validation failed") => ErrorKind::InvalidName,
        400 if said.contains("unsupported path") || said.contains("unsupported operation") => {
            ErrorKind::Unsupported
        }
        _ => ErrorKind::Internal,
    }
}

/// Whether it is Vault that refuses: it says why.
pub(crate) fn says_why(answer: &Answer) -> bool {
    !errors(answer).is_empty()
}

/// What the server says is wrong, in one line.
pub(crate) fn words(answer: &Answer) -> String {
    let errors = errors(answer).join("; ");
    // AWS's answer to a wrong signature, which Vault passes on, quotes what was signed, and
    // a session's token with it.
    let errors = errors.split("The Canonical String").next().unwrap_or_default();
    let said = errors.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
    if said.is_empty() { format!("status {}", answer.status) } else { said }
}

fn errors(answer: &Answer) -> Vec<String> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        errors: Vec<String>,
    }
    let refusal = serde_json::from_slice(answer.body.expose());
    refusal.map_or_else(|_| Vec::new(), |refusal: Refusal| refusal.errors)
}

#[cfg(test)]
mod tests {
    use strongroom_core::SecretBytes;

    use super::*;

    #[test]
    fn what_is_said_tells_more_than_a_status() {
        for (status, said, kind) in [
            (400, "check-and-set parameter did not match the current version", ErrorKind::Conflict),
            (400, "custom_metadata validation failed: payload", ErrorKind::InvalidName),
            (400, "This backend will be unavailable for a brief period", ErrorKind::Unavailable),
            (400, "something else", ErrorKind::Internal),
            (500, "put failed due to value being too large", ErrorKind::LimitExceeded),
            (500, "something else", ErrorKind::Unavailable),
            (472, "", ErrorKind::Unavailable),
        ] {
            assert_eq!(kind_of(status, said), kind, "{status} {said}");
        }
    }

    #[test]
    fn the_words_of_vault_are_repeated_and_nobody_elses() {
        let answer = |body: &str| {
            let body = SecretBytes::copy_from(body.as_bytes()).expect("memory");
            Answer { status: 503, body }
        };
        let sealed = answer(r#"{"errors": ["Vault is\n\tsealed", "again"]}"#);
        assert!(says_why(&sealed));
        assert_eq!(words(&sealed), "Vault is sealed; again");
        for other in ["", "<html>hunter2</html>", "{}", r#"{"errors": []}"#] {
            let other = answer(other);
            assert!(!says_why(&other));
            assert_eq!(words(&other), "status 503");
        }
        let long = answer(&format!(r#"{{"errors": ["{}"]}}"#, "x".repeat(5000)));
        assert_eq!(words(&long).len(), MAX_WORDS);
        let quoted = "does not match. The Canonical String for this request should have been \
                      x-amz-security-token:hunter2";
        let refused = answer(&format!(r#"{{"errors": ["{quoted}"]}}"#));
        assert_eq!(words(&refused), "does not match.");
    }
}
