//! One attempt of a request: at the server that answered last, and at the others while
//! none does.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Method, Proxy, Response, Url};
use strongroom_core::{Error, Result, SecretBytes};
use tokio::net::lookup_host;

use crate::error::{refused, unanswered};
use crate::message::{Answer, Request};
use crate::settings::VaultSettings;

/// The longest answer that is read, in bytes: what Vault takes in a request, unless it
/// is told otherwise (`max_request_size`).
const MAX_ANSWER_BYTES: usize = 32 << 20;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Told by every client, so that an agent knows that no browser was misled.
const IS_REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The servers of a cluster.
pub(crate) struct Transport {
    servers: Vec<Server>,
    /// Which one answered last.
    preferred: AtomicUsize,
    headers: HeaderMap,
}

struct Server {
    /// As it was configured, without a slash at its end.
    address: String,
    /// The same, or with the name that its certificate is for.
    base: String,
    client: Client,
}

impl Transport {
    pub(crate) fn new(settings: &VaultSettings) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(IS_REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = &settings.namespace {
            let value = HeaderValue::from_str(namespace)
                .map_err(|_| Error::configuration("the namespace cannot be sent"))?;
            headers.insert(NAMESPACE, value);
        }
        let plain = builder(settings)?;
        let shared = build(plain)?;
        let server = |address: &String| {
            let address = address.trim_end_matches('/').to_owned();
            let Some(name) = &settings.server_name else {
                return Ok(Server { base: address.clone(), address, client: shared.clone() });
            };
            let (base, resolver) = renamed(&address, name)?;
            let client = build(builder(settings)?.dns_resolver(Arc::new(resolver)))?;
            Ok(Server { address, base, client })
        };
        let servers = settings.addresses.iter().map(server).collect::<Result<Vec<_>>>()?;
        Ok(Self { servers, preferred: AtomicUsize::new(0), headers })
    }

    /// Asks one server after the other, until one answers. A request that has an effect
    /// each time is asked elsewhere only if it was not taken before.
    pub(crate) async fn attempt(
        &self,
        request: &Request,
        token: Option<&SecretBytes>,
    ) -> Result<Answer> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.servers.len();
        let mut failed = None;
        for at in (0..count).map(|step| (first + step) % count) {
            match self.servers[at].ask(request, token, &self.headers).await {
                Ok(answer) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Failed { error, next_may_answer: true }) => drop(failed.get_or_insert(error)),
                Err(Failed { error, .. }) => return Err(error),
            }
        }
        Err(failed.unwrap_or_else(|| Error::internal("there is no Vault server to ask")))
    }

    pub(crate) fn first_address(&self) -> &str {
        self.servers.first().map_or("", |server| &server.address)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.servers.iter().map(|server| &server.address).collect();
        f.debug_struct("Transport").field("servers", &addresses).finish_non_exhaustive()
    }
}

/// Why one server gave no answer.
struct Failed {
    error: Error,
    /// Whether another server may be asked the same.
    next_may_answer: bool,
}

impl Server {
    async fn ask(
        &self,
        request: &Request,
        token: Option<&SecretBytes>,
        headers: &HeaderMap,
    ) -> Result<Answer, Failed> {
        let final_failure = |error| Failed { error, next_may_answer: false };
        let url = format!("{}/v1/{}", self.base, request.target());
        let url = Url::parse(&url)
            .map_err(|_| final_failure(Error::invalid_name("this cannot stand in a path")))?;
        let response = self.send(request, token, headers, url).await?;
        let response = match redirected(&response) {
            // A standby names the active server; as every client, once, and never out of TLS.
            Some(to) if to.scheme() == "https" || self.base.starts_with("http://") => {
                self.send(request, token, headers, to).await?
            }
            _ => response,
        };
        let status = response.status().as_u16();
        let after = retry_after(response.headers());
        let body = self.read(request, response).await?;
        let answer = Answer { status, body };
        let is_answer = matches!(status, 200..=208) || (status == 404 && request.may_be_missing);
        if is_answer {
            return Ok(answer);
        }
        let error = refused(request, &answer, after);
        // Sealed, standby, or behind: it was not taken (412, 472-474, 503).
        let not_taken = matches!(status, 412 | 472..=474 | 503);
        let next_may_answer = not_taken || (status >= 500 && request.repeatable);
        Err(Failed { error, next_may_answer })
    }

    async fn send(
        &self,
        request: &Request,
        token: Option<&SecretBytes>,
        headers: &HeaderMap,
        url: Url,
    ) -> Result<Response, Failed> {
        let mut call = self.client.request(request.method.clone(), url).headers(headers.clone());
        if let Some(token) = token {
            let mut value = HeaderValue::from_bytes(token.expose()).map_err(|_| {
                let what = "the token of Vault has bytes that no token has";
                Failed { error: Error::configuration(what), next_may_answer: false }
            })?;
            value.set_sensitive(true);
            call = call.header(TOKEN, value);
        }
        if let Some(body) = request.bytes() {
            let kind = match request.method {
                Method::PATCH => "application/merge-patch+json",
                _ => "application/json",
            };
            call = call.header(CONTENT_TYPE, kind).body(body);
        }
        call.send().await.map_err(|error| self.broken(request, &error))
    }

