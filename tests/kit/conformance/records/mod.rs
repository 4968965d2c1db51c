//! The contract of [`RecordStore`], point by point.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use strongroom_core::record::MAX_KEY_BYTES;
use strongroom_core::{
    Batch, ErrorKind, PageLimit, Precondition, RecordPage, RecordStore, Result, Revision, Stored,
};
use tempfile::TempDir;

use super::{Factory, assert_kind, points, temporary_directory};
use crate::random::Random;

/// A record store to be tested.
pub struct RecordsBackend {
    open: Factory<Arc<dyn RecordStore>>,
    persistent: bool,
}

impl RecordsBackend {
    /// A store that ends with its value; the directory is there to be ignored.
    pub fn volatile(
        open: impl Fn(&Path) -> Result<Arc<dyn RecordStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Box::new(open), persistent: false }
    }

    /// A store in a directory: opened again, it holds the same, and nobody else
    /// can open it meanwhile.
    pub fn persistent(
        open: impl Fn(&Path) -> Result<Arc<dyn RecordStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Box::new(open), persistent: true }
    }
}

impl fmt::Debug for RecordsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsBackend")
            .field("persistent", &self.persistent)
            .finish_non_exhaustive()
    }
}

mod concurrency;
mod entries;

use self::concurrency::*;
use self::entries::*;

points! { $ conformance_records for RecordsBackend as records:
    an_empty_store_holds_nothing,
    values_of_every_size_are_read_back,
    the_largest_value_is_taken,
    a_value_is_replaced_whole,
    of_several_changes_the_last_counts,
    removing_an_absent_key_is_no_error,
    an_empty_batch_succeeds,
    scan_gives_keys_in_order,
    scan_gives_exactly_a_prefix,
    scan_pages_give_each_key_once,
    scan_pages_begin_anywhere,
    a_page_ends_at_its_bytes,
    a_batch_of_the_promised_bytes_fits,
    limits_are_refused_and_nothing_changes,
    preconditions_that_fail_change_nothing,
    preconditions_that_hold_let_the_batch_pass,
    a_precondition_guards_a_key_that_is_not_written,
    every_write_gives_a_new_revision,
    a_revision_is_not_reused_after_a_delete,
    readers_see_all_of_a_batch_or_none,
    one_of_many_swappers_wins_each_round,
    commits_from_many_threads_all_land,
    other_threads_see_what_was_acknowledged,
    a_snapshot_stays_as_it_was,
    a_scan_beside_writers_gives_lasting_keys_once,
    a_dropped_commit_is_whole_or_absent,
    random_batches_match_a_model,
    a_reopened_store_holds_the_same,
    a_second_opening_is_refused,
    the_store_names_and_checks_itself,
}

struct Bench {
    backend: RecordsBackend,
    dir: TempDir,
}

impl Bench {
    fn new(backend: RecordsBackend) -> Self {
        Self { backend, dir: temporary_directory() }
    }

    fn open(&self) -> Arc<dyn RecordStore> {
        self.try_open().expect("the store opens")
    }

    fn try_open(&self) -> Result<Arc<dyn RecordStore>> {
        (self.backend.open)(&self.dir.path().join("store"))
    }
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

async fn write(store: &dyn RecordStore, key: &[u8], value: &[u8]) {
    let batch = Batch::new().write(key.to_vec(), value.to_vec());
    store.commit(batch).await.expect("a write");
}

async fn stored(store: &dyn RecordStore, key: &[u8]) -> Option<Stored> {
    store.get(key).await.expect("a read")
}

async fn value(store: &dyn RecordStore, key: &[u8]) -> Option<Vec<u8>> {
    stored(store, key).await.map(|stored| stored.value)
}

async fn revision(store: &dyn RecordStore, key: &[u8]) -> Revision {
    stored(store, key).await.expect("there is a value").revision
}

async fn everything(store: &dyn RecordStore) -> Entries {
    pages(store, b"", 1000).await
}

/// Everything below `prefix`, in pages of `limit`.
async fn pages(store: &dyn RecordStore, prefix: &[u8], limit: usize) -> Entries {
    let (mut all, mut after) = (Entries::new(), None::<Vec<u8>>);
    loop {
        let page = store.scan(prefix, after.as_deref(), PageLimit::entries(limit)).await;
        let RecordPage { entries: page, more } = page.expect("a page");
        assert!(page.len() <= limit, "a page of {} has {} entries", limit, page.len());
        // Also what keeps a store that repeats itself from being asked for ever.
        let goes_on = page.first().is_none_or(|(key, _)| after.as_ref().is_none_or(|a| key > a));
        assert!(goes_on, "a page begins at or before the end of the last");
        all.extend(page.into_iter().map(|(key, stored)| (key, stored.value)));
        if !more {
            return all;
        }
        after = all.last().map(|(key, _)| key.clone());
    }
}

/// Keys that begin each other, with the smallest and the largest byte.
fn awkward_keys() -> BTreeSet<Vec<u8>> {
    let mut keys: BTreeSet<Vec<u8>> =
        [&b"a"[..], b"a\0", b"a\0\0", b"aa", b"ab", b"b", b"\0", b"\0\0", b"\0identity"]
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect();
    keys.extend([vec![0xff], vec![0xff, 0], vec![0xff, 0xff], vec![0xfe, 0xff], vec![0x7f, 0x80]]);
    keys.extend([1, 2, 255, 256, 1023, MAX_KEY_BYTES].map(|bytes| vec![0xff; bytes]));
    keys.insert([vec![b'k'; MAX_KEY_BYTES - 1], vec![1]].concat());
    keys
}

async fn with_awkward_keys(store: &dyn RecordStore) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut random = Random::new(1);
    let model: BTreeMap<_, _> =
        awkward_keys().into_iter().map(|key| (key, random.bytes(10))).collect();
    // Written in another order than they are read.
    for (key, value) in model.iter().rev() {
        write(store, key, value).await;
    }
    model
}
