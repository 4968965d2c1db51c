//! A full disk and a read-only one lose nothing. These tests mount a small
//! file system of their own; where that is not permitted they say so loudly
//! and prove nothing.

// A helper function is a test, too.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use futures_executor::block_on;
use strongroom_core::{Batch, ErrorKind, RecordStore};
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};
use tempfile::TempDir;

macro_rules! for_each_kind {
    ($($name:ident)*) => {
        mod sled { $(#[test] fn $name() { super::$name(super::RecordStoreKind::Sled) })* }
        mod redb { $(#[test] fn $name() { super::$name(super::RecordStoreKind::Redb) })* }
    };
}

for_each_kind! {
    a_full_disk_loses_nothing_and_heals
    a_read_only_disk_is_named
}

/// A tmpfs of its own, unmounted on drop.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        let options = format!("size={size},mode=0700");
        if mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], disk.path()) {
            return Some(disk);
        }
        eprintln!("SKIPPED, NOTHING PROVEN: this user may not mount a tmpfs (run as root)");
        None
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

fn mount(arguments: &[&str], target: &Path) -> bool {
    let run = Command::new("mount").args(arguments).arg(target).output();
    run.is_ok_and(|output| output.status.success())
}

fn open(kind: RecordStoreKind, dir: &Path) -> Arc<dyn RecordStore> {
    open_records(kind, dir, &RecordOptions::default()).unwrap()
}

fn all_there(store: &dyn RecordStore, acknowledged: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
    let each = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        block_on(store.get(key)).unwrap().is_some_and(|stored| stored.value == *value)
    };
    acknowledged.iter().all(each)
}

/// Writes until the disk refuses; returns the refusal.
fn fill(
    store: &dyn RecordStore,
    bytes: usize,
    acknowledged: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> strongroom_core::Error {
    for i in 0_u32.. {
        let (key, value) = (format!("{bytes}/{i:06}").into_bytes(), vec![i as u8; bytes]);
        match block_on(store.commit(Batch::new().write(key.clone(), value.clone()))) {
            Ok(()) => drop(acknowledged.insert(key, value)),
            Err(error) => return error,
        }
    }
    unreachable!("the disk is small")
}

fn a_full_disk_loses_nothing_and_heals(kind: RecordStoreKind) {
    let Some(disk) = SmallDisk::mount("48m") else { return };
    let place: PathBuf = disk.path().join("store");
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 16 << 20]).unwrap();
    let mut acknowledged = BTreeMap::new();
    let store = open(kind, &place);
    for bytes in [30_000, 1_500] {
        let error = fill(&*store, bytes, &mut acknowledged);
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.is_retryable(), "{error:?}");
        assert!(error.message().contains("disk is full"), "{error}");
        assert!(all_there(&*store, &acknowledged), "readable while the disk is full");
    }
    drop(store);
    let store = open(kind, &place);
    assert!(all_there(&*store, &acknowledged), "readable after a reopen on a full disk");
    // Space that somebody frees can be used without a reopen.
    let error = fill(&*store, 20_000, &mut acknowledged);
    assert!(error.message().contains("disk is full"), "{error}");
    fs::remove_file(&ballast).unwrap();
    block_on(store.commit(Batch::new().write(b"after".to_vec(), b"1".to_vec()))).unwrap();
    acknowledged.insert(b"after".to_vec(), b"1".to_vec());
    drop(store);
    assert!(all_there(&*open(kind, &place), &acknowledged));
}

fn a_read_only_disk_is_named(kind: RecordStoreKind) {
    let Some(disk) = SmallDisk::mount("48m") else { return };
    let place = disk.path().join("store");
    let store = open(kind, &place);
    block_on(store.commit(Batch::new().write(b"k".to_vec(), b"v".to_vec()))).unwrap();
    drop(store);
    assert!(mount(&["-o", "remount,ro"], disk.path()));
    for place in [&place, &disk.path().join("new")] {
        let error = open_records(kind, place, &RecordOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
        assert!(error.message().contains("read-only"), "{error}");
        assert!(error.message().contains(&place.display().to_string()), "{error}");
    }
    assert!(mount(&["-o", "remount,rw"], disk.path()));
    let stored = block_on(open(kind, &place).get(b"k")).unwrap().unwrap();
    assert_eq!(stored.value, b"v");
}
