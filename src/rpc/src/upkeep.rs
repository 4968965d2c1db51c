//! Progress, outcomes and reports of upkeep, on the wire and back.

use strongroom_core::upkeep::{Failed, KekUse, KekVersionUse, KeyReport, Outcome};
use strongroom_core::wrapper::{KekVersion, MissingWrap};
use strongroom_core::{Error, Progress, Result, SecretName, Version};

use crate::{from_timestamp, from_wire, timestamp, to_wire, v1};

/// How far an operation is.
#[must_use]
pub fn progress_to_wire(progress: &Progress) -> v1::Progress {
    let Progress { done, total, changed, failed } = *progress;
    v1::Progress { done, total, changed, failed }
}

/// The same, from a sidecar.
#[must_use]
pub fn progress_from_wire(progress: &v1::Progress) -> Progress {
    let v1::Progress { done, total, changed, failed } = *progress;
    Progress { done, total, changed, failed }
}

/// How an operation ended.
#[must_use]
pub fn outcome_to_wire(outcome: &Outcome) -> v1::Outcome {
    v1::Outcome {
        examined: outcome.examined,
        changed: outcome.changed,
        failed: outcome.failed,
        failures: outcome.failures.iter().map(failed_to_wire).collect(),
        missing_keks: outcome.missing_keks.clone().into_iter().collect(),
        resumed: outcome.resumed,
    }
}

/// The same, from a sidecar.
///
/// # Errors
/// `InvalidName` for names and versions that are none.
pub fn outcome_from_wire(outcome: v1::Outcome) -> Result<Outcome> {
    let failures = outcome.failures.into_iter().map(failed_from_wire);
    Ok(Outcome {
        examined: outcome.examined,
        changed: outcome.changed,
        failed: outcome.failed,
        failures: failures.collect::<Result<_>>()?,
        missing_keks: outcome.missing_keks.into_iter().collect(),
        resumed: outcome.resumed,
    })
}

pub(crate) fn failed_to_wire(failed: &Failed) -> v1::Failed {
    let version = failed.version.as_ref();
    v1::Failed {
        scope: failed.name.scope().to_string(),
        name: failed.name.id().to_owned(),
        version: version.map(ToString::to_string).unwrap_or_default(),
        error: Some(to_wire(&Error::new(failed.kind, failed.message.clone()))),
    }
}

pub(crate) fn failed_from_wire(failed: v1::Failed) -> Result<Failed> {
    let name = SecretName::new(failed.scope.parse()?, &failed.name)?;
    let version = Some(failed.version).filter(|version| !version.is_empty());
    let version = version.map(Version::new).transpose()?;
    let error = from_wire(failed.error.unwrap_or_default());
    Ok(Failed::new(&name, version, &error))
}

/// A version of a KEK.
#[must_use]
pub fn kek_version_to_wire(version: &KekVersion) -> v1::KekVersion {
    v1::KekVersion {
        version: version.version.clone(),
        created: version.created.map(timestamp),
        is_current: version.is_current,
    }
}

/// The same, from a sidecar.
#[must_use]
pub fn kek_version_from_wire(version: v1::KekVersion) -> KekVersion {
    let v1::KekVersion { version, created, is_current } = version;
    KekVersion { version, created: created.map(from_timestamp), is_current }
}

/// Which keys are needed.
#[must_use]
pub fn key_report_to_wire(report: &KeyReport) -> v1::KeyReport {
    let version = |one: &KekVersionUse| v1::KekVersionUse {
        version: Some(kek_version_to_wire(&one.kek)),
        records: one.records,
        examples: one.examples.clone(),
    };
    let kek = |one: &KekUse| v1::KekUse {
        kek: one.kek.clone(),
        in_use: one.in_use,
        versions: one.versions.iter().map(version).collect(),
    };
    let keks = report.keks.iter().map(kek).collect();
    v1::KeyReport { keks, records: report.records, stale: report.stale }
}

/// The same, from a sidecar.
#[must_use]
pub fn key_report_from_wire(report: v1::KeyReport) -> KeyReport {
    let version = |one: v1::KekVersionUse| KekVersionUse {
        kek: kek_version_from_wire(one.version.unwrap_or_default()),
        records: one.records,
        examples: one.examples,
    };
    let kek = |one: v1::KekUse| KekUse {
        kek: one.kek,
        in_use: one.in_use,
        versions: one.versions.into_iter().map(version).collect(),
    };
    let keks = report.keks.into_iter().map(kek).collect();
    KeyReport { keks, records: report.records, stale: report.stale }
}

/// The KEKs that a new version lacks.
#[must_use]
pub fn missing_to_wire(missing: &[MissingWrap]) -> Vec<v1::MissingKek> {
    let one = |one: &MissingWrap| v1::MissingKek {
        kek: one.kek.clone(),
        error: Some(to_wire(&Error::new(one.kind, one.message.clone()))),
    };
    missing.iter().map(one).collect()
}

/// The same, from a sidecar.
#[must_use]
pub fn missing_from_wire(missing: Vec<v1::MissingKek>) -> Vec<MissingWrap> {
    let one =
        |one: v1::MissingKek| MissingWrap::new(&one.kek, &from_wire(one.error.unwrap_or_default()));
    missing.into_iter().map(one).collect()
}
