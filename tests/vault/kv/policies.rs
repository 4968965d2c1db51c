//! What a policy lacks is told, line by line; and a check leaves nothing.

use std::time::Duration;

use strongroom_core::{ErrorKind, Kind, PageRequest, SecretStore, Select, Version};
use strongroom_kit::block_on;
use strongroom_vault::{KvVersion, VaultKv};

use super::{
    connect, get, hvac, mount, name, of, open, open_at, options, put, settings, with_token,
};
use crate::server;

/// A store as somebody whose policy has these lines.
fn allowed(version: KvVersion, base: &str, lines: &[(&str, &str)]) -> VaultKv {
    let line = |(path, capability): &(&str, &str)| {
        format!("path \"{path}\" {{ capabilities = [\"{capability}\"] }}\n")
    };
    mount(version);
    // Vault takes no policy without a word in it.
    let lines: String =
        std::iter::once("# lines\n".to_owned()).chain(lines.iter().map(line)).collect();
    server().policy(base, &lines);
    let token = server().token(&[base], Duration::from_hours(1), true);
    let mut settings = settings(server().address());
    settings.auth = with_token(&token);
    open_at(&connect(&settings), options(version, base))
}

#[track_caller]
fn assert_lacks<T>(result: strongroom_core::Result<T>, path: &str, capability: &str) {
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
    let line = format!("path \"{path}\" {{ capabilities = [\"{capability}\"] }}");
    assert!(error.message().contains(&line), "{error}");
}

#[test]
fn each_call_names_the_line_that_is_missing() {
    let root = open(KvVersion::Two, "lacking");
    put(&root, "db", b"value", &of(Kind::Text)).unwrap();
    let nothing = allowed(KvVersion::Two, "lacking", &[]);
    let (data, keys) = ("two/data/lacking/acme/@db", "two/subkeys/lacking/acme/@db");
    assert_lacks(get(&nothing, "db", &Select::Latest), data, "read");
    assert_lacks(put(&nothing, "db", b"x", &of(Kind::Text)), keys, "read");
    let one = Select::Version(Version::new("1").unwrap());
    assert_lacks(get(&nothing, "db", &one), keys, "read");
    let (db, page) = (name("acme", "db"), PageRequest::first(1));
    let metadata = "two/metadata/lacking/acme/@db";
    assert_lacks(block_on(nothing.versions(&db, &page)), metadata, "read");
    assert_lacks(block_on(nothing.purge(&db)), metadata, "read");
    let listed = block_on(nothing.list(db.scope(), false, &page));
    assert_lacks(listed, "two/metadata/lacking/acme", "list");

    let reads = [
        ("two/data/lacking/*", "read"),
        ("two/subkeys/lacking/*", "read"),
        ("two/metadata/lacking/*", "read"),
    ];
    let reader = allowed(KvVersion::Two, "lacking", &reads);
    assert!(get(&reader, "db", &one).unwrap().value.expose() == b"value");
    assert_lacks(put(&reader, "db", b"x", &of(Kind::Text)), data, "update");
    let new = "two/data/lacking/acme/@new";
    assert_lacks(put(&reader, "new", b"x", &of(Kind::Text)), new, "create");
    assert_lacks(block_on(reader.delete(&db)), data, "delete");
    assert_lacks(block_on(reader.purge(&db)), "two/destroy/lacking/acme/@db", "update");
    let change =
        strongroom_core::MetadataChange { description: Some("x".to_owned()), ..Default::default() };
    assert_lacks(block_on(reader.change_metadata(&db, &change)), metadata, "patch");
    block_on(root.delete(&db)).unwrap();
    assert_lacks(block_on(reader.restore(&db)), "two/undelete/lacking/acme/@db", "update");
}

/// What a check demands, in the order in which it demands it.
fn demanded(version: KvVersion) -> Vec<(String, &'static str)> {
    let lines: &[(&str, &str)] = match version {
        KvVersion::One => &[
            ("one/checked-1/acme/*", "read"),
            ("one/checked-1/acme/*", "delete"),
            ("one/checked-1/acme/*", "create"),
            ("one/checked-1/acme/*", "update"),
            ("one/checked-1/acme", "list"),
        ],
        KvVersion::Two => &[
            ("two/data/checked-2/acme/*", "read"),
            ("two/subkeys/checked-2/acme/*", "read"),
            ("two/metadata/checked-2/acme/*", "read"),
            ("two/data/checked-2/acme/*", "create"),
            ("two/data/checked-2/acme/*", "update"),
            ("two/data/checked-2/acme/*", "delete"),
            ("two/undelete/checked-2/acme/*", "update"),
            ("two/destroy/checked-2/acme/*", "update"),
            ("two/metadata/checked-2/acme/*", "patch"),
            ("two/metadata/checked-2/acme", "list"),
        ],
    };
    lines.iter().map(|(path, capability)| ((*path).to_owned(), *capability)).collect()
}

/// A policy is one line for a path: its capabilities together.
fn store_with(version: KvVersion, lines: &[(String, &str)]) -> VaultKv {
    let mut together = std::collections::BTreeMap::<&str, Vec<&str>>::new();
    for (path, capability) in lines {
        together.entry(path).or_default().push(capability);
    }
    let joined: Vec<_> =
        together.into_iter().map(|(path, all)| (path, all.join("\", \""))).collect();
    let lines: Vec<_> = joined.iter().map(|(path, all)| (*path, all.as_str())).collect();
    let base = if version == KvVersion::One { "checked-1" } else { "checked-2" };
    allowed(version, base, &lines)
}

#[test]
fn a_check_finds_every_line_that_is_missing_and_leaves_nothing() {
    for version in super::BOTH {
        let all = demanded(version);
        for lacking in 0..all.len() {
            let (path, capability) = &all[lacking];
            let store = store_with(version, &all[..lacking]);
            let path = path.replace('*', "=check");
            assert_lacks(block_on(store.check()), &path, capability);
        }
        let lines = block_on(store_with(version, &all).check()).unwrap();
        assert!(lines[0].contains("reading, listing and writing is allowed"), "{lines:?}");
        let whose = lines.iter().find(|line| line.starts_with("session: token")).unwrap();
        assert!(whose.contains("checked-"), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("is renewed before")), "{lines:?}");
        let (client, base) = match version {
            KvVersion::One => ("one", "checked-1"),
            KvVersion::Two => ("two", "checked-2"),
        };
        let there = format!(
            "
try: print({client}.list_secrets('{base}'))
except hvac.exceptions.InvalidPath: print('nothing')"
        );
        assert_eq!(hvac(&there, &[]).trim(), "nothing");
    }
}

#[test]
fn a_check_tells_of_a_session_that_ends_for_good() {
    let token = server().token(&["root"], Duration::from_mins(5), false);
    let mut settings = settings(server().address());
    settings.auth = with_token(&token);
    let store = open_at(&connect(&settings), options(KvVersion::Two, "ends"));
    let lines = block_on(store.check()).unwrap();
    assert!(lines.iter().any(|line| line.contains("cannot be renewed")), "{lines:?}");
}
