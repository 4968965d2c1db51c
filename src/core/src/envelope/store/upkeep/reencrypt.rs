//! Re-encrypt: a fresh DEK and a fresh ciphertext, also in another suite. Where
//! it is stands in the store, page by page, so that one that was killed goes on
//! with the page that it was at.

use serde::{Deserialize, Serialize};

use super::super::super::entries::{context, missing_record, version};
use super::super::super::head::Head;
use super::super::super::{Header, Record, keys, seal};
use super::super::EnvelopeStore;
use super::super::files::is_file;
use super::rewrap::replacement;
use super::walk::{Found, Walk};
use crate::clock::Timestamp;
use crate::context::EncryptionContext;
use crate::envelope::Suite;
use crate::error::{Error, ErrorKind, Result};
use crate::file::FileReader;
use crate::record::{Batch, Precondition};
use crate::upkeep::{Failed, Observer, Outcome, Reencrypt, Selection};
use crate::wrapper::Dek;
use strongroom_guard::SecretBytes;

/// How often a version that somebody else writes is looked at again.
const ATTEMPTS: usize = 8;

/// A re-encryption that has begun and not ended.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    selection: Selection,
    suite: u8,
    started: Timestamp,
    /// The key of the last record that is done, in hexadecimal.
    after: Option<String>,
    examined: u64,
    changed: u64,
    failed: u64,
}

impl EnvelopeStore {
    pub(super) async fn reencrypt_selected(
        &self,
        what: &Reencrypt,
        observer: &Observer<'_>,
    ) -> Result<Outcome> {
        let suite = what.suite.unwrap_or(self.options.suite);
        let (mut job, resumed) = self.job(what, suite).await?;
        let mut outcome = Outcome {
            examined: job.examined,
            changed: job.changed,
            failed: job.failed,
            resumed,
            ..Outcome::default()
        };
        let after = job.after.as_deref().map(from_hex).transpose()?;
        let total = self.count(&what.selection).await?;
        let mut walk = Walk::new(&self.records, after);
        observer(&outcome.progress(Some(total)));
        while let Some(page) = walk.next().await? {
            let Some(last) = page.last().map(|found| found.key.clone()) else { continue };
            self.reencrypt_page(page, what, suite, &mut outcome).await?;
            job.after = Some(to_hex(&last));
            (job.examined, job.changed) = (outcome.examined, outcome.changed);
            job.failed = outcome.failed;
            self.keep_job(&job).await?;
            observer(&outcome.progress(Some(total.max(outcome.examined))));
        }
        self.records.commit(Batch::new().delete(keys::REENCRYPT_JOB.to_vec())).await?;
        Ok(outcome)
    }

    /// The job that was begun with these parameters, or a new one.
    async fn job(&self, what: &Reencrypt, suite: Suite) -> Result<(Job, bool)> {
        let stored = self.records.get(keys::REENCRYPT_JOB).await?;
        let found = stored.map(|stored| serde_json::from_slice::<Job>(&stored.value));
        match found {
            Some(Ok(job)) if !what.restart => {
                if job.selection == what.selection && job.suite == suite as u8 {
                    return Ok((job, true));
                }
                return Err(Error::conflict(format!(
                    "a re-encryption of {} is not finished ({} versions done): finish it with the \
                     same selection and suite, or begin this one with restart",
                    job.selection, job.examined
                )));
            }
            Some(Err(_)) if !what.restart => {
                return Err(Error::tampered(
                    "what an unfinished re-encryption left is damaged: begin it with restart",
                ));
            }
            _ => {}
        }
        let job = Job {
            selection: what.selection.clone(),
            suite: suite as u8,
            started: self.clock.now(),
            after: None,
            examined: 0,
            changed: 0,
            failed: 0,
        };
        self.keep_job(&job).await?;
        Ok((job, false))
    }

    async fn keep_job(&self, job: &Job) -> Result<()> {
        let bytes = serde_json::to_vec(job)
            .map_err(|e| Error::internal("a job has no JSON").with_source(e))?;
        self.records.commit(Batch::new().write(keys::REENCRYPT_JOB.to_vec(), bytes)).await
    }

    async fn count(&self, selection: &Selection) -> Result<u64> {
        let (mut walk, mut count) = (Walk::new(&self.records, None), 0);
        while let Some(page) = walk.next().await? {
            count += page.iter().filter(|found| selection.contains(&found.name)).count() as u64;
        }
        Ok(count)
    }

    async fn reencrypt_page(
        &self,
        page: Vec<Found>,
        what: &Reencrypt,
        suite: Suite,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let (mut changes, mut made) = (Vec::new(), Vec::new());
        for found in page {
            if !what.selection.contains(&found.name) {
                continue;
            }
            outcome.examined += 1;
            if Record::parse(&found.stored.value).is_ok_and(|record| is_file(&record)) {
                match self.reencrypt_again(&found, suite).await {
                    Ok(Some(missing)) => note_changed(outcome, missing),
                    Ok(None) => {}
                    Err(error) => self.note_failure(&found, error, outcome).await?,
                }
                continue;
            }
            match self.reencrypt_one(&found, suite).await {
                Ok((change, missing)) => {
                    changes.push(change);
                    made.push((found, missing));
                }
                Err(error) => self.note_failure(&found, error, outcome).await?,
            }
        }
        let conflicts = self.commit_all(&changes).await?;
        for (index, (found, mut missing)) in made.into_iter().enumerate() {
            if conflicts.binary_search(&index).is_ok() {
                match self.reencrypt_again(&found, suite).await {
                    Ok(Some(now_missing)) => missing = now_missing,
                    Ok(None) => continue,
                    Err(error) => {
                        self.note_failure(&found, error, outcome).await?;
                        continue;
                    }
                }
            }
            note_changed(outcome, missing);
        }
        Ok(())
    }

