//! `Upload` and `Download`: values as streams of chunks, in guarded memory here.

use std::io::{self, Write};
use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use strongroom::config::Verb;
use strongroom::guard::SecretBuffer;
use strongroom::{Error, Kind, PutOptions, Result, Secret, SecretBytes};
use strongroom_rpc::v1::{download_response, upload_request, upload_start};
use strongroom_rpc::{
    CHUNK_BYTES, duration, kind_from_wire, kind_to_wire, status_of, timestamp, v1,
};
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
        let Some(first) = parts.message().await? else {
            return Err(status(misformed("the stream is empty: it begins with the start")));
        };
        let Some(upload_request::Part::Start(start)) = first.part else {
            return Err(status(misformed("the stream does not begin with the start")));
        };
        let session = self.session();
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
        };
        let max = engine.capabilities().max_value_bytes;
        let mut value = SecretBuffer::with_limit(max);
        while let Some(part) = parts.message().await? {
            let Some(upload_request::Part::Chunk(chunk)) = part.part else {
                return Err(status(misformed("after the start only chunks follow")));
            };
            value.write_all(&chunk).map_err(|e| status(refused(e, max)))?;
        }
        let value = value.into_secret().map_err(|e| status(e.into()))?;
        let put = {
            let name = name.clone();
            async move { engine.put(&name, &value, &options).await }
        };
        let info = self
            .change(counted, &name, v1::Change::Put, put, |info| Some(info.version.clone()))
            .await
            .map_err(|e| status_of(&e))?;
        Ok(v1::UploadResponse {
            version: info.version.to_string(),
            kind: kind_to_wire(info.kind),
            created: Some(timestamp(info.created)),
        })
    }

    pub(super) async fn give(
        &self,
        counted: Counted,
        request: v1::DownloadRequest,
    ) -> std::result::Result<Chunks, Status> {
        let session = self.session();
        let (secret, limits) = (self.found(&session, request).await, &session.current.limits);
        let secret = secret.map_err(|e| status_of(&e))?;
        // The whole value stays in guarded memory until the last chunk has left.
        if let Some(counted) = &counted {
            counted.try_hold(secret.value.len(), limits).map_err(|over| over.status(limits))?;
        }
        let start = v1::DownloadStart {
            version: secret.version.to_string(),
            kind: kind_to_wire(secret.kind),
            created: Some(timestamp(secret.created)),
            length: secret.value.len() as u64,
            age: (!secret.age.is_zero()).then(|| duration(secret.age)),
            stale: secret.stale,
        };
        let start = download_response::Part::Start(start);
        let chunks = chunks(secret.value).map(download_response::Part::Chunk);
        let parts = stream::once(async { start }).chain(chunks);
        Ok(Box::pin(parts.map(|part| Ok(v1::DownloadResponse { part: Some(part) }))))
    }

    async fn found(&self, session: &Session, request: v1::DownloadRequest) -> Result<Secret> {
        let v1::DownloadRequest { name, version, scope } = request;
        let (engine, name) = Self::admit(session, Verb::Get, &scope, &name).await?;
        let select = select(&version).map_err(|e| e.during("download"))?;
        self.look_up(session, async move { engine.get(&name, &select).await }).await
    }
}

/// The value in pieces that share it: it is wiped with the last.
fn chunks(value: SecretBytes) -> impl Stream<Item = Bytes> + Send {
    let mut rest = bytes_of(value);
    stream::iter(std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| rest.split_to(rest.len().min(CHUNK_BYTES)))
    }))
}

fn misformed(what: &'static str) -> Error {
    Error::unsupported(what)
}

/// Why a buffer takes no more.
fn refused(error: io::Error, max: usize) -> Error {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return Error::limit_exceeded(format!("the value is longer than {max} bytes"));
    }
    match error.downcast::<strongroom::guard::Error>() {
        Ok(error) => error.into(),
        Err(error) => Error::internal("the upload cannot be kept").with_source(error),
    }
}
