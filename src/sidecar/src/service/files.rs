//! `Upload` and `Download`: files as streams of chunks, of which a few at a time
//! are in memory.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use prost::Message;
use strongroom::config::Verb;
use strongroom::{Error, FileReader, FileSource, Kind, PutOptions, Result};
use strongroom_rpc::v1::{download_response, upload_request, upload_start};
use strongroom_rpc::{
    duration, error_of, kind_from_wire, kind_to_wire, metadata_from_wire, missing_to_wire,
    status_of, timestamp, v1,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::reads::bytes_of;
use super::{Counted, Service, expect, select};
use crate::state::Session;

/// What a download is read as.
pub(super) type Chunks =
    Pin<Box<dyn Stream<Item = std::result::Result<v1::DownloadResponse, Status>> + Send>>;

impl Service {
    pub(super) async fn take(
        &self,
        counted: Counted,
        mut parts: Streaming<v1::UploadRequest>,
    ) -> std::result::Result<v1::UploadResponse, Status> {
        let status = |error: Error| status_of(&error.during("upload"));
        let session = self.session();
        let patience = session.current.limits.request_timeout;
        let first = timeout(patience, parts.message()).await;
        let Some(first) = first.map_err(|_| status(stalled(patience)))?? else {
            return Err(status(misformed("the stream is empty: it begins with the start")));
        };
        let Some(upload_request::Part::Start(start)) = first.part else {
            return Err(status(misformed("the stream does not begin with the start")));
        };
        let (engine, name) = Self::admit(&session, Verb::Put, &start.scope, &start.name)
            .await
            .map_err(|e| status_of(&e))?;
        let (absent, version) = match &start.expect {
            Some(upload_start::Expect::IfAbsent(absent)) => (Some(*absent), None),
            Some(upload_start::Expect::IfVersion(version)) => (None, Some(version.as_str())),
            None => (None, None),
        };
        let options = PutOptions {
            kind: kind_from_wire(start.kind, Kind::File).map_err(status)?,
            expect: expect(absent, version).map_err(status)?,
            metadata: start.metadata.map(metadata_from_wire).transpose().map_err(status)?,
            unchecked_reference: start.unchecked_reference,
        };
        let (taken, (wanted, gone)) = (Arc::<AtomicU64>::default(), oneshot::channel());
        let (rest, counts) = (Bytes::new(), Arc::clone(&taken));
        let mut source =
            Parts { stream: parts, gone, rest, held: 0, counted: counted.clone(), taken: counts };
        let put = {
            let name = name.clone();
            async move { engine.put_file(&name, &mut source, &options).await }
        };
        let change =
            self.change(counted, &name, v1::Change::Put, put, |info| Some(info.version.clone()));
        // However long it takes, as long as it goes on.
        let mut change = pin!(change);
        let info = loop {
            let before = taken.load(Relaxed);
            match timeout(patience, &mut change).await {
                Ok(info) => break info.map_err(|e| status_of(&e))?,
                Err(_) if taken.load(Relaxed) > before => {}
                Err(_) => return Err(status(stalled(patience))),
            }
        };
        drop(wanted);
        Ok(v1::UploadResponse {
            version: info.version.to_string(),
            kind: kind_to_wire(info.kind),
            created: Some(timestamp(info.created)),
            missing_keks: missing_to_wire(&info.missing_keks),
        })
    }

    pub(super) async fn give(
        &self,
        counted: Counted,
        request: v1::DownloadRequest,
    ) -> std::result::Result<Chunks, Status> {
        let session = self.session();
        let (file, limits) = (self.found(&session, request).await, &session.current.limits);
        let file = file.map_err(|e| status_of(&e))?;
        // Until the last chunk has left: what is in memory anyway, and the segments
        // that are on their way.
        let ahead = file.info().length.min((CHUNKS_AHEAD * file.info().segment_bytes) as u64);
        let held = file.held_bytes() + ahead as usize;
        if let Some(counted) = &counted {
            counted.try_hold(held, limits).map_err(|over| over.status(limits))?;
        }
        let info = file.info();
        let start = v1::DownloadStart {
            version: info.version.to_string(),
            kind: kind_to_wire(info.kind),
            created: Some(timestamp(info.created)),
            length: info.length,
            age: (!info.age.is_zero()).then(|| duration(info.age)),
            stale: info.stale,
        };
        let start = Ok(download_response::Part::Start(start));
        let chunks = self.read_ahead(file).map_ok(download_response::Part::Chunk);
        let parts = stream::once(async { start }).chain(chunks);
        Ok(Box::pin(parts.map_ok(|part| v1::DownloadResponse { part: Some(part) })))
    }

    /// The file in pieces, read where the store works, each only when there is
    /// room for it: a reader who takes nothing keeps no thread.
    fn read_ahead(
        &self,
        mut file: FileReader,
    ) -> impl Stream<Item = std::result::Result<Bytes, Status>> + Send + use<> {
        // One waits here, and one in the hand of whoever sends it.
        let (sender, mut receiver) = mpsc::channel(CHUNKS_AHEAD - 1);
        self.shared.backend.spawn(async move {
            while let Ok(place) = sender.reserve().await {
                let segment = match file.next().await {
                    Ok(Some(segment)) => Ok(bytes_of(segment)),
                    Ok(None) => return,
                    Err(error) => Err(status_of(&error.during("download"))),
                };
                let failed = segment.is_err();
                place.send(segment);
                if failed {
                    return;
                }
            }
        });
        // Reading has ended for good only when it said so or the file is at its end;
        // the client compares the length.
        stream::poll_fn(move |context| receiver.poll_recv(context))
    }

    async fn found(&self, session: &Session, request: v1::DownloadRequest) -> Result<FileReader> {
        let v1::DownloadRequest { name, version, scope } = request;
        let (engine, name) = Self::admit(session, Verb::Get, &scope, &name).await?;
        let select = select(&version).map_err(|e| e.during("download"))?;
        self.look_up(session, async move { engine.get_file(&name, &select).await }).await
    }
}

/// How many segments of a download are in memory at a time.
const CHUNKS_AHEAD: usize = 2;

/// The chunks of an upload, as they come in. What was counted for a chunk is
/// given back when it has been taken over: an upload may be longer than a user
/// may hold.
struct Parts {
    stream: Streaming<v1::UploadRequest>,
    /// Ends when nobody waits for the answer any more.
    gone: oneshot::Receiver<()>,
    /// What is left of the last chunk.
    rest: Bytes,
    /// What the message counts that `rest` came in.
    held: usize,
    counted: Counted,
    /// How many bytes have come so far.
    taken: Arc<AtomicU64>,
}

impl Parts {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let part = tokio::select! {
            biased;
            part = self.stream.message() => part.map_err(|status| error_of(&status))?,
            _ = &mut self.gone => return Err(Error::unavailable("the caller has gone")),
        };
        let Some(part) = part else { return Ok(None) };
        self.held = PREFIX_BYTES + part.encoded_len();
        match part.part {
            Some(upload_request::Part::Chunk(chunk)) => {
                self.taken.fetch_add(chunk.len() as u64, Relaxed);
                Ok(Some(chunk))
            }
            _ => Err(misformed("after the start only chunks follow")),
        }
    }

    fn release(&mut self) {
        self.rest = Bytes::new();
        if let Some(counted) = &self.counted {
            counted.release(std::mem::take(&mut self.held));
        }
    }
}

/// Before each message: a flag and its length (gRPC over HTTP/2).
const PREFIX_BYTES: usize = 5;

#[async_trait]
impl FileSource for Parts {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.rest.is_empty() {
                self.release();
                match self.next().await? {
                    Some(chunk) => self.rest = chunk,
                    None => break,
                }
                continue;
            }
            let piece = self.rest.split_to(self.rest.len().min(buffer.len() - filled));
            buffer[filled..][..piece.len()].copy_from_slice(&piece);
            filled += piece.len();
        }
        if self.rest.is_empty() {
            self.release();
        }
        Ok(filled)
    }
}

fn stalled(patience: Duration) -> Error {
    Error::unavailable(format!(
        "the upload did not go on for {patience:?}, the sidecar's request_timeout"
    ))
}

fn misformed(what: &'static str) -> Error {
    Error::unsupported(what)
}
