//! Values that their callers keep, in the hands of who can write to the record
//! store as well: neither passes for the other, and what is altered does not
//! open.

use std::collections::BTreeMap;

use strongroom_core::CallerContext;

use super::*;

fn context(name: &SecretName, pairs: &[(&str, &str)]) -> CallerContext {
    let owned = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    CallerContext::new(name.clone(), owned.collect::<BTreeMap<_, _>>()).expect("valid")
}

fn seal(fixture: &Fixture, context: &CallerContext) -> Vec<u8> {
    let value = SecretBytes::copy_from(b"sealed value").expect("guarded memory");
    block_on(fixture.store.seal(context, &value)).expect("sealed")
}

fn open(fixture: &Fixture, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
    block_on(fixture.store.open(context, sealed))
}

#[test]
fn sealed_bytes_and_records_never_pass_for_each_other() {
    for suite in Suite::ALL {
        let fixture = Fixture::new(suite);
        let db = name("acme", "db");
        fixture.put(&db, "first");
        fixture.put(&db, "second");
        // The pairs that come closest to what a secret is bound to.
        let closest = [("version", "1"), ("kind", "text"), ("strongroom:version", "1")];
        let context = context(&db, &closest);
        let sealed = seal(&fixture, &context);
        for number in [1, 2] {
            let record = fixture.entry(&version_key(&db, number));
            let opened = open(&fixture, &context, &record);
            assert_kind(opened, ErrorKind::Tampered, "a record");
            fixture.set(&version_key(&db, number), sealed.clone());
            let read = fixture.get(&db, &version(number));
            assert_kind(read, ErrorKind::Tampered, "sealed bytes in a record's place");
            fixture.set(&version_key(&db, number), record);
        }
        assert!(fixture.holds(&db, "second"));
        let internal = fixture.entry(IDENTITY);
        for start in 0..internal.len() {
            assert!(open(&fixture, &context, &internal[start..]).is_err(), "the identity's record");
        }
        assert!(open(&fixture, &context, &sealed).expect("opens").expose() == b"sealed value");
    }
}

#[test]
fn altered_sealed_bytes_do_not_open() {
    for suite in Suite::ALL {
        let fixture = Fixture::new(suite);
        let context = context(&name("acme/ops", "db"), &[("app", "web")]);
        let sealed = seal(&fixture, &context);
        let refused = |bytes: &[u8], what: &str| {
            let kind = open(&fixture, &context, bytes).expect_err(what).kind();
            // A repaired checksum may name another KEK, or another format.
            let kinds = [ErrorKind::Tampered, ErrorKind::KeyUnavailable, ErrorKind::Unsupported];
            assert!(kinds.contains(&kind), "{what}: {kind}");
        };
        for at in 0..sealed.len() {
            for mask in MASKS {
                let mut altered = sealed.clone();
                altered[at] ^= mask;
                refused(&altered, &format!("byte {at} ^ {mask:#04x}"));
                // Repairing the checksum itself would undo the alteration.
                if !(5..9).contains(&at) {
                    refused(&repaired(altered), &format!("byte {at} ^ {mask:#04x}, repaired"));
                }
            }
            refused(&sealed[..at], &format!("cut to {at} bytes"));
        }
        refused(&[&sealed[..], b"\0"].concat(), "a byte more");
        let others = [
            context_of("acme/ops", "db", &[("app", "web"), ("a", "")]),
            context_of("acme/ops", "db", &[("app", "wec")]),
            context_of("acme/ops", "db", &[("apq", "web")]),
            context_of("acme/ops", "db", &[("ap", "pweb")]),
            context_of("acme/ops", "dc", &[("app", "web")]),
            context_of("acme", "db", &[("app", "web")]),
        ];
        for other in others {
            let opened = open(&fixture, &other, &sealed);
            assert_kind(opened, ErrorKind::Tampered, format!("{other:?}"));
        }
        let elsewhere = Fixture::of_account("acmf", suite, fixture.wrapper.clone());
        let opened = open(&elsewhere, &context, &sealed);
        assert_kind(opened, ErrorKind::AccessDenied, "another account's store");
        let renamed = context_of("acmf/ops", "db", &[("app", "web")]);
        let opened = open(&elsewhere, &renamed, &sealed);
        assert_kind(opened, ErrorKind::Tampered, "another account");
    }
}

fn context_of(scope: &str, id: &str, pairs: &[(&str, &str)]) -> CallerContext {
    context(&name(scope, id), pairs)
}
