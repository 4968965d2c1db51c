//! One connection: HTTP/2 for one caller, watched over so that a client that
//! stalls does not stay for ever.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use strongroom_rpc::Peer;
use strongroom_rpc::v1::strongroom_server::StrongroomServer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service as _;

use crate::authority::Authority;
use crate::body::{Incoming, Outgoing, Progress};
use crate::metrics::METHODS;
use crate::routes::Standard;
use crate::service::Service;
use crate::state::{Caller, Shared};
use crate::usage::Connection;

/// What every connection is served with, besides its own caller's service.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) shared: Arc<Shared>,
    pub(crate) standard: Standard,
}

/// The most bytes of a request's headers.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// What a client may send ahead of our reading it: for one request, and for the
/// connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The preface and an empty SETTINGS frame (RFC 9113, section 3.4): a client
/// that has not sent so much has said nothing.
const PREFACE_BYTES: u64 = 24 + 9;

/// Serves `stream` until the client goes, stalls, or the sidecar ends.
pub(crate) async fn serve(common: Common, stream: UnixStream, peer: Peer, counted: Connection) {
    let shared = Arc::clone(&common.shared);
    let limits = Arc::clone(&shared.current().limits);
    let progress = Arc::new(Progress::default());
    let io = TokioIo::new(Watched {
        inner: stream,
        read: 0,
        authority: Authority::new(),
        progress: Arc::clone(&progress),
    });
    let caller = Arc::new(Caller::new(peer, &shared));
    let longest_message = shared.current().max_message_bytes();
    let service = Service { shared: Arc::clone(&shared), caller: Arc::clone(&caller) };
    let routes = Routes {
        strongroom: StrongroomServer::new(service)
            .max_decoding_message_size(longest_message)
            .max_encoding_message_size(usize::MAX),
        common,
        counted: Arc::new(counted),
        caller: Arc::clone(&caller),
        progress: Arc::clone(&progress),
        longest_message,
    };
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(limits.stall_timeout)
        .keep_alive_timeout(limits.stall_timeout);
    let service = service_fn(move |request| routes.clone().answer(request));
    let mut connection = pin!(http.serve_connection(io, service));

    let mut ending = shared.ending.subscribe();
    let mut draining = false;
    let figures = || (progress.moved.load(Relaxed), progress.written.load(Relaxed));
    let mut seen = figures();
    let mut look = tokio::time::interval(limits.stall_timeout);
    look.tick().await;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(uid = caller.peer().uid, %error, "connection ended");
                }
                return;
            }
            _ = ending.wait_for(|ending| *ending), if !draining => {
                if progress.read.load(Relaxed) < PREFACE_BYTES {
                    return;
                }
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => {
                let now = figures();
                let begun = progress.read.load(Relaxed) >= PREFACE_BYTES;
                let unread = progress.open_answers.load(Relaxed) > 0 && now.0 == seen.0;
                let stuck = progress.write_blocked.load(Relaxed) && now.1 == seen.1;
                if !begun || unread || stuck {
                    let why = if begun { "does not read its answers" } else { "says nothing" };
                    let peer = caller.peer();
                    tracing::warn!(uid = peer.uid, pid = peer.pid, "client closed: it {why}");
                    return;
                }
                seen = now;
            }
        }
    }
}

/// Where a request goes.
#[derive(Clone)]
struct Routes {
    strongroom: StrongroomServer<Service>,
    common: Common,
    counted: Arc<Connection>,
    caller: Arc<Caller>,
    progress: Arc<Progress>,
    /// What `strongroom` takes, in bytes.
    longest_message: usize,
}

const STRONGROOM: &str = "/strongroom.v1.Strongroom/";
/// Methods whose answers last as long as the client or the work does.
const LASTING: [&str; 10] = [
    "Watch",
    "Health",
    "Reflection",
    "Rewrap",
    "Reencrypt",
    "ReportKeys",
    "DestroyKeyVersion",
    "Migrate",
    "Verify",
    "Backup",
];

/// The method whose request may come in for hours: it looks itself whether
/// anything comes.
const LONG_REQUEST: &str = "Upload";

