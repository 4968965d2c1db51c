//! The sled store from inside: groups, chunks, snapshots, side files.

use strongroom_core::{PageLimit, Precondition};

use super::*;

fn open(data: &Path) -> (Arc<Records>, Writer) {
    let records = Arc::new(Records::open(data, &RecordOptions::default()).unwrap());
    (records.clone(), Writer::new(records, data).unwrap())
}

fn write(writer: &mut Writer, batch: Batch) {
    assert!(writer.commit_group(&[batch]).unwrap()[0].is_ok());
}

/// Three batches of one group for one key: the first two follow each
/// other, the third is late.
#[test]
fn a_batch_sees_what_the_group_did_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (records, mut writer) = open(dir.path());
    let key = || b"k".to_vec();
    let next = Precondition::At(Revision(writer.last_revision + 1));
    let group = [
        Batch::new().require(key(), Precondition::Absent).write(key(), b"1".to_vec()),
        Batch::new().require(key(), next).write(key(), b"2".to_vec()),
        Batch::new().require(key(), next).write(b"other".to_vec(), vec![]).delete(key()),
        Batch::new().require(key(), Precondition::Absent).delete(key()),
    ];
    let verdicts = writer.commit_group(&group).unwrap();
    let good: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, true, false, false]);
    assert!(records.get(b"k").unwrap().unwrap().value == b"2");
    assert!(records.get(b"other").unwrap().is_none());
    assert_eq!(writer.syncs(), 1);
    let gone = [
        Batch::new().delete(key()),
        Batch::new().require(key(), Precondition::Absent).write(key(), b"3".to_vec()),
    ];
    assert!(writer.commit_group(&gone).unwrap().iter().all(Result::is_ok));
    assert!(records.get(b"k").unwrap().unwrap().value == b"3");
}

#[test]
fn a_replaced_or_removed_value_leaves_no_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let (records, mut writer) = open(dir.path());
    for bytes in [5 * CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 1, 1] {
        write(&mut writer, Batch::new().write(b"k".to_vec(), vec![1; bytes]));
        let chunks = if bytes > CHUNK_BYTES { bytes.div_ceil(CHUNK_BYTES) } else { 0 };
        assert_eq!(records.db.len(), 2 + chunks, "last revision, head and chunks");
    }
    write(&mut writer, Batch::new().write(b"k".to_vec(), vec![1; 5 * CHUNK_BYTES]));
    write(&mut writer, Batch::new().delete(b"k".to_vec()));
    assert_eq!(records.db.len(), 1);
}

/// Side files are never synced: no key and no value may cause one. The
/// keys are the worst for sled's index, long and with nothing in common
/// but for neighbours.
#[test]
fn nothing_goes_into_sleds_side_files() {
    let dir = tempfile::tempdir().unwrap();
    let (_records, mut writer) = open(dir.path());
    let mut batch = Batch::new();
    for i in 0..3_000_u32 {
        let mut key = vec![(i / 34) as u8; 1024];
        key[1023] = (i % 34) as u8;
        batch = batch.write(key, vec![i as u8; CHUNK_BYTES]);
        if i % 100 == 99 {
            write(&mut writer, std::mem::take(&mut batch));
        }
    }
    assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
}

#[test]
fn an_unfinished_snapshot_does_not_keep_the_store_shut() {
    let dir = tempfile::tempdir().unwrap();
    let (records, mut writer) = open(dir.path());
    write(&mut writer, Batch::new().write(b"k".to_vec(), b"v".to_vec()));
    drop((records, writer));
    fs::write(dir.path().join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let (records, _writer) = open(dir.path());
    assert!(records.get(b"k").unwrap().unwrap().value == b"v");
}

#[test]
fn half_a_group_is_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let (records, _writer) = open(dir.path());
    records.torn.store(true, Ordering::Relaxed);
    assert!(records.get(b"k").is_err());
    assert!(records.scan(b"", None, PageLimit::entries(1)).is_err());
}
