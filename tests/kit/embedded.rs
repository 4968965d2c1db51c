//! The embedded backend as a program would set it up: made when it is not
//! there, opened when it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_core::audit::AuditLog;
use strongroom_core::{
    EnvelopeOptions, EnvelopeStore, ErrorKind, KeyWrapper, RecordStore, Result, SystemClock,
};
use strongroom_local::kek::{LocalKek, Protection, Unlock};
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

/// Whose secrets the store holds.
pub const ACCOUNT: &str = "acme";

/// The KEK in the key file at `path`.
pub fn kek(path: &Path) -> Result<LocalKek> {
    match LocalKek::create(path, &Protection::Plain) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            LocalKek::open(path, &Unlock::Plain)
        }
        created => created,
    }
}

/// The store of [`ACCOUNT`] in `records`.
pub async fn envelope(
    records: Arc<dyn RecordStore>,
    wrapper: Arc<dyn KeyWrapper>,
    options: EnvelopeOptions,
) -> Result<EnvelopeStore> {
    let (again, same) = (records.clone(), wrapper.clone());
    match EnvelopeStore::create(records, wrapper, ACCOUNT, options.clone()).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            EnvelopeStore::open(again, same, ACCOUNT, options).await
        }
        created => created,
    }
}

/// The store below `dir`, with its KEK beside the records.
pub async fn store(
    kind: RecordStoreKind,
    dir: &Path,
    options: EnvelopeOptions,
) -> Result<EnvelopeStore> {
    let wrapper = Arc::new(kek(&dir.join("keys/local.kek"))?);
    let records = open_records(kind, &dir.join("records"), &RecordOptions::default())?;
    envelope(records, wrapper, options).await
}

/// Where the audit log of the store below `dir` is.
#[must_use]
pub fn audit_path(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

/// The audit log of `store` below `dir`.
pub fn audit_log(store: &EnvelopeStore, dir: &Path) -> Result<AuditLog> {
    AuditLog::open(audit_path(dir), Some(store.audit_key()?), SystemClock::shared())
}
