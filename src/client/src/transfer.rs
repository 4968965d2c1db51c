//! Values as streams, of which this process holds one chunk at a time.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use strongroom_core::{
    Error, Kind, PutOptions, Result, SecretBytes, Select, Timestamp, Version, VersionInfo,
};
use strongroom_rpc::v1::{download_response, upload_request};
use strongroom_rpc::{CHUNK_BYTES, from_duration, metadata_to_wire, missing_from_wire, v1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tonic::Request;

use crate::fault::nonsense;
use crate::{Client, convert};

/// What was downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloaded {
    /// The version that it was.
    pub version: Version,
    /// What its bytes are.
    pub kind: Kind,
    /// When it was written.
    pub created: Timestamp,
    /// How many bytes it has.
    pub length: u64,
    /// As in [`Secret`](strongroom_core::Secret).
    pub age: Duration,
    /// As in [`Secret`](strongroom_core::Secret).
    pub stale: bool,
}

impl Client {
    /// Writes a new version of all that `value` gives. Each chunk is read into
    /// guarded memory. Nothing is stored when `value` fails, or when this future
    /// is dropped before it is ready.
    pub async fn upload(
        &self,
        name: &str,
        value: &mut (impl AsyncRead + Unpin),
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let start = v1::UploadStart {
            name: name.to_owned(),
            kind: strongroom_rpc::kind_to_wire(options.kind),
            scope: self.scope.clone(),
            expect: convert::upload_expect(&options.expect),
            metadata: options.metadata.as_ref().map(metadata_to_wire),
            unchecked_reference: options.unchecked_reference,
        };
        // One chunk waits while the next one is read.
        let (sender, receiver) = mpsc::channel(1);
        let mut grpc = self.grpc.clone();
        // No deadline for all of it: it takes as long as the value is long.
        let call = async {
            let answer = grpc.upload(Request::new(Parts(receiver))).await;
            Ok(answer.map_err(|status| self.fault(status))?.into_inner())
        };
        let moved = AtomicU64::new(0);
        let call = self.in_motion("upload", &moved, call);
        let sent = async {
            send(&sender, start, value, &moved).await?;
            // What is left to wait for is the answer.
            std::future::pending().await
        };
        tokio::select! {
            // Where both are ready, the sidecar's error says more.
            biased;
            answer = call => {
                let answer = answer?;
                let info = convert::info(&answer.version, answer.kind, answer.created)?;
        Ok(VersionInfo { missing_keks: missing_from_wire(answer.missing_keks), ..info })
            }
            error = sent => error,
        }
        .map_err(|error: Error| error.during("upload").about(&name))
    }

    /// Writes a version of a secret to `into`, chunk by chunk. When this fails,
    /// `into` may have a part of the value.
    pub async fn download(
        &self,
        name: &str,
        select: &Select,
        into: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Downloaded> {
        let (version, scope) = (convert::version_text(select), self.scope.clone());
        let request = v1::DownloadRequest { name: name.to_owned(), version, scope };
        let moved = AtomicU64::new(0);
        let work = async {
            let mut grpc = self.grpc.clone();
            let answer = grpc.download(self.request(request)).await;
            let mut parts = answer.map_err(|status| self.fault(status))?.into_inner();
            let mut next = async || {
                let part = parts.message().await.map_err(|status| self.fault(status))?;
                part.map(|part| part.part.ok_or_else(|| nonsense("a part is empty"))).transpose()
            };
            let Some(download_response::Part::Start(start)) = next().await? else {
                return Err(nonsense("a download has no start"));
            };
            let mut left = start.length;
            while let Some(part) = next().await? {
                let download_response::Part::Chunk(chunk) = part else {
                    return Err(nonsense("a download has two starts"));
                };
                left = (left.checked_sub(chunk.len() as u64))
                    .ok_or_else(|| nonsense("a download is longer than its start says"))?;
                into.write_all(&chunk).await.map_err(|e| local("written", e))?;
                moved.fetch_add(1, Relaxed);
            }
            if left > 0 {
                // A sidecar that ends says so; its absence is no end either.
                let what = format!("the download ended {left} bytes too early");
                return Err(Error::unavailable(what));
            }
            into.flush().await.map_err(|e| local("written", e))?;
            downloaded(&start)
        };
        self.in_motion("download", &moved, work).await.map_err(|error| error.about(&name))
    }
}

/// What the reading side tells the sending one. The end has a word of its own,
/// so that a sender that is gone is not taken for it: a value that was cut off
/// must not be stored.
enum Part {
    Start(v1::UploadStart),
    Chunk(Bytes),
    End,
}

/// A request's parts. It ends with [`Part::End`] only; without one, it waits to
/// be dropped with the call, which resets the stream.
struct Parts(mpsc::Receiver<Part>);

impl Stream for Parts {
    type Item = v1::UploadRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = match std::task::ready!(self.0.poll_recv(cx)) {
            Some(Part::Start(start)) => upload_request::Part::Start(start),
            Some(Part::Chunk(chunk)) => upload_request::Part::Chunk(chunk),
            Some(Part::End) => return Poll::Ready(None),
            None => return Poll::Pending,
        };
        Poll::Ready(Some(v1::UploadRequest { part: Some(part) }))
    }
}

/// Sends everything that `value` gives. A receiver that is gone is no error
/// here: the call says why.
async fn send(
    sender: &mpsc::Sender<Part>,
    start: v1::UploadStart,
    value: &mut (impl AsyncRead + Unpin),
    moved: &AtomicU64,
) -> Result<()> {
    let gone = sender.send(Part::Start(start)).await.is_err();
    let mut open = !gone;
    while open {
        let mut chunk = SecretBytes::zeroed(CHUNK_BYTES)?;
        let mut len = 0;
        while len < CHUNK_BYTES {
            match value.read(&mut chunk.expose_mut()[len..]).await {
                Ok(0) => break,
                Ok(read) => {
                    len += read;
                    moved.fetch_add(1, Relaxed);
                }
                Err(error) => return Err(local("read", error)),
            }
        }
        let last = len < CHUNK_BYTES;
        chunk.truncate(len);
        if len > 0 {
            open = sender.send(Part::Chunk(convert::lend(chunk))).await.is_ok();
            moved.fetch_add(1, Relaxed);
        }
        if last {
            let _ = sender.send(Part::End).await;
            return Ok(());
        }
    }
    Ok(())
}

fn downloaded(start: &v1::DownloadStart) -> Result<Downloaded> {
    let length = start.length;
    let age = start.age.map(from_duration).unwrap_or_default();
    let info = convert::info(&start.version, start.kind, start.created)?;
    let VersionInfo { version, kind, created, .. } = info;
    Ok(Downloaded { version, kind, created, length, age, stale: start.stale })
}

fn local(what: &str, error: std::io::Error) -> Error {
    let message = format!("the value cannot be {what}: {error}");
    Error::unavailable(message).retryable(false).with_source(error)
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    /// The connection's task may look at the parts before it hears that the call
    /// was dropped.
    #[test]
    fn a_sender_that_is_gone_is_not_the_end() {
        let (sender, receiver) = mpsc::channel(2);
        let mut parts = Parts(receiver);
        sender.try_send(Part::Chunk(Bytes::new())).expect("room");
        assert!(matches!(parts.next().now_or_never(), Some(Some(_))));
        drop(sender);
        assert!(parts.next().now_or_never().is_none(), "it waits");

        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(Part::End).expect("room");
        assert!(matches!(Parts(receiver).next().now_or_never(), Some(None)));
    }
}
