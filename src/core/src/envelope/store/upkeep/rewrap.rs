//! Rewrap: every DEK under the current version of every KEK, ciphertexts as they
//! are. What is done is seen from the records themselves, so that a rewrap that
//! was killed is finished by the next.

use futures_util::future::join;

use super::super::super::Record;
use super::super::super::entries::{context, version};
use super::super::super::identity::Identity;
use super::super::EnvelopeStore;
use super::walk::{Found, Walk};
use crate::error::{Error, Result};
use crate::record::{Batch, Precondition};
use crate::upkeep::{Failed, Observer, Outcome, Progress};
use crate::wrapper::{KekState, Wraps, are_current};

/// How often a record that somebody else writes is looked at again.
const ATTEMPTS: usize = 8;

/// A record with other wraps, and what it took.
struct Rewrapped {
    change: Batch,
    found: Found,
    missing: Vec<String>,
}

impl EnvelopeStore {
    pub(super) async fn rewrap_all(&self, observer: &Observer<'_>) -> Result<Outcome> {
        // Writes that began before the KEK was rotated are to be found, too.
        let keks = self.wrapper.keks().await?;
        self.settle_writes().await;
        let stale = self.count_stale(&keks).await?;
        let mut outcome = Outcome::default();
        let told = |outcome: &Outcome| {
            let done = outcome.changed + outcome.failed;
            observer(&Progress { done, ..outcome.progress(Some(stale.max(done))) });
        };
        told(&outcome);
        if stale > 0 {
            let mut walk = Walk::new(&self.records, None);
            let mut ready = Vec::new();
            loop {
                // While one page is written, the next is wrapped.
                let next = async {
                    let Some(page) = walk.next().await? else { return Ok(None) };
                    self.rewrap_page(page, &keks).await.map(Some)
                };
                let (committed, next) = join(self.commit_rewrapped(ready, &keks), next).await;
                merge(&mut outcome, committed?);
                let Some((page, examined)) = next? else { break };
                merge(&mut outcome, examined);
                ready = page;
                told(&outcome);
            }
        }
        Identity::rewrap(&*self.records, &*self.wrapper, &self.account, &keks).await?;
        told(&outcome);
        Ok(outcome)
    }

    async fn count_stale(&self, keks: &[KekState]) -> Result<u64> {
        let (mut walk, mut stale) = (Walk::new(&self.records, None), 0);
        while let Some(page) = walk.next().await? {
            let is_stale = |found: &&Found| {
                Record::parse(&found.stored.value).is_ok_and(|record| !is_current(&record, keks))
            };
            stale += page.iter().filter(is_stale).count() as u64;
        }
        Ok(stale)
    }

    /// Those of `page` that need it, rewrapped; an outage ends it.
    async fn rewrap_page(
        &self,
        page: Vec<Found>,
        keks: &[KekState],
    ) -> Result<(Vec<Rewrapped>, Outcome)> {
        let mut outcome = Outcome { examined: page.len() as u64, ..Outcome::default() };
        let mut ready = Vec::new();
        for found in page {
            match self.rewrap_one(&found, keks).await {
                Ok(None) => {}
                Ok(Some((bytes, wraps))) => {
                    let change = replacement(&found, bytes);
                    let missing = wraps.missing.into_iter().map(|missing| missing.kek).collect();
                    let stored = crate::Stored { value: Vec::new(), ..found.stored };
                    let found = Found { stored, ..found };
                    ready.push(Rewrapped { change, found, missing });
                }
                Err(error) if error.is_retryable() => return Err(error.about(&found.name)),
                Err(error) => {
                    outcome.fail(Failed::new(&found.name, version(found.number).ok(), &error));
                }
            }
        }
        Ok((ready, outcome))
    }

    /// The record's bytes with other wraps; `None` where those are current.
    async fn rewrap_one(
        &self,
        found: &Found,
        keks: &[KekState],
    ) -> Result<Option<(Vec<u8>, Wraps)>> {
        let record = Record::parse(&found.stored.value)?;
        if is_current(&record, keks) {
            return Ok(None);
        }
        let context = context(&found.name, found.number, record.header().kind)?;
        let old: Vec<_> = record.wraps().collect();
        let wraps = self.wrapper.rewrap_all(&old, &context).await?;
        let bytes = record.with_wraps(&wraps.deks)?;
        Ok(Some((bytes, wraps)))
    }

    async fn commit_rewrapped(&self, ready: Vec<Rewrapped>, keks: &[KekState]) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let (mut changes, mut rest) = (Vec::new(), Vec::new());
        for rewrapped in ready {
            changes.push(rewrapped.change);
            rest.push((rewrapped.found, rewrapped.missing));
        }
        let conflicts = self.commit_all(&changes).await?;
        for (index, (found, mut missing)) in rest.into_iter().enumerate() {
            if conflicts.binary_search(&index).is_ok() {
                match self.rewrap_again(&found, keks).await {
                    Ok(Some(now_missing)) => missing = now_missing,
                    Ok(None) => continue,
                    Err(error) if error.is_retryable() => return Err(error.about(&found.name)),
                    Err(error) => {
                        outcome.fail(Failed::new(&found.name, version(found.number).ok(), &error));
                        continue;
                    }
                }
            }
            outcome.changed += 1;
            for kek in missing {
                *outcome.missing_keks.entry(kek).or_default() += 1;
            }
        }
        Ok(outcome)
    }

    /// Looks anew at a record that somebody else changed. `None` where it is
    /// gone or needs nothing any more.
    async fn rewrap_again(&self, found: &Found, keks: &[KekState]) -> Result<Option<Vec<String>>> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.records.get(&found.key).await? else { return Ok(None) };
            let (key, name, number) = (found.key.clone(), found.name.clone(), found.number);
            let found = Found { key, name, number, stored };
            let Some((bytes, wraps)) = self.rewrap_one(&found, keks).await? else {
                return Ok(None);
            };
            let change = replacement(&found, bytes);
            if self.commit_all(&[change]).await?.is_empty() {
                return Ok(Some(wraps.missing.into_iter().map(|missing| missing.kek).collect()));
            }
        }
        Err(Error::conflict("others write this record all the time: try again").retryable(true))
    }
}

/// Writes `bytes` in the place of what was found, if it is still there.
pub(super) fn replacement(found: &Found, bytes: Vec<u8>) -> Batch {
    Batch::new()
        .require(found.key.clone(), Precondition::At(found.stored.revision))
        .write(found.key.clone(), bytes)
}

pub(super) fn is_current(record: &Record<'_>, keks: &[KekState]) -> bool {
    are_current(record.wraps(), keks)
}

fn merge(outcome: &mut Outcome, part: Outcome) {
    outcome.examined += part.examined;
    outcome.changed += part.changed;
    outcome.failed += part.failed - part.failures.len() as u64;
    part.failures.into_iter().for_each(|failed| outcome.fail(failed));
    for (kek, count) in part.missing_keks {
        *outcome.missing_keks.entry(kek).or_default() += count;
    }
}
