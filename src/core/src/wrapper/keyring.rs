//! [`Keyring`]: every DEK wrapped under several KEKs, so that secrets survive the
//! loss of all but one: another region, another cloud, a break-glass key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, FutureExt, join_all, pending, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{Dek, KekState, KekVersion, KeyWrapper, MissingWrap, WrappedDek, Wraps};
use crate::clock::{Clock, SystemClock};
use crate::context::EncryptionContext;
use crate::envelope::MAX_WRAPS;
use crate::error::{Error, ErrorKind, Result};

/// Several key wrappers as one. A read asks the first that has a wrap, then the
/// others; a write needs `quorum` of them and tells which failed; adding or
/// removing a member is a rewrap.
pub struct Keyring {
    members: Vec<Arc<dyn KeyWrapper>>,
    quorum: usize,
    patience: Duration,
    clock: Arc<dyn Clock>,
}

impl Keyring {
    /// `members`, the preferred one first. A write that fewer than `quorum` of
    /// them wrap does not happen.
    ///
    /// # Errors
    /// `Configuration` for no member or more than a record holds, for a KEK
    /// that is named twice, and for a quorum that is none or cannot be met.
    pub fn new(members: Vec<Arc<dyn KeyWrapper>>, quorum: usize) -> Result<Self> {
        let count = members.len();
        if count == 0 || count > MAX_WRAPS {
            return Err(Error::configuration(format!(
                "a keyring has 1 to {MAX_WRAPS} KEKs, not {count}"
            )));
        }
        if quorum == 0 || quorum > count {
            return Err(Error::configuration(format!(
                "the quorum of a keyring of {count} KEKs is from 1 to {count}, not {quorum}"
            )));
        }
        for (index, member) in members.iter().enumerate() {
            if members[..index].iter().any(|other| other.knows(member.identity())) {
                return Err(Error::configuration(format!(
                    "the KEK {} stands in the keyring twice: the second would survive nothing \
                     that the first does not",
                    member.identity()
                )));
            }
        }
        let (patience, clock) = (Duration::from_secs(2), SystemClock::shared());
        Ok(Self { members, quorum, patience, clock })
    }

    /// How long one member is waited for where the others are enough: a write
    /// does not wait longer once its quorum is met, and a read goes on to the
    /// next wrap. 2 seconds unless told.
    #[must_use]
    pub fn with_patience(self, patience: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { patience, clock, ..self }
    }

    fn first(&self) -> &dyn KeyWrapper {
        &*self.members[0]
    }

    fn member(&self, kek: &str) -> Result<&dyn KeyWrapper> {
        let found = self.members.iter().find(|member| member.knows(kek));
        found.map(|member| &**member).ok_or_else(|| {
            let known: Vec<_> = self.members.iter().map(|member| member.identity()).collect();
            Error::key_unavailable(format!(
                "the KEK {kek} is not in the keyring of {}",
                known.join(", ")
            ))
        })
    }

