//! What verify, migrate and backup report, on the wire and back.

use strongroom_core::envelope::backup::BackupInfo;
use strongroom_core::migrate::Migrated;
use strongroom_core::upkeep::Verified;
use strongroom_core::{Result, Timestamp};

use crate::upkeep::{failed_from_wire, failed_to_wire};
use crate::{from_timestamp, timestamp, v1};

/// What was found in a store.
#[must_use]
pub fn verified_to_wire(verified: &Verified) -> v1::Verified {
    let Verified { secrets, versions, moved, incoming, strangers, failed, failures } = verified;
    v1::Verified {
        secrets: *secrets,
        versions: *versions,
        moved: *moved,
        incoming: *incoming,
        strangers: *strangers,
        failed: *failed,
        failures: failures.iter().map(failed_to_wire).collect(),
    }
}

/// The same, from a sidecar.
///
/// # Errors
/// `InvalidName` for names and versions that are none.
pub fn verified_from_wire(verified: v1::Verified) -> Result<Verified> {
    let v1::Verified { secrets, versions, moved, incoming, strangers, failed, failures } = verified;
    let failures = failures.into_iter().map(failed_from_wire).collect::<Result<_>>()?;
    Ok(Verified { secrets, versions, moved, incoming, strangers, failed, failures })
}

/// What a migration did.
#[must_use]
pub fn migrated_to_wire(migrated: &Migrated) -> v1::Migrated {
    v1::Migrated {
        examined: migrated.examined,
        moved: migrated.moved,
        versions: migrated.versions,
        versions_left: migrated.versions_left,
        already: migrated.already,
        removed: migrated.removed,
        failed: migrated.failed,
        failures: migrated.failures.iter().map(failed_to_wire).collect(),
        dry_run: migrated.dry_run,
    }
}

/// The same, from a sidecar.
///
/// # Errors
/// `InvalidName` for names and versions that are none.
pub fn migrated_from_wire(migrated: v1::Migrated) -> Result<Migrated> {
    let failures = migrated.failures.into_iter().map(failed_from_wire);
    Ok(Migrated {
        examined: migrated.examined,
        moved: migrated.moved,
        versions: migrated.versions,
        versions_left: migrated.versions_left,
        already: migrated.already,
        removed: migrated.removed,
        failed: migrated.failed,
        failures: failures.collect::<Result<_>>()?,
        dry_run: migrated.dry_run,
    })
}

/// What a backup holds.
#[must_use]
pub fn backup_info_to_wire(info: &BackupInfo) -> v1::BackupInfo {
    let BackupInfo { created, names, entries, bytes, one_moment } = *info;
    v1::BackupInfo { created: Some(timestamp(created)), names, entries, bytes, one_moment }
}

/// The same, from a sidecar.
#[must_use]
pub fn backup_info_from_wire(info: v1::BackupInfo) -> BackupInfo {
    let v1::BackupInfo { created, names, entries, bytes, one_moment } = info;
    let created = created.map_or(Timestamp(0), from_timestamp);
    BackupInfo { created, names, entries, bytes, one_moment }
}
