//! Verify: every head authenticated, every version opened, every segment of a
//! file read, and nothing there that belongs to nobody.

use super::super::super::entries::{missing_record, version};
use super::super::super::head::{Head, State};
use super::super::super::keys;
use super::super::EnvelopeStore;
use super::super::read::Found;
use crate::error::{Error, Result};
use crate::file::Segments;
use crate::name::SecretName;
use crate::record::PageLimit;
use crate::upkeep::{Failed, Observer, Progress, Verified};

/// A page of heads.
const HEADS: PageLimit = PageLimit { entries: 1024, bytes: 4 << 20 };
/// A page of records: they are read once more, each when its turn comes.
const RECORDS: PageLimit = PageLimit { entries: 256, bytes: 4 << 20 };
/// Finds the first of a range, at the cost of one value.
const ONE: PageLimit = PageLimit { entries: 1, bytes: 1 };
/// How often something that others write meanwhile is looked at again.
const ATTEMPTS: usize = 8;

/// The secret whose records are being looked at, and the number of the last.
struct At {
    name: SecretName,
    last: Option<u64>,
}

impl EnvelopeStore {
    pub(super) async fn verify_all(&self, observer: &Observer<'_>) -> Result<Verified> {
        let mut report = Verified::default();
        self.verify_heads(&mut report).await?;
        self.verify_records(&mut report, observer).await?;
        self.verify_segments(&mut report).await?;
        Ok(report)
    }

