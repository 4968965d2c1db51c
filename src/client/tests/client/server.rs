//! A sidecar that does what a test tells it, also what none should do.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::{Stream, StreamExt, stream};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use strongroom_core::{Error, ErrorKind, Timestamp};
use strongroom_rpc::v1::strongroom_server::{Strongroom, StrongroomServer};
use strongroom_rpc::v1::task_event::Event;
use strongroom_rpc::v1::{download_response, put_request, upload_request};
use strongroom_rpc::{status_of, v1};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Request, Response, Status, Streaming};
use tower_service::Service;

type Answer<T> = Result<Response<T>, Status>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a server has seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Connection,
    /// `:authority` and `grpc-timeout` of a request.
    Request(Option<String>, Option<String>),
    /// A call that is never answered.
    Hanging,
    /// An upload that ended well, with so many bytes.
    Stored(usize),
    /// An upload that was broken off.
    Broken,
}

/// A server at a socket, until it is dropped.
pub(crate) struct Server {
    pub(crate) path: PathBuf,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn at(path: &Path) -> Self {
        Self::on(UnixListener::bind(path).expect("a socket"), path)
    }

    pub(crate) fn on(listener: UnixListener, path: &Path) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(accept(listener, sender));
        Self { path: path.to_owned(), seen, task }
    }

    /// The next thing that it sees, but for connections and requests.
    pub(crate) async fn event(&mut self) -> Seen {
        loop {
            match self.seen.recv().await.expect("it runs") {
                Seen::Connection | Seen::Request(..) => {}
                event => return event,
            }
        }
    }

    /// Ends it with all its connections, as a process that is killed.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        std::fs::remove_file(&self.path).expect("removed");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, seen: mpsc::UnboundedSender<Seen>) {
    let fake = Fake { seen: seen.clone(), values: Mutex::default(), backups: AtomicUsize::new(0) };
    let server = StrongroomServer::new(fake).max_decoding_message_size(32 << 20);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        let _ = seen.send(Seen::Connection);
        let (server, seen) = (server.clone(), seen.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let timeout = request.headers().get("grpc-timeout");
                let timeout = timeout.map(|value| value.to_str().expect("ASCII").to_owned());
                let authority = request.uri().authority().map(ToString::to_string);
                let _ = seen.send(Seen::Request(authority, timeout));
                server.clone().call(request)
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

struct Fake {
    seen: mpsc::UnboundedSender<Seen>,
    values: Mutex<HashMap<String, (i32, bytes::Bytes)>>,
    backups: AtomicUsize,
}

impl Fake {
    async fn hang<T>(&self) -> T {
        let _ = self.seen.send(Seen::Hanging);
        std::future::pending().await
    }

    fn value(&self, name: &str) -> Result<(i32, bytes::Bytes), Status> {
        let none = Error::not_found("there is no such secret").during("get").about(&name);
        self.values.lock().expect("no panic").get(name).cloned().ok_or_else(|| status_of(&none))
    }
}

fn now() -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }
}

fn got((kind, value): (i32, bytes::Bytes)) -> v1::GetResponse {
    v1::GetResponse {
        value,
        version: "1".into(),
        kind,
        created: Some(now()),
        age: None,
        stale: false,
    }
}

