//! Every backend against the contract of its seam. A backend is one line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use strongroom_core::cache::{CacheOptions, CachedStore, ThreadSpawn};
use strongroom_core::memory::MemoryRecords;
use strongroom_core::wrapper::{BranchOptions, KeyCacheOptions};
use strongroom_core::{
    BranchKeys, CachedKeys, Clock, EnvelopeOptions, KeyWrapper, Keyring, Migrating, RecordStore,
    ReferencingStore, Result, SecretStore, SystemClock,
};
use strongroom_kit::conformance::records::RecordsBackend;
use strongroom_kit::conformance::secrets::{RECOVERY_WINDOW, SecretsBackend};
use strongroom_kit::conformance::wrapper::WrapperBackend;
use strongroom_kit::{
    block_on, conformance_records, conformance_secrets, conformance_wrapper, embedded,
};
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "vault")]
mod vault;

mod records {
    use super::*;
    conformance_records!(memory => RecordsBackend::volatile(memory_records));
    conformance_records!(sled => RecordsBackend::persistent(sled_records));
    conformance_records!(redb => RecordsBackend::persistent(redb_records));
}

mod wrapper {
    use super::*;
    conformance_wrapper!(local => WrapperBackend::new(local_kek).with_rotation(rotate_local_kek));
    conformance_wrapper!(cached => WrapperBackend::new(cached_keys).with_rotation(rotate_local_kek));
    conformance_wrapper!(branch => WrapperBackend::new(branch_keys).with_rotation(rotate_local_kek));
    conformance_wrapper!(keyring => WrapperBackend::new(keyring).with_rotation(rotate_local_kek));
    #[cfg(feature = "aws")]
    conformance_wrapper!(aws_kms => WrapperBackend::new(aws::kms).with_rotation(aws::rotate));
    #[cfg(feature = "vault")]
    conformance_wrapper!(vault_transit_derived => WrapperBackend::new(vault::derived_key).with_rotation(vault::rotate));
    #[cfg(feature = "vault")]
    conformance_wrapper!(vault_transit => WrapperBackend::new(vault::plain_key).with_rotation(vault::rotate));
}

mod secrets {
    use super::*;
    conformance_secrets!(memory => SecretsBackend::volatile(|dir, clock| envelope(memory_records, dir, clock)));
    conformance_secrets!(sled => SecretsBackend::persistent(|dir, clock| envelope(sled_records, dir, clock)));
    conformance_secrets!(redb => SecretsBackend::persistent(|dir, clock| envelope(redb_records, dir, clock)));
    conformance_secrets!(keyring => SecretsBackend::volatile(under_a_keyring));
    conformance_secrets!(migrating => SecretsBackend::volatile(migrating));
    conformance_secrets!(referencing => SecretsBackend::volatile(referencing));
    conformance_secrets!(cached => SecretsBackend::volatile(cached));
    #[cfg(feature = "aws")]
    conformance_secrets!(aws_secrets_manager => SecretsBackend::volatile(aws::secrets_manager).on_its_own_clock());
    #[cfg(feature = "vault")]
    conformance_secrets!(vault_kv_one => SecretsBackend::volatile(vault::kv_one).on_its_own_clock());
    #[cfg(feature = "vault")]
    conformance_secrets!(vault_kv_two => SecretsBackend::volatile(vault::kv_two).on_its_own_clock());
}

#[allow(clippy::unnecessary_wraps, reason = "as every other backend")]
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
    Ok(Arc::new(embedded::kek(path)?))
}

fn cached_keys(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    let (options, clock) = (KeyCacheOptions::default(), SystemClock::shared());
    Ok(Arc::new(CachedKeys::new(local_kek(path)?, options, clock)))
}

fn branch_keys(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    let (options, clock) = (BranchOptions::default(), SystemClock::shared());
    Ok(Arc::new(BranchKeys::new(local_kek(path)?, options, clock)))
}

/// The KEK at `path`, and two others to fall back on.
fn keyring(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    let spare = branch_keys(&path.with_extension("spare"))?;
    let members = vec![local_kek(path)?, spare, cached_keys(&path.with_extension("glass"))?];
    Ok(Arc::new(Keyring::new(members, 2)?))
}

fn rotate_local_kek(path: &Path) -> Result<()> {
    embedded::kek(path)?.rotate().map(drop)
}

/// Sealed records in `dir`, under a KEK beside it.
fn envelope(
    records: impl Fn(&Path) -> Result<Arc<dyn RecordStore>>,
    dir: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn SecretStore>> {
    under(local_kek(&dir.with_extension("kek"))?, records(dir)?, clock)
}

fn under_a_keyring(dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> {
    under(keyring(&dir.with_extension("kek"))?, memory_records(dir)?, clock)
}

fn under(
    wrapper: Arc<dyn KeyWrapper>,
    records: Arc<dyn RecordStore>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn SecretStore>> {
    let options =
        EnvelopeOptions { recovery_window: RECOVERY_WINDOW, ..EnvelopeOptions::default() };
    let store = block_on(embedded::envelope(records, wrapper, options))?;
    Ok(Arc::new(store.with_clock(clock)))
}

/// References are followed, to nowhere: everything else is as it was.
fn referencing(dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> {
    let inner = envelope(memory_records, dir, clock)?;
    Ok(Arc::new(ReferencingStore::new(inner, BTreeMap::new())?))
}

/// The cache in front of sealed records in memory.
fn cached(dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> {
    let inner = envelope(memory_records, dir, clock.clone())?;
    let (options, spawn) = (CacheOptions::default(), Arc::new(ThreadSpawn::new()));
    Ok(Arc::new(CachedStore::new(inner, options, clock, spawn)?))
}

/// Two stores as one, before anything has moved.
fn migrating(dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> {
    let source = envelope(memory_records, &dir.join("source"), clock.clone())?;
    let target = envelope(memory_records, &dir.join("target"), clock)?;
    Ok(Arc::new(Migrating::new(source, target)))
}
