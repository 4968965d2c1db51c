//! The gRPC service, one for each connection, so that it knows its caller.
//!
//! Every method goes the same way: the name is read in the request's scope, the
//! rules decide, and only then is the engine asked, cache included. What runs on
//! the backend's runtime goes on to its end even if the caller goes away.

mod backup;
mod files;
mod lists;
mod reads;
mod render;
mod seals;
mod state;
mod upkeep;
mod writes;

use std::sync::Arc;

use strongroom::config::Verb;
use strongroom::{Engine, Error, Expect, Result, SecretName, Select, Version};
use strongroom_rpc::v1::strongroom_server::Strongroom;
use strongroom_rpc::{status_of, v1};
use tonic::{Request, Response, Status, Streaming};

use crate::state::{Caller, Session, Shared};
use crate::usage;
use crate::watch::{self, Change, Changes, Watched};

/// What one caller is served with.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) caller: Arc<Caller>,
}

type Answer<T> = Result<Response<T>, Status>;

/// What a request is counted with; the connection puts it into every request.
type Counted = Option<Arc<usage::Request>>;

fn counted<T>(request: &mut Request<T>) -> Counted {
    request.extensions_mut().remove()
}

impl Service {
    fn session(&self) -> Arc<Session> {
        self.caller.session(&self.shared)
    }

    /// The name that a request means, with the engine in its scope, once the
    /// rules allow `verb`. A refusal is recorded.
    async fn admit(
        session: &Session,
        verb: Verb,
        scope: &str,
        name: &str,
    ) -> Result<(Engine, SecretName)> {
        let engine = session.engine_at(scope).map_err(|e| e.during(verb.as_str()))?;
        let name = Self::admit_in(session, &engine, verb, name).await?;
        Ok((engine, name))
    }

    /// The same, where `engine` is in the scope already.
    async fn admit_in(
        session: &Session,
        engine: &Engine,
        verb: Verb,
        name: &str,
    ) -> Result<SecretName> {
        let operation = verb.as_str();
        let name = engine.resolve(name).map_err(|e| e.during(operation))?;
        if session.allows(verb, &name) {
            return Ok(name);
        }
        Err(engine.refuse(operation, &name).await)
    }

    /// Runs a read here, where the cache may answer it; or, if every line of the
    /// audit log waits for the disk, where the store works: nobody else waits
    /// with it.
    async fn look_up<T: Send + 'static>(
        &self,
        session: &Session,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if session.engine.audit().is_some_and(|log| log.is_synced()) {
            return crate::offload::joined(self.shared.backend.spawn(work).await);
        }
        work.await
    }

    /// Runs `work` where the store works, to its end, also if the caller goes
    /// away: the request counts until then.
    async fn finish<T: Send + 'static>(
        &self,
        counted: Counted,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.shared.backend.spawn(async move {
            let _counted = counted;
            work.await
        });
        crate::offload::joined(task.await)
    }

    /// Runs a change to its end, and tells the watchers.
    async fn change<T: Send + 'static>(
        &self,
        counted: Counted,
        name: &SecretName,
        change: v1::Change,
        work: impl Future<Output = Result<T>> + Send + 'static,
        version: impl Fn(&T) -> Option<Version> + Send + 'static,
    ) -> Result<T> {
        let (changes, name) = (self.shared.changes.clone(), name.clone());
        let told = async move {
            let done = work.await?;
            // Nobody watches: that is no error.
            let _ = changes.send(Arc::new(Change { name, what: change, version: version(&done) }));
            Ok(done)
        };
        self.finish(counted, told).await
    }
}

/// Which version a request asks for.
fn select(version: &str) -> Result<Select> {
    if version.is_empty() {
        return Ok(Select::Latest);
    }
    Ok(Select::Version(Version::new(version)?))
}

/// What a request expects of the latest version.
fn expect(if_absent: Option<bool>, if_version: Option<&str>) -> Result<Expect> {
    Ok(match (if_absent, if_version) {
        (Some(true), _) => Expect::Absent,
        (_, Some(version)) => Expect::Latest(Version::new(version)?),
        _ => Expect::Any,
    })
}

fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(|error| status_of(&error))
}

#[tonic::async_trait]
impl Strongroom for Service {
    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        answer(self.read(request.into_inner()).await)
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Answer<v1::BatchGetResponse> {
        answer(self.read_all(request.into_inner()).await)
    }

    async fn render(&self, request: Request<v1::RenderRequest>) -> Answer<v1::RenderResponse> {
        answer(self.render_template(request.into_inner()).await)
    }

    async fn put(&self, mut request: Request<v1::PutRequest>) -> Answer<v1::PutResponse> {
        let counted = counted(&mut request);
        answer(self.write(counted, request.into_inner()).await)
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        answer(self.list_scope(request.into_inner()).await)
    }

    async fn versions(
        &self,
        request: Request<v1::VersionsRequest>,
    ) -> Answer<v1::VersionsResponse> {
        answer(self.list_versions(request.into_inner()).await)
    }

    async fn describe(
        &self,
        mut request: Request<v1::DescribeRequest>,
    ) -> Answer<v1::DescribeResponse> {
        let counted = counted(&mut request);
        answer(self.redescribe(counted, request.into_inner()).await)
    }

