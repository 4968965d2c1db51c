//! The fault proxy of the kit, as a client on a plain socket sees it.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

mod faults;
mod peers;

use std::net::TcpListener;
use std::thread;

use strongroom_kit::block_on;
use strongroom_kit::faults::Gate;
use strongroom_kit::proxy::{ANY, Fault, FaultProxy};

use crate::peers::{Client, Server};

/// A server, a proxy in front of it, and a client of that.
fn trio() -> (Server, FaultProxy, Client) {
    let server = Server::start();
    let proxy = FaultProxy::start(&server.url());
    let client = Client::connect(proxy.address());
    (server, proxy, client)
}

#[test]
fn requests_and_answers_pass_as_they_are() {
    let (server, proxy, mut client) = trio();
    client.ask("POST /a?b=c", "X-Case: Kept\r\nAuthorization: AWS4\r\n", "hello");
    let answer = client.answer().unwrap();
    assert_eq!(answer.head, "HTTP/1.1 201 Fine\r\nX-Odd: yes\r\nContent-Length: 23\r\n\r\n");
    assert_eq!(answer.text(), "POST /a?b=c got 5 bytes");
    let seen = &server.seen()[0];
    assert_eq!(
        seen.head,
        "POST /a?b=c HTTP/1.1\r\nHost: kms.example:8443\r\nX-Case: Kept\r\n\
         Authorization: AWS4\r\nContent-Length: 5\r\n\r\n"
    );
    assert_eq!(seen.text(), "hello");
    let request = &proxy.requests()[0];
    assert_eq!((request.upstream, request.forwarded), (Some(201), true));
    assert_eq!(request.header("x-case"), Some("Kept"));
    assert_eq!((request.path.as_str(), &request.proxied), ("/a?b=c", &None));
}

