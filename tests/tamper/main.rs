//! Whoever can write to the record store gets errors, never data: altered,
//! moved, swapped, truncated and spliced entries, in both suites. The attacker
//! knows the format and repairs every checksum.

mod metadata;
mod sealed;

use std::sync::Arc;

use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    Batch, Engine, EnvelopeOptions, EnvelopeStore, ErrorKind, KeyWrapper, PageRequest, PutOptions,
    RecordStore, Result, SecretBytes, SecretName, SecretStore, Select, Suite, Version,
};
use strongroom_kit::block_on;
use strongroom_kit::conformance::assert_kind;
use strongroom_local::kek::LocalKek;

const IDENTITY: &[u8] = b"\0identity";
const MASKS: [u8; 3] = [0x01, 0x80, 0xff];

/// A store, and its entries as the attacker sees them.
struct Fixture {
    records: Arc<MemoryRecords>,
    wrapper: Arc<dyn KeyWrapper>,
    store: EnvelopeStore,
    options: EnvelopeOptions,
}

impl Fixture {
    fn new(suite: Suite) -> Self {
        let kek = LocalKek::in_memory().expect("a KEK");
        Self::of_account("acme", suite, Arc::new(kek))
    }

    fn of_account(account: &str, suite: Suite, wrapper: Arc<dyn KeyWrapper>) -> Self {
        let records = Arc::new(MemoryRecords::new());
        let options = EnvelopeOptions { suite, ..EnvelopeOptions::default() };
        let store =
            EnvelopeStore::create(records.clone(), wrapper.clone(), account, options.clone());
        Self { store: block_on(store).expect("a store"), records, wrapper, options }
    }

    fn put(&self, name: &SecretName, value: &str) {
        let value = SecretBytes::copy_from(value.as_bytes()).expect("guarded memory");
        block_on(self.store.put(name, &value, &PutOptions::default())).expect("a put");
    }

    fn get(&self, name: &SecretName, select: &Select) -> Result<()> {
        block_on(self.store.get(name, select)).map(drop)
    }

    fn holds(&self, name: &SecretName, value: &str) -> bool {
        let found = block_on(self.store.get(name, &Select::Latest)).expect("a get");
        found.value.expose() == value.as_bytes()
    }

    fn open(&self) -> Result<()> {
        let (records, wrapper) = (self.records.clone(), self.wrapper.clone());
        block_on(EnvelopeStore::open(records, wrapper, "acme", self.options.clone())).map(drop)
    }

    fn entry(&self, key: &[u8]) -> Vec<u8> {
        block_on(self.records.get(key)).expect("a read").expect("an entry").value
    }

    fn set(&self, key: &[u8], value: Vec<u8>) {
        block_on(self.records.commit(Batch::new().write(key.to_vec(), value))).expect("a write");
    }

    fn remove(&self, key: &[u8]) {
        block_on(self.records.commit(Batch::new().delete(key.to_vec()))).expect("a delete");
    }

    /// Runs `attack` with every alteration of the entry, then puts it back.
    fn with_altered(&self, key: &[u8], attack: impl Fn(&str)) {
        let whole = self.entry(key);
        for at in 0..whole.len() {
            for mask in MASKS {
                let mut altered = whole.clone();
                altered[at] ^= mask;
                self.set(key, altered);
                attack(&format!("byte {at} ^ {mask:#04x}"));
            }
            self.set(key, whole[..at].to_vec());
            attack(&format!("cut to {at} bytes"));
        }
        self.set(key, [&whole[..], b"\0"].concat());
        attack("a byte more");
        self.set(key, [&whole[..], &whole].concat());
        attack("twice");
        self.set(key, whole);
    }
}

fn name(scope: &str, id: &str) -> SecretName {
    SecretName::new(scope.parse().expect("valid"), id).expect("valid")
}

