//! Sockets that nobody serves, or the wrong one, and servers that go away.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Uid, geteuid};
use strongroom_client::{Client, ClientOptions};
use strongroom_core::{Error, ErrorKind, PutOptions, SecretBytes, Select};

use crate::connected;
use crate::server::{Seen, Server};

async fn refusal(path: &Path) -> Error {
    let error = Client::connect(path).await.expect_err("nobody is there");
    let place = path.display().to_string();
    assert!(error.to_string().contains(&place), "{error}");
    error
}

#[tokio::test]
async fn what_is_wrong_with_a_socket_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sock");
    let error = refusal(&path).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    assert!(error.message().starts_with("there is no socket"), "{error}");

    fs::write(&path, "").expect("written");
    let error = refusal(&path).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, false));
    assert!(error.message().ends_with("is not a socket"), "{error}");

    fs::remove_file(&path).expect("removed");
    drop(UnixListener::bind(&path).expect("a socket"));
    let error = refusal(&path).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().starts_with("nobody serves"), "{error}");

    let error = refusal(&dir.path().join("x".repeat(200))).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

/// Who does not run the tests.
const OTHER: u32 = 61_234;

/// A socket of that user: whoever calls listen(2) serves, here a thread.
fn listener_of_another(path: &Path) -> tokio::net::UnixListener {
    let path = path.to_owned();
    let listening = std::thread::spawn(move || {
        let other = Uid::from_raw(OTHER);
        rustix::thread::set_thread_res_uid(other, other, other).expect("another user");
        UnixListener::bind(path).expect("a socket")
    });
    let listener = listening.join().expect("no panic");
    listener.set_nonblocking(true).expect("set");
    tokio::net::UnixListener::from_std(listener).expect("registered")
}

/// A server of another user gets no byte, neither at first nor after the one
/// that was trusted has gone.
#[tokio::test]
async fn a_server_of_another_user_is_not_talked_to() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can be another user for a while");
        return;
    }
    let (dir, server, client) = connected().await;
    let path = server.path.clone();
    client.check().await.expect("ours is trusted");
    server.kill().await;
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("chmod");
    let mut hostile = Server::on(listener_of_another(&path), &path);

    let value = SecretBytes::copy_from(b"s3cret").expect("memory");
    let put = async |client: &Client| {
        client.put("account.a", &value, &PutOptions::default()).await.map(drop)
    };
    for error in [refusal(&path).await, put(&client).await.expect_err("another server")] {
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(error.message().contains("user 61234 serves the socket"), "{error}");
    }
    let mut options = ClientOptions::default();
    options.trusted_uids = vec![OTHER];
    let trusting = Client::connect_with(&path, &options).await.expect("connected");
    put(&trusting).await.expect("put");
    let mut requests = 0;
    while let Ok(seen) = hostile.seen.try_recv() {
        requests += usize::from(matches!(seen, Seen::Request(..)));
    }
    assert_eq!(requests, 1, "of who trusted it");
}

#[tokio::test]
async fn a_server_that_dies_is_unavailable_and_its_successor_is_found() {
    let (_dir, mut server, client) = connected().await;
    let path = server.path.clone();
    let mut watch = client.watch(&[]).await.expect("watching");
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.get("account.hang", &Select::Latest).await.map(drop) }
    });
    assert_eq!(server.event().await, Seen::Hanging);
    server.kill().await;
    let error = calling.await.expect("no panic").expect_err("it died");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!(error.operation(), Some("get"));
    assert!(error.message().contains(&path.display().to_string()), "{error}");
    let error = loop {
        match watch.next().await.expect("an error is told") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some("watch")));
    assert!(watch.next().await.is_none());

    let error = client.check().await.expect_err("there is none");
    assert!(error.message().starts_with("there is no socket"), "{error}");
    let _next = Server::at(&path);
    client.check().await.expect("the connection is made again");
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::at(&dir.path().join("sock"));
    let mut options = ClientOptions::default();
    options.timeout = Some(Duration::from_millis(50));
    let client = Client::connect_with(&server.path, &options).await.expect("connected");
    let error = client.get("account.hang", &Select::Latest).await.expect_err("too late");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    assert!(error.message().ends_with("did not answer within 50ms"), "{error}");
    assert_eq!(server.event().await, Seen::Hanging);
    options.timeout = None;
    let patient = Client::connect_with(&server.path, &options).await.expect("connected");
    patient.check().await.expect("answered");
    let mut untimed = 0;
    while let Ok(seen) = server.seen.try_recv() {
        untimed += usize::from(matches!(seen, Seen::Request(_, None)));
    }
    assert_eq!(untimed, 1);
}

/// Somebody listens and says nothing.
#[tokio::test]
async fn connecting_ends_at_the_deadline_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sock");
    let _silent = UnixListener::bind(&path).expect("a socket");
    let mut options = ClientOptions::default();
    options.timeout = Some(Duration::from_millis(50));
    let error = match Client::connect_with(&path, &options).await {
        Ok(client) => client.check().await.expect_err("nobody answers"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("did not answer within 50ms"), "{error}");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_error() {
    let (_dir, _server, client) = connected().await;
    let error = client.get("account.no-time", &Select::Latest).await.expect_err("no time");
    assert_eq!(error.kind(), ErrorKind::Internal);
    let mut options = ClientOptions::default();
    options.max_answer_bytes = 1_000;
    let value = SecretBytes::zeroed(2_000).expect("memory");
    client.put("account.long", &value, &PutOptions::default()).await.expect("put");
    let narrow = Client::connect_with(client.path(), &options).await.expect("connected");
    let error = narrow.get("account.long", &Select::Latest).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}