impl Routes {
    async fn answer(
        mut self,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Response<Outgoing>, Infallible> {
        let began = Instant::now();
        let method = method_of(request.uri().path());
        let name = METHODS[method];
        let watch = LASTING.contains(&name);
        let shared = Arc::clone(&self.common.shared);
        let limits = Arc::clone(&self.caller.session(&shared).current.limits);
        let counted = match self.counted.begin(&limits, watch) {
            Ok(counted) => Arc::new(counted),
            Err(refusal) => {
                shared.metrics.refused(refusal);
                let response = refusal.status(&limits).into_http::<Body>();
                shared.metrics.answered(method, Code::ResourceExhausted, began.elapsed());
                return Ok(response.map(Outgoing::refusal));
            }
        };
        let deadline = deadline(request.headers());
        let mut request = request.map(|body| {
            let (counted, limits) = (Arc::clone(&counted), Arc::clone(&limits));
            Body::new(Incoming::new(body, counted, limits, self.longest_message))
        });
        request.extensions_mut().insert(Arc::clone(&counted));
        let answer = self.route(request, name);
        let untimed = watch || name == LONG_REQUEST;
        let longest = if untimed { None } else { Some(limits.request_timeout) };
        let longest = deadline.into_iter().chain(longest).min();
        let response = match longest {
            None => answer.await,
            Some(longest) => match tokio::time::timeout(longest, answer).await {
                Ok(response) => response,
                Err(_) => late(deadline.is_none_or(|asked| asked > longest), longest).into_http(),
            },
        };
        let (code, response) = match code_in(&response) {
            // Only gRPC's own decoder says this, of messages that are too long.
            Code::OutOfRange => {
                let status = self.too_long();
                (status.code(), status.into_http())
            }
            code => (code, response),
        };
        let now = Instant::now();
        shared.metrics.answered(method, code, now - began);
        shared.pace.answered(now);
        let progress = Arc::clone(&self.progress);
        Ok(response.map(|body| Outgoing::new(body, counted, limits, progress, watch)))
    }

    fn too_long(&self) -> Status {
        let capabilities = self.caller.session(&self.common.shared).engine.capabilities();
        let longest = capabilities.max_value_bytes;
        let what = format!("the message is too long: a value has at most {longest} bytes");
        strongroom_rpc::status_of(&strongroom::Error::limit_exceeded(what))
    }

    async fn route(&mut self, request: Request<Body>, name: &str) -> Response<Body> {
        let answered = match name {
            "Health" => return self.common.standard.health(request).await,
            "Reflection" => return self.common.standard.reflection(request).await,
            "other" => return unknown(request.uri().path()).into_http(),
            _ => self.strongroom.call(request).await,
        };
        answered.unwrap_or_else(|never| match never {})
    }
}

fn code_in(response: &Response<Body>) -> Code {
    let code = response.headers().get("grpc-status");
    code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

fn method_of(path: &str) -> usize {
    let name = match path.strip_prefix(STRONGROOM) {
        Some(name) if !matches!(name, "Health" | "Reflection" | "other") => name,
        None if path.starts_with("/grpc.health.v1.Health/") => "Health",
        None if path.starts_with("/grpc.reflection.v1") => "Reflection",
        _ => "other",
    };
    METHODS.iter().position(|known| *known == name).unwrap_or(METHODS.len() - 1)
}

fn late(ours: bool, after: Duration) -> Status {
    let whose = if ours { "the sidecar's request_timeout" } else { "the caller's deadline" };
    Status::deadline_exceeded(format!("{whose} of {after:?} has passed"))
}

fn unknown(path: &str) -> Status {
    let path: String = path.chars().take(128).flat_map(char::escape_default).collect();
    Status::unimplemented(format!("there is no method {path}: see strongroom/v1/strongroom.proto"))
}

/// The caller's deadline: `grpc-timeout`, at most eight digits and a unit (gRPC
/// over HTTP/2, "Timeout"). One that is not well-formed counts as none, as in
/// other implementations.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A stream whose movement is seen.
struct Watched {
    inner: UnixStream,
    read: u64,
    authority: Authority,
    progress: Arc<Progress>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let answer = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.authority.pass(&mut buffer.filled_mut()[before..]);
        // Only the beginning matters: whether there is one.
        if self.read < PREFACE_BYTES {
            self.read += (buffer.filled().len() - before) as u64;
            self.progress.read.store(self.read, Relaxed);
        }
        answer
    }
}

impl Watched {
    fn wrote(&self, answer: &Poll<io::Result<usize>>) {
        let blocked = answer.is_pending();
        self.progress.write_blocked.store(blocked, Relaxed);
        if !blocked {
            self.progress.written.fetch_add(1, Relaxed);
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(&answer);
        answer
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(&answer);
        answer
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header"));
            deadline(&headers)
        };
        assert_eq!(read("1H"), Some(Duration::from_hours(1)));
        assert_eq!(read("2M"), Some(Duration::from_mins(2)));
        assert_eq!(read("3S"), Some(Duration::from_secs(3)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("0n"), Some(Duration::ZERO));
        for bad in ["", "S", "1", "1s", "-1S", "1.5S", "999999999S", "1 S", "1SS"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_method_of_the_protocol_is_counted_by_its_name() {
        for name in METHODS.iter().take(METHODS.len() - 3) {
            assert_eq!(METHODS[method_of(&format!("{STRONGROOM}{name}"))], *name);
        }
        for other in ["/", "", "/strongroom.v1.Strongroom/Health", "/x.Y/Get", STRONGROOM] {
            assert_eq!(METHODS[method_of(other)], "other", "{other}");
        }
        assert_eq!(METHODS[method_of("/grpc.health.v1.Health/Check")], "Health");
        let reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
        assert_eq!(METHODS[method_of(reflection)], "Reflection");
    }
}