/// FORMAT.md, "Keys in the record store".
fn head_key(name: &SecretName) -> Vec<u8> {
    let mut key = vec![1];
    name.scope().encode_into(&mut key);
    key.extend_from_slice(name.id().as_bytes());
    key
}

fn version_key(name: &SecretName, number: u64) -> Vec<u8> {
    let mut key = vec![2];
    name.encode_into(&mut key);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn version(number: u64) -> Select {
    Select::Version(Version::new(number.to_string()).expect("valid"))
}

/// The length of a record's prelude.
fn prelude(record: &[u8]) -> usize {
    u16::from_le_bytes([record[3], record[4]]).into()
}

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc32(parts: &[&[u8]]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).to_le_bytes()
}

/// The record with the checksum that an attacker would write.
fn repaired(mut record: Vec<u8>) -> Vec<u8> {
    let prelude = prelude(&record).clamp(9, record.len());
    let sum = crc32(&[&record[..5], &record[9..prelude]]);
    record[5..9].copy_from_slice(&sum);
    record
}

/// The head with the checksum that an attacker would write.
fn repaired_head(mut head: Vec<u8>) -> Vec<u8> {
    let sum = crc32(&[&head[..3], &head[7..]]);
    head[3..7].copy_from_slice(&sum);
    head
}

fn in_both_suites(test: impl Fn(Suite)) {
    for suite in Suite::ALL {
        test(suite);
    }
}

// === alterations ===

#[test]
fn every_altered_byte_and_length_of_a_record_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let db = name("acme/ops/web", "db");
        fixture.put(&db, "the older value");
        fixture.put(&db, "the value");
        for number in [1, 2] {
            fixture.with_altered(&version_key(&db, number), |what| {
                let get = fixture.get(&db, &version(number));
                assert_kind(get, ErrorKind::Tampered, format!("version {number}, {what}"));
            });
        }
        fixture.with_altered(&version_key(&db, 2), |what| {
            assert_kind(fixture.get(&db, &Select::Latest), ErrorKind::Tampered, what);
        });
        assert!(fixture.holds(&db, "the value"), "the test has put back what it took");
    });
}

/// With its checksum repaired, a forged prelude may read as an unknown KEK or a
/// later format; never as data.
#[test]
fn every_altered_byte_of_a_record_with_a_good_checksum_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let db = name("acme", "db");
        fixture.put(&db, "the value");
        let key = version_key(&db, 1);
        let whole = fixture.entry(&key);
        for at in (0..whole.len()).filter(|at| !(5..9).contains(at)) {
            for mask in MASKS {
                let mut altered = whole.clone();
                altered[at] ^= mask;
                fixture.set(&key, repaired(altered));
                let error = fixture.get(&db, &Select::Latest).expect_err("data was given");
                let unknown =
                    [ErrorKind::Tampered, ErrorKind::KeyUnavailable, ErrorKind::Unsupported];
                let allowed = if at < prelude(&whole) { &unknown[..] } else { &unknown[..1] };
                assert!(allowed.contains(&error.kind()), "byte {at} ^ {mask:#04x}: {error}");
            }
        }
    });
}

#[test]
fn every_altered_byte_and_length_of_a_head_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let db = name("acme", "db");
        fixture.put(&db, "the value");
        fixture.with_altered(&head_key(&db), |what| {
            assert_kind(fixture.get(&db, &Select::Latest), ErrorKind::Tampered, what);
            assert_kind(fixture.get(&db, &version(1)), ErrorKind::Tampered, what);
            let page = PageRequest::first(10);
            let list = block_on(fixture.store.list(db.scope(), true, &page));
            assert_kind(list, ErrorKind::Tampered, what);
            let value = SecretBytes::copy_from(b"new").expect("guarded memory");
            let put = block_on(fixture.store.put(&db, &value, &PutOptions::default()));
            assert_kind(put, ErrorKind::Tampered, what);
        });
        assert!(fixture.holds(&db, "the value"));
    });
}

