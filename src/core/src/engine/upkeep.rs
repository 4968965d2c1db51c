//! Upkeep of the store behind an engine, recorded as every other operation.

use super::Engine;
use crate::audit::Event;
use crate::envelope::backup::{BackupInfo, BackupSink};
use crate::error::{Error, Result};
use crate::migrate::{Migrate, Migrated};
use crate::name::Scope;
use crate::upkeep::{KeyReport, Observer, Outcome, Reencrypt, Upkeep, Verified};
use crate::wrapper::KekVersion;

impl Engine {
    /// Makes a new version of `kek`, or of the preferred KEK, that is used from
    /// now on; see [`Upkeep::rotate`].
    pub async fn rotate(&self, kek: Option<&str>) -> Result<KekVersion> {
        let operation = "rotate";
        let result = self.begin_upkeep(operation).await?.rotate(kek).await;
        self.end_upkeep(operation, result).await
    }

    /// Wraps anew what is not under the current version of every KEK; see
    /// [`Upkeep::rewrap`].
    pub async fn rewrap(&self, observer: &Observer<'_>) -> Result<Outcome> {
        let operation = "rewrap";
        let result = self.begin_upkeep(operation).await?.rewrap(observer).await;
        self.end_upkeep(operation, result).await
    }

    /// Gives versions a fresh DEK and a fresh ciphertext; see
    /// [`Upkeep::reencrypt`].
    pub async fn reencrypt(&self, what: &Reencrypt, observer: &Observer<'_>) -> Result<Outcome> {
        let operation = "reencrypt";
        let result = self.begin_upkeep(operation).await?.reencrypt(what, observer).await;
        self.end_upkeep(operation, result).await
    }

    /// Reads everything, and reports what is not as it was written; see
    /// [`Upkeep::verify`].
    pub async fn verify(&self, observer: &Observer<'_>) -> Result<Verified> {
        let operation = "verify";
        let result = self.begin_upkeep(operation).await?.verify(observer).await;
        self.end_upkeep(operation, result).await
    }

    /// Writes a backup; see [`Upkeep::backup`].
    pub async fn backup(
        &self,
        out: &mut dyn BackupSink,
        observer: &Observer<'_>,
    ) -> Result<BackupInfo> {
        let operation = "backup";
        let result = self.begin_upkeep(operation).await?.backup(out, observer).await;
        self.end_upkeep(operation, result).await
    }

    /// Moves secrets to the store that this one is moving to; see
    /// [`Upkeep::migrate`].
    pub async fn migrate(&self, what: &Migrate, observer: &Observer<'_>) -> Result<Migrated> {
        let operation = "migrate";
        let result = self.begin_upkeep(operation).await?.migrate(what, observer).await;
        self.end_upkeep(operation, result).await
    }

    /// Which versions of which KEKs are needed; see [`Upkeep::key_report`].
    pub async fn key_report(&self, observer: &Observer<'_>) -> Result<KeyReport> {
        let operation = "report-keys";
        let result = self.begin_upkeep(operation).await?.key_report(observer).await;
        self.end_upkeep(operation, result).await
    }

    /// Destroys a version of a KEK that no record needs; see
    /// [`Upkeep::destroy_key_version`].
    pub async fn destroy_key_version(
        &self,
        kek: Option<&str>,
        version: &str,
        observer: &Observer<'_>,
    ) -> Result<()> {
        let operation = "destroy-key-version";
        let upkeep = self.begin_upkeep(operation).await?;
        let result = upkeep.destroy_key_version(kek, version, observer).await;
        self.end_upkeep(operation, result).await
    }

    /// Refuses upkeep of the whole store, as [`refuse`](Self::refuse) does.
    pub async fn refuse_upkeep(&self, operation: &'static str) -> Error {
        match Scope::account(self.scope.account_id()) {
            Ok(account) => self.refuse_within(operation, &account).await,
            Err(error) => error,
        }
    }

    async fn begin_upkeep(&self, operation: &'static str) -> Result<&dyn Upkeep> {
        let Some(upkeep) = self.store.upkeep() else {
            let unsupported = Error::unsupported("this store has no keys of ours to look after");
            return Err(unsupported.during(operation).in_store(self.store.describe()));
        };
        let account = Scope::account(self.scope.account_id())?;
        self.append(&Event::intent(operation, &self.actor).within(&account)).await?;
        Ok(upkeep)
    }

    async fn end_upkeep<T>(&self, operation: &'static str, result: Result<T>) -> Result<T> {
        let account = Scope::account(self.scope.account_id())?;
        let event = Event::done(operation, &self.actor).within(&account);
        self.append(&match &result {
            Ok(_) => event,
            Err(error) => event.failed(error.kind()),
        })
        .await?;
        result
    }
}