    /// What each member answers, in their order. Those that have not when the
    /// quorum is met have a while left.
    async fn wrap_under_each(
        &self,
        dek: &Dek,
        context: &EncryptionContext,
    ) -> Vec<Result<WrappedDek<'static>>> {
        let calls = self.members.iter().enumerate();
        let mut calls: FuturesUnordered<_> = calls
            .map(|(index, member)| async move { (index, member.wrap(dek, context).await) })
            .collect();
        let mut answers: Vec<_> = self.members.iter().map(|_| Err(no_answer())).collect();
        let (mut count, mut limit) = (0, pending().boxed());
        while let Either::Left((Some((index, answer)), _)) = select(calls.next(), &mut limit).await
        {
            count += usize::from(answer.is_ok());
            answers[index] = answer;
            if count == self.quorum {
                limit = self.clock.sleep(self.patience);
            }
        }
        answers
    }

    /// What `member` answers, if it does in time.
    async fn unwrap_soon(
        &self,
        member: &dyn KeyWrapper,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<Dek> {
        let limit = self.clock.sleep(self.patience);
        match select(member.unwrap(wrapped, context), limit).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(no_answer()),
        }
    }

    /// The answers of the members, in their order, if they are enough.
    fn gather(&self, answers: Vec<Result<WrappedDek<'static>>>) -> Result<Wraps> {
        let mut wraps = Wraps { deks: Vec::with_capacity(answers.len()), missing: Vec::new() };
        let mut first_error = None;
        for (member, answer) in self.members.iter().zip(answers) {
            match answer {
                Ok(wrapped) => wraps.deks.push(wrapped),
                Err(error) => {
                    wraps.missing.push(MissingWrap::new(member.identity(), &error));
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if wraps.deks.len() < self.quorum => Err(self.too_few(&wraps, error)),
            _ => Ok(wraps),
        }
    }

    fn too_few(&self, wraps: &Wraps, cause: Error) -> Error {
        let failed =
            wraps.missing.iter().map(|missing| format!("{} ({})", missing.kek, missing.message));
        let message = format!(
            "only {} of {} KEKs wrapped the DEK, and the quorum is {}: {}",
            wraps.deks.len(),
            self.members.len(),
            self.quorum,
            failed.collect::<Vec<_>>().join("; "),
        );
        let retryable = cause.is_retryable();
        Error::new(cause.kind(), message).with_source(cause).retryable(retryable)
    }
}

#[async_trait]
impl KeyWrapper for Keyring {
    /// The preferred KEK's.
    fn identity(&self) -> &str {
        self.first().identity()
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        self.first().wrap(dek, context).await
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        self.member(&wrapped.kek)?.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDek<'static>> {
        self.member(&wrapped.kek)?.rewrap(wrapped, context).await
    }

    async fn current_version(&self) -> Result<String> {
        self.first().current_version().await
    }

    /// Every member is proved; the first error is returned, since a keyring
    /// that lost a member protects less than was asked for.
    async fn check(&self) -> Result<()> {
        for answer in join_all(self.members.iter().map(|member| member.check())).await {
            answer?;
        }
        Ok(())
    }

    async fn rotate(&self, kek: &str) -> Result<String> {
        self.member(kek)?.rotate(kek).await
    }

    async fn versions(&self, kek: &str) -> Result<Vec<KekVersion>> {
        self.member(kek)?.versions(kek).await
    }

    async fn destroy_version(&self, kek: &str, version: &str) -> Result<()> {
        self.member(kek)?.destroy_version(kek, version).await
    }

    fn knows(&self, kek: &str) -> bool {
        self.members.iter().any(|member| member.knows(kek))
    }

    /// The members. One that is down has no current version, so that the others'
    /// wraps can be told from those that need a rewrap. One that cannot be used
    /// at all, such as a key file that is not there, is an error: a rewrap would
    /// leave its wraps behind.
    async fn keks(&self) -> Result<Vec<KekState>> {
        let answers = join_all(self.members.iter().map(|member| member.current_version())).await;
        let mut states = Vec::with_capacity(answers.len());
        let mut first_error = None;
        for (member, answer) in self.members.iter().zip(answers) {
            let identity = member.identity().to_owned();
            let current = match answer {
                Ok(version) => Some(version),
                Err(error) if error.is_retryable() => {
                    first_error.get_or_insert(error);
                    None
                }
                Err(error) => return Err(error),
            };
            states.push(KekState { identity, current });
        }
        match first_error {
            Some(error) if states.iter().all(|state| state.current.is_none()) => Err(error),
            _ => Ok(states),
        }
    }

    async fn generate_all(&self, context: &EncryptionContext) -> Result<(Dek, Wraps)> {
        // Made here: the member that would make it may be the one that is down.
        let dek = Dek::random()?;
        let wraps = self.gather(self.wrap_under_each(&dek, context).await)?;
        Ok((dek, wraps))
    }

    /// In the members' order, whatever the record's is.
    async fn unwrap_any(
        &self,
        wraps: &[WrappedDek<'_>],
        context: &EncryptionContext,
    ) -> Result<Dek> {
        let mut first_error = None;
        let mut candidates = Vec::with_capacity(wraps.len());
        for member in &self.members {
            let own = wraps.iter().filter(|wrapped| member.knows(&wrapped.kek));
            candidates.extend(own.map(|wrapped| (&**member, wrapped)));
        }
        let count = candidates.len();
        for (index, (member, wrapped)) in candidates.into_iter().enumerate() {
            let answer = if index + 1 < count {
                self.unwrap_soon(member, wrapped, context).await
            } else {
                member.unwrap(wrapped, context).await
            };
            match answer {
                Ok(dek) => return Ok(dek),
                // A wrap that was altered stays an alarm even if another opens.
                Err(error) if error.kind() == ErrorKind::Tampered => return Err(error),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| match wraps.first() {
            Some(wrapped) => self.member(&wrapped.kek).err().unwrap_or_else(no_wrap),
            None => no_wrap(),
        }))
    }

    /// A wrap that is current stays, one of an older version is rewrapped by its
    /// KMS, one that is not there is made; those of other KEKs are dropped. A
    /// member that cannot be had keeps the wrap that it has.
    async fn rewrap_all(
        &self,
        wraps: &[WrappedDek<'_>],
        context: &EncryptionContext,
    ) -> Result<Wraps> {
        let mut dek = None;
        let mut gathered =
            Wraps { deks: Vec::with_capacity(self.members.len()), missing: Vec::new() };
        let mut first_error = None;
        for member in &self.members {
            let own = wraps.iter().find(|wrapped| member.knows(&wrapped.kek));
            let answer = if let Some(wrapped) = own {
                renewed(&**member, wrapped, context).await
            } else {
                if dek.is_none() {
                    dek = Some(self.unwrap_any(wraps, context).await?);
                }
                match &dek {
                    Some(dek) => member.wrap(dek, context).await,
                    None => Err(no_wrap()),
                }
            };
            match answer {
                Ok(wrapped) => gathered.deks.push(wrapped),
                Err(error) if error.kind() == ErrorKind::Tampered => return Err(error),
                Err(error) => {
                    gathered.missing.push(MissingWrap::new(member.identity(), &error));
                    gathered.deks.extend(own.cloned().map(WrappedDek::into_owned));
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if gathered.deks.len() < self.quorum => Err(self.too_few(&gathered, error)),
            _ => Ok(gathered),
        }
    }
}

/// The wrap itself if it is current, else what the KMS makes of it.
async fn renewed(
    member: &dyn KeyWrapper,
    wrapped: &WrappedDek<'_>,
    context: &EncryptionContext,
) -> Result<WrappedDek<'static>> {
    if wrapped.kek == member.identity() && wrapped.kek_version == member.current_version().await? {
        return Ok(wrapped.clone().into_owned());
    }
    member.rewrap(wrapped, context).await
}

fn no_answer() -> Error {
    Error::unavailable("the KMS has not answered in time, and others have")
}

fn no_wrap() -> Error {
    Error::tampered("the record holds no wrapped DEK")
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("members", &self.members)
            .field("quorum", &self.quorum)
            .finish_non_exhaustive()
    }
}