#[test]
fn a_connection_is_kept_as_long_as_its_client_wants() {
    let (server, proxy, mut client) = trio();
    for path in ["/1", "/chunked/2", "/endless/3", "/4"] {
        assert!(client.get(path).body.windows(3).any(|bytes| bytes == b"got"), "{path}");
    }
    assert_eq!((proxy.connections(), server.asked()), ((1, 1), 4));
    // Two at once.
    client.send("GET /5 HTTP/1.1\r\n\r\nGET /6 HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().unwrap().text(), "GET /5 got 0 bytes");
    assert_eq!(client.answer().unwrap().text(), "GET /6 got 0 bytes");
    assert_eq!(client.rest().unwrap(), b"");
    block_on(proxy.wait_for_open(0));
    let mut old = Client::connect(proxy.address());
    old.send("GET /7 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(old.rest().unwrap().ends_with(b"GET /7 got 0 bytes"));
    let connections: Vec<_> = proxy.requests().iter().map(|each| each.connection).collect();
    assert_eq!(connections, [0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn chunks_stay_chunks() {
    let (server, _proxy, mut client) = trio();
    let chunks = "5;x=y\r\nhello\r\nA\r\n, chunks..\r\n0\r\n\r\n";
    let head = "POST /chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\n";
    client.send(&format!("{head}\r\n{chunks}"));
    let answer = client.answer().unwrap();
    assert_eq!(server.seen()[0].text(), chunks);
    assert!(answer.text().starts_with("7;what=ever\r\nPOST /c\r\n"), "{}", answer.text());
    assert!(answer.text().ends_with("\r\n0\r\n\r\n"));
    assert_eq!(answer.header("content-length"), None);
}

#[test]
fn an_answer_that_ends_with_its_connection_gets_a_length() {
    let (_server, _proxy, mut client) = trio();
    let answer = client.get("/endless");
    assert_eq!(answer.head, "HTTP/1.1 200 Fine\r\nX-Odd: yes\r\nContent-Length: 24\r\n\r\n");
    assert_eq!(answer.text(), "GET /endless got 0 bytes");
}

#[test]
fn an_answer_to_head_has_no_body() {
    let (_server, _proxy, mut client) = trio();
    client.ask("HEAD /", "", "");
    assert_eq!(client.answer_to_head().unwrap().header("content-length"), Some("18"));
    assert_eq!(client.get("/").text(), "GET / got 0 bytes");
}

#[test]
fn who_expects_to_be_told_to_continue_is_told() {
    let (server, _proxy, mut client) = trio();
    client.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.answer().unwrap().status(), 100);
    client.send("ok");
    assert_eq!(client.answer().unwrap().text(), "POST / got 2 bytes");
    assert_eq!(server.seen()[0].header("expect"), None);
}

#[test]
fn operations_are_counted_by_name() {
    let (_server, proxy, mut client) = trio();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    client.operation("TrentService.Decrypt");
    client.operation("secretsmanager.GetSecretValue");
    client.operation("TrentService.Decrypt");
    client.ask("POST /", form, "Version=2011-06-15&Action=AssumeRole&RoleArn=x");
    client.ask("GET /?Action=DescribeRegions&Version=2016-11-15", "", "");
    client.ask("GET /v1/sys/health?standbyok=true", "", "");
    for _ in 0..6 {
        client.answer().unwrap();
    }
    let counts = proxy.counts();
    let counts: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let expected = [
        ("AssumeRole", 1),
        ("Decrypt", 2),
        ("DescribeRegions", 1),
        ("GET /v1/sys/health", 1),
        ("GetSecretValue", 1),
    ];
    assert_eq!(counts, expected);
    assert_eq!((proxy.count("Decrypt"), proxy.count(ANY), proxy.count("Encrypt")), (2, 6, 0));
    proxy.reset_counts();
    assert_eq!((proxy.counts().len(), proxy.requests().len()), (0, 0));
}

#[test]
fn a_forward_proxy_asks_its_upstream_whatever_the_host() {
    let (server, proxy, mut client) = trio();
    let host = "Host: kms.nowhere.example\r\nProxy-Authorization: Basic eDp5\r\n";
    client.send(&format!("GET http://kms.nowhere.example/a HTTP/1.1\r\n{host}\r\n"));
    assert_eq!(client.answer().unwrap().text(), "GET /a got 0 bytes");
    client.send("GET http://kms.nowhere.example HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().unwrap().text(), "GET / got 0 bytes");
    let seen = &server.seen()[0];
    assert_eq!(seen.header("host"), Some("kms.nowhere.example"));
    assert_eq!(seen.header("proxy-authorization"), None);
    let request = &proxy.requests()[0];
    assert_eq!(request.proxied.as_deref(), Some("kms.nowhere.example"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic eDp5"));
    assert_eq!(request.operation, "GET /a");
}

#[test]
fn a_tunnel_leads_to_the_upstream() {
    let (_server, proxy, mut client) = trio();
    client.send("CONNECT kms.nowhere.example:443 HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().unwrap().status(), 200);
    assert_eq!(client.get("/within").text(), "GET /within got 0 bytes");
    assert_eq!(client.get("/again").text(), "GET /again got 0 bytes");
    let requests = proxy.requests();
    assert_eq!((requests.len(), proxy.count("CONNECT")), (1, 1));
    assert_eq!(requests[0].proxied.as_deref(), Some("kms.nowhere.example:443"));

    proxy.always("CONNECT", Fault::status(407));
    let mut client = Client::connect(proxy.address());
    client.send("CONNECT kms.nowhere.example:443 HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().unwrap().status(), 407);
}

#[test]
fn without_an_upstream_there_is_a_bad_gateway() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = FaultProxy::start(&nobody.local_addr().unwrap().to_string());
    thread::spawn(move || nobody.incoming().for_each(drop));
    let mut client = Client::connect(proxy.address());
    assert_eq!((client.get("/").status(), client.get("/").status()), (502, 502));
    assert_eq!((proxy.requests()[0].upstream, proxy.requests()[0].forwarded), (None, false));
}

#[test]
fn many_clients_are_served() {
    let (server, proxy, _client) = trio();
    thread::scope(|scope| {
        for number in 0..20 {
            let address = proxy.address();
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for each in 0..10 {
                    let path = format!("/{number}/{each}");
                    assert_eq!(client.get(&path).text(), format!("GET {path} got 0 bytes"));
                }
            });
        }
    });
    assert_eq!((server.asked(), proxy.count(ANY)), (200, 200));
}

#[test]
fn with_the_proxy_all_of_it_ends() {
    let (_server, proxy, mut idle) = trio();
    let held = [
        (Fault::BlackHole, Client::connect(proxy.address())),
        (Fault::Delay(Gate::closed()), Client::connect(proxy.address())),
        (Fault::DelayAnswer(Gate::closed()), Client::connect(proxy.address())),
    ];
    let held = held.map(|(fault, mut client)| {
        proxy.next("Decrypt", fault);
        client.operation("TrentService.Decrypt");
        client
    });
    let mut tunnel = Client::connect(proxy.address());
    tunnel.send("CONNECT kms.nowhere.example:443 HTTP/1.1\r\n\r\n");
    assert_eq!(tunnel.answer().unwrap().status(), 200);
    block_on(proxy.wait_for("Decrypt", 3));
    drop(proxy);
    for mut client in held {
        assert_eq!(client.rest().unwrap_or_default(), b"");
    }
    assert_eq!(idle.rest().unwrap_or_default(), b"");
    assert_eq!(tunnel.rest().unwrap_or_default(), b"");
}

#[tokio::test]
async fn it_may_live_in_a_runtime() {
    let (_server, proxy, mut client) = trio();
    let asked = tokio::task::spawn_blocking(move || client.get("/").status());
    proxy.wait_for("GET /", 1).await;
    assert_eq!(asked.await.unwrap(), 201);
    drop(proxy);
}
