//! One secret's way into the target: what there is of it, whether it fits, the
//! copy, and its comparison with the source.

use super::compare::are_equal;
use crate::error::{Error, ErrorKind, Result};
use crate::file::{FileInfo, FileReader};
use crate::metadata::Metadata;
use crate::name::SecretName;
use crate::record::Revision;
use crate::secret::{Version, VersionInfo};
use crate::store::{Expect, PageRequest, PutOptions, SecretStore, Select};
use crate::transfer::{Place, Standing};

const PAGE: usize = 1000;

/// A version at the source, and the number that it is to have at the target.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) source: VersionInfo,
    pub(super) target: VersionInfo,
}

/// One of the two stores, whatever it can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a>(pub(super) &'a dyn SecretStore);

impl Side<'_> {
    pub(super) fn place(self) -> Place {
        match self.0.transfer() {
            Some(transfer) => transfer.place(),
            None => Place::new(self.0.describe(), self.0.describe()),
        }
    }

    pub(super) async fn standing(self, name: &SecretName) -> Result<Standing> {
        if let Some(transfer) = self.0.transfer() {
            return transfer.standing(name).await;
        }
        let newest = match self.versions(name).await {
            Ok(versions) => versions.last().map(|info| info.version.clone()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let metadata = Metadata::default();
        let owned = |latest| Standing::Owned { mark: Revision(0), latest, deleted: None, metadata };
        Ok(newest.map_or(Standing::Absent, owned))
    }

    /// Every version, oldest first.
    pub(super) async fn versions(self, name: &SecretName) -> Result<Vec<VersionInfo>> {
        let (mut all, mut page) = (Vec::new(), PageRequest::first(PAGE));
        loop {
            let found = match self.0.transfer() {
                Some(transfer) => transfer.versions_of(name, &page).await?,
                None => self.0.versions(name, &page).await?,
            };
            all.extend(found.items);
            match found.next {
                Some(next) => page.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    pub(super) async fn read(self, name: &SecretName, version: &Version) -> Result<FileReader> {
        match self.0.transfer() {
            Some(transfer) => transfer.read_version(name, version).await,
            None => self.0.get_file(name, &Select::Version(version.clone())).await,
        }
    }
}

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    pub(super) source: Side<'a>,
    pub(super) target: Side<'a>,
}

impl Route<'_> {
    /// Which versions go, under which numbers, and how many stay behind.
    pub(super) async fn plan(self, name: &SecretName) -> Result<(Vec<Planned>, u64)> {
        let mut versions = self.source.versions(name).await?;
        let mut left = 0;
        if self.target.0.transfer().is_none() && !self.target.0.capabilities().versions {
            left = versions.len().saturating_sub(1);
            versions.drain(..left);
        }
        let numbers: Option<Vec<u64>> =
            versions.iter().map(|info| info.version.as_str().parse().ok()).collect();
        let is_gapless = |numbers: &Vec<u64>| {
            numbers.first().is_some_and(|first| *first > 0)
                && numbers.windows(2).all(|two| two[0].checked_add(1) == Some(two[1]))
        };
        // Numbers of another kind mean nothing elsewhere: there they count from 1.
        let first = numbers.filter(is_gapless).and_then(|numbers| numbers.first().copied());
        let numbered = versions.into_iter().zip(first.unwrap_or(1)..);
        let planned = numbered.map(|(source, number)| {
            let version = Version::new(number.to_string())?;
            let target = VersionInfo::new(version, source.kind, source.created);
            Ok(Planned { source, target })
        });
        Ok((planned.collect::<Result<_>>()?, left as u64))
    }

    /// Refuses what the target could not give back as the source does.
    pub(super) fn check_fits(self, file: &FileInfo) -> Result<()> {
        let (from, to) = (self.source.0.capabilities(), self.target.0.capabilities());
        let length = file.length;
        if length > to.max_value_bytes as u64 && length <= from.max_value_bytes as u64 {
            return Err(Error::limit_exceeded(format!(
                "it has {length} bytes, and {} gives a value of at most {}",
                self.target.0.describe(),
                to.max_value_bytes
            )));
        }
        if length > to.max_file_bytes.max(to.max_value_bytes as u64) {
            return Err(Error::limit_exceeded(format!(
                "it is a file of {length} bytes, and {} takes at most {}",
                self.target.0.describe(),
                to.max_file_bytes
            )));
        }
        Ok(())
    }

    /// Brings every version to a target that stages them.
    pub(super) async fn stage(self, name: &SecretName, plan: &[Planned]) -> Result<()> {
        let Some(target) = self.target.0.transfer() else {
            return Err(Error::internal("the target stages nothing"));
        };
        target.reserve(name, &self.source.place()).await?;
        for planned in plan {
            let mut reader = self.source.read(name, &planned.source.version).await?;
            self.check_fits(reader.info())?;
            target.stage(name, &planned.target, &mut reader).await?;
        }
        self.compare(name, plan).await
    }

    /// Reads every version of `plan` back.
    pub(super) async fn compare(self, name: &SecretName, plan: &[Planned]) -> Result<()> {
        for planned in plan {
            let source = self.source.read(name, &planned.source.version).await?;
            let target = self.target.read(name, &planned.target.version).await?;
            let is_same = source.info().kind == target.info().kind;
            if !is_same || !are_equal(source, target).await? {
                return Err(differs(name, &planned.source.version));
            }
        }
        Ok(())
    }

    /// Puts what is not there yet into a target that only takes puts, in order.
    /// `AlreadyExists` if what is there is not the beginning of it.
    pub(super) async fn put_in_order(self, name: &SecretName, plan: &[Planned]) -> Result<()> {
        let there = match self.target.versions(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            answer => answer?,
        };
        let foreign =
            || Error::already_exists("the target has another secret of this name: left as it is");
        if there.len() > plan.len() {
            return Err(foreign());
        }
        for (found, planned) in there.iter().zip(plan) {
            let source = self.source.read(name, &planned.source.version).await?;
            let target = self.target.read(name, &found.version).await?;
            if !are_equal(source, target).await? {
                return Err(foreign());
            }
        }
        let mut latest = there.last().map(|info| info.version.clone());
        let can = self.target.0.capabilities();
        for planned in &plan[there.len()..] {
            let expect = match latest.take() {
                _ if !can.compare_and_swap => Expect::Any,
                None => Expect::Absent,
                Some(latest) => Expect::Latest(latest),
            };
            let options = PutOptions { kind: planned.source.kind, expect, ..PutOptions::default() };
            let mut reader = self.source.read(name, &planned.source.version).await?;
            self.check_fits(reader.info())?;
            let put = self.target.0.put_file(name, &mut reader, &options).await?;
            let source = self.source.read(name, &planned.source.version).await?;
            let target = self.target.read(name, &put.version).await?;
            if !are_equal(source, target).await? {
                return Err(differs(name, &planned.source.version));
            }
            latest = Some(put.version);
        }
        Ok(())
    }
}

fn differs(name: &SecretName, version: &Version) -> Error {
    Error::tampered(format!(
        "version {version} reads back from the target as something else: nothing was switched"
    ))
    .about(name)
}
