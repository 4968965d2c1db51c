//! How references are written, and where they lead.

use super::*;
use crate::ErrorKind;

#[test]
fn references_have_store_path_and_keys() {
    for (written, store, path, keys) in [
        ("other://account.db", "other", "account.db", &[][..]),
        ("v-1://kv/data/app#db.password", "v-1", "kv/data/app", &["db", "password"][..]),
        ("V_x://a%23b%25#c%2Ed.%C3%A4", "V_x", "a#b%", &["c.d", "ä"]),
        ("az://name/1a2b", "az", "name/1a2b", &[]),
        ("x://a://b?c=d", "x", "a://b?c=d", &[]),
        ("x://a%20b", "x", "a b", &[]),
    ] {
        let reference = Reference::parse(written.as_bytes()).expect("well-formed");
        assert_eq!((reference.store(), reference.path()), (store, path));
        assert_eq!(reference.keys(), keys);
        let again = Reference::parse(reference.to_string().as_bytes()).expect("well-formed");
        assert_eq!(again, reference);
    }
}

#[test]
fn what_is_no_reference_is_refused_without_being_quoted() {
    for bad in [
        "",
        "canary",
        "://canary",
        "1x://canary",
        "c/a://canary",
        "x://",
        "x://#canary",
        "x://canary#",
        "x://canary#a..b",
        "x://canary#a#b",
        "x://canary%",
        "x://canary%2",
        "x://canary%zz",
        "x://canary%ff",
        "x://canary%0a",
        "x://can ary",
        "x://canary\n",
    ] {
        let error = Reference::parse(bad.as_bytes()).expect_err(bad);
        assert_eq!(error.kind(), ErrorKind::InvalidName);
        assert!(!error.message().contains("canary"), "{bad}");
    }
    assert!(Reference::parse(b"x://\xff").is_err());
    let long = format!("x://{}", "a".repeat(Reference::MAX_BYTES));
    let many = format!("x://a#a{}", ".a".repeat(Reference::MAX_KEYS));
    for bad in [long, many] {
        let error = Reference::parse(bad.as_bytes()).expect_err("too much");
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
}
