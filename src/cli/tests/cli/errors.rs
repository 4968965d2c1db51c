//! Exit codes, errors as text and as JSON, and what they must not say.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use strongroom::local::records::{RecordOptions, RecordStoreKind, open_records};
use strongroom::{Batch, PageLimit};

use crate::kit::{Home, VALUE};

#[test]
fn each_kind_of_error_has_its_exit_code() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    let cases: [(i32, &[&str]); 8] = [
        (2, &["get"]),
        (2, &["frobnicate"]),
        (2, &["put", "account.x", "--if-absent", "--if-version", "1"]),
        (3, &["get", "account.none"]),
        (3, &["delete", "account.none"]),
        (4, &["init"]),
        (5, &["restore", "account.db"]),
        (6, &["get", "account.a b"]),
    ];
    for (code, args) in cases {
        home.fails(code, args, b"");
        let said = home.fails(code, &[args, &["--json"]].concat(), b"");
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        assert!(said["error"]["kind"].is_string() && said["error"]["message"].is_string());
        assert_eq!(said["error"]["kind"] == "usage", code == 2, "{args:?}");
    }
    let said = home.fails(3, &["get", "account.none"], b"");
    assert!(said.starts_with("error: get account.none: there is no such secret ("), "{said}");
    assert!(said.contains("\nhint: "), "{said}");
    let said = home.fails(3, &["get", "account.none", "--json"], b"");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["error"]["kind"], "not_found");
    assert_eq!(said["error"]["operation"], "get");
    assert_eq!(said["error"]["secret"], "account.none");
    assert_eq!(said["error"]["retryable"], false);
}

#[test]
fn a_second_init_changes_nothing() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    let read = |name: &str| fs::read(home.path(name)).expect("readable");
    let (config, key) = (read("strongroom.toml"), read("keys/local.kek"));
    home.fails(4, &["init", "--store", "redb", "--account", "other"], b"");
    assert!(config == read("strongroom.toml") && key == read("keys/local.kek"));
    assert!(home.ok(&["get", "account.db"]) == VALUE);
}

#[test]
fn without_a_configuration_the_way_to_one_is_told() {
    let home = Home::empty();
    let said = home.fails(15, &["list"], b"");
    assert!(said.contains("there is no configuration at") && said.contains("strongroom init"));
    assert!(home.files().is_empty());
}

#[test]
fn a_flipped_bit_of_a_record_is_tampering() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    let open = || {
        let options = RecordOptions::default();
        open_records(RecordStoreKind::Redb, &home.path("records"), &options).expect("it opens")
    };
    let scanned = futures_executor::block_on(open().scan(b"", None, PageLimit::entries(100)))
        .expect("scanned")
        .entries;
    // The longest record holds the value.
    let (key, stored) = scanned
        .into_iter()
        .filter(|(key, _)| key.windows(2).any(|window| window == b"db"))
        .max_by_key(|(_, stored)| stored.value.len())
        .expect("a record");
    for at in [0, stored.value.len() / 2, stored.value.len() - 1] {
        let mut value = stored.value.clone();
        value[at] ^= 1;
        let batch = Batch::new().write(key.clone(), value);
        futures_executor::block_on(open().commit(batch)).expect("written");
        let said = home.fails(11, &["get", "account.db"], b"");
        assert!(!said.contains(VALUE), "byte {at}");
    }
    let batch = Batch::new().write(key, stored.value);
    futures_executor::block_on(open().commit(batch)).expect("written");
    assert!(home.ok(&["get", "account.db"]) == VALUE);
}

