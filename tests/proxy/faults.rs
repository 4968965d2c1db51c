//! Each fault, as the client sees it, and whether the server was asked.

use std::io::ErrorKind;

use strongroom_kit::block_on;
use strongroom_kit::faults::Gate;
use strongroom_kit::proxy::{ANY, Fault};

use crate::peers::{Client, Message};
use crate::trio;

#[test]
fn a_status_comes_without_the_upstream() {
    let (server, proxy, mut client) = trio();
    let headers = vec![("Retry-After".to_owned(), "7".to_owned())];
    proxy.next(ANY, Fault::Status { code: 429, body: b"slow".to_vec(), headers });
    proxy.next(ANY, Fault::too_many_requests());
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.text()), (429, "slow"));
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!((client.get("/").status(), server.asked()), (429, 0));
    // The connection goes on.
    assert_eq!((client.get("/").status(), proxy.connections()), (201, (1, 1)));
    let forwarded: Vec<_> = proxy.requests().iter().map(|request| request.forwarded).collect();
    assert_eq!(forwarded, [false, false, true]);
}

#[test]
fn errors_of_aws_are_in_the_protocol_of_the_request() {
    let (_server, proxy, mut client) = trio();
    proxy.always(ANY, Fault::throttling());
    let scope = |service: &str| {
        let scope = format!("AKID/20260101/eu-central-1/{service}/aws4_request");
        format!("Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host\r\n")
    };
    let mut ask = |headers: String, body: &str| -> Message {
        client.ask("POST /", &headers, body);
        client.answer().unwrap()
    };

    let json = format!("X-Amz-Target: TrentService.Decrypt\r\n{}", scope("kms"));
    let answer = ask(json.clone(), "{}");
    assert_eq!(
        (answer.status(), answer.header("content-type").unwrap()),
        (400, "application/x-amz-json-1.1")
    );
    assert_eq!(
        answer.text(),
        r#"{"__type":"ThrottlingException","message":"Injected by a test."}"#
    );
    for headers in [scope("sts"), String::new()] {
        let answer = ask(headers, "Action=AssumeRole");
        assert_eq!((answer.status(), answer.header("content-type").unwrap()), (400, "text/xml"));
        let start = "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code>";
        assert!(answer.text().starts_with(start), "{}", answer.text());
    }
    let answer = ask(scope("ec2"), "Action=DescribeRegions");
    assert_eq!(answer.status(), 503);
    let start = "<Response><Errors><Error><Code>RequestLimitExceeded</Code>";
    assert!(answer.text().starts_with(start), "{}", answer.text());

    proxy.always(ANY, Fault::internal_error());
    let answer = ask(json.clone(), "{}");
    assert_eq!(answer.status(), 500);
    assert!(answer.text().starts_with(r#"{"__type":"KMSInternalException""#));
    proxy.always(ANY, Fault::service_unavailable());
    let answer = ask(json.clone(), "{}");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().starts_with(r#"{"__type":"ServiceUnavailable""#));
    proxy.always(ANY, Fault::aws_error(400, "KMSInvalidStateException"));
    assert!(ask(json, "{}").text().contains(r#""KMSInvalidStateException""#));
}

#[test]
fn what_is_planned_goes_before_what_is_always_so() {
    let (_server, proxy, mut client) = trio();
    proxy.always(ANY, Fault::status(500));
    proxy.always("GET /a", Fault::status(501));
    proxy.times("GET /a", 2, Fault::status(502));
    proxy.pass("GET /a");
    proxy.next(ANY, Fault::status(503));
    let mut statuses = |path| [(); 5].map(|()| client.get(path).status());
    assert_eq!(statuses("/a"), [502, 502, 201, 503, 501]);
    assert_eq!(statuses("/b"), [500; 5]);
    proxy.clear();
    assert_eq!(statuses("/a"), [201; 5]);
}

#[test]
fn a_reset_comes_before_or_after_the_work() {
    let (server, proxy, mut client) = trio();
    proxy.next(ANY, Fault::Reset);
    client.operation("TrentService.Decrypt");
    assert_eq!(client.answer().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.asked(), 0);

    proxy.next(ANY, Fault::ResetAfterForwarding);
    let mut client = Client::connect(proxy.address());
    client.operation("TrentService.Decrypt");
    assert_eq!(client.answer().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.asked(), 1);
    let request = &proxy.requests()[1];
    assert_eq!((request.upstream, request.forwarded), (Some(201), false));
}

#[test]
fn an_answer_breaks_off() {
    for (path, bytes, rest) in
        [("/", 0, ""), ("/", 5, "GET /"), ("/chunked", 5, "GET /"), ("/", 1000, "GET / got 0 byte")]
    {
        let (server, proxy, mut client) = trio();
        proxy.next(ANY, Fault::Truncate { bytes });
        client.ask(&format!("GET {path}"), "", "");
        let told = String::from_utf8(client.rest().unwrap()).unwrap();
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        let whole = format!("GET {path} got 0 bytes").len();
        assert!(head.contains(&format!("Content-Length: {whole}")), "{head}");
        assert_eq!((body, server.asked()), (rest, 1));
        assert!(!proxy.requests()[0].forwarded);
    }
}

#[test]
fn garbage_comes_as_http_or_not() {
    let (server, proxy, mut client) = trio();
    proxy.next(ANY, Fault::Garbage);
    proxy.next(ANY, Fault::NotHttp);
    let answer = client.get("/");
    assert_eq!(answer.status(), 200);
    assert!(std::str::from_utf8(&answer.body).is_err());
    client.ask("GET /", "", "");
    assert_eq!(client.rest().unwrap(), b"SSH-2.0-OpenSSH_9.9\r\n\r\n");
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_black_hole_lasts_until_the_faults_are_cleared() {
    let (server, proxy, mut client) = trio();
    proxy.always(ANY, Fault::BlackHole);
    client.operation("TrentService.Decrypt");
    let mut tls = Client::connect(proxy.address());
    tls.send("\u{16}\u{3}\u{1} this is no HTTP\r\n\r\n");
    block_on(proxy.wait_for("Decrypt", 1));
    proxy.clear();
    assert_eq!(client.rest().unwrap(), b"");
    drop(tls);
    block_on(proxy.wait_for_open(0));
    assert_eq!(server.asked(), 0);
    let mut client = Client::connect(proxy.address());
    assert_eq!(client.get("/").status(), 201);
}

#[test]
fn a_client_may_leave_a_black_hole() {
    let (_server, proxy, mut client) = trio();
    proxy.next(ANY, Fault::BlackHole);
    client.operation("TrentService.Decrypt");
    block_on(proxy.wait_for("Decrypt", 1));
    assert_eq!(proxy.connections(), (1, 1));
    drop(client);
    block_on(proxy.wait_for_open(0));
}

#[test]
fn a_request_waits_until_it_is_released() {
    let (server, proxy, mut client) = trio();
    let gate = Gate::closed();
    proxy.next("Decrypt", Fault::Delay(gate.clone()));
    client.operation("TrentService.Decrypt");
    block_on(proxy.wait_for("Decrypt", 1));
    assert_eq!(server.asked(), 0);
    // Others do not wait.
    assert_eq!(Client::connect(proxy.address()).get("/").status(), 201);
    gate.open();
    assert_eq!((client.answer().unwrap().status(), server.asked()), (201, 2));
    assert!(proxy.requests()[0].forwarded);
}

#[test]
fn a_request_fails_once_it_is_released() {
    let (server, proxy, mut client) = trio();
    let gate = Gate::closed();
    proxy.next("Decrypt", Fault::status(418).after(&gate));
    client.operation("TrentService.Decrypt");
    gate.wait_for_arrivals(1);
    assert_eq!(Client::connect(proxy.address()).get("/").status(), 201);
    gate.open();
    assert_eq!((client.answer().unwrap().status(), server.asked()), (418, 1));
}

#[test]
fn an_answer_waits_until_it_is_released() {
    let (server, proxy, mut client) = trio();
    let gate = Gate::closed();
    proxy.next("Decrypt", Fault::DelayAnswer(gate.clone()));
    client.operation("TrentService.Decrypt");
    gate.wait_for_arrivals(1);
    assert_eq!(server.asked(), 1);
    let request = &proxy.requests()[0];
    assert_eq!((request.upstream, request.forwarded), (Some(201), false));
    gate.open();
    assert_eq!(client.answer().unwrap().status(), 201);
}

#[test]
fn an_answer_is_rewritten() {
    let (_server, proxy, mut client) = trio();
    let rewrite = Fault::rewrite(|body| {
        let text = String::from_utf8(std::mem::take(body)).unwrap();
        *body = text.replace("got", "did not get").into_bytes();
    });
    proxy.always(ANY, rewrite);
    assert_eq!(client.get("/").text(), "GET / did not get 0 bytes");
    let answer = client.get("/chunked");
    assert_eq!(answer.text(), "GET /chunked did not get 0 bytes");
    assert_eq!(answer.header("transfer-encoding"), None);
    assert!(!proxy.requests()[1].forwarded);
}
