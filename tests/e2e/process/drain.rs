//! The end: what is under way ends first, and nobody waits for what does not.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use strongroom_client::{ChangeKind, Client};
use strongroom_core::{ErrorKind, PutOptions, Select, VersionInfo};
use strongroom_kit::daemon::{ALLOW_OWNER, Daemon, Home};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::{client, value};

/// Nobody waits for that in a test.
const NO_END: &str = "[sidecar]\ndrain_timeout = \"1d\"\nrequest_timeout = \"1d\"\n";

/// An upload that goes on until its other end is closed.
struct Upload {
    rest: DuplexStream,
    done: JoinHandle<strongroom_core::Result<VersionInfo>>,
}

impl Upload {
    /// One that has reached the sidecar.
    async fn begin(home: &Home) -> Self {
        let (client, (mut rest, mut source)) = (client(home).await, tokio::io::duplex(1 << 20));
        let uploader = client.clone();
        let done = tokio::spawn(async move {
            uploader.upload("account.late", &mut source, &PutOptions::default()).await
        });
        rest.write_all(&[7; 1000]).await.expect("taken");
        // The other request under way is the one that asks.
        while client.status(&[]).await.expect("told").requests_in_flight < 2 {}
        Self { rest, done }
    }

    async fn finish(self) -> strongroom_core::Result<VersionInfo> {
        let Self { mut rest, done } = self;
        // Where the upload has failed nobody takes it.
        let _ = rest.write_all(&[8; 1000]).await;
        drop(rest);
        done.await.expect("no panic")
    }
}

/// Told to end, and has heard it.
fn told_to_end(sidecar: &Daemon) {
    sidecar.signal(Signal::TERM);
    sidecar.wait_for("ending: waiting", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_and_nothing_new_begins() {
    let home = Home::new(&format!("{NO_END}{ALLOW_OWNER}"));
    let sidecar = home.start();
    let upload = Upload::begin(&home).await;
    let watcher = client(&home).await;
    let mut watch = watcher.watch(&["account.late"]).await.expect("watched");
    let first = watch.next().await.expect("told").expect("no error");
    assert_eq!(first.kind, ChangeKind::Absent);
    told_to_end(&sidecar);
    // The watcher is told, and not waited for.
    let told = loop {
        match watch.next().await.expect("the end is told") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(told.kind(), ErrorKind::Unavailable);
    Client::connect(home.socket()).await.map(drop).expect_err("a new caller was let in");
    upload.finish().await.expect("what had begun has ended");
    let (status, log) = sidecar.ended();
    assert!(status.success(), "{status}: {log}");
    assert!(!home.socket().exists());

    let sidecar = home.start();
    let secret = client(&home).await.get("account.late", &Select::Latest).await.expect("got");
    assert!(secret.value.expose() == [[7; 1000], [8; 1000]].concat(), "another value");
    sidecar.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new(&format!("{NO_END}{ALLOW_OWNER}"));
        let sidecar = home.start();
        let upload = Upload::begin(&home).await;
        told_to_end(&sidecar);
        sidecar.signal(signal);
        let (status, log) = sidecar.ended();
        assert!(!status.success() && status.code().is_some(), "{status}: {log}");
        assert!(!home.socket().exists());
        upload.finish().await.expect_err("it was cut");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_drain_timeout_is_cut() {
    let home = Home::new(&format!("[sidecar]\ndrain_timeout = \"10ms\"\n{ALLOW_OWNER}"));
    let sidecar = home.start();
    let upload = Upload::begin(&home).await;
    told_to_end(&sidecar);
    let (status, log) = sidecar.ended();
    assert!(!status.success() && status.code().is_some(), "{status}: {log}");
    assert!(log.contains("drain_timeout"), "{log}");
    upload.finish().await.expect_err("it was cut");
}

/// A process that was stopped with its connection open has nothing under way.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_nothing_are_not_waited_for() {
    let home = Home::new(&format!("{NO_END}{ALLOW_OWNER}"));
    let sidecar = home.start();
    let silent = UnixStream::connect(home.socket()).expect("connected");
    let mut idle = UnixStream::connect(home.socket()).expect("connected");
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("sent");
    let mut settings = [0; 9];
    idle.read_exact(&mut settings).expect("the sidecar has begun");
    sidecar.end();
    drop((silent, idle));
}

/// A put whose caller goes away is not half a put.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_the_end_is_there_after_it() {
    let home = Home::new(ALLOW_OWNER);
    let sidecar = home.start();
    let caller = client(&home).await;
    let put = |index: u32| {
        let caller = caller.clone();
        async move {
            let name = format!("account.n{index}");
            caller.put(&name, &value(name.as_bytes()), &PutOptions::default()).await.map(|_| name)
        }
    };
    let puts: Vec<_> = (0..64).map(|index| tokio::spawn(put(index))).collect();
    sidecar.end();
    let mut acknowledged = Vec::new();
    for one in puts {
        acknowledged.extend(one.await.expect("no panic").ok());
    }
    let sidecar = home.start();
    let caller = client(&home).await;
    for name in acknowledged {
        let secret = caller.get(&name, &Select::Latest).await.expect(&name);
        assert!(secret.value.expose() == name.as_bytes(), "{name}");
    }
    sidecar.end();
}
