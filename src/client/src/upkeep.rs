//! Upkeep of the store behind a sidecar: calls that last, and tell how far they
//! are.

use std::path::Path;

use strongroom_core::envelope::backup::{BackupInfo, BackupSink};
use strongroom_core::upkeep::{KeyReport, Observer, Outcome, Reencrypt, Selection, Verified};
use strongroom_core::wrapper::KekVersion;
use strongroom_core::{Error, Migrate, Migrated, Result};
use strongroom_rpc::v1::task_event::Event;
use strongroom_rpc::{
    backup_info_from_wire, kek_version_from_wire, key_report_from_wire, migrated_from_wire,
    outcome_from_wire, progress_from_wire, v1, verified_from_wire,
};
use tonic::{Request, Response, Status, Streaming};

use crate::Client;
use crate::fault::nonsense;

impl Client {
    /// Makes a new version of `kek`, or of the preferred KEK, that is used from
    /// now on.
    pub async fn rotate(&self, kek: Option<&str>) -> Result<KekVersion> {
        let request = v1::RotateRequest { kek: kek.unwrap_or_default().to_owned() };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.rotate(self.request(request)).await };
        let answer = self.answer("rotate", call).await?;
        let version = answer.version.ok_or_else(|| nonsense("a version of a KEK is missing"))?;
        Ok(kek_version_from_wire(version))
    }

    /// Wraps anew what is not under the current version of every KEK. Dropped, it
    /// ends, and the next call does the rest.
    pub async fn rewrap(&self, observer: &Observer<'_>) -> Result<Outcome> {
        let mut grpc = self.grpc.clone();
        let call = async { grpc.rewrap(Request::new(v1::RewrapRequest {})).await };
        self.outcome("rewrap", call, observer).await
    }

    /// Gives versions a fresh DEK and a fresh ciphertext, as
    /// [`rewrap`](Self::rewrap) does its work.
    pub async fn reencrypt(&self, what: &Reencrypt, observer: &Observer<'_>) -> Result<Outcome> {
        let (names, within) = selected(&what.selection);
        let suite = what.suite.map(|suite| suite.as_str().to_owned()).unwrap_or_default();
        let request = v1::ReencryptRequest { names, within, suite, restart: what.restart };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.reencrypt(Request::new(request)).await };
        self.outcome("re-encrypt", call, observer).await
    }

    /// Which versions of which KEKs are needed by how many versions.
    pub async fn key_report(&self, observer: &Observer<'_>) -> Result<KeyReport> {
        let mut grpc = self.grpc.clone();
        let call = async { grpc.report_keys(Request::new(v1::ReportKeysRequest {})).await };
        match self.task("report keys", call, observer).await? {
            Event::Keys(report) => Ok(key_report_from_wire(report)),
            _ => Err(other_end()),
        }
    }

    /// Destroys a version of `kek`, or of the preferred KEK, that no record needs.
    pub async fn destroy_key_version(
        &self,
        kek: Option<&str>,
        version: &str,
        observer: &Observer<'_>,
    ) -> Result<()> {
        let (kek, version) = (kek.unwrap_or_default().to_owned(), version.to_owned());
        let request = v1::DestroyKeyVersionRequest { kek, version };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.destroy_key_version(Request::new(request)).await };
        match self.task("destroy a key version", call, observer).await? {
            Event::Destroyed(_) => Ok(()),
            _ => Err(other_end()),
        }
    }

    /// Moves secrets to the store that the sidecar's configuration names. `target` is
    /// the configuration that is meant: where the sidecar's names another one,
    /// nothing is moved.
    pub async fn migrate(
        &self,
        what: &Migrate,
        target: Option<&Path>,
        observer: &Observer<'_>,
    ) -> Result<Migrated> {
        let (names, within) = selected(&what.selection);
        let Migrate { remove_source, dry_run, .. } = *what;
        let target = match target {
            None => String::new(),
            Some(path) => path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
                let what = format!("{} cannot be told to a sidecar: not UTF-8", path.display());
                Error::configuration(what).during("migrate")
            })?,
        };
        let request = v1::MigrateRequest { names, within, remove_source, dry_run, target };
        let mut grpc = self.grpc.clone();
        let call = async { grpc.migrate(Request::new(request)).await };
        match self.task("migrate", call, observer).await? {
            Event::Migrated(migrated) => {
                migrated_from_wire(migrated).map_err(|_| nonsense("a migration's end is malformed"))
            }
            _ => Err(other_end()),
        }
    }

    /// Opens everything that is stored, and reports what is not as it was written.
    pub async fn verify(&self, observer: &Observer<'_>) -> Result<Verified> {
        let mut grpc = self.grpc.clone();
        let call = async { grpc.verify(Request::new(v1::VerifyRequest {})).await };
        match self.task("verify", call, observer).await? {
            Event::Verified(verified) => {
                verified_from_wire(verified).map_err(|_| nonsense("a report is malformed"))
            }
            _ => Err(other_end()),
        }
    }

    /// Writes a backup of the store to `out`. When this fails, `out` has no backup,
    /// but perhaps the beginning of one.
    pub async fn backup(
        &self,
        out: &mut dyn BackupSink,
        observer: &Observer<'_>,
    ) -> Result<BackupInfo> {
        let operation = "backup";
        let mut grpc = self.grpc.clone();
        let call = async { grpc.backup(Request::new(v1::BackupRequest {})).await };
        let mut pieces = self.answer(operation, call).await?;
        let mut bytes = 0;
        loop {
            let next = pieces.message().await;
            let piece = next.map_err(|status| self.fault(status).during(operation))?;
            let Some(v1::BackupResponse { chunk, progress, info }) = piece else {
                return Err(ended_early().during(operation));
            };
            if let Some(info) = info {
                if info.bytes != bytes {
                    return Err(nonsense("a backup is not as long as its end says"));
                }
                return Ok(backup_info_from_wire(info));
            }
            bytes += chunk.len() as u64;
            out.write(&chunk).await?;
            if let Some(progress) = &progress {
                observer(&progress_from_wire(progress));
            }
        }
    }

    async fn outcome(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<Response<Streaming<v1::TaskEvent>>, Status>>,
        observer: &Observer<'_>,
    ) -> Result<Outcome> {
        match self.task(operation, call, observer).await? {
            Event::Outcome(outcome) => {
                outcome_from_wire(outcome).map_err(|_| nonsense("an outcome is malformed"))
            }
            _ => Err(other_end()),
        }
    }

    /// Reads progress until the end, which it returns. There is no deadline: the
    /// sidecar answers at once, and then as long as it works.
    async fn task(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<Response<Streaming<v1::TaskEvent>>, Status>>,
        observer: &Observer<'_>,
    ) -> Result<Event> {
        let mut events = self.answer(operation, call).await?;
        loop {
            let next = events.message().await;
            let event = next.map_err(|status| self.fault(status).during(operation))?;
            match event.and_then(|event| event.event) {
                Some(Event::Progress(progress)) => observer(&progress_from_wire(&progress)),
                Some(end) => return Ok(end),
                None => return Err(ended_early().during(operation)),
            }
        }
    }
}

/// Names and scope, as requests have them.
fn selected(selection: &Selection) -> (Vec<String>, String) {
    match selection {
        Selection::All => (Vec::new(), String::new()),
        Selection::Within(scope) => (Vec::new(), scope.clone()),
        Selection::Names(full) => (full.iter().cloned().collect(), String::new()),
    }
}

fn ended_early() -> Error {
    Error::unavailable("the sidecar ended before the operation did")
}

fn other_end() -> Error {
    nonsense("an operation ended with the answer of another")
}
