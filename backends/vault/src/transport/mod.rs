//! One attempt of a request: at the server that answered last, and at the others while
//! none does.

mod client;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, Url};
use strongroom_core::{Error, Result, SecretBytes};

use crate::error::{refused, says_why, unanswered};
use crate::message::{Answer, Request};
use crate::settings::VaultSettings;

/// The longest answer that is read, in bytes: what Vault takes in a request, unless it
/// is told otherwise (`max_request_size`).
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// So much room is made for an answer before it comes, at most, whatever it announces.
const MAX_FIRST_BYTES: usize = 1 << 20;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Told by every client, so that an agent knows that no browser was misled.
const IS_REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The servers of a cluster.
pub(crate) struct Transport {
    servers: Vec<Server>,
    /// Which one is asked first: it answered last.
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

/// Why there is no answer.
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Whether the request may have had its effect nonetheless.
    pub(crate) may_be_done: bool,
    /// Whether another server may do better.
    elsewhere: bool,
}

/// What a server said: an answer, or where the one is that answers.
enum Said {
    Answer(Answer),
    Redirect(Url),
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
        let server = |(address, (client, base)): (&String, _)| {
            let address = address.trim_end_matches('/').to_owned();
            Server { address, base, client }
        };
        let clients = client::clients(settings)?;
        let servers = settings.addresses.iter().zip(clients).map(server).collect();
        Ok(Self { servers, preferred: AtomicUsize::new(0), headers })
    }

    /// Asks one server after the other, until one answers. A request that has an effect
    /// each time is asked elsewhere only if it was not taken before.
    pub(crate) async fn attempt(
        &self,
        request: &Request,
        token: Option<&SecretBytes>,
    ) -> Result<Answer, Failed> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.servers.len();
        let mut failed: Option<Failed> = None;
        for at in (0..count).map(|step| (first + step) % count) {
            let answered = self.ask(at, request, token).await;
            let Err(Failed { error, may_be_done, elsewhere: true }) = answered else {
                return answered;
            };
            // The next request need not find out anew that it fails.
            let next = (at + 1) % count;
            let order = Ordering::Relaxed;
            let _ = self.preferred.compare_exchange(at, next, order, order);
            // What failed first is told: that is where somebody has to look.
            let failed = failed.get_or_insert(Failed { error, may_be_done, elsewhere: true });
            failed.may_be_done |= may_be_done;
        }
        Err(failed.unwrap_or_else(|| Error::internal("there is no Vault server to ask").into()))
    }

    /// What each server says itself, by its address.
    pub(crate) async fn ask_each(&self, request: &Request) -> Vec<(String, Result<Answer>)> {
        let ask = async |server: &Server| {
            let said = server.ask(server.url(request)?, request, None, &self.headers).await?;
            match said {
                Said::Answer(answer) => Ok(answer),
                Said::Redirect(_) => Err(Error::unavailable("it redirects")),
            }
        };
        let answers = join_all(self.servers.iter().map(ask)).await;
        self.servers.iter().map(|server| server.address.clone()).zip(answers).collect()
    }

    pub(crate) fn first_address(&self) -> &str {
        self.servers.first().map_or("", |server| &server.address)
    }

    /// Asks one server, and the one that it names while it stands by.
    async fn ask(
        &self,
        at: usize,
        request: &Request,
        token: Option<&SecretBytes>,
    ) -> Result<Answer, Failed> {
        let server = &self.servers[at];
        let url = server.url(request)?;
        let (mut said, mut by) = (server.ask(url, request, token, &self.headers).await?, at);
        // It is followed once, as by every client.
        if let Said::Redirect(to) = said {
            let known = self.servers.iter().position(|other| other.is_at(&to));
            let to = match known {
                Some(active) => self.servers[active].url(request)?,
                None => server.check_redirect(to)?,
            };
            by = known.unwrap_or(at);
            said = self.servers[by].ask(to, request, token, &self.headers).await?;
        }
        match said {
            Said::Answer(answer) => {
                self.preferred.store(by, Ordering::Relaxed);
                Ok(answer)
            }
            Said::Redirect(_) => {
                let what = format!(
                    "Vault at {} redirects to a server that redirects too: none is active now",
                    server.address
                );
                Err(Failed::not_taken(Error::unavailable(what)))
            }
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.servers.iter().map(|server| &server.address).collect();
        f.debug_struct("Transport").field("servers", &addresses).finish_non_exhaustive()
    }
}

