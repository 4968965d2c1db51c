//! Which versions of which KEKs the records need.

use std::collections::BTreeMap;

use super::super::super::Record;
use super::super::super::identity::Identity;
use super::super::EnvelopeStore;
use super::rewrap::is_current;
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::upkeep::{KekUse, KekVersionUse, KeyReport, Observer, Progress};
use crate::wrapper::{KekVersion, base_kek};

/// How many names a report gives for each version of a KEK.
const MAX_EXAMPLES: usize = 5;

/// By KEK and version, how many records need it, and some of them.
type Uses = BTreeMap<(String, String), (u64, Vec<String>)>;

impl EnvelopeStore {
    pub(super) async fn report_keys(&self, observer: &Observer<'_>) -> Result<KeyReport> {
        let keks = self.wrapper.keks().await?;
        let mut report = KeyReport::default();
        let mut uses = Uses::new();
        let mut walk = Walk::new(&self.records, None);
        while let Some(page) = walk.next().await? {
            for found in page {
                let record = Record::parse(&found.stored.value);
                let record = record.map_err(|error| error.about(&found.name))?;
                report.records += 1;
                report.stale += u64::from(!is_current(&record, &keks));
                for wrapped in record.wraps() {
                    let example = || format!("{}:{}", found.name.scope(), found.name.id());
                    note(&mut uses, &wrapped.kek, &wrapped.kek_version, example);
                }
            }
            observer(&Progress { done: report.records, ..Progress::default() });
        }
        for (kek, version) in Identity::keks(&*self.records).await? {
            note(&mut uses, &kek, &version, || "the store's identity".to_owned());
        }
        for kek in &keks {
            let kek = base_kek(&kek.identity);
            let versions = self.wrapper.versions(kek).await.unwrap_or_default();
            report.keks.push(kek_use(kek, true, versions, &mut uses));
        }
        while let Some((kek, _)) = uses.keys().next().cloned() {
            report.keks.push(kek_use(&kek, false, Vec::new(), &mut uses));
        }
        Ok(report)
    }

    pub(super) async fn destroy_unused(
        &self,
        kek: &str,
        version: &str,
        observer: &Observer<'_>,
    ) -> Result<()> {
        // A write that began when this version was current may not have ended.
        self.settle_writes().await;
        let report = self.report_keys(observer).await?;
        let uses = report.keks.iter().filter(|found| found.kek == kek);
        let found = uses.flat_map(|found| &found.versions).find(|one| one.kek.version == version);
        let Some(found) = found else {
            return Err(Error::not_found(format!("the KEK {kek} has no version {version}")));
        };
        if found.kek.is_current {
            return Err(Error::conflict(format!(
                "version {version} is the current one of {kek}: rotate and rewrap first"
            )));
        }
        if found.records > 0 {
            return Err(Error::conflict(format!(
                "version {version} of {kek} is needed by {} records, such as {}: rewrap first",
                found.records,
                found.examples.join(", ")
            )));
        }
        self.wrapper.destroy_version(kek, version).await
    }
}

fn note(uses: &mut Uses, kek: &str, version: &str, example: impl FnOnce() -> String) {
    let key = (base_kek(kek).to_owned(), version.to_owned());
    let (count, examples) = uses.entry(key).or_default();
    *count += 1;
    if examples.len() < MAX_EXAMPLES {
        examples.push(example());
    }
}

/// What `uses` holds of `kek`, taken out of it, beside the versions that its KMS
/// tells.
fn kek_use(kek: &str, in_use: bool, versions: Vec<KekVersion>, uses: &mut Uses) -> KekUse {
    let mut told: Vec<_> = versions
        .into_iter()
        .map(|version| {
            let key = (kek.to_owned(), version.version.clone());
            let (records, examples) = uses.remove(&key).unwrap_or_default();
            KekVersionUse { kek: version, records, examples }
        })
        .collect();
    let others: Vec<_> = uses.keys().filter(|(name, _)| name == kek).cloned().collect();
    let others = others.into_iter().filter_map(|key| {
        let (records, examples) = uses.remove(&key)?;
        let kek = KekVersion { version: key.1, created: None, is_current: false };
        Some(KekVersionUse { kek, records, examples })
    });
    let mut versions: Vec<_> = others.collect();
    versions.append(&mut told);
    KekUse { kek: kek.to_owned(), in_use, versions }
}
