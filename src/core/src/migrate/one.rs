//! One secret's way from the source to the target: copied, read back, compared,
//! switched, and removed where that was asked.

use futures_util::lock::MutexGuard;

use super::copy::{Planned, Route};
use super::{HAND_OVER, Migrate, Migrating, RECEIVE};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::Metadata;
use crate::name::SecretName;
use crate::record::Revision;
use crate::secret::Version;
use crate::transfer::{Deleted, Standing};
use crate::upkeep::Selection;

/// How often a secret is copied that others write meanwhile. Of the later copies,
/// those that write through [`Migrating`] wait.
const ATTEMPTS: usize = 8;
const PATIENT_ATTEMPTS: usize = 3;

/// What became of one secret.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) moved: bool,
    pub(super) already: bool,
    pub(super) removed: bool,
    pub(super) versions: u64,
    pub(super) left: u64,
}

/// A secret of the source, as it was when it was copied.
struct Owned {
    mark: Revision,
    deleted: Option<Deleted>,
    metadata: Metadata,
}

/// A secret that the source handed over, as it was then.
struct Gone {
    latest: Version,
    deleted: Option<Deleted>,
    metadata: Metadata,
    has_versions: bool,
}

impl Migrating {
    pub(super) async fn move_one(&self, name: &SecretName, what: &Migrate) -> Result<Done> {
        let here = self.route().target.place();
        for attempt in 0..ATTEMPTS {
            let others_wait = self.lock_if(attempt >= PATIENT_ATTEMPTS, name).await;
            match self.route().source.standing(name).await? {
                Standing::Absent if matches!(what.selection, Selection::Names(_)) => {
                    return self.look_for(name).await;
                }
                Standing::Absent => return Ok(Done::default()),
                Standing::Incoming { from } => {
                    return Err(Error::conflict(format!(
                        "it is being moved into the source from {from}: finish that first"
                    )));
                }
                Standing::Moved { to, .. } if to.id != here.id => {
                    return Err(Error::conflict(format!(
                        "it was moved to {to} before: migrate it from there"
                    )));
                }
                Standing::Moved { latest, deleted, metadata, has_versions, .. } => {
                    let is_locked = others_wait.is_some();
                    let gone = Gone { latest, deleted, metadata, has_versions };
                    return self.finish(name, what, &gone, is_locked).await;
                }
                Standing::Owned { mark, deleted, metadata, .. } => {
                    let owned = Owned { mark, deleted, metadata };
                    let is_locked = others_wait.is_some();
                    if let Some(done) = self.move_owned(name, what, &owned, is_locked).await? {
                        return Ok(done);
                    }
                }
            }
        }
        Err(Error::conflict("others write this secret all the time: migrate it once more"))
    }

