//! Upkeep of a store that moves to another one: the source's, and the move itself.

use async_trait::async_trait;

use super::{Migrate, Migrated, Migrating};
use crate::envelope::backup::{BackupInfo, BackupSink};
use crate::error::{Error, Result};
use crate::upkeep::{KeyReport, Observer, Outcome, Progress, Reencrypt, Upkeep, Verified};
use crate::wrapper::KekVersion;

impl Migrating {
    fn of_source(&self) -> Result<&dyn Upkeep> {
        self.source.upkeep().ok_or_else(|| {
            Error::unsupported("this store has no keys of ours to look after")
                .in_store(self.source.describe())
        })
    }
}

#[async_trait]
impl Upkeep for Migrating {
    async fn rotate(&self, kek: Option<&str>) -> Result<KekVersion> {
        self.of_source()?.rotate(kek).await
    }

    async fn rewrap(&self, observer: &Observer<'_>) -> Result<Outcome> {
        self.of_source()?.rewrap(observer).await
    }

    async fn reencrypt(&self, what: &Reencrypt, observer: &Observer<'_>) -> Result<Outcome> {
        self.of_source()?.reencrypt(what, observer).await
    }

    /// Reads both stores.
    async fn verify(&self, observer: &Observer<'_>) -> Result<Verified> {
        let mut verified = self.of_source()?.verify(observer).await?;
        if let Some(target) = self.target.upkeep() {
            let Verified { versions, failed, .. } = verified;
            let observer = |now: &Progress| {
                observer(&Progress {
                    done: versions + now.done,
                    total: now.total.map(|total| versions + total),
                    failed: failed + now.failed,
                    ..*now
                });
            };
            verified.add(target.verify(&observer).await?);
        }
        Ok(verified)
    }

    /// Refused: a backup of one of the stores would look like one of both.
    async fn backup(
        &self,
        _out: &mut dyn BackupSink,
        _observer: &Observer<'_>,
    ) -> Result<BackupInfo> {
        Err(Error::conflict(
            "secrets are moving to another store, and a backup is of one: end the migration first, \
             or back each store up alone",
        )
        .during("backup"))
    }

    async fn key_report(&self, observer: &Observer<'_>) -> Result<KeyReport> {
        self.of_source()?.key_report(observer).await
    }

    /// Refused: the target may wrap under the same KEK, and the source does not know
    /// what the target needs.
    async fn destroy_key_version(
        &self,
        _kek: Option<&str>,
        _version: &str,
        _observer: &Observer<'_>,
    ) -> Result<()> {
        Err(Error::conflict(
            "secrets are moving to another store, which may need the key: end the migration first",
        )
        .during("destroy a key version"))
    }

    async fn migrate(&self, what: &Migrate, observer: &Observer<'_>) -> Result<Migrated> {
        Self::migrate(self, what, observer).await
    }
}