impl Failed {
    /// No server did anything, and another one may.
    fn not_taken(error: Error) -> Self {
        Self { error, may_be_done: false, elsewhere: true }
    }
}

/// Nothing was asked.
impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, may_be_done: false, elsewhere: false }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Server {
    fn url(&self, request: &Request) -> Result<Url> {
        Url::parse(&format!("{}/v1/{}", self.base, request.target()))
            .map_err(|_| Error::invalid_name("this cannot stand in a path"))
    }

    /// Whether `url` is of this server.
    fn is_at(&self, url: &Url) -> bool {
        Url::parse(&self.address).is_ok_and(|own| own.origin() == url.origin())
    }

    /// Refuses to go where a token must not, or cannot.
    fn check_redirect(&self, to: Url) -> Result<Url, Failed> {
        let Self { address, base, .. } = self;
        let origin = to.origin().ascii_serialization();
        let refuse = |why: &str| {
            let what = format!("Vault at {address} redirects to {origin}: {why}");
            Err(Failed::not_taken(Error::configuration(what)))
        };
        if base.starts_with("https://") && to.scheme() != "https" {
            return refuse("that is without TLS; set api_addr of the servers to https://...");
        }
        if base != address {
            return refuse("add this address to the others, so that server_name holds for it too");
        }
        Ok(to)
    }

    async fn ask(
        &self,
        url: Url,
        request: &Request,
        token: Option<&SecretBytes>,
        headers: &HeaderMap,
    ) -> Result<Said, Failed> {
        let response = self.send(request, token, headers, url).await?;
        if let Some(to) = redirected(&response) {
            return Ok(Said::Redirect(to));
        }
        let status = response.status().as_u16();
        let after = retry_after(response.headers());
        let body = self.read(request, response).await?;
        let answer = Answer { status, body };
        let is_answer = matches!(status, 200..=208) || (status == 404 && request.may_be_missing);
        if is_answer {
            return Ok(Said::Answer(answer));
        }
        let error = refused(request, &answer, after);
        match status {
            // Sealed, standby, or behind. What says so without Vault's words is something
            // in between, which may have lost the answer.
            412 | 503 if says_why(&answer) => Err(Failed::not_taken(error)),
            500.. => Err(Failed { error, may_be_done: true, elsewhere: request.repeatable }),
            _ => Err(error.into()),
        }
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
                Error::configuration("the token of Vault has bytes that no token has")
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
        let too_long = || {
            let what = format!("the answer to {request} has more than {MAX_ANSWER_BYTES} bytes");
            let error = Error::limit_exceeded(what);
            Failed { error, may_be_done: true, elsewhere: false }
        };
        let room = |bytes: usize| SecretBytes::zeroed(bytes).map_err(Error::from);
        let announced = usize::try_from(response.content_length().unwrap_or(4096));
        let announced = announced.ok().filter(|bytes| *bytes <= MAX_ANSWER_BYTES);
        let mut body = room(announced.ok_or_else(too_long)?.min(MAX_FIRST_BYTES))?;
        let mut length = 0;
        loop {
            let chunk = response.chunk().await.map_err(|error| self.broken(request, &error))?;
            let Some(chunk) = chunk else { break };
            let end = length + chunk.len();
            if end > MAX_ANSWER_BYTES {
                return Err(too_long());
            }
            if end > body.len() {
                let mut larger = room((end * 2).min(MAX_ANSWER_BYTES))?;
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
        let was_taken = !error.is_connect();
        let elsewhere = !was_taken || request.repeatable;
        let error = unanswered(request, &self.address, error);
        Failed { error, may_be_done: was_taken, elsewhere }
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
