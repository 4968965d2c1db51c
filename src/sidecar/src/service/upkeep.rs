//! What is done to the keys of the whole store. Long operations answer with a
//! stream: how far they are, and at last how they ended.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use strongroom::config::Verb;
use strongroom::upkeep::{Observer, Reencrypt, Selection};
use strongroom::{Engine, Error, Migrate, Progress, Result, Scope, SecretName};
use strongroom_rpc::v1::task_event::Event;
use strongroom_rpc::{
    kek_version_to_wire, key_report_to_wire, migrated_to_wire, outcome_to_wire, progress_to_wire,
    status_of, v1, verified_to_wire,
};
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

    pub(super) async fn migrate_store(
        &self,
        counted: Counted,
        request: v1::MigrateRequest,
    ) -> Result<Events> {
        let engine = self.keeper("migrate", Verb::Upkeep).await?;
        let v1::MigrateRequest { names, within, remove_source, dry_run, target } = request;
        let selection = self.check_target(&target).and_then(|()| select(&engine, &names, &within));
        let selection = selection.map_err(|error| error.during("migrate"))?;
        let what = Migrate { selection, remove_source, dry_run };
        Ok(self.task(counted, |observer| {
            Box::pin(async move {
                let migrated = engine.migrate(&what, &*observer).await?;
                Ok(Event::Migrated(migrated_to_wire(&migrated)))
            })
        }))
    }

    /// Whether secrets move where the caller thinks, if it says where.
    fn check_target(&self, wanted: &str) -> Result<()> {
        let session = self.session();
        let real = |path: &Path| path.canonicalize().ok();
        let configured = session.current.moving_to.as_deref();
        if wanted.is_empty()
            || configured
                .is_some_and(|path| real(path).is_some_and(|path| path == Path::new(wanted)))
        {
            return Ok(());
        }
        let now = match configured {
            Some(path) => format!("its secrets move to {}", path.display()),
            None => "its secrets move nowhere".to_owned(),
        };
        Err(Error::configuration(format!(
            "a sidecar has the store, and {now}: set [store] moving_to in its configuration and \
             reload it (SIGHUP), or end it"
        )))
    }

    pub(super) async fn verify_store(&self, counted: Counted) -> Result<Events> {
        let engine = self.keeper("verify", Verb::Upkeep).await?;
        Ok(self.task(counted, |observer| {
            Box::pin(async move {
                let verified = engine.verify(&*observer).await?;
                Ok(Event::Verified(verified_to_wire(&verified)))
            })
        }))
    }

    /// The engine, once the rules allow `verb` for the whole store. A refusal is
    /// recorded.
    pub(super) async fn keeper(&self, operation: &'static str, verb: Verb) -> Result<Engine> {
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
    let selection = select(engine, &names, &within)?;
    let suite = match suite.as_str() {
        "" => None,
        name => Some(name.parse()?),
    };
    Ok(Reencrypt { selection, suite, restart })
}

fn select(engine: &Engine, names: &[String], within: &str) -> Result<Selection> {
    if names.len() > MAX_BATCH {
        return Err(too_many("names", names.len()));
    }
    if names.is_empty() {
        return match within {
            "" => Ok(Selection::All),
            scope => Ok(Selection::within(&scope.parse::<Scope>()?)),
        };
    }
    let name = |written: &String| match written.split_once(':') {
        Some((scope, id)) => SecretName::new(scope.parse()?, id),
        None => engine.resolve(written),
    };
    let names = names.iter().map(name).collect::<Result<Vec<_>>>()?;
    Ok(Selection::names(&names))
}
