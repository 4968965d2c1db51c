//! Values as streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use strongroom_core::{ErrorKind, Kind, PutOptions, Select};
use tokio::io::{AsyncRead, ReadBuf};

use crate::connected;
use crate::server::Seen;

fn file() -> PutOptions {
    PutOptions { kind: Kind::File, ..PutOptions::default() }
}

/// Gives so many bytes, then fails or hangs.
struct Breaks {
    left: usize,
    hangs: bool,
}

impl AsyncRead for Breaks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return if self.hangs {
                Poll::Pending
            } else {
                Poll::Ready(Err(io::Error::other("the disk broke")))
            };
        }
        let len = self.left.min(into.remaining());
        into.put_slice(&vec![7; len]);
        self.left -= len;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn every_length_comes_back() {
    let (_dir, mut server, client) = connected().await;
    let chunk = strongroom_rpc::CHUNK_BYTES;
    for len in [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 5 << 20] {
        let value: Vec<u8> = (0..=250).cycle().take(len).collect();
        client.upload("account.f", &mut value.as_slice(), &file()).await.expect("uploaded");
        assert_eq!(server.event().await, Seen::Stored(len));
        let mut back = Vec::new();
        let got = client.download("account.f", &Select::Latest, &mut back).await.expect("got");
        assert!(back == value);
        assert_eq!((got.length, got.kind), (len as u64, Kind::File));
    }
}

#[tokio::test]
async fn a_value_that_breaks_off_is_never_stored() {
    let (_dir, mut server, client) = connected().await;
    for left in [0, 10, strongroom_rpc::CHUNK_BYTES, 1 << 20] {
        let mut value = Breaks { left, hangs: false };
        let error = client.upload("account.f", &mut value, &file()).await.expect_err("it broke");
        assert!(error.to_string().contains("the disk broke"), "{error}");
        assert!(!error.is_retryable());
        // Less than a chunk may break before the sidecar hears of it at all.
        if left >= strongroom_rpc::CHUNK_BYTES {
            assert_eq!(server.event().await, Seen::Broken, "after {left} bytes");
        }
    }
    assert!(client.get("account.f", &Select::Latest).await.is_err());
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_never_stored() {
    let (_dir, mut server, client) = connected().await;
    let mut value = Breaks { left: strongroom_rpc::CHUNK_BYTES, hangs: true };
    let options = file();
    let upload = client.upload("account.half", &mut value, &options);
    tokio::select! {
        _ = upload => panic!("it hangs"),
        event = server.event() => assert_eq!(event, Seen::Hanging),
    }
    assert_eq!(server.event().await, Seen::Broken);
    assert!(client.get("account.half", &Select::Latest).await.is_err());
}

#[tokio::test]
async fn the_sidecars_refusal_ends_an_upload() {
    let (_dir, _server, client) = connected().await;
    let mut endless = tokio::io::repeat(7);
    let error = client.upload("account.denied", &mut endless, &file()).await.expect_err("denied");
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
}

#[tokio::test]
async fn a_download_that_is_not_what_its_start_says_is_refused() {
    let (_dir, _server, client) = connected().await;
    client.upload("account.f", &mut vec![1; 100_000].as_slice(), &file()).await.expect("uploaded");
    for (wrong, kind) in [
        ("short", ErrorKind::Unavailable),
        ("long", ErrorKind::Internal),
        ("twice", ErrorKind::Internal),
        ("headless", ErrorKind::Internal),
    ] {
        let name = format!("{wrong}/account.f");
        let mut back = Vec::new();
        let error = client.download(&name, &Select::Latest, &mut back).await.expect_err(wrong);
        assert_eq!(error.kind(), kind, "{wrong}: {error}");
        assert_eq!(error.operation(), Some("download"));
    }
}
