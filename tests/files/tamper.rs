//! Whoever can write to the record store: every change of a file's segments, or
//! of what names them, is told before a byte of the segment is released.

use strongroom_kit::faults::Fault;

use super::*;

const SEGMENTS: usize = 5;

/// A file of five segments, its bytes, and its segments' entries.
struct Stored {
    fixture: Fixture,
    bytes: Vec<u8>,
    segments: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Stored {
    fn new(suite: Suite) -> Self {
        let fixture = Fixture::of_suite(suite);
        let bytes = file(1, SEGMENTS - 1, 1000);
        fixture.put(&db(), &bytes).expect("a put");
        let segments = fixture.entries(&[3]);
        assert_eq!(segments.len(), SEGMENTS);
        Self { fixture, bytes, segments }
    }

    /// After an attack: exactly the segments before `first` are released, and
    /// then `Tampered`; as a value, nothing is. Then all is as it was.
    fn assert_told(&self, first: usize, what: &str) {
        let opened = block_on(self.fixture.store.get_file(&db(), &Select::Latest));
        let mut reader = opened.expect("the manifest is whole");
        let mut released = Vec::new();
        let error = drain(&mut reader, &mut released).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Tampered, "{what}: {error}");
        let good = &self.bytes[..first * SEGMENT_BYTES];
        assert!(released == good, "{what}: {} bytes were released", released.len());
        // Alone, too.
        let alone = block_on(reader.read(first as u64)).expect_err(what);
        assert_eq!(alone.kind(), ErrorKind::Tampered, "{what}: {alone}");
        let value = block_on(self.fixture.store.get(&db(), &Select::Latest)).expect_err(what);
        assert_eq!(value.kind(), ErrorKind::Tampered, "{what}: {value}");
        for (key, value) in self.fixture.entries(&[3]) {
            if !self.segments.iter().any(|(known, _)| *known == key) {
                self.fixture.set(&key, None);
            }
            drop(value);
        }
        for (key, value) in &self.segments {
            self.fixture.set(key, Some(value.clone()));
        }
        assert!(self.fixture.get(&db()).expect("put back") == self.bytes);
    }

    fn set(&self, number: usize, value: Option<Vec<u8>>) {
        self.fixture.set(&self.segments[number].0, value);
    }

    fn segment(&self, number: usize) -> Vec<u8> {
        self.segments[number].1.clone()
    }
}

fn on_both(attack: impl Fn(&Stored)) {
    for suite in Suite::ALL {
        attack(&Stored::new(suite));
    }
}

#[test]
fn an_altered_segment() {
    on_both(|stored| {
        let mut random = Random::new(7);
        for number in 0..SEGMENTS {
            let whole = stored.segment(number);
            let places = [0, 1, whole.len() / 2, whole.len() - 17, whole.len() - 16];
            let chance = [random.below(whole.len()), random.below(whole.len()), whole.len() - 1];
            for at in places.into_iter().chain(chance) {
                let mut altered = whole.clone();
                altered[at] ^= 1 << random.below(8);
                stored.set(number, Some(altered));
                stored.assert_told(number, &format!("segment {number}, byte {at}"));
            }
        }
    });
}

#[test]
fn a_cut_or_longer_segment() {
    on_both(|stored| {
        for number in 0..SEGMENTS {
            let whole = stored.segment(number);
            for cut in [0, 1, 15, 16, 17, 500, whole.len() - 1] {
                stored.set(number, Some(whole[..cut].to_vec()));
                stored.assert_told(number, &format!("segment {number}, cut to {cut}"));
            }
            stored.set(number, Some([&whole[..], &[0]].concat()));
            stored.assert_told(number, &format!("segment {number}, a byte more"));
            stored.set(number, Some([&whole[..], &whole].concat()));
            stored.assert_told(number, &format!("segment {number}, twice"));
        }
    });
}

#[test]
fn a_missing_segment_and_a_file_that_was_cut() {
    on_both(|stored| {
        for number in 0..SEGMENTS {
            stored.set(number, None);
            stored.assert_told(number, &format!("without segment {number}"));
            for later in number..SEGMENTS {
                stored.set(later, None);
            }
            stored.assert_told(number, &format!("cut to {number} segments"));
        }
    });
}

