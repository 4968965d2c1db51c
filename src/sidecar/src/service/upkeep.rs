//! What is done to the keys of the whole store. Long operations answer with a
//! stream: how far they are, and at last how they ended.

use std::pin::Pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use strongroom::config::Verb;
use strongroom::upkeep::{Observer, Reencrypt, Selection};
use strongroom::{Engine, Progress, Result, Scope, SecretName};
use strongroom_rpc::v1::task_event::Event;
use strongroom_rpc::{kek_version_to_wire, key_report_to_wire, outcome_to_wire, progress_to_wire};
use strongroom_rpc::{status_of, v1};
use tokio::sync::watch;
use tonic::Status;

use super::{Counted, MAX_BATCH, Service, too_many};
use crate::offload::AbortOnDrop;

/// How often progress is told, at most.
const PACE: Duration = Duration::from_millis(200);

/// What a caller reads of a long operation.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<v1::TaskEvent, Status>> + Send>>;

impl Service {
    pub(super) async fn rotate_kek(
        &self,
        counted: Counted,
        request: v1::RotateRequest,
    ) -> Result<v1::RotateResponse> {
        let engine = self.keeper("rotate", Verb::Upkeep).await?;
        let rotate = async move { engine.rotate(named(&request.kek)).await };
        let version = self.finish(counted, rotate).await?;
        Ok(v1::RotateResponse { version: Some(kek_version_to_wire(&version)) })
    }

    pub(super) async fn rewrap_store(&self, counted: Counted) -> Result<Events> {
        let engine = self.keeper("rewrap", Verb::Upkeep).await?;
        Ok(self.task(counted, |observer| {
            Box::pin(async move {
                let outcome = engine.rewrap(&*observer).await?;
                Ok(Event::Outcome(outcome_to_wire(&outcome)))
            })
        }))
    }

    pub(super) async fn reencrypt_store(
        &self,
        counted: Counted,
        request: v1::ReencryptRequest,
    ) -> Result<Events> {
        let engine = self.keeper("reencrypt", Verb::Upkeep).await?;
        let what = reencrypt(&engine, request).map_err(|error| error.during("re-encrypt"))?;
        Ok(self.task(counted, |observer| {
            Box::pin(async move {
                let outcome = engine.reencrypt(&what, &*observer).await?;
                Ok(Event::Outcome(outcome_to_wire(&outcome)))
            })
        }))
    }

    pub(super) async fn report_on_keys(&self, counted: Counted) -> Result<Events> {
        let engine = self.keeper("report-keys", Verb::Upkeep).await?;
        Ok(self.task(counted, |observer| {
            Box::pin(async move {
                let report = engine.key_report(&*observer).await?;
                Ok(Event::Keys(key_report_to_wire(&report)))
            })
        }))
    }

    pub(super) async fn destroy_version(
        &self,
        counted: Counted,
        request: v1::DestroyKeyVersionRequest,
    ) -> Result<Events> {
        let engine = self.keeper("destroy-key-version", Verb::Destroy).await?;
        Ok(self.task(counted, |observer| {
            Box::pin(async move {
                let v1::DestroyKeyVersionRequest { kek, version } = request;
                engine.destroy_key_version(named(&kek), &version, &*observer).await?;
                let destroyed = v1::KekVersion { version, ..v1::KekVersion::default() };
                Ok(Event::Destroyed(destroyed))
            })
        }))
    }

    /// The engine, once the rules allow `verb` for the whole store. A refusal is
    /// recorded.
    async fn keeper(&self, operation: &'static str, verb: Verb) -> Result<Engine> {
        let session = self.session();
        if session.allows_all(verb) {
            return Ok(session.engine.clone());
        }
        Err(session.engine.refuse_upkeep(operation).await)
    }

    /// Runs `work` where the store works, as long as the caller listens.
    fn task(
        &self,
        counted: Counted,
        work: impl FnOnce(Box<Observer<'static>>) -> BoxFuture<'static, Result<Event>>,
    ) -> Events {
        let (sender, progress) = watch::channel(Progress::default());
        let observer = Box::new(move |now: &Progress| {
            sender.send_replace(*now);
        });
        let work = work(observer);
        let task = self.shared.backend.spawn(async move {
            let _counted = counted;
            work.await
        });
        let state = Some((AbortOnDrop(task), progress));
        Box::pin(stream::unfold(state, |state| async move {
            let (mut task, mut progress) = state?;
            let told = async {
                tokio::time::sleep(PACE).await;
                // Its sender lives as long as the work.
                let _ = progress.changed().await;
                *progress.borrow_and_update()
            };
            tokio::select! {
                biased;
                end = &mut task => Some((finished(end), None)),
                now = told => {
                    let event = Event::Progress(progress_to_wire(&now));
                    Some((Ok(v1::TaskEvent { event: Some(event) }), Some((task, progress))))
                }
            }
        }))
    }
}

fn finished(end: Result<Event>) -> Result<v1::TaskEvent, Status> {
    let event = end.map_err(|error| status_of(&error))?;
    Ok(v1::TaskEvent { event: Some(event) })
}

fn named(kek: &str) -> Option<&str> {
    Some(kek).filter(|kek| !kek.is_empty())
}

fn reencrypt(engine: &Engine, request: v1::ReencryptRequest) -> Result<Reencrypt> {
    let v1::ReencryptRequest { names, within, suite, restart } = request;
    if names.len() > MAX_BATCH {
        return Err(too_many("names", names.len()));
    }
    let selection = if !names.is_empty() {
        let name = |written: &String| match written.split_once(':') {
            Some((scope, id)) => SecretName::new(scope.parse()?, id),
            None => engine.resolve(written),
        };
        let names = names.iter().map(name).collect::<Result<Vec<_>>>()?;
        Selection::names(&names)
    } else if within.is_empty() {
        Selection::All
    } else {
        Selection::within(&within.parse::<Scope>()?)
    };
    let suite = match suite.as_str() {
        "" => None,
        name => Some(name.parse()?),
    };
    Ok(Reencrypt { selection, suite, restart })
}