    async fn lock_if(&self, wanted: bool, name: &SecretName) -> Option<MutexGuard<'_, ()>> {
        if wanted { Some(self.lock(name).await) } else { None }
    }

    /// A secret that was asked for by name and that the source does not have.
    async fn look_for(&self, name: &SecretName) -> Result<Done> {
        let is_there = matches!(
            self.route().target.standing(name).await?,
            Standing::Owned { .. } | Standing::Incoming { .. }
        );
        if is_there && self.source.transfer().is_none() {
            return Ok(Done { already: true, ..Done::default() });
        }
        Err(Error::not_found("there is no such secret in the source"))
    }

    /// The whole way of a secret that the source owns; `None` where somebody wrote
    /// it meanwhile.
    async fn move_owned(
        &self,
        name: &SecretName,
        what: &Migrate,
        owned: &Owned,
        is_locked: bool,
    ) -> Result<Option<Done>> {
        let route = self.route();
        let (plan, left) = route.plan(name).await?;
        if what.dry_run {
            self.try_out(name, &plan, owned).await?;
            let versions = plan.len() as u64;
            return Ok(Some(Done { moved: true, versions, left, ..Done::default() }));
        }
        let copied = self.copy(name, &plan, owned).await;
        let copied = match copied {
            Ok(()) => self.switch(name, &plan, owned, is_locked).await,
            Err(error) => Err(error),
        };
        match copied {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                // A version may have gone, or come, while it was read.
                let now = route.source.standing(name).await?;
                let is_changed =
                    !matches!(&now, Standing::Owned { mark, .. } if *mark == owned.mark);
                self.take_back(name, &now).await;
                if is_changed && !error.is_retryable() {
                    return Ok(None);
                }
                return Err(error);
            }
        }
        let mut done = Done { moved: true, versions: plan.len() as u64, left, ..Done::default() };
        if what.remove_source {
            done.removed = true;
            if self.source.transfer().is_some() {
                self.remove(name, &plan).await?;
            }
        }
        Ok(Some(done))
    }

    /// What would come of it.
    async fn try_out(&self, name: &SecretName, plan: &[Planned], owned: &Owned) -> Result<()> {
        let route = self.route();
        self.check_deleted(owned)?;
        match route.target.standing(name).await? {
            Standing::Owned { .. } => {
                return Err(Error::already_exists("the target has a secret of this name"));
            }
            Standing::Incoming { from } if from.id != route.source.place().id => {
                return Err(Error::conflict(format!("it is being moved there from {from}")));
            }
            _ => {}
        }
        for planned in plan {
            let reader = route.source.read(name, &planned.source.version).await?;
            route.check_fits(reader.info()).map_err(|error| {
                let message = format!("version {}: {}", planned.source.version, error.message());
                Error::new(error.kind(), message)
            })?;
        }
        Ok(())
    }

    fn check_deleted(&self, owned: &Owned) -> Result<()> {
        if owned.deleted.is_some() && self.target.transfer().is_none() {
            return Err(Error::unsupported(
                "it is deleted, and the target cannot keep until when it can be restored: restore \
                 or purge it first",
            ));
        }
        Ok(())
    }

    /// Every version at the target, read back; nothing is switched yet.
    async fn copy(&self, name: &SecretName, plan: &[Planned], owned: &Owned) -> Result<()> {
        let route = self.route();
        self.check_deleted(owned)?;
        if route.target.0.transfer().is_none() {
            return route.put_in_order(name, plan).await;
        }
        if let Standing::Owned { .. } = route.target.standing(name).await? {
            // A source that cannot hand over is left with both for a moment.
            if route.source.0.transfer().is_none() && route.compare(name, plan).await.is_ok() {
                return Ok(());
            }
            return Err(Error::already_exists(
                "the target has a secret of this name: both were left as they are",
            ));
        }
        route.stage(name, plan).await
    }

    /// Makes the target the owner; whether it is.
    async fn switch(
        &self,
        name: &SecretName,
        plan: &[Planned],
        owned: &Owned,
        is_locked: bool,
    ) -> Result<bool> {
        let _switching = self.lock_if(!is_locked, name).await;
        let route = self.route();
        let latest = plan.last().map(|planned| &planned.target.version);
        let latest = latest.ok_or_else(|| Error::not_found("the secret has no version"))?;
        let Some(source) = route.source.0.transfer() else {
            return self.switch_by_removal(name, plan, latest).await;
        };
        self.source_log.intend(HAND_OVER, name).await?;
        let to = route.target.place();
        let switched = source.hand_over(name, &to, owned.mark).await;
        match self.source_log.done(HAND_OVER, name, switched, None).await {
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(false),
            switched => switched?,
        }
        self.publish(name, latest, owned.deleted, &owned.metadata).await?;
        Ok(true)
    }

    /// The target says that the secret is its.
    async fn publish(
        &self,
        name: &SecretName,
        latest: &Version,
        deleted: Option<Deleted>,
        metadata: &Metadata,
    ) -> Result<()> {
        self.target_log.intend(RECEIVE, name).await?;
        let published = match self.target.transfer() {
            Some(target) => target.publish(name, latest, deleted, metadata).await,
            None => Ok(()),
        };
        self.target_log.done(RECEIVE, name, published, Some(latest)).await
    }

    /// The switch of a source that cannot hand over.
    async fn switch_by_removal(
        &self,
        name: &SecretName,
        plan: &[Planned],
        latest: &Version,
    ) -> Result<bool> {
        let Route { source, target } = self.route();
        let now = source.versions(name).await?;
        if now.last().map(|info| &info.version) != plan.last().map(|last| &last.source.version) {
            return Ok(false);
        }
        if let Standing::Incoming { .. } = target.standing(name).await? {
            // Such a source has no metadata that we could ask for.
            self.publish(name, latest, None, &Metadata::default()).await?;
        }
        self.source_log.intend(HAND_OVER, name).await?;
        let removed = if source.0.capabilities().purge {
            source.0.purge(name).await
        } else {
            source.0.delete(name).await
        };
        self.source_log.done(HAND_OVER, name, removed, None).await?;
        Ok(true)
    }

    /// What a kill between the switch and the end has left to do.
    async fn finish(
        &self,
        name: &SecretName,
        what: &Migrate,
        gone: &Gone,
        is_locked: bool,
    ) -> Result<Done> {
        let route = self.route();
        let (plan, _) = route.plan(name).await?;
        let is_published = route.target.0.transfer().is_none()
            || matches!(route.target.standing(name).await?, Standing::Owned { .. });
        let mut done = Done { already: is_published, ..Done::default() };
        if !is_published {
            if what.dry_run {
                return Ok(Done { moved: true, versions: plan.len() as u64, ..Done::default() });
            }
            if plan.is_empty() {
                return Err(Error::not_found(
                    "it was moved to the target, which does not have it, and its versions were \
                     removed here: it was purged there",
                ));
            }
            // Said again: a kill may have come before it was recorded.
            self.source_log.done(HAND_OVER, name, Ok(()), None).await?;
            let _switching = self.lock_if(!is_locked, name).await;
            route.stage(name, &plan).await?;
            self.publish(name, &gone.latest, gone.deleted, &gone.metadata).await?;
            done.moved = true;
            done.versions = plan.len() as u64;
        }
        if what.remove_source && gone.has_versions && !what.dry_run {
            self.remove(name, &plan).await?;
            done.removed = true;
        }
        Ok(done)
    }

    /// Removes what a source that handed over still has, once the target has given
    /// all of it back.
    async fn remove(&self, name: &SecretName, plan: &[Planned]) -> Result<()> {
        let route = self.route();
        let Some(source) = route.source.0.transfer() else { return Ok(()) };
        let compared = match route.target.0.transfer() {
            Some(_) => route.compare(name, plan).await,
            None => route.put_in_order(name, plan).await,
        };
        compared.map_err(|error| {
            let why = format!("the source's versions were not removed: {}", error.message());
            Error::new(error.kind(), why).retryable(error.is_retryable())
        })?;
        self.source_log.intend("purge", name).await?;
        let dropped = source.drop_versions(name).await;
        self.source_log.done("purge", name, dropped, None).await
    }

    /// Removes what was staged of a secret that stays where it is; what cannot be
    /// removed now is overwritten by the next attempt.
    async fn take_back(&self, name: &SecretName, source: &Standing) {
        if let (Some(target), Standing::Owned { .. }) = (self.target.transfer(), source)
            && let Ok(Standing::Incoming { from }) = target.standing(name).await
            && from.id == self.route().source.place().id
        {
            let _ = target.give_up(name).await;
        }
    }
}