#[test]
fn segments_that_were_doubled_moved_or_exchanged() {
    on_both(|stored| {
        for number in 0..SEGMENTS {
            for other in (0..SEGMENTS).filter(|other| *other != number) {
                stored.set(number, Some(stored.segment(other)));
                stored.assert_told(number, &format!("{other} stands in for {number} too"));
                stored.set(number, Some(stored.segment(other)));
                stored.set(other, Some(stored.segment(number)));
                stored.assert_told(number.min(other), &format!("{number} and {other} exchanged"));
            }
            // One is taken out, and those behind it move up.
            for at in number..SEGMENTS - 1 {
                stored.set(at, Some(stored.segment(at + 1)));
            }
            stored.set(SEGMENTS - 1, None);
            let first = number.min(SEGMENTS - 1);
            stored.assert_told(first, &format!("without {number}, the others moved up"));
        }
    });
}

#[test]
fn a_file_that_goes_on_after_its_end() {
    on_both(|stored| {
        let (last, _) = stored.segments.last().expect("a segment");
        let (start, number) = last.split_at(last.len() - 8);
        assert_eq!(number, 4_u64.to_be_bytes());
        for from in 0..SEGMENTS {
            let after = [start, &5_u64.to_be_bytes()].concat();
            stored.fixture.set(&after, Some(stored.segment(from)));
            stored.assert_told(SEGMENTS - 1, &format!("{from} follows the end"));
        }
    });
}

/// The same bytes under the same name, the same bytes under another, and other
/// ones: their segments never stand in for each other.
#[test]
fn segments_of_another_file_or_version() {
    on_both(|stored| {
        let others = [(db(), stored.bytes.clone()), (name("other"), stored.bytes.clone())];
        let others = others.into_iter().chain([(name("third"), file(2, SEGMENTS - 1, 1000))]);
        for (at, bytes) in others {
            let known: Vec<_> = stored.fixture.entries(&[3]).into_iter().map(|e| e.0).collect();
            let version = stored.fixture.put(&at, &bytes).expect("a put").version;
            let added = stored.fixture.entries(&[3]).into_iter();
            let added: Vec<_> = added.filter(|(key, _)| !known.contains(key)).collect();
            assert_eq!(added.len(), SEGMENTS);
            for (number, (_, stands_in)) in added.into_iter().enumerate() {
                stored.set(number, Some(stands_in));
                let select = Select::Version(Version::new("1").expect("valid"));
                let opened = block_on(stored.fixture.store.get_file(&db(), &select));
                let mut released = Vec::new();
                let error = drain(&mut opened.expect("a manifest"), &mut released);
                let what = format!("segment {number} of {at} version {version}");
                assert_eq!(error.expect_err(&what).kind(), ErrorKind::Tampered, "{what}");
                assert_eq!(released.len(), number * SEGMENT_BYTES, "{what}");
                stored.set(number, Some(stored.segment(number)));
            }
        }
    });
}

/// The record that names the segments is bound to its name and version, and
/// nobody takes it for a value.
#[test]
fn the_manifest_of_another_file_or_version() {
    on_both(|stored| {
        let fixture = &stored.fixture;
        fixture.put(&db(), &file(2, 3, 3)).expect("a second version");
        fixture.put(&name("other"), &file(3, 3, 3)).expect("another file");
        fixture.put(&name("value"), b"short").expect("a value");
        let records = fixture.entries(&[2]);
        assert_eq!(records.len(), 4);
        for (key, whole) in &records {
            for (other, stands_in) in &records {
                if key == other {
                    continue;
                }
                fixture.set(key, Some(stands_in.clone()));
                let mut told = 0;
                for at in [db(), name("other"), name("value")] {
                    for version in ["1", "2"] {
                        let select = Select::Version(Version::new(version).expect("valid"));
                        match read(&*fixture.store, &at, &select) {
                            Err(error) if error.kind() == ErrorKind::Tampered => told += 1,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                            Ok(_) => {}
                        }
                    }
                }
                // The latest vouches for the head, and that for the older one.
                let vouches = usize::from(key.ends_with(&2_u64.to_be_bytes()));
                assert_eq!(told, 1 + vouches, "one version is not what it was");
                fixture.set(key, Some(whole.clone()));
            }
            // Every bit of what says that this is a file, or is none.
            for bit in 0..8 {
                let mut altered = whole.clone();
                altered[2] ^= 1 << bit;
                repair(&mut altered);
                fixture.set(key, Some(altered));
                let failed = [db(), name("other"), name("value")].into_iter().any(|at| {
                    ["1", "2"].into_iter().any(|version| {
                        let select = Select::Version(Version::new(version).expect("valid"));
                        let read = read(&*fixture.store, &at, &select);
                        read.is_err_and(|error| error.kind() != ErrorKind::NotFound)
                    })
                });
                assert!(failed, "the format's bit {bit}");
                fixture.set(key, Some(whole.clone()));
            }
        }
    });
}

