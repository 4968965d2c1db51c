//! The contract of [`SecretStore`], point by point, as far as the store's
//! capabilities go.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::clock::ManualClock;
use strongroom_core::{
    Capabilities, Clock, ErrorKind, Expect, Kind, Listing, Metadata, MetadataChange, PageRequest,
    PutOptions, Result, Scope, SecretBytes, SecretName, SecretStore, Select, Timestamp, Version,
    VersionInfo,
};
use tempfile::TempDir;

use super::{assert_kind, points, temporary_directory};

pub use crate::embedded::ACCOUNT;

/// How long a store under test keeps a deleted secret, where that is ours to
/// set.
pub const RECOVERY_WINDOW: Duration = Duration::from_hours(24);

type OpenSecrets = dyn Fn(&Path, Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> + Send + Sync;

/// A secret store to be tested.
pub struct SecretsBackend {
    open: Box<OpenSecrets>,
    persistent: bool,
    follows_clock: bool,
}

impl SecretsBackend {
    /// `open` gives the store of [`ACCOUNT`] that belongs to a directory; it
    /// ends with its value.
    pub fn volatile(
        open: impl Fn(&Path, Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Box::new(open), persistent: false, follows_clock: true }
    }

    /// `open` makes or opens the store of [`ACCOUNT`] in a directory.
    pub fn persistent(
        open: impl Fn(&Path, Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { persistent: true, ..Self::volatile(open) }
    }

    /// The store takes its time elsewhere: nothing is tested that waits for an
    /// expiry.
    #[must_use]
    pub fn on_its_own_clock(self) -> Self {
        Self { follows_clock: false, ..self }
    }
}

impl fmt::Debug for SecretsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsBackend").finish_non_exhaustive()
    }
}

mod concurrency;
mod files;
mod kinds;
mod lifecycle;
mod lists;
mod metadata;
mod moving;
mod sealing;
mod values;

use self::concurrency::*;
use self::files::*;
use self::kinds::*;
use self::lifecycle::*;
use self::lists::*;
use self::metadata::*;
use self::moving::*;
use self::sealing::*;
use self::values::*;

points! { $ conformance_secrets for SecretsBackend as secrets:
    a_name_that_was_never_used_is_not_found,
    exactly_the_bytes_that_were_put_come_back,
    every_kind_comes_back,
    a_value_that_is_not_of_its_kind_is_refused,
    the_latest_version_is_the_newest,
    every_version_stays_readable,
    versions_that_do_not_exist_are_not_found,
    versions_are_listed_oldest_first_in_pages,
    versions_have_an_order,
    put_when_absent_makes_one,
    put_when_latest_swaps,
    a_wrong_expectation_writes_nothing,
    a_value_too_long_is_refused,
    a_deleted_secret_is_hidden,
    a_deleted_secret_refuses_a_put,
    deleting_what_is_not_there_is_not_found,
    restore_brings_every_version_back,
    restoring_what_is_not_deleted_is_refused,
    the_recovery_window_ends,
    a_put_after_the_window_begins_anew,
    purge_removes_every_version,
    a_purged_version_is_not_found_beside_a_newer_one,
    purge_takes_a_deleted_secret,
    purging_what_is_not_there_is_not_found,
    a_version_is_never_given_twice,
    names_do_not_meet,
    list_is_ordered_and_exact,
    list_gives_one_scope_only,
    list_pages_give_each_name_once,
    list_tells_the_latest_version,
    another_account_is_refused,
    metadata_are_listed_and_stay,
    metadata_are_changed_in_one_step,
    metadata_go_with_a_purge,
    metadata_beyond_the_limits_change_nothing,
    changes_of_metadata_race_without_loss,
    a_store_without_metadata_says_so,
    what_is_sealed_opens_and_is_nowhere_else,
    sealed_bytes_open_for_whom_they_belong_to_only,
    a_value_too_long_is_not_sealed,
    a_store_that_cannot_seal_says_so,
    a_file_comes_back_whole_and_in_segments,
    files_and_values_are_versions_of_one_secret,
    a_file_keeps_to_what_is_expected,
    a_file_that_breaks_off_was_never_there,
    purge_takes_files,
    a_reopened_store_holds_the_same_files,
    names_are_told_of_a_scope_and_below,
    a_store_that_moves_secrets_says_so,
    what_is_staged_is_seen_when_it_is_published,
    a_deleted_secret_comes_with_its_window,
    what_is_given_up_leaves_nothing,
    a_handed_over_secret_is_read_by_nobody,
    concurrent_puts_give_distinct_versions,
    one_of_many_swappers_wins_each_round,
    readers_beside_a_writer_see_whole_values,
    deletes_and_restores_race_without_harm,
    a_reopened_store_holds_the_same,
    errors_say_where_and_never_what,
    the_store_names_and_checks_itself,
}

