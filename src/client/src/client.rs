//! [`Client`]: one call for each of the sidecar's methods.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use strongroom_core::{
    Error, Listing, Metadata, MetadataChange, Page, PageRequest, PutOptions, Result, Scope, Secret,
    SecretBytes, Select, VersionInfo,
};
use strongroom_rpc::v1::strongroom_client::StrongroomClient;
use strongroom_rpc::{metadata_to_wire, missing_from_wire, v1};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response};

use crate::connect::Connector;
use crate::fault::{nonsense, of_status, refused, too_late};
use crate::{Status, Watch, convert};

/// How to reach a sidecar.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The longest that connecting or a call may take; `None` for no limit. The
    /// sidecar is told, and has a limit of its own. A watch has none; an upload
    /// or download may take any time, but go no further for so long. 30 s.
    pub timeout: Option<Duration>,
    /// Users that may serve the socket, besides this process's own and root.
    pub trusted_uids: Vec<u32>,
    /// The longest answer, in bytes: of a batch, that is all its values
    /// together. 64 MiB.
    pub max_answer_bytes: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let timeout = Some(Duration::from_secs(30));
        Self { timeout, trusted_uids: Vec::new(), max_answer_bytes: 64 << 20 }
    }
}

/// A sidecar at a Unix socket. Cloning is cheap, and clones share a connection.
///
/// # Errors
/// A sidecar's errors keep their kind. Where there is no sidecar, it goes away,
/// or does not answer in time, the kind is `Unavailable`, and the message names
/// the socket; a `put` may then have taken effect. A server that is not trusted
/// is `Unauthenticated`.
#[derive(Clone)]
pub struct Client {
    pub(crate) grpc: StrongroomClient<Channel>,
    /// As a request names it; empty for the sidecar's own.
    pub(crate) scope: String,
    connector: Connector,
    timeout: Option<Duration>,
}