/// Numbers that only somebody else gives: by which the end of a file is searched for
/// as if there were one segment after another, and the last that there is. They go,
/// in as many commits as there are segments, and nobody waits for more.
#[test]
fn segments_with_any_number_are_swept() {
    let fixture = Fixture::new();
    fixture.put(&db(), &file(1, 3, 0)).expect("a put");
    let (key, _) = fixture.entries(&[3]).pop().expect("a segment");
    let prefix = &key[..key.len() - 8];
    let numbers = (0..64).map(|bits| u64::MAX >> bits).chain([0, 1 << 40]);
    for number in numbers {
        fixture.set(&[prefix, &number.to_be_bytes()].concat(), Some(vec![1; 20]));
    }
    let marker = [b"\x04upload", &prefix[1..]].concat();
    fixture.set(&marker, Some(vec![1; 9]));
    let planted = fixture.entries(&[3]).len();
    let faults = fixture.records.faults();
    // So many that it comes to an end, one way or the other.
    (0..2 * planted).for_each(|_| faults.pass("commit"));
    faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
    (0..1000 * planted).for_each(|_| faults.pass("scan"));
    faults.always("scan", Fault::Fail(ErrorKind::Unavailable));
    let store = fixture.reopened();
    block_on(store.sweep()).expect("swept");
    faults.clear();
    fixture.assert_no_garbage("swept");
}

/// A head has no MAC that a purge could ask: it takes its numbers from what is there.
#[test]
fn a_purge_ends_whatever_the_head_says() {
    for (state, first, latest) in
        [(1, 1, u64::MAX), (2, 0, 1 << 62), (3, 1, u64::MAX - 1), (3, 2, 1 << 40)]
    {
        let fixture = Fixture::new();
        for _ in 0..3 {
            fixture.put(&db(), b"value").expect("a put");
        }
        let (key, mut head) = fixture.entries(&[1]).pop().expect("a head");
        head[7] = state;
        head[9..17].copy_from_slice(&u64::to_le_bytes(first));
        head[17..25].copy_from_slice(&u64::to_le_bytes(latest));
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head[..3]);
        crc.update(&head[7..]);
        head[3..7].copy_from_slice(&crc.finalize().to_le_bytes());
        fixture.set(&key, Some(head));
        let faults = fixture.records.faults();
        (0..10).for_each(|_| faults.pass("commit"));
        faults.always("commit", Fault::Fail(ErrorKind::Unavailable));
        block_on(fixture.store.purge(&db())).expect("purged");
        faults.clear();
        assert_eq!(fixture.entries(&[2]).len() as u64, first.saturating_sub(1), "{state} {latest}");
        assert_eq!(fixture.get(&db()).expect_err("purged").kind(), ErrorKind::NotFound);
    }
}

/// The checksum is no defence: an attacker computes it as we do.
fn repair(record: &mut [u8]) {
    let prelude = usize::from(u16::from_le_bytes([record[3], record[4]]));
    let mut crc = crc32fast::Hasher::new();
    crc.update(&record[..5]);
    crc.update(&record[9..prelude]);
    record[5..9].copy_from_slice(&crc.finalize().to_le_bytes());
}