#[test]
fn a_configuration_that_does_not_fit_the_store_is_refused() {
    let (home, other) = (Home::ready(), Home::ready());
    home.put("account.db", VALUE);
    home.configure("account = \"default\"", "account = \"other\"");
    let said = home.fails(15, &["get", "account.db"], b"");
    assert!(said.contains("account default") && said.contains("other"), "{said}");
    home.configure("account = \"other\"", "account = \"default\"");
    home.configure("type = \"redb\"", "type = \"sled\"");
    home.fails(15, &["get", "account.db"], b"");
    home.configure("type = \"sled\"", "type = \"redb\"");
    let key = home.path("keys/local.kek");
    let kept = fs::read(&key).expect("a key file");
    fs::copy(other.path("keys/local.kek"), &key).expect("copied");
    let said = home.fails(15, &["get", "account.db"], b"");
    assert!(said.contains("KEK"), "{said}");
    fs::remove_file(&key).expect("removed");
    home.fails(12, &["get", "account.db"], b"");
    fs::write(&key, kept).expect("written");
    for (mode, code) in [(0o644, 15), (0o640, 15)] {
        fs::set_permissions(&key, PermissionsExt::from_mode(mode)).expect("chmod");
        let said = home.fails(code, &["get", "account.db"], b"");
        assert!(said.contains("chmod 600"), "{said}");
    }
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("chmod");
    assert!(home.ok(&["get", "account.db"]) == VALUE);
}

#[test]
fn a_store_in_use_is_told_after_the_wait() {
    let home = Home::ready();
    let options = RecordOptions::default();
    let held = open_records(RecordStoreKind::Redb, &home.path("records"), &options);
    let said = home.fails(9, &["--wait", "1ms", "list"], b"");
    assert!(said.contains("in use by") && said.contains("--wait"), "{said}");
    drop(held);
    home.ok(&["list"]);
}

#[test]
fn a_value_as_an_argument_is_refused_and_not_repeated() {
    let home = Home::ready();
    let equals = format!("--value={VALUE}");
    let cases: [&[&str]; 4] = [
        &["put", "account.db", VALUE],
        &["put", "account.db", &equals],
        &["put", "account.db", "--value", VALUE],
        &["put", "account.db", "--json", VALUE],
    ];
    for args in cases {
        let said = home.fails(2, args, b"");
        assert!(!said.contains("s3cret"), "{:?}", &args[..2]);
    }
    home.fails(3, &["get", "account.db"], b"");
}

#[test]
fn a_value_that_is_too_long_is_refused() {
    let home = Home::ready();
    home.configure("max_file_bytes = 1_099_511_627_776", "max_file_bytes = 5");
    assert!(home.run(&["put", "account.a"], b"12345").status.success());
    home.fails(14, &["put", "account.a"], b"123456");
    assert!(home.ok(&["get", "account.a"]) == "12345");
}

#[test]
fn nothing_but_the_answer_carries_the_value() {
    let home = Home::ready();
    let put = home.run(&["put", "account.db"], VALUE.as_bytes());
    assert!(put.status.success());
    let get = home.run(&["get", "account.db"], b"");
    let failed = home.run(&["put", "account.db", "--if-absent"], VALUE.as_bytes());
    for text in [put.stdout, put.stderr, get.stderr, failed.stdout, failed.stderr] {
        assert!(!crate::kit::contains(&text, VALUE.as_bytes()));
    }
    for args in [["list"].as_slice(), &["versions", "account.db"], &["audit", "show"], &["check"]] {
        assert!(!home.ok(args).contains(VALUE), "{args:?}");
        assert!(!home.ok(&[args, &["--json"]].concat()).contains(VALUE), "{args:?}");
    }
}

#[test]
fn an_output_file_is_never_written_through_a_link() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    let (link, target) = (home.path("link"), home.path("target"));
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    home.fails(2, &["get", "account.db", "--output", link.to_str().expect("UTF-8")], b"");
    assert!(!target.exists());
}

#[test]
fn a_reader_that_went_away_ends_us_quietly() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    for args in [["get", "account.db"].as_slice(), &["list"], &["get", "account.db", "--json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = home.command(args).stdout(writer).output().expect("it runs");
        assert_eq!(output.status.code(), Some(141), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
}