#[test]
fn a_forged_head_with_a_good_checksum_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let db = name("acme", "db");
        fixture.put(&db, "old");
        fixture.put(&db, "new");
        let key = head_key(&db);
        let whole = fixture.entry(&key);
        for at in 7..whole.len() {
            for mask in MASKS {
                let mut forged = whole.clone();
                forged[at] ^= mask;
                fixture.set(&key, repaired_head(forged));
                let error = fixture.get(&db, &Select::Latest).expect_err("data was given");
                // A kind that nobody knows may be a later one.
                let is_unknown = at == 8 && error.kind() == ErrorKind::Unsupported;
                let told = error.kind() == ErrorKind::Tampered || is_unknown;
                assert!(told, "byte {at} ^ {mask:#04x}: {error}");
            }
        }
        // Pointed at the older version, which is there and authentic.
        let mut forged = whole.clone();
        forged[17..25].copy_from_slice(&1u64.to_le_bytes());
        fixture.set(&key, repaired_head(forged));
        assert_kind(fixture.get(&db, &Select::Latest), ErrorKind::Tampered, "an older version");

        // Brought back without the DEK.
        fixture.set(&key, whole);
        block_on(fixture.store.delete(&db)).expect("a delete");
        let mut forged = fixture.entry(&key);
        forged[7] = 1;
        fixture.set(&key, repaired_head(forged.clone()));
        for select in [Select::Latest, version(1), version(2)] {
            assert_kind(fixture.get(&db, &select), ErrorKind::Tampered, "brought back");
            let file = block_on(fixture.store.get_file(&db, &select));
            assert_kind(file.map(drop), ErrorKind::Tampered, "brought back as a file");
        }
        forged[17..25].copy_from_slice(&1u64.to_le_bytes());
        fixture.set(&key, repaired_head(forged));
        assert_kind(fixture.get(&db, &version(2)), ErrorKind::Tampered, "beyond the latest");
    });
}

/// The claims stand in clear: a changed account or KEK may be taken for a wrong
/// configuration, a changed format for a later one. The store does not open.
#[test]
fn every_altered_byte_and_length_of_the_identity_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let whole = fixture.entry(IDENTITY);
        let claims_end = 2 + usize::from(u16::from_le_bytes([whole[0], whole[1]]));
        for at in 0..whole.len() {
            for mask in MASKS {
                let mut altered = whole.clone();
                altered[at] ^= mask;
                fixture.set(IDENTITY, altered);
                let error = fixture.open().expect_err("the store opened");
                let kinds = [ErrorKind::Tampered, ErrorKind::Configuration, ErrorKind::Unsupported];
                let allowed = if at < claims_end { &kinds[..] } else { &kinds[..1] };
                assert!(allowed.contains(&error.kind()), "byte {at} ^ {mask:#04x}: {error}");
            }
            fixture.set(IDENTITY, whole[..at].to_vec());
            assert_kind(fixture.open(), ErrorKind::Tampered, format!("cut to {at} bytes"));
        }
        fixture.set(IDENTITY, whole);
        fixture.open().expect("the identity is whole again");
    });
}

// === entries in other places ===

#[test]
fn a_record_under_another_name_or_scope_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let victim = name("acme/ops/web", "db");
        let targets = [
            name("acme/ops/web", "db2"),
            name("acme/ops/web", "d"),
            name("acme/ops/api", "db"),
            name("acme/dev/web", "db"),
            name("acme/ops", "db"),
            name("acme", "db"),
            name("acme/ops/web.db", "db"),
        ];
        fixture.put(&victim, "the victim's value");
        for target in targets {
            let what = format!("{target:?}");
            fixture.put(&target, "the target's value");
            let (own_head, own_record) =
                (fixture.entry(&head_key(&target)), fixture.entry(&version_key(&target, 1)));
            let (head, record) =
                (fixture.entry(&head_key(&victim)), fixture.entry(&version_key(&victim, 1)));
            for (head, record) in [
                (head.clone(), record.clone()),
                (own_head.clone(), record),
                (head, own_record.clone()),
            ] {
                fixture.set(&head_key(&target), head);
                fixture.set(&version_key(&target, 1), record);
                assert_kind(fixture.get(&target, &Select::Latest), ErrorKind::Tampered, &what);
            }
            fixture.set(&head_key(&target), own_head);
            fixture.set(&version_key(&target, 1), own_record);
            assert!(fixture.holds(&target, "the target's value"), "{what}");
        }
    });
}