    async fn delete(&self, mut request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        let counted = counted(&mut request);
        answer(self.hide(counted, request.into_inner()).await)
    }

    async fn restore(
        &self,
        mut request: Request<v1::RestoreRequest>,
    ) -> Answer<v1::RestoreResponse> {
        let counted = counted(&mut request);
        answer(self.bring_back(counted, request.into_inner()).await)
    }

    async fn purge(&self, mut request: Request<v1::PurgeRequest>) -> Answer<v1::PurgeResponse> {
        let counted = counted(&mut request);
        answer(self.remove(counted, request.into_inner()).await)
    }

    type WatchStream = Changes;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Changes> {
        answer(self.begin_watch(request.into_inner()).await)
    }

    async fn upload(
        &self,
        mut request: Request<Streaming<v1::UploadRequest>>,
    ) -> Answer<v1::UploadResponse> {
        let counted = counted(&mut request);
        self.take(counted, request.into_inner()).await.map(Response::new)
    }

    type DownloadStream = files::Chunks;

    async fn download(&self, mut request: Request<v1::DownloadRequest>) -> Answer<files::Chunks> {
        let counted = counted(&mut request);
        self.give(counted, request.into_inner()).await.map(Response::new)
    }

    async fn seal(&self, mut request: Request<v1::SealRequest>) -> Answer<v1::SealResponse> {
        let counted = counted(&mut request);
        answer(self.seal_value(counted, request.into_inner()).await)
    }

    async fn open(&self, mut request: Request<v1::OpenRequest>) -> Answer<v1::OpenResponse> {
        let counted = counted(&mut request);
        answer(self.open_sealed(counted, request.into_inner()).await)
    }

    async fn rotate(&self, mut request: Request<v1::RotateRequest>) -> Answer<v1::RotateResponse> {
        let counted = counted(&mut request);
        answer(self.rotate_kek(counted, request.into_inner()).await)
    }

    type RewrapStream = upkeep::Events;

    async fn rewrap(&self, mut request: Request<v1::RewrapRequest>) -> Answer<upkeep::Events> {
        answer(self.rewrap_store(counted(&mut request)).await)
    }

    type ReencryptStream = upkeep::Events;

    async fn reencrypt(
        &self,
        mut request: Request<v1::ReencryptRequest>,
    ) -> Answer<upkeep::Events> {
        let counted = counted(&mut request);
        answer(self.reencrypt_store(counted, request.into_inner()).await)
    }

    type ReportKeysStream = upkeep::Events;

    async fn report_keys(
        &self,
        mut request: Request<v1::ReportKeysRequest>,
    ) -> Answer<upkeep::Events> {
        answer(self.report_on_keys(counted(&mut request)).await)
    }

    type DestroyKeyVersionStream = upkeep::Events;

    async fn destroy_key_version(
        &self,
        mut request: Request<v1::DestroyKeyVersionRequest>,
    ) -> Answer<upkeep::Events> {
        let counted = counted(&mut request);
        answer(self.destroy_version(counted, request.into_inner()).await)
    }

    type MigrateStream = upkeep::Events;

    async fn migrate(&self, mut request: Request<v1::MigrateRequest>) -> Answer<upkeep::Events> {
        let counted = counted(&mut request);
        answer(self.migrate_store(counted, request.into_inner()).await)
    }

    type VerifyStream = upkeep::Events;

    async fn verify(&self, mut request: Request<v1::VerifyRequest>) -> Answer<upkeep::Events> {
        answer(self.verify_store(counted(&mut request)).await)
    }

    type BackupStream = backup::Pieces;

    async fn backup(&self, mut request: Request<v1::BackupRequest>) -> Answer<backup::Pieces> {
        self.backup_store(counted(&mut request)).await.map(Response::new)
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        answer(self.tell_status(request.into_inner()).await)
    }

    async fn check(&self, _: Request<v1::CheckRequest>) -> Answer<v1::CheckResponse> {
        answer(self.check_store().await)
    }
}

impl Service {
    async fn begin_watch(&self, request: v1::WatchRequest) -> Result<Changes> {
        let session = self.session();
        let operation = Verb::Watch.as_str();
        let engine = session.engine_at(&request.scope).map_err(|e| e.during(operation))?;
        let watched = if request.names.is_empty() {
            let scope = engine.scope().clone();
            if !session.reaches(Verb::Watch, &scope) {
                return Err(engine.refuse_within(operation, &scope).await);
            }
            engine.note_within(operation, &scope).await?;
            Watched::Scope(scope)
        } else {
            if request.names.len() > MAX_BATCH {
                return Err(too_many("names", request.names.len()).during(operation));
            }
            let mut names = Vec::with_capacity(request.names.len());
            for name in &request.names {
                let (engine, name) =
                    Self::admit(&session, Verb::Watch, &request.scope, name).await?;
                engine.note(operation, &name).await?;
                names.push(name);
            }
            Watched::Names(names)
        };
        Ok(watch::changes(Arc::clone(&self.shared), Arc::clone(&self.caller), engine, watched))
    }
}

/// The most secrets that one request is about.
const MAX_BATCH: usize = 10_000;

fn too_many(what: &str, count: usize) -> Error {
    Error::limit_exceeded(format!("{count} {what} are more than {MAX_BATCH}: ask in parts"))
}
