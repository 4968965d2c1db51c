//! Puts, metadata, deletion.

use strongroom_core::{Error, ErrorKind, Expect, Metadata, MetadataChange, Result, VersionInfo};

use super::super::data::Data;
use super::super::engine::{New, no_secret};
use super::super::metadata::{Change, change, check, given, replacement};
use super::calls::{Standing, State};
use super::{Two, live, number, version};

/// How often a put looks again at a secret that others write meanwhile: each time one of
/// them has succeeded.
const ATTEMPTS: usize = 100;

/// How often a purge looks again at a secret that others write meanwhile.
const PURGES: usize = 8;

impl Two {
    /// Vault writes a version only if the latest one is still what it was when it was
    /// looked at. So every expectation holds, and a put never brings a deleted secret
    /// back that somebody else wrote.
    pub(super) async fn put_version(&self, path: &str, new: &New<'_>) -> Result<VersionInfo> {
        check(new.metadata.unwrap_or(&Metadata::default()))?;
        let data = Data::new(&self.value_key, new.kind, new.value, self.max_value_bytes, None)?;
        let _turn = self.lock(path).await;
        for _ in 0..ATTEMPTS {
            let before = self.calls.standing(path, None).await?;
            let cas = expected(before.as_ref(), new.expect)?;
            let written = self.calls.write(path, cas, before.is_some(), &data).await;
            match written {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                written => {
                    let (number, created) = written?;
                    self.describe_new(path, before.as_ref(), new.metadata).await?;
                    return Ok(VersionInfo::new(version(number)?, new.kind, created));
                }
            }
        }
        Err(Error::conflict("others write the secret all the time"))
    }

    /// Gives the secret the metadata that a put has with it; those that a purge left,
    /// which was broken off, go in any case.
    async fn describe_new(
        &self,
        path: &str,
        before: Option<&Standing>,
        metadata: Option<&Metadata>,
    ) -> Result<()> {
        let old = before.map(|before| &before.custom);
        let change = match (metadata, before) {
            (metadata, Some(before)) if before.state == State::Destroyed => {
                replacement(&before.custom, metadata.unwrap_or(&Metadata::default()))
            }
            (Some(metadata), _) => change(&old.map(given).unwrap_or_default(), metadata),
            (None, _) => return Ok(()),
        };
        self.describe(path, change).await
    }

    async fn describe(&self, path: &str, change: Change) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        self.calls.describe(path, change).await
    }

    pub(super) async fn change_metadata(
        &self,
        path: &str,
        change_of: &MetadataChange,
    ) -> Result<Metadata> {
        let _turn = self.lock(path).await;
        let standing = live(self.calls.standing(path, None).await?)?;
        let old = given(&standing.custom);
        let new = change_of.apply(&old)?;
        check(&new)?;
        self.describe(path, change(&old, &new)).await?;
        Ok(new)
    }

    /// Vault deletes what is deleted, or not there, without a word.
    pub(super) async fn delete_secret(&self, path: &str) -> Result<()> {
        let _turn = self.lock(path).await;
        live(self.calls.standing(path, None).await?)?;
        self.calls.delete_latest(path).await
    }

    pub(super) async fn restore_secret(&self, path: &str) -> Result<()> {
        let _turn = self.lock(path).await;
        let standing = self.calls.standing(path, None).await?.ok_or_else(no_secret)?;
        match standing.state {
            State::Live => Err(Error::conflict("the secret is not deleted")),
            State::Destroyed => Err(no_secret()),
            State::Deleted => self.calls.undelete(path, standing.version).await,
        }
    }

    /// Destroys the versions and leaves their count, so that no number is given twice.
    pub(super) async fn purge_secret(&self, path: &str) -> Result<()> {
        let _turn = self.lock(path).await;
        for round in 0..PURGES {
            let secret = self.calls.secret(path).await?.ok_or_else(no_secret)?;
            let left = secret.versions.iter().filter(|(_, version)| !version.destroyed);
            let left: Vec<_> = left.map(|(number, _)| *number).collect();
            if left.is_empty() {
                if round == 0 {
                    return Err(no_secret());
                }
                let custom = secret.custom_metadata.unwrap_or_default();
                return self.describe(path, replacement(&custom, &Metadata::default())).await;
            }
            self.calls.destroy(path, &left).await?;
        }
        Err(Error::conflict("others write the secret all the time"))
    }
}

/// The latest version, as compare-and-swap of Vault names it.
fn expected(latest: Option<&Standing>, expect: &Expect) -> Result<u64> {
    let there = latest.filter(|latest| latest.state != State::Destroyed);
    if there.is_some_and(|latest| latest.state == State::Deleted) {
        return Err(Error::already_exists(
            "a deleted secret of this name can still be restored: restore or purge it first",
        ));
    }
    match expect {
        Expect::Absent if there.is_some() => {
            return Err(Error::already_exists("there is a secret of this name"));
        }
        Expect::Latest(expected)
            if there.is_none_or(|latest| Some(latest.version) != number(expected)) =>
        {
            return Err(Error::conflict("the latest version is another one"));
        }
        _ => {}
    }
    Ok(latest.map_or(0, |latest| latest.version))
}

#[cfg(test)]
mod tests {
    use strongroom_core::{Kind, Timestamp, Version};

    use super::super::super::metadata::Custom;
    use super::*;

    fn standing(state: State) -> Standing {
        let (created, kind) = (Timestamp(0), Kind::Text);
        Standing { state, version: 7, created, deleted: None, kind, custom: Custom::new() }
    }

    #[test]
    fn what_is_expected_becomes_a_number_or_an_error() {
        let latest = |text: &str| Expect::Latest(Version::new(text).expect("valid"));
        let (exists, conflict) = (Err(ErrorKind::AlreadyExists), Err(ErrorKind::Conflict));
        for (state, expect, cas) in [
            (None, Expect::Any, Ok(0)),
            (None, Expect::Absent, Ok(0)),
            (None, latest("7"), conflict),
            (None, latest("x"), conflict),
            (Some(State::Live), Expect::Any, Ok(7)),
            (Some(State::Live), Expect::Absent, exists),
            (Some(State::Live), latest("7"), Ok(7)),
            (Some(State::Live), latest("6"), conflict),
            (Some(State::Live), latest("07"), conflict),
            (Some(State::Deleted), Expect::Any, exists),
            (Some(State::Deleted), latest("7"), exists),
            (Some(State::Destroyed), Expect::Any, Ok(7)),
            (Some(State::Destroyed), Expect::Absent, Ok(7)),
            (Some(State::Destroyed), latest("7"), conflict),
        ] {
            let there = state.map(standing);
            let found = expected(there.as_ref(), &expect).map_err(|error| error.kind());
            assert_eq!(found, cas, "{state:?} {expect:?}");
        }
    }
}