    /// Counts a version as failed, unless it has gone meanwhile; an outage ends
    /// the operation.
    async fn note_failure(&self, found: &Found, error: Error, outcome: &mut Outcome) -> Result<()> {
        if error.is_retryable() {
            return Err(error.about(&found.name));
        }
        if self.records.get(&found.key).await?.is_some() {
            outcome.fail(Failed::new(&found.name, version(found.number).ok(), &error));
        }
        Ok(())
    }

    /// The change that gives a version a fresh DEK and ciphertext.
    async fn reencrypt_one(&self, found: &Found, suite: Suite) -> Result<(Batch, Vec<String>)> {
        let record = Record::parse(&found.stored.value)?;
        let context = context(&found.name, found.number, record.header().kind)?;
        let dek = record.unwrap(&*self.wrapper, &context).await?;
        let value = record.open_with(&dek, &context)?;
        let header = Header { suite, ..*record.header() };
        self.renewal(found, &header, &dek, &context, &value).await
    }

    /// Seals `payload` anew in the place of what was found. The head of a secret
    /// is sealed under the latest version's DEK, `old`, and changes with it.
    async fn renewal(
        &self,
        found: &Found,
        header: &Header,
        old: &Dek,
        context: &EncryptionContext,
        payload: &SecretBytes,
    ) -> Result<(Batch, Vec<String>)> {
        let sealed = seal(&*self.wrapper, context, header, payload.expose()).await?;
        let mut change = replacement(found, sealed.bytes);
        let head = self.head(&found.name).await?.ok_or_else(missing_record)?;
        if head.head.latest == found.number && head.head.is_sealed() {
            Head::authenticate(&head.bytes, old, context)?;
            let bytes = head.head.seal(Some((&sealed.dek, context)))?;
            let key = keys::head(&found.name);
            change = change.require(key.clone(), Precondition::At(head.revision)).write(key, bytes);
        }
        let missing = sealed.missing.into_iter().map(|missing| missing.kek).collect();
        Ok((change, missing))
    }

    /// A file has its segments sealed anew, under another id; the old ones go
    /// when its record names the new. Whoever reads it meanwhile is told to begin
    /// again. `None` where somebody else changed it: look anew.
    async fn reencrypt_file(&self, found: &Found, suite: Suite) -> Result<Option<Vec<String>>> {
        let record = Record::parse(&found.stored.value)?;
        let header = Header { suite, ..*record.header() };
        let context = context(&found.name, found.number, header.kind)?;
        let dek = record.unwrap(&*self.wrapper, &context).await?;
        let (info, segments) = self.segments_of(&found.name, found.number, &record, &dek)?;
        let old = segments.key().to_vec();
        let mut upload = self.begin_upload(&found.name).await?;
        let done = async {
            let reader = FileReader::new(info, Box::new(segments));
            let manifest = self.copy_segments(&upload, suite, reader).await?.encode()?;
            let (change, missing) = self.renewal(found, &header, &dek, &context, &manifest).await?;
            let (marker, revision) = upload.marker();
            let change = change.require(marker.clone(), Precondition::At(revision)).delete(marker);
            let changed = self.commit_all(&[self.give_up(change, &old)]).await?.is_empty();
            Ok(changed.then_some(missing))
        };
        let done = done.await;
        let left = if matches!(done, Ok(Some(_))) { &old } else { upload.segments() };
        // What cannot be removed now is, by its marker, at a later time.
        let is_removed = self.discard(left).await.is_ok();
        if is_removed || matches!(done, Ok(Some(_))) {
            upload.disarm();
        }
        done
    }

    /// Looks anew at a version that somebody else changed; `None` if it is gone.
    async fn reencrypt_again(&self, found: &Found, suite: Suite) -> Result<Option<Vec<String>>> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.records.get(&found.key).await? else { return Ok(None) };
            let (key, name, number) = (found.key.clone(), found.name.clone(), found.number);
            let found = Found { key, name, number, stored };
            let is_file = Record::parse(&found.stored.value).is_ok_and(|record| is_file(&record));
            let done = if is_file {
                self.reencrypt_file(&found, suite).await
            } else {
                match self.reencrypt_one(&found, suite).await {
                    Ok((change, missing)) => {
                        let changed = self.commit_all(&[change]).await?.is_empty();
                        Ok(changed.then_some(missing))
                    }
                    Err(error) => Err(error),
                }
            };
            match done {
                Ok(Some(missing)) => return Ok(Some(missing)),
                Ok(None) => {}
                // Record and head were read one after the other.
                Err(error) if error.kind() == ErrorKind::Tampered => {
                    let now = self.records.get(&found.key).await?;
                    if now.is_some_and(|now| now.revision == found.stored.revision) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict("others write this secret all the time: try again").retryable(true))
    }
}

fn note_changed(outcome: &mut Outcome, missing: Vec<String>) {
    outcome.changed += 1;
    for kek in missing {
        *outcome.missing_keks.entry(kek).or_default() += 1;
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let digits = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let bytes = (0..text.len()).step_by(2).map(digits).collect::<Option<_>>();
    bytes.ok_or_else(|| {
        Error::tampered("what an unfinished re-encryption left is damaged: begin it with restart")
    })
}