    async fn verify_heads(&self, report: &mut Verified) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.records.scan(keys::ALL_HEADS, after.as_deref(), HEADS).await?;
            for (key, _) in &page.entries {
                let Ok(name) = keys::parse_head(key) else {
                    report.strangers += 1;
                    continue;
                };
                self.again(report, &name, None, || self.verify_head(&name)).await?;
                match self.head(&name).await {
                    Ok(Some(stored)) if stored.head.exists() => report.secrets += 1,
                    Ok(Some(stored)) => match stored.head.state {
                        State::Moved { .. } => report.moved += 1,
                        State::Incoming { .. } => report.incoming += 1,
                        _ => {}
                    },
                    _ => {}
                }
            }
            after = page.entries.into_iter().next_back().map(|(key, _)| key).or(after);
            if !page.more {
                return Ok(());
            }
        }
    }

    async fn verify_head(&self, name: &SecretName) -> Result<()> {
        let Some(stored) = self.head(name).await? else { return Ok(()) };
        if !stored.head.is_sealed() {
            return Ok(());
        }
        self.head_key(name, &stored).await?;
        // The others are missed where the next one is found.
        match self.record(name, stored.head.first).await? {
            Some(_) => Ok(()),
            None => Err(missing_record()),
        }
    }

    async fn verify_records(&self, report: &mut Verified, observer: &Observer<'_>) -> Result<()> {
        let (mut at, mut after): (Option<At>, Option<Vec<u8>>) = (None, None);
        loop {
            let page = self.records.scan(keys::ALL_VERSIONS, after.as_deref(), RECORDS).await?;
            for (key, _) in &page.entries {
                let Ok((name, number)) = keys::parse_version(key) else {
                    report.strangers += 1;
                    continue;
                };
                report.versions += 1;
                let last = at.take().filter(|at| at.name == name).and_then(|at| at.last);
                self.again(report, &name, Some(number), || self.verify_record(&name, number, last))
                    .await?;
                at = Some(At { name, last: Some(number) });
            }
            observer(&Progress {
                done: report.versions,
                failed: report.failed,
                ..Progress::default()
            });
            after = page.entries.into_iter().next_back().map(|(key, _)| key).or(after);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Opens one version, and tells whether the one before it is missing.
    async fn verify_record(&self, name: &SecretName, number: u64, last: Option<u64>) -> Result<()> {
        let Some(bytes) = self.record(name, number).await? else { return Ok(()) };
        let stored = self.head(name).await?;
        let is_staged =
            |head: &Head| matches!(head.state, State::Incoming { .. }) && number >= head.first;
        let is_held =
            |head: &Head| head.is_sealed() && (head.first..=head.latest).contains(&number);
        let is_going = |head: &Head| head.state == State::Purging && number >= head.first;
        let head = stored.as_ref().map(|stored| &stored.head);
        if !head.is_some_and(|head| is_staged(head) || is_held(head) || is_going(head)) {
            return Err(Error::tampered("the record belongs to no secret that is there"));
        }
        if let Some(last) = last
            && last + 1 != number
            && head.is_some_and(|head| is_held(head) && head.first < number)
        {
            return Err(Error::tampered(format!(
                "the version before it is missing: {last} is last"
            )));
        }
        match self.open_version(name, number, &bytes, None).await? {
            Found::Value(_) => Ok(()),
            Found::File(info, segments) => {
                for number in 0..info.segments() {
                    segments.read(number).await?;
                }
                Ok(())
            }
        }
    }

    /// Every file is named by a record, or its upload is under way.
    async fn verify_segments(&self, report: &mut Verified) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.records.scan(keys::ALL_SEGMENTS, after.as_deref(), ONE).await?;
            let Some((key, _)) = page.entries.into_iter().next() else { return Ok(()) };
            let Some((name, file)) = keys::parse_any_segment(&key) else {
                report.strangers += 1;
                after = Some(key);
                continue;
            };
            let segments = keys::segments(&name, &file);
            if !self.is_named(&name, &segments).await? {
                let orphan = Error::tampered("segments of a file that no version has");
                report.fail(Failed::new(&name, None, &orphan));
            }
            after = Some(keys::segment(&segments, u64::MAX));
        }
    }

    async fn is_named(&self, name: &SecretName, segments: &[u8]) -> Result<bool> {
        // Looked for before the records: a marker goes when its record comes.
        if self.records.get(&keys::upload(segments)).await?.is_some() {
            return Ok(true);
        }
        let (prefix, mut after) = (keys::versions(name), None::<Vec<u8>>);
        loop {
            let page = self.records.scan(&prefix, after.as_deref(), HEADS).await?;
            for (key, stored) in &page.entries {
                let (_, number) = keys::parse_version(key)?;
                match self.open_version(name, number, &stored.value, None).await {
                    Ok(Found::File(_, found)) if found.key() == segments => return Ok(true),
                    Ok(_) => {}
                    Err(error) if error.is_retryable() => return Err(error.about(name)),
                    // That it does not open has been reported. What it names is not
                    // known.
                    Err(_) => return Ok(true),
                }
            }
            after = page.entries.into_iter().next_back().map(|(key, _)| key).or(after);
            if !page.more {
                // Also what was just removed is nobody's.
                return Ok(self.records.scan(segments, None, ONE).await?.entries.is_empty());
            }
        }
    }

    /// Reports what `check` finds, if it finds it again while head and record stay
    /// as they are. An outage ends the operation.
    async fn again<F: Future<Output = Result<()>>>(
        &self,
        report: &mut Verified,
        name: &SecretName,
        number: Option<u64>,
        check: impl Fn() -> F,
    ) -> Result<()> {
        for attempt in 1..=ATTEMPTS {
            let before = self.state_of(name, number).await?;
            let Err(error) = check().await else { return Ok(()) };
            if self.state_of(name, number).await? != before && attempt < ATTEMPTS {
                continue;
            }
            if error.is_retryable() {
                return Err(error.about(name));
            }
            let version = number.map(version).transpose()?;
            report.fail(Failed::new(name, version, &error));
            return Ok(());
        }
        Ok(())
    }

    /// Changes with whatever happens to a version or to its secret.
    async fn state_of(
        &self,
        name: &SecretName,
        number: Option<u64>,
    ) -> Result<[Option<crate::Revision>; 2]> {
        let head = self.records.get(&keys::head(name)).await?;
        let record = match number {
            Some(number) => self.records.get(&keys::version(name, number)).await?,
            None => None,
        };
        Ok([head, record].map(|stored| stored.map(|stored| stored.revision)))
    }
}