#[async_trait]
impl Strongroom for Fake {
    type WatchStream = Events<v1::WatchResponse>;
    type DownloadStream = Events<v1::DownloadResponse>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        let request = request.into_inner();
        match request.name.as_str() {
            "account.hang" => self.hang().await,
            "account.no-time" => {
                let mut answer = got((1, bytes::Bytes::new()));
                answer.created = None;
                Ok(Response::new(answer))
            }
            name => Ok(Response::new(got(self.value(name)?))),
        }
    }

    async fn render(&self, request: Request<v1::RenderRequest>) -> Answer<v1::RenderResponse> {
        let request = request.into_inner();
        let text = [request.scope.as_bytes(), b": ", &request.template].concat();
        Ok(Response::new(v1::RenderResponse { text: text.into() }))
    }

    async fn rotate(&self, request: Request<v1::RotateRequest>) -> Answer<v1::RotateResponse> {
        let version = v1::KekVersion {
            version: format!("{}2", request.into_inner().kek),
            created: None,
            is_current: true,
        };
        Ok(Response::new(v1::RotateResponse { version: Some(version) }))
    }

    type RewrapStream = Events<v1::TaskEvent>;

    async fn rewrap(&self, _: Request<v1::RewrapRequest>) -> Answer<Events<v1::TaskEvent>> {
        let failures = vec![v1::Failed {
            scope: "acme/x".to_owned(),
            name: "db".to_owned(),
            version: "3".to_owned(),
            error: Some(strongroom_rpc::to_wire(&Error::tampered("altered"))),
        }];
        let outcome = v1::Outcome {
            examined: 3,
            changed: 2,
            failed: 1,
            failures,
            missing_keks: [("k".to_owned(), 2)].into(),
            resumed: true,
        };
        let progress = v1::Progress { done: 1, total: Some(3), changed: 1, failed: 0 };
        Ok(Response::new(events([Event::Progress(progress), Event::Outcome(outcome)])))
    }

    type ReencryptStream = Events<v1::TaskEvent>;

    async fn reencrypt(
        &self,
        request: Request<v1::ReencryptRequest>,
    ) -> Answer<Events<v1::TaskEvent>> {
        // What was asked comes back as a failure's name, and then there is no end.
        let v1::ReencryptRequest { names, within, suite, restart } = request.into_inner();
        assert_eq!(names, ["acme/x:db"]);
        assert_eq!((within.as_str(), suite.as_str(), restart), ("", "chacha20-poly1305", true));
        Ok(Response::new(events([])))
    }

    type ReportKeysStream = Events<v1::TaskEvent>;

    async fn report_keys(
        &self,
        _: Request<v1::ReportKeysRequest>,
    ) -> Answer<Events<v1::TaskEvent>> {
        let version = v1::KekVersion {
            version: "1".to_owned(),
            created: Some(strongroom_rpc::timestamp(Timestamp(5))),
            is_current: true,
        };
        let versions = vec![v1::KekVersionUse {
            version: Some(version),
            records: 7,
            examples: vec!["acme:db".to_owned()],
        }];
        let keks = vec![v1::KekUse { kek: "k".to_owned(), in_use: true, versions }];
        Ok(Response::new(events([Event::Keys(v1::KeyReport { keks, records: 7, stale: 1 })])))
    }

    type DestroyKeyVersionStream = Events<v1::TaskEvent>;

    async fn destroy_key_version(
        &self,
        request: Request<v1::DestroyKeyVersionRequest>,
    ) -> Answer<Events<v1::TaskEvent>> {
        let v1::DestroyKeyVersionRequest { kek, version } = request.into_inner();
        assert_eq!((kek.as_str(), version.as_str()), ("k", "1"));
        // The answer of another operation.
        Ok(Response::new(events([Event::Outcome(v1::Outcome::default())])))
    }

    type MigrateStream = Events<v1::TaskEvent>;

    async fn migrate(&self, request: Request<v1::MigrateRequest>) -> Answer<Events<v1::TaskEvent>> {
        // What was asked comes back as numbers.
        let request = request.into_inner();
        let migrated = v1::Migrated {
            examined: request.names.len() as u64,
            moved: u64::from(request.within == "acme/x"),
            removed: u64::from(request.remove_source),
            versions: u64::from(request.target == "/x/y.toml"),
            dry_run: request.dry_run,
            ..v1::Migrated::default()
        };
        Ok(Response::new(events([Event::Migrated(migrated)])))
    }

    type VerifyStream = Events<v1::TaskEvent>;

    async fn verify(&self, _: Request<v1::VerifyRequest>) -> Answer<Events<v1::TaskEvent>> {
        let verified = v1::Verified { secrets: 2, strangers: 1, ..v1::Verified::default() };
        Ok(Response::new(events([Event::Verified(verified)])))
    }

    type BackupStream = Events<v1::BackupResponse>;

    /// The first is whole, the second ends before its end, and the third says that it
    /// is longer.
    async fn backup(&self, _: Request<v1::BackupRequest>) -> Answer<Events<v1::BackupResponse>> {
        let time = self.backups.fetch_add(1, Ordering::SeqCst);
        let piece = |chunk: &'static [u8]| v1::BackupResponse {
            chunk: chunk.into(),
            progress: Some(v1::Progress { done: 1, ..v1::Progress::default() }),
            info: None,
        };
        let bytes = if time == 2 { 7 } else { 6 };
        let info = v1::BackupInfo { created: Some(now()), names: 1, bytes, ..Default::default() };
        let end = v1::BackupResponse { info: Some(info), ..v1::BackupResponse::default() };
        let mut pieces = vec![Ok(piece(b"abc")), Ok(piece(b"def")), Ok(end)];
        if time == 1 {
            pieces.pop();
        }
        Ok(Response::new(stream::iter(pieces).boxed()))
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Answer<v1::BatchGetResponse> {
        let result = |request: v1::GetRequest| {
            let result = match self.value(&request.name) {
                Ok(value) => v1::batch_get_result::Result::Secret(got(value)),
                Err(status) => {
                    let error = strongroom_rpc::error_of(&status);
                    v1::batch_get_result::Result::Error(strongroom_rpc::to_wire(&error))
                }
            };
            v1::BatchGetResult { result: Some(result) }
        };
        let requests = request.into_inner().requests.into_iter();
        let results = requests.filter(|request| request.name != "account.left-out").map(result);
        Ok(Response::new(v1::BatchGetResponse { results: results.collect() }))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answer<v1::PutResponse> {
        let request = request.into_inner();
        if let Some(put_request::Expect::IfVersion(version)) = request.expect {
            let error = Error::new(ErrorKind::Conflict, format!("it is not {version}"));
            return Err(status_of(&error.during("put")));
        }
        let kind = request.kind;
        self.values.lock().expect("no panic").insert(request.name, (kind, request.value));
        Ok(Response::new(v1::PutResponse {
            version: "1".into(),
            kind,
            created: Some(now()),
            missing_keks: vec![v1::MissingKek { kek: "k".into(), error: None }],
        }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        let request = request.into_inner();
        let next_page_token = match request.page_token.as_str() {
            "" => "second".to_owned(),
            _ => String::new(),
        };
        let name = if request.include_deleted {
            "org.deleted".to_owned()
        } else {
            format!("account.of-{}", request.page_size)
        };
        let metadata = v1::Metadata {
            description: "of a test".into(),
            tags: [("env".to_owned(), "test".to_owned())].into(),
        };
        let secret = v1::Listing {
            name,
            version: "7".into(),
            kind: 2,
            updated: Some(now()),
            deleted: None,
            metadata: Some(metadata),
        };
        Ok(Response::new(v1::ListResponse { secrets: vec![secret], next_page_token }))
    }

    async fn versions(&self, _: Request<v1::VersionsRequest>) -> Answer<v1::VersionsResponse> {
        Err(Status::unimplemented(""))
    }

    /// Gives back what it is told, with the number of tags that go.
    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Answer<v1::DescribeResponse> {
        let request = request.into_inner();
        let description = format!(
            "{} {} {} {}",
            request.name,
            request.replace,
            request.description.unwrap_or_default(),
            request.remove.join(",")
        );
        let metadata = Some(v1::Metadata { description, tags: request.tags });
        Ok(Response::new(v1::DescribeResponse { metadata }))
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        Err(Status::unimplemented(""))
    }

    async fn restore(&self, _: Request<v1::RestoreRequest>) -> Answer<v1::RestoreResponse> {
        Err(Status::unimplemented(""))
    }

    async fn purge(&self, _: Request<v1::PurgeRequest>) -> Answer<v1::PurgeResponse> {
        Err(Status::unimplemented(""))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let event = |name: &str, change: v1::Change, version: &str| {
            let (name, version) = (name.to_owned(), version.to_owned());
            Ok(v1::WatchResponse { name, change: change.into(), version })
        };
        let events = [
            event("account.db", v1::Change::Present, "3"),
            event("", v1::Change::Synced, ""),
            event("account.db", v1::Change::Deleted, ""),
        ];
        Ok(Response::new(Box::pin(stream::iter(events).chain(stream::pending()))))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadRequest>>,
    ) -> Answer<v1::UploadResponse> {
        let mut parts = request.into_inner();
        let mut name = String::new();
        let mut value = Vec::new();
        loop {
            match parts.next().await {
                Some(Ok(v1::UploadRequest { part: Some(upload_request::Part::Start(start)) })) => {
                    if start.name == "account.denied" {
                        let denied = Error::access_denied("no rule allows it").during("upload");
                        return Err(status_of(&denied));
                    }
                    name = start.name;
                }
                Some(Ok(v1::UploadRequest { part: Some(upload_request::Part::Chunk(chunk)) })) => {
                    assert!(chunk.len() <= strongroom_rpc::CHUNK_BYTES);
                    value.extend_from_slice(&chunk);
                    // The test goes on when it knows that the upload is under way.
                    if name == "account.half" {
                        let _ = self.seen.send(Seen::Hanging);
                    }
                }
                Some(Err(error)) => {
                    let _ = self.seen.send(Seen::Broken);
                    return Err(error);
                }
                _ => break,
            }
        }
        let _ = self.seen.send(Seen::Stored(value.len()));
        self.values.lock().expect("no panic").insert(name, (2, value.into()));
        Ok(Response::new(v1::UploadResponse {
            version: "1".into(),
            kind: 2,
            created: Some(now()),
            missing_keks: vec![],
        }))
    }

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Answer<Self::DownloadStream> {
        let name = request.into_inner().name;
        let (wrong, name) = match name.split_once('/') {
            Some((wrong, name)) => (wrong.to_owned(), name.to_owned()),
            None => (String::new(), name),
        };
        let (kind, value) = self.value(&name)?;
        let start = v1::DownloadStart {
            version: "1".into(),
            kind,
            created: Some(now()),
            length: value.len() as u64,
            age: None,
            stale: false,
        };
        let mut parts = vec![download_response::Part::Start(start.clone())];
        for chunk in value.chunks(strongroom_rpc::CHUNK_BYTES) {
            parts.push(download_response::Part::Chunk(chunk.to_vec().into()));
        }
        match wrong.as_str() {
            "short" => drop(parts.pop()),
            "long" => parts.push(download_response::Part::Chunk(vec![0].into())),
            "twice" => parts.push(download_response::Part::Start(start)),
            "headless" => drop(parts.remove(0)),
            _ => {}
        }
        let parts = parts.into_iter().map(|part| Ok(v1::DownloadResponse { part: Some(part) }));
        Ok(Response::new(Box::pin(stream::iter(parts.collect::<Vec<_>>()))))
    }

    async fn seal(&self, request: Request<v1::SealRequest>) -> Answer<v1::SealResponse> {
        let request = request.into_inner();
        assert_eq!(request.context.get("row").map(String::as_str), Some("7"));
        Ok(Response::new(v1::SealResponse {
            sealed: request.value.iter().rev().copied().collect(),
        }))
    }

    async fn open(&self, request: Request<v1::OpenRequest>) -> Answer<v1::OpenResponse> {
        let request = request.into_inner();
        Ok(Response::new(v1::OpenResponse {
            value: request.sealed.iter().rev().copied().collect(),
        }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let secret = |name: String| v1::SecretStatus {
            name,
            cached: true,
            version: "3".into(),
            last_success: Some(now()),
            age: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            expires_in: None,
            stale: true,
            error: None,
        };
        let request = request.into_inner();
        Ok(Response::new(v1::StatusResponse {
            version: "0.1.0".into(),
            started: Some(now()),
            scope: Some(request.scope).filter(|s| !s.is_empty()).unwrap_or("acme/ops".into()),
            store: "a store".into(),
            cache: Some(v1::CacheStatus { hits: 5, ..Default::default() }),
            secrets: request.names.into_iter().map(secret).collect(),
            configured: Some(now()),
            reload_error: String::new(),
            connections: 1,
            requests_in_flight: 1,
            capabilities: Some(v1::Capabilities {
                write: true,
                seal: true,
                max_value_bytes: 9,
                ..Default::default()
            }),
        }))
    }

    async fn check(&self, _: Request<v1::CheckRequest>) -> Answer<v1::CheckResponse> {
        Ok(Response::new(v1::CheckResponse { checked: vec!["store: read".into()] }))
    }
}

fn events<const N: usize>(events: [Event; N]) -> Events<v1::TaskEvent> {
    Box::pin(stream::iter(events.map(|event| Ok(v1::TaskEvent { event: Some(event) }))))
}