struct Bench {
    backend: SecretsBackend,
    clock: ManualClock,
    dir: TempDir,
}

impl Bench {
    fn new(backend: SecretsBackend) -> Self {
        let clock = ManualClock::new(Timestamp(1_700_000_000_000));
        Self { backend, clock, dir: temporary_directory() }
    }

    fn open(&self) -> Store {
        let clock = Arc::new(self.clock.clone());
        let store = (self.backend.open)(&self.dir.path().join("store"), clock);
        Store(store.expect("the store opens"))
    }
}

/// The store with what the points do all the time.
struct Store(Arc<dyn SecretStore>);

impl Store {
    fn can(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn put(&self, name: &SecretName, value: &[u8]) -> Version {
        self.put_as(name, value, Kind::Text, Expect::Any).await.expect("a put").version
    }

    async fn put_if(&self, name: &SecretName, value: &[u8], expect: Expect) -> Result<VersionInfo> {
        self.put_as(name, value, Kind::Text, expect).await
    }

    async fn put_as(
        &self,
        name: &SecretName,
        value: &[u8],
        kind: Kind,
        expect: Expect,
    ) -> Result<VersionInfo> {
        let value = SecretBytes::copy_from(value).expect("guarded memory");
        self.0.put(name, &value, &PutOptions { kind, expect, ..PutOptions::default() }).await
    }

    /// A put of a reference need not lead anywhere.
    async fn put_unchecked(
        &self,
        name: &SecretName,
        value: &[u8],
        kind: Kind,
    ) -> Result<VersionInfo> {
        let value = SecretBytes::copy_from(value).expect("guarded memory");
        let options = PutOptions { kind, unchecked_reference: true, ..PutOptions::default() };
        self.0.put(name, &value, &options).await
    }

    /// Whether `select` gives exactly `value`.
    async fn holds(&self, name: &SecretName, select: &Select, value: &[u8]) -> bool {
        let secret = self.0.get(name, select).await.expect("a get");
        secret.value.expose() == value
    }

    async fn assert_latest(&self, name: &SecretName, value: &[u8], what: &str) {
        assert!(self.holds(name, &Select::Latest, value).await, "{what}: another value");
    }

    async fn assert_missing(&self, name: &SecretName, what: &str) {
        assert_kind(self.0.get(name, &Select::Latest).await, ErrorKind::NotFound, what);
    }

    async fn versions(&self, name: &SecretName, limit: usize) -> Result<Vec<Version>> {
        let (mut all, mut page) = (Vec::new(), PageRequest::first(limit));
        loop {
            let found = self.0.versions(name, &page).await?;
            assert!(found.items.len() <= limit && all.len() < 10_000, "pages without an end");
            all.extend(found.items.into_iter().map(|info| info.version));
            match found.next {
                Some(next) => page.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn list(&self, scope: &str, include_deleted: bool, limit: usize) -> Vec<Listing> {
        let scope: Scope = scope.parse().expect("a valid scope");
        let (mut all, mut page) = (Vec::new(), PageRequest::first(limit));
        loop {
            let found = self.0.list(&scope, include_deleted, &page).await.expect("a page");
            assert!(found.items.len() <= limit && all.len() < 10_000, "pages without an end");
            all.extend(found.items);
            match found.next {
                Some(next) => page.after = Some(next),
                None => return all,
            }
        }
    }

    async fn names(&self, scope: &str, include_deleted: bool) -> Vec<String> {
        let found = self.list(scope, include_deleted, 100).await;
        found.into_iter().map(|listing| listing.name.id().to_owned()).collect()
    }
}

fn name(scope: &str, id: &str) -> SecretName {
    SecretName::new(scope.parse().expect("a valid scope"), id).expect("a valid name")
}

fn db() -> SecretName {
    name(ACCOUNT, "db")
}

fn is_before(store: &Store, a: &Version, b: &Version) -> bool {
    match (store.0.version_order(a), store.0.version_order(b)) {
        (Some(a), Some(b)) => a < b,
        _ => true,
    }
}
