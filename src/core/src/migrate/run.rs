//! The migration itself: secret by secret, several at a time.

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::copy::Route;
use super::names::Names;
use super::one::Done;
use super::{Migrate, Migrated, Migrating};
use crate::error::{Error, Result};
use crate::name::SecretName;
use crate::upkeep::{Failed, Observer, Selection};

/// How many secrets are under way at a time: their commits share syncs.
const CONCURRENT: usize = 16;

impl Migrating {
    /// Moves what `what` selects. Called again, it finishes what was cut short.
    /// Progress is told in secrets.
    ///
    /// # Errors
    /// - `Conflict`, retryable: another migration of these stores is running.
    /// - `Unsupported`: the source cannot hand over, and removing was not asked;
    ///   or it cannot tell its names, and none were given.
    /// - An outage ends the migration. What cannot be moved is reported and stays
    ///   where it is.
    pub async fn migrate(&self, what: &Migrate, observer: &Observer<'_>) -> Result<Migrated> {
        let place = |error: Error| error.during("migrate");
        let _running = self.turns.running.try_lock().ok_or_else(|| {
            let busy = Error::conflict("another migration of these stores is running");
            place(busy.retryable(true))
        })?;
        self.check_route(what).map_err(place)?;
        let mut report = Migrated { dry_run: what.dry_run, ..Migrated::default() };
        let total = self.count(&what.selection).await.map_err(place)?;
        observer(&report.progress(total));
        self.pass(what, &mut report, total, observer).await.map_err(place)?;
        if what.selection == Selection::All && !what.dry_run && report.failed == 0 {
            // Names that came meanwhile are the last that begin at the source.
            self.begin_at_target().await;
            let mut last = Migrated::default();
            self.pass(what, &mut last, 0, &|_| {}).await.map_err(place)?;
            report.moved += last.moved;
            report.examined += last.moved + last.failed;
            report.versions += last.versions;
            report.removed += last.removed;
            report.failed += last.failed;
            report.failures.append(&mut last.failures);
        }
        observer(&report.progress(total));
        Ok(report)
    }

    fn check_route(&self, what: &Migrate) -> Result<()> {
        let Route { source, target } = self.route();
        if source.place().id == target.place().id {
            return Err(Error::configuration("source and target are the same store"));
        }
        if !target.0.capabilities().write {
            return Err(
                Error::unsupported("the target cannot be written").in_store(target.0.describe())
            );
        }
        if source.0.transfer().is_some() {
            return Ok(());
        }
        let can = source.0.capabilities();
        if !what.remove_source {
            return Err(Error::unsupported(
                "the source cannot mark a secret as moved, and with a copy alone two stores would \
                 answer for it: ask for the secrets to be removed there, or keep them there",
            )
            .in_store(source.0.describe()));
        }
        if !can.purge && !can.write {
            return Err(
                Error::unsupported("the source can remove nothing").in_store(source.0.describe())
            );
        }
        Ok(())
    }

    async fn count(&self, selection: &Selection) -> Result<u64> {
        let mut names = Names::new(self, selection)?;
        let mut count = 0;
        while let Some(page) = names.next().await? {
            count += page.len() as u64;
        }
        Ok(count)
    }

    /// Every selected secret once.
    async fn pass(
        &self,
        what: &Migrate,
        report: &mut Migrated,
        total: u64,
        observer: &Observer<'_>,
    ) -> Result<()> {
        let mut names = Names::new(self, &what.selection)?;
        let mut under_way = FuturesUnordered::new();
        while let Some(page) = names.next().await? {
            for name in page {
                if under_way.len() == CONCURRENT
                    && let Some((name, done)) = under_way.next().await
                {
                    note(report, &name, done)?;
                    observer(&report.progress(total));
                }
                under_way.push(async move {
                    let done = self.move_one(&name, what).await;
                    (name, done)
                });
            }
        }
        while let Some((name, done)) = under_way.next().await {
            note(report, &name, done)?;
            observer(&report.progress(total));
        }
        Ok(())
    }
}

fn note(report: &mut Migrated, name: &SecretName, done: Result<Done>) -> Result<()> {
    report.examined += 1;
    match done {
        Ok(done) => {
            report.moved += u64::from(done.moved);
            report.already += u64::from(done.already);
            report.removed += u64::from(done.removed);
            report.versions += done.versions;
            report.versions_left += done.left;
        }
        Err(error) if error.is_retryable() => return Err(error.about(name)),
        Err(error) => report.fail(Failed::new(name, None, &error)),
    }
    Ok(())
}
