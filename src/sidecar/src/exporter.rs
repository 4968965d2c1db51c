//! Metrics over HTTP, for Prometheus.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use strongroom::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::server::Server;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The most scrapers at one time.
const MAX_CONNECTIONS: usize = 16;

/// Answers `GET /metrics` at `address`.
#[derive(Debug)]
pub(crate) struct Exporter {
    listener: TcpListener,
    address: SocketAddr,
}

impl Exporter {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |e: io::Error| {
            let what = format!("metrics cannot be served at {address}: {e}");
            Error::configuration(what).with_source(e)
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever.
    pub(crate) async fn serve(self, server: Server) {
        let places = std::sync::Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            let server = server.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let response = answer(&request, &server);
                    async { Ok::<_, Infallible>(response) }
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new())
                    .header_read_timeout(std::time::Duration::from_secs(10));
                // A scraper that goes away is no concern of ours.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
                drop(place);
            });
        }
    }
}

fn answer<B>(request: &Request<B>, server: &Server) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, server.metrics()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let content = if status == StatusCode::OK { OPEN_METRICS } else { "text/plain" };
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content));
    response
}