#[test]
fn a_record_of_another_account_is_told() {
    in_both_suites(|suite| {
        let kek: Arc<dyn KeyWrapper> = Arc::new(LocalKek::in_memory().expect("a KEK"));
        let theirs = Fixture::of_account("acme2", suite, kek.clone());
        let ours = Fixture::of_account("acme", suite, kek);
        let (their_db, our_db) = (name("acme2/ops", "db"), name("acme/ops", "db"));
        theirs.put(&their_db, "theirs");
        ours.put(&our_db, "ours");
        ours.set(&head_key(&our_db), theirs.entry(&head_key(&their_db)));
        ours.set(&version_key(&our_db, 1), theirs.entry(&version_key(&their_db, 1)));
        assert_kind(ours.get(&our_db, &Select::Latest), ErrorKind::Tampered, "one KEK for both");
        // Nor does the other account's identity make this store theirs.
        ours.set(IDENTITY, theirs.entry(IDENTITY));
        assert_kind(ours.open(), ErrorKind::Configuration, "the identity of another account");
        let mut forged = theirs.entry(IDENTITY);
        let at = forged.windows(5).position(|part| part == b"acme2").expect("the account");
        forged.remove(at + 4);
        let claims = u16::from_le_bytes([forged[0], forged[1]]) - 1;
        forged[..2].copy_from_slice(&claims.to_le_bytes());
        ours.set(IDENTITY, forged);
        assert_kind(ours.open(), ErrorKind::Tampered, "with the account's name changed");
    });
}

#[test]
fn swapped_versions_are_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let db = name("acme", "db");
        for value in ["1", "2", "3"] {
            fixture.put(&db, value);
        }
        let entry = |number| fixture.entry(&version_key(&db, number));
        let (first, second, third) = (entry(1), entry(2), entry(3));
        fixture.set(&version_key(&db, 1), second.clone());
        fixture.set(&version_key(&db, 2), first.clone());
        for number in [1, 2] {
            let what = format!("version {number} swapped");
            assert_kind(fixture.get(&db, &version(number)), ErrorKind::Tampered, what);
        }
        assert!(fixture.holds(&db, "3"), "the latest was left alone");
        for (older, bytes) in [(1, first), (2, second)] {
            fixture.set(&version_key(&db, 3), bytes);
            let what = format!("version {older} as the latest");
            assert_kind(fixture.get(&db, &Select::Latest), ErrorKind::Tampered, what);
        }
        // A copy of the latest passed off as the next one.
        fixture.set(&version_key(&db, 3), third.clone());
        fixture.set(&version_key(&db, 4), third);
        assert_kind(fixture.get(&db, &version(4)), ErrorKind::Tampered, "the next version");
    });
}

#[test]
fn a_removed_record_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let db = name("acme", "db");
        for value in ["1", "2", "3"] {
            fixture.put(&db, value);
        }
        fixture.remove(&version_key(&db, 2));
        assert_kind(fixture.get(&db, &version(2)), ErrorKind::Tampered, "in the middle");
        fixture.remove(&version_key(&db, 3));
        assert_kind(fixture.get(&db, &Select::Latest), ErrorKind::Tampered, "the latest");
    });
}

