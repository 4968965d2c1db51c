//! Descriptions and tags in the hands of who can write to the record store.

use strongroom_core::{Metadata, MetadataChange};

use super::*;

fn described(fixture: &Fixture, db: &SecretName) -> MetadataChange {
    fixture.put(db, "the value");
    let tags = [("env".to_owned(), "prod".to_owned())].into();
    let change = MetadataChange::from(Metadata::new("of the shop", tags).expect("valid"));
    block_on(fixture.store.change_metadata(db, &change)).expect("a change");
    change
}

/// Descriptions and tags are read without a key: a list tells what is damaged, and
/// whoever has the key tells what is forged.
#[test]
fn every_altered_byte_of_metadata_is_told() {
    in_both_suites(|suite| {
        let fixture = Fixture::new(suite);
        let db = name("acme", "db");
        let change = described(&fixture, &db);
        let (key, page) = (head_key(&db), PageRequest::first(10));
        let list = || block_on(fixture.store.list(db.scope(), true, &page));
        fixture.with_altered(&key, |what| {
            assert_kind(list(), ErrorKind::Tampered, what);
            assert_kind(fixture.get(&db, &Select::Latest), ErrorKind::Tampered, what);
        });
        // With its checksum repaired it may be listed; nothing else is done with it.
        let whole = fixture.entry(&key);
        let behind_the_fields = 49..whole.len();
        for at in behind_the_fields {
            for mask in MASKS {
                let mut forged = whole.clone();
                forged[at] ^= mask;
                fixture.set(&key, repaired_head(forged));
                let what = format!("byte {at} ^ {mask:#04x}");
                assert_kind(fixture.get(&db, &Select::Latest), ErrorKind::Tampered, &what);
                let value = SecretBytes::copy_from(b"new").expect("guarded memory");
                let put = block_on(fixture.store.put(&db, &value, &PutOptions::default()));
                assert_kind(put, ErrorKind::Tampered, &what);
                let changed = block_on(fixture.store.change_metadata(&db, &change));
                assert_kind(changed, ErrorKind::Tampered, &what);
                assert_kind(block_on(fixture.store.delete(&db)), ErrorKind::Tampered, &what);
            }
        }
        // Metadata that were taken away: the head reads as one of format 1.
        let mut stripped = [&whole[..49], &whole[whole.len() - 32..]].concat();
        stripped[2] = 1;
        fixture.set(&key, repaired_head(stripped));
        assert_kind(fixture.get(&db, &Select::Latest), ErrorKind::Tampered, "stripped");
        fixture.set(&key, whole);
        assert!(fixture.holds(&db, "the value"), "the test has put back what it took");
    });
}

/// What is left of a purged secret says nothing of it but its name.
#[test]
fn nothing_that_was_said_outlives_a_purge() {
    let fixture = Fixture::new(Suite::Aes256Gcm);
    let db = name("acme", "db");
    described(&fixture, &db);
    let says = |bytes: &[u8]| bytes.windows(4).any(|window| window == b"shop" || window == b"prod");
    assert!(says(&fixture.entry(&head_key(&db))));
    block_on(fixture.store.purge(&db)).expect("a purge");
    assert!(!says(&fixture.entry(&head_key(&db))), "the tombstone has the description");
}