impl Client {
    /// Connects to the socket at `path` with the default options.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self> {
        Self::connect_with(path, &ClientOptions::default()).await
    }

    /// Connects to the socket at `path`.
    pub async fn connect_with(path: impl AsRef<Path>, options: &ClientOptions) -> Result<Self> {
        let connector = Connector::new(path.as_ref(), &options.trusted_uids);
        // The `:authority` of every request: a Unix socket has no host, and the
        // path, which some clients send, is no valid authority (RFC 3986 §3.2).
        let endpoint = Endpoint::from_static("http://localhost");
        let connecting = endpoint.connect_with_connector(connector.clone());
        let connected = match options.timeout {
            Some(time) => tokio::time::timeout(time, connecting)
                .await
                .map_err(|_| too_late(connector.path(), options.timeout))?,
            None => connecting.await,
        };
        let channel = connected.map_err(|error| {
            let path = connector.path().display();
            refused(&error).unwrap_or_else(|| {
                Error::unavailable(format!("no sidecar answers at {path}")).with_source(error)
            })
        })?;
        let grpc =
            StrongroomClient::new(channel).max_decoding_message_size(options.max_answer_bytes);
        Ok(Self { grpc, scope: String::new(), connector, timeout: options.timeout })
    }

    /// The same sidecar, with names read in `scope` instead of the sidecar's own.
    #[must_use]
    pub fn at(&self, scope: &Scope) -> Self {
        Self { scope: scope.to_string(), ..self.clone() }
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.connector.path()
    }

    /// Reads a version of a secret.
    pub async fn get(&self, name: &str, select: &Select) -> Result<Secret> {
        let request = self.get_request(name, select);
        let mut grpc = self.grpc.clone();
        let call = async { grpc.get(self.request(request)).await };
        convert::secret(self.answer("get", call).await?)
    }

    /// Reads what is stored of a secret itself: of a reference, the reference and
    /// not what it leads to.
    pub async fn get_stored(&self, name: &str, select: &Select) -> Result<Secret> {
        let request = v1::GetRequest { stored: true, ..self.get_request(name, select) };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.get(self.request(request)).await };
        convert::secret(self.answer("get", call).await?)
    }

    /// Reads many secrets at once. Each has an answer of its own, in the order
    /// of `wanted`.
    pub async fn get_all(&self, wanted: &[(&str, Select)]) -> Result<Vec<Result<Secret>>> {
        let requests = wanted.iter().map(|(name, select)| self.get_request(name, select));
        let request =
            v1::BatchGetRequest { requests: requests.collect(), scope: self.scope.clone() };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.batch_get(self.request(request)).await };
        let answer = self.answer("get", call).await?;
        if answer.results.len() != wanted.len() {
            return Err(nonsense("a batch has another number of answers than of requests"));
        }
        let result = |result: v1::BatchGetResult| match result.result {
            Some(v1::batch_get_result::Result::Secret(secret)) => convert::secret(secret),
            Some(v1::batch_get_result::Result::Error(error)) => {
                Err(strongroom_rpc::from_wire(error))
            }
            None => Err(nonsense("an answer of a batch is empty")),
        };
        Ok(answer.results.into_iter().map(result).collect())
    }

    /// Expands the expressions of `template`; see [`strongroom_core::expression`]
    /// for how they are written. A secret that cannot be read fails the whole.
    pub async fn render(&self, template: &SecretBytes) -> Result<SecretBytes> {
        let request = v1::RenderRequest {
            template: convert::lend(template.try_clone()?),
            scope: self.scope.clone(),
        };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.render(self.request(request)).await };
        convert::keep(self.answer("render", call).await?.text)
    }

    /// Writes a new version; it is durable when this returns.
    pub async fn put(
        &self,
        name: &str,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let request = v1::PutRequest {
            name: name.to_owned(),
            value: convert::lend(value.try_clone()?),
            kind: strongroom_rpc::kind_to_wire(options.kind),
            scope: self.scope.clone(),
            expect: convert::put_expect(&options.expect),
            metadata: options.metadata.as_ref().map(metadata_to_wire),
            unchecked_reference: options.unchecked_reference,
        };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.put(self.request(request)).await };
        let answer = self.answer("put", call).await?;
        let info = convert::info(&answer.version, answer.kind, answer.created)?;
        Ok(VersionInfo { missing_keks: missing_from_wire(answer.missing_keks), ..info })
    }

    /// The secrets of exactly `scope` that the caller may list.
    pub async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let (page_size, page_token) = convert::page_of(page);
        let request =
            v1::ListRequest { scope: scope.to_string(), include_deleted, page_size, page_token };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.list(self.request(request)).await };
        let answer = self.answer("list", call).await?;
        convert::page(answer.secrets, answer.next_page_token, |item| convert::listing(scope, &item))
    }

    /// The versions of a secret, oldest first.
    pub async fn versions(&self, name: &str, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let (page_size, page_token) = convert::page_of(page);
        let (name, scope) = (name.to_owned(), self.scope.clone());
        let request = v1::VersionsRequest { name, scope, page_size, page_token };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.versions(self.request(request)).await };
        let answer = self.answer("versions", call).await?;
        convert::page(answer.versions, answer.next_page_token, |info| {
            convert::info(&info.version, info.kind, info.created)
        })
    }

    /// Changes a secret's description and tags, in one step, and returns what they
    /// are now.
    pub async fn describe(&self, name: &str, change: &MetadataChange) -> Result<Metadata> {
        let request = v1::DescribeRequest {
            name: name.to_owned(),
            scope: self.scope.clone(),
            replace: change.replace,
            description: change.description.clone(),
            remove: change.remove.iter().cloned().collect(),
            tags: change.tags.clone().into_iter().collect(),
        };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.describe(self.request(request)).await };
        convert::metadata(self.answer("describe", call).await?.metadata)
    }

    /// Hides a secret until it is restored or its recovery window ends.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let request = v1::DeleteRequest { name: name.to_owned(), scope: self.scope.clone() };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.delete(self.request(request)).await };
        self.answer("delete", call).await.map(drop)
    }

    /// Brings a deleted secret back.
    pub async fn restore(&self, name: &str) -> Result<()> {
        let request = v1::RestoreRequest { name: name.to_owned(), scope: self.scope.clone() };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.restore(self.request(request)).await };
        self.answer("restore", call).await.map(drop)
    }

    /// Removes every version of a secret for good.
    pub async fn purge(&self, name: &str) -> Result<()> {
        let request = v1::PurgeRequest { name: name.to_owned(), scope: self.scope.clone() };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.purge(self.request(request)).await };
        self.answer("purge", call).await.map(drop)
    }

    /// The state of secrets, and from then on every change; of all secrets of
    /// the scope that the caller may watch, if `names` is empty.
    pub async fn watch(&self, names: &[&str]) -> Result<Watch> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let request = v1::WatchRequest { names, scope: self.scope.clone() };
        let mut grpc = self.grpc.clone();
        // No deadline: it lasts as long as the caller listens. The sidecar
        // answers at once, though.
        let call = async { grpc.watch(Request::new(request)).await };
        let events = self.answer("watch", call).await?;
        Ok(Watch::new(events, self.clone()))
    }

    /// Encrypts a value that the caller keeps himself. It opens under the same
    /// `name` and `context` only.
    pub async fn seal(
        &self,
        name: &str,
        context: BTreeMap<String, String>,
        value: &SecretBytes,
    ) -> Result<Vec<u8>> {
        let request = v1::SealRequest {
            name: name.to_owned(),
            context: context.into_iter().collect(),
            value: convert::lend(value.try_clone()?),
            scope: self.scope.clone(),
        };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.seal(self.request(request)).await };
        Ok(self.answer("seal", call).await?.sealed.into())
    }

    /// Decrypts what [`seal`](Self::seal) gave.
    pub async fn open(
        &self,
        name: &str,
        context: BTreeMap<String, String>,
        sealed: &[u8],
    ) -> Result<SecretBytes> {
        let request = v1::OpenRequest {
            name: name.to_owned(),
            context: context.into_iter().collect(),
            sealed: sealed.to_vec().into(),
            scope: self.scope.clone(),
        };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.open(self.request(request)).await };
        convert::keep(self.answer("open", call).await?.value)
    }

    /// What the sidecar is doing, and what its cache knows of `names`.
    pub async fn status(&self, names: &[&str]) -> Result<Status> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let request = v1::StatusRequest { names, scope: self.scope.clone() };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.status(self.request(request)).await };
        Status::new(self.answer("status", call).await?)
    }

    /// Proves that the store and the KMS behind the sidecar can be used.
    pub async fn check(&self) -> Result<Vec<String>> {
        let mut grpc = self.grpc.clone();
        let call = async { grpc.check(self.request(v1::CheckRequest {})).await };
        Ok(self.answer("check", call).await?.checked)
    }

    fn get_request(&self, name: &str, select: &Select) -> v1::GetRequest {
        let (version, scope) = (convert::version_text(select), self.scope.clone());
        v1::GetRequest { name: name.to_owned(), version, scope, stored: false }
    }

    /// A request that tells the sidecar the deadline.
    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(time) = self.timeout {
            request.set_timeout(time);
        }
        request
    }

    /// Waits for an answer, no longer than the deadline.
    pub(crate) async fn answer<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<Response<T>, tonic::Status>>,
    ) -> Result<T> {
        let call = async {
            let answer = call.await.map_err(|status| self.fault(status));
            Ok(answer?.into_inner())
        };
        self.in_time(operation, call).await
    }

    /// Waits for `work`, no longer than the deadline.
    pub(crate) async fn in_time<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let result = match self.timeout {
            Some(time) => tokio::time::timeout(time, work)
                .await
                .unwrap_or_else(|_| Err(too_late(self.path(), self.timeout))),
            None => work.await,
        };
        result.map_err(|error| error.during(operation))
    }

    /// Waits for `work` as long as `moved` grows within each deadline: something
    /// long takes as long as it takes.
    pub(crate) async fn in_motion<T>(
        &self,
        operation: &'static str,
        moved: &AtomicU64,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut work = pin!(work);
        loop {
            let before = moved.load(Relaxed);
            let result = self.in_time(operation, async { Ok(work.as_mut().await) }).await;
            match result {
                Ok(result) => return result.map_err(|error| error.during(operation)),
                Err(_) if moved.load(Relaxed) > before => {}
                Err(late) => return Err(late),
            }
        }
    }

    pub(crate) fn fault(&self, status: tonic::Status) -> Error {
        of_status(status, self.path(), self.timeout)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Client");
        out.field("path", &self.path()).field("scope", &self.scope).finish_non_exhaustive()
    }
}