#[test]
fn a_spliced_dek_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let (a, b) = (name("acme", "a"), name("acme", "b"));
        fixture.put(&a, "the value of a");
        fixture.put(&b, "the value of b");
        let (key_a, key_b) = (version_key(&a, 1), version_key(&b, 1));
        let (record_a, record_b) = (fixture.entry(&key_a), fixture.entry(&key_b));
        let (end_a, end_b) = (prelude(&record_a), prelude(&record_b));
        let spliced = [
            ("a's prelude before b's payload", [&record_a[..end_a], &record_b[end_b..]].concat()),
            ("b's prelude before a's payload", [&record_b[..end_b], &record_a[end_a..]].concat()),
            (
                "a's wrapped DEK in b's record",
                [&record_b[..20], &record_a[20..end_a], &record_b[end_b..]].concat(),
            ),
        ];
        for (what, record) in spliced {
            fixture.set(&key_b, repaired(record));
            assert_kind(fixture.get(&b, &Select::Latest), ErrorKind::Tampered, what);
        }
        // The same, within one name: the DEK of another version.
        fixture.put(&a, "the next value of a");
        let next = fixture.entry(&version_key(&a, 2));
        let record = [&next[..20], &record_a[20..end_a], &next[prelude(&next)..]].concat();
        fixture.set(&version_key(&a, 2), repaired(record));
        assert_kind(fixture.get(&a, &Select::Latest), ErrorKind::Tampered, "an older DEK");
    });
}

#[test]
fn an_entry_that_is_none_of_ours_is_told() {
    let fixture = Fixture::new(Suite::Aes256Gcm);
    let db = name("acme", "db");
    fixture.put(&db, "value");
    let head = fixture.entry(&head_key(&db));
    let mut key = head_key(&db);
    key.extend_from_slice(b"\xff\xfe");
    fixture.set(&key, head);
    let list = block_on(fixture.store.list(db.scope(), true, &PageRequest::first(10)));
    let kind = list.expect_err("a name that is none").kind();
    assert!(matches!(kind, ErrorKind::Tampered | ErrorKind::InvalidName), "{kind}");
}

// === scopes ===

#[test]
fn a_parent_scope_never_sees_a_childs_secrets() {
    let fixture = Fixture::new(Suite::Aes256Gcm);
    let names = [name("acme", "a"), name("acme/ops", "o"), name("acme/ops/web", "p")];
    for name in &names {
        fixture.put(name, "value");
    }
    let scope = |text: &str| text.parse().expect("valid");
    let account = Engine::new(Arc::new(fixture.store), scope("acme"));
    let get =
        |engine: &Engine, written: &str| block_on(engine.get(written, &Select::Latest)).map(drop);
    let list = |engine: &Engine, text: &str| {
        block_on(engine.list(&scope(text), true, &PageRequest::first(10))).map(drop)
    };
    assert_kind(get(&account, "org.o"), ErrorKind::InvalidName, "an org from the account");
    assert_kind(get(&account, "p"), ErrorKind::InvalidName, "a project from the account");
    assert_kind(get(&account, "account.o"), ErrorKind::NotFound, "an org's name");
    for child in ["acme/ops", "acme/ops/web"] {
        assert_kind(list(&account, child), ErrorKind::AccessDenied, child);
    }
    let org = account.at(scope("acme/ops")).expect("the same account");
    get(&org, "account.a").expect("a parent's secret");
    get(&org, "org.o").expect("its own");
    assert_kind(get(&org, "p"), ErrorKind::InvalidName, "a project from the org");
    for other in ["acme/ops/web", "acme/dev"] {
        assert_kind(list(&org, other), ErrorKind::AccessDenied, other);
    }
    let project = account.at(scope("acme/ops/web")).expect("the same account");
    for written in ["account.a", "org.o", "p"] {
        get(&project, written).expect("all three are visible");
    }
    assert_kind(list(&project, "acme/ops/api"), ErrorKind::AccessDenied, "a sibling");
    assert_kind(account.at(scope("acme2")).map(drop), ErrorKind::AccessDenied, "an account");
}
