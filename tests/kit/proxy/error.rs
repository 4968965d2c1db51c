//! Errors as the services of AWS put them.

use super::http::{self, Message};

/// The status, the content type and the body that the service which `request` is for
/// has for an error.
pub(super) fn answer(request: &Message, status: u16, code: &str) -> (u16, &'static str, String) {
    let service = service(request);
    let (status, code) = dialect(service, status, code);
    let message = "Injected by a test.";
    let json = format!(r#"{{"__type":"{code}","message":"{message}"}}"#);
    let error = format!("<Code>{code}</Code><Message>{message}</Message>");
    let sender = if status < 500 { "Sender" } else { "Receiver" };
    if http::header(&request.headers, "x-amz-target").is_some() {
        (status, "application/x-amz-json-1.1", json)
    } else if service == "ec2" {
        let errors = format!("<Errors><Error>{error}</Error></Errors>");
        (status, "text/xml", format!("<Response>{errors}<RequestID>test</RequestID></Response>"))
    } else {
        let error = format!("<Error><Type>{sender}</Type>{error}</Error>");
        let body = format!("<ErrorResponse>{error}<RequestId>test</RequestId></ErrorResponse>");
        (status, "text/xml", body)
    }
}

/// The service in the scope of the signature. Of those that are asked without one
/// only STS matters.
fn service(request: &Message) -> &str {
    let authorization = http::header(&request.headers, "authorization").unwrap_or_default();
    let scope = authorization.split(['=', ',']).find(|part| part.ends_with("/aws4_request"));
    scope.and_then(|scope| scope.rsplit('/').nth(1)).unwrap_or("sts")
}

/// The name and the status that a service has for a common error, from the lists of
/// errors in their API references.
fn dialect<'a>(service: &str, status: u16, code: &'a str) -> (u16, &'a str) {
    match (code, service) {
        ("ThrottlingException", "sts" | "iam") => (400, "Throttling"),
        ("ThrottlingException", "ec2") => (503, "RequestLimitExceeded"),
        ("InternalFailure", "kms") => (500, "KMSInternalException"),
        ("InternalFailure", "secretsmanager") => (500, "InternalServiceError"),
        ("InternalFailure", "ec2") => (500, "InternalError"),
        ("ServiceUnavailable", "ec2") => (503, "Unavailable"),
        _ => (status, code),
    }
}