    /// The body, into guarded memory as it arrives.
    async fn read(&self, request: &Request, mut response: Response) -> Result<SecretBytes, Failed> {
        let fatal = |error| Failed { error, next_may_answer: false };
        let expected = response.content_length().unwrap_or(4096);
        let mut capacity = usize::try_from(expected).unwrap_or(MAX_ANSWER_BYTES);
        capacity = capacity.min(MAX_ANSWER_BYTES);
        let mut body = SecretBytes::zeroed(capacity).map_err(|error| fatal(error.into()))?;
        let mut length = 0;
        loop {
            let chunk = response.chunk().await.map_err(|error| self.broken(request, &error))?;
            let Some(chunk) = chunk else { break };
            let end = length + chunk.len();
            if end > MAX_ANSWER_BYTES {
                let what =
                    format!("the answer to {request} has more than {MAX_ANSWER_BYTES} bytes");
                return Err(fatal(Error::limit_exceeded(what)));
            }
            if end > body.len() {
                let mut larger = SecretBytes::zeroed((end * 2).min(MAX_ANSWER_BYTES))
                    .map_err(|error| fatal(error.into()))?;
                larger.expose_mut()[..length].copy_from_slice(&body.expose()[..length]);
                body = larger;
            }
            body.expose_mut()[length..end].copy_from_slice(&chunk);
            length = end;
        }
        body.truncate(length);
        Ok(body)
    }

    fn broken(&self, request: &Request, error: &reqwest::Error) -> Failed {
        let next_may_answer = error.is_connect() || request.repeatable;
        Failed { error: unanswered(request, &self.address, error), next_may_answer }
    }
}

/// Where a server that does not answer itself sends the client.
fn redirected(response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    Url::parse(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

/// In seconds (RFC 9110 §10.2.3); Vault writes no date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

fn builder(settings: &VaultSettings) -> Result<ClientBuilder> {
    let mut builder = Client::builder()
        .tls_backend_rustls()
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.attempt_timeout)
        .redirect(Policy::none())
        .no_proxy();
    if let Some(file) = &settings.ca_file {
        let pem = read_pem(file)?;
        let unusable = |_| {
            let what = format!("there is no certificate in {}", file.display());
            Error::configuration(what)
        };
        let certificates = Certificate::from_pem_bundle(&pem).map_err(unusable)?;
        if certificates.is_empty() {
            let what = format!("there is no certificate in {}", file.display());
            return Err(Error::configuration(what));
        }
        builder = builder.tls_certs_only(certificates);
    } else if settings.addresses.iter().all(|address| address.starts_with("http://")) {
        // Nothing is verified, and the system's certificates need not be there.
        builder = builder.tls_certs_only(Vec::new());
    }
    if let Some(certificate) = &settings.client_certificate {
        let mut pem = read_pem(&certificate.chain)?;
        pem.push(b'\n');
        pem.extend_from_slice(certificate.key.expose());
        // The library keeps a key of its own for as long as the connection is used.
        let pem = SecretBytes::take(pem)?;
        let identity = reqwest::Identity::from_pem(pem.expose()).map_err(|_| {
            let chain = certificate.chain.display();
            Error::configuration(format!(
                "the client certificate {chain} and its key are not a pair in PEM"
            ))
        })?;
        builder = builder.identity(identity);
    }
    if let Some(url) = &settings.proxy {
        let url = std::str::from_utf8(url.expose()).unwrap_or_default();
        let proxy = Proxy::all(url).map_err(|_| {
            // Not the URL: it may hold a password.
            Error::configuration("the proxy is no URL: it is http://HOST:PORT")
        })?;
        builder = builder.proxy(proxy);
    }
    Ok(builder)
}

fn build(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| {
        Error::configuration("TLS for Vault cannot be set up as configured").with_source(error)
    })
}

fn read_pem(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| {
        let what = format!("the certificates {} cannot be read: {error}", file.display());
        Error::configuration(what).with_source(error)
    })
}

/// `address` with the name that its certificate is for, and who finds it by that name.
fn renamed(address: &str, name: &str) -> Result<(String, Elsewhere)> {
    let unusable = || Error::configuration(format!("{} is no server_name", name.escape_debug()));
    let mut url = Url::parse(address).map_err(|_| unusable())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if name.parse::<IpAddr>().is_ok() || url.set_host(Some(name)).is_err() {
        return Err(unusable());
    }
    Ok((url.as_str().trim_end_matches('/').to_owned(), Elsewhere { host }))
}

/// Finds every name at one host.
struct Elsewhere {
    host: String,
}

impl Resolve for Elsewhere {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            if let Ok(address) = host.parse::<IpAddr>() {
                let found: Addrs = Box::new(std::iter::once(SocketAddr::new(address, 0)));
                return Ok(found);
            }
            let found: Addrs =
                Box::new(lookup_host((host, 0)).await?.collect::<Vec<_>>().into_iter());
            Ok(found)
        })
    }
}
