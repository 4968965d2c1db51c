//! Every backend against the contract of its seam. A backend is one line.

use std::path::Path;
use std::sync::Arc;

use futures_executor::block_on;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    Clock, EnvelopeOptions, EnvelopeStore, ErrorKind, KeyWrapper, RecordStore, Result, SecretStore,
};
use strongroom_kit::conformance::records::RecordsBackend;
use strongroom_kit::conformance::secrets::{ACCOUNT, RECOVERY_WINDOW, SecretsBackend};
use strongroom_kit::conformance::wrapper::WrapperBackend;
use strongroom_kit::{conformance_records, conformance_secrets, conformance_wrapper};
use strongroom_local::kek::{LocalKek, Protection, Unlock};
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

mod records {
    use super::*;
    conformance_records!(memory => RecordsBackend::volatile(memory_records));
    conformance_records!(sled => RecordsBackend::persistent(sled_records));
    conformance_records!(redb => RecordsBackend::persistent(redb_records));
}

mod wrapper {
    use super::*;
    conformance_wrapper!(local => WrapperBackend::new(local_kek).with_rotation(rotate_local_kek));
}

mod secrets {
    use super::*;
    conformance_secrets!(memory => SecretsBackend::volatile(|dir, clock| envelope(memory_records, dir, clock)));
    conformance_secrets!(sled => SecretsBackend::persistent(|dir, clock| envelope(sled_records, dir, clock)));
    conformance_secrets!(redb => SecretsBackend::persistent(|dir, clock| envelope(redb_records, dir, clock)));
}

fn memory_records(_: &Path) -> Result<Arc<dyn RecordStore>> {
    Ok(Arc::new(MemoryRecords::new()))
}

fn sled_records(dir: &Path) -> Result<Arc<dyn RecordStore>> {
    open_records(RecordStoreKind::Sled, dir, &RecordOptions::default())
}

fn redb_records(dir: &Path) -> Result<Arc<dyn RecordStore>> {
    open_records(RecordStoreKind::Redb, dir, &RecordOptions::default())
}

fn local_kek(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    Ok(Arc::new(open_or_create_kek(path)?))
}

fn rotate_local_kek(path: &Path) -> Result<()> {
    LocalKek::open(path, &Unlock::Plain)?.rotate().map(drop)
}

fn open_or_create_kek(path: &Path) -> Result<LocalKek> {
    if path.exists() {
        LocalKek::open(path, &Unlock::Plain)
    } else {
        LocalKek::create(path, &Protection::Plain)
    }
}

/// Sealed records in `dir`, under a KEK beside it.
fn envelope(
    records: impl Fn(&Path) -> Result<Arc<dyn RecordStore>>,
    dir: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn SecretStore>> {
    let wrapper = local_kek(&dir.with_extension("kek"))?;
    let records = records(dir)?;
    let options =
        EnvelopeOptions { recovery_window: RECOVERY_WINDOW, ..EnvelopeOptions::default() };
    let create = EnvelopeStore::create(records.clone(), wrapper.clone(), ACCOUNT, options.clone());
    let store = match block_on(create) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            block_on(EnvelopeStore::open(records, wrapper, ACCOUNT, options))?
        }
        created => created?,
    };
    Ok(Arc::new(store.with_clock(clock)))
}
