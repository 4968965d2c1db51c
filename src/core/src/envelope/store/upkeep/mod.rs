//! Upkeep of an envelope store: rotate, rewrap, re-encrypt, and which keys are
//! needed by what.

mod commit;
mod reencrypt;
mod rewrap;
#[cfg(test)]
pub(in crate::envelope) mod tests;
mod usage;
mod verify;
#[cfg(test)]
mod verify_tests;
mod walk;

use async_trait::async_trait;
use futures_util::lock::MutexGuard;

use super::EnvelopeStore;
use crate::envelope::backup::{BackupInfo, BackupSink};
use crate::error::{Error, Result};
use crate::upkeep::{KeyReport, Observer, Outcome, Reencrypt, Upkeep, Verified};
use crate::wrapper::{KekVersion, base_kek};

impl EnvelopeStore {
    /// Held by the one operation that runs.
    fn one_at_a_time(&self) -> Result<MutexGuard<'_, ()>> {
        self.turns.upkeep.try_lock().ok_or_else(|| {
            Error::conflict("another rotation, rewrap or re-encryption of this store is running")
                .retryable(true)
        })
    }

    /// Waits until every write that had begun has ended, so that none is left
    /// that wrapped under what was current before.
    async fn settle_writes(&self) {
        for lock in &self.turns.write_locks {
            drop(lock.lock().await);
        }
    }

    fn kek_or_preferred<'a>(&'a self, kek: Option<&'a str>) -> &'a str {
        kek.unwrap_or_else(|| base_kek(self.wrapper.identity()))
    }
}

#[async_trait]
impl Upkeep for EnvelopeStore {
    async fn rotate(&self, kek: Option<&str>) -> Result<KekVersion> {
        let place = |error: Error| error.during("rotate").in_store(&self.description);
        let _running = self.one_at_a_time().map_err(place)?;
        let kek = self.kek_or_preferred(kek);
        let version = self.wrapper.rotate(kek).await.map_err(place)?;
        let versions = self.wrapper.versions(kek).await.map_err(place)?;
        let made = versions.into_iter().find(|one| one.version == version);
        Ok(made.unwrap_or(KekVersion { version, created: None, is_current: true }))
    }

    async fn rewrap(&self, observer: &Observer<'_>) -> Result<Outcome> {
        let place = |error: Error| error.during("rewrap").in_store(&self.description);
        let _running = self.one_at_a_time().map_err(place)?;
        self.rewrap_all(observer).await.map_err(place)
    }

    async fn reencrypt(&self, what: &Reencrypt, observer: &Observer<'_>) -> Result<Outcome> {
        let place = |error: Error| error.during("re-encrypt").in_store(&self.description);
        let _running = self.one_at_a_time().map_err(place)?;
        self.reencrypt_selected(what, observer).await.map_err(place)
    }

    async fn verify(&self, observer: &Observer<'_>) -> Result<Verified> {
        let place = |error: Error| error.during("verify").in_store(&self.description);
        self.verify_all(observer).await.map_err(place)
    }

    async fn backup(
        &self,
        out: &mut dyn BackupSink,
        observer: &Observer<'_>,
    ) -> Result<BackupInfo> {
        let place = |error: Error| error.during("back up").in_store(&self.description);
        self.write_backup(out, observer).await.map_err(place)
    }

    async fn key_report(&self, observer: &Observer<'_>) -> Result<KeyReport> {
        let place = |error: Error| error.during("report keys").in_store(&self.description);
        self.report_keys(observer).await.map_err(place)
    }

    async fn destroy_key_version(
        &self,
        kek: Option<&str>,
        version: &str,
        observer: &Observer<'_>,
    ) -> Result<()> {
        let place =
            |error: Error| error.during("destroy a key version").in_store(&self.description);
        let _running = self.one_at_a_time().map_err(place)?;
        let kek = base_kek(self.kek_or_preferred(kek));
        self.destroy_unused(kek, version, observer).await.map_err(place)
    }
}
