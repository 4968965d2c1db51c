//! The audit log: what it shows, and what verifying it notices.

use std::fs;

use crate::kit::{Home, VALUE, contains, copy_tree};

#[test]
fn operations_are_shown_and_filtered() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    home.put("account.other", "x");
    home.ok(&["get", "account.db"]);
    home.fails(3, &["get", "account.none"], b"");
    let count = |args: &[&str]| {
        let shown = home.json(&[&["audit", "show"], args].concat());
        shown["lines"].as_array().expect("a list").len()
    };
    assert_eq!(count(&[]), 6, "two puts write two lines each, a get one");
    assert_eq!(count(&["--name", "account.db"]), 3);
    assert_eq!(count(&["--operation", "put"]), 4);
    assert_eq!(count(&["--failed"]), 1);
    assert_eq!(count(&["--limit", "2"]), 2);
    assert_eq!(count(&["--since", "1h"]), 6);
    assert_eq!(count(&["--since", "9000-01-01"]), 0);
    let last = home.json(&["audit", "show", "--limit", "1"]);
    assert_eq!(last["lines"][0]["outcome"], "not_found");
    let text = home.ok(&["audit", "show", "--failed"]);
    assert!(text.contains("not_found") && text.contains("none"), "{text}");
    assert!(!contains(&fs::read(home.path("audit/audit.log")).expect("a log"), VALUE.as_bytes()));
}

#[test]
fn a_sound_log_is_verified_and_gives_its_head() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    let verified = home.json(&["audit", "verify"]);
    assert_eq!(verified["ok"], true);
    let head = verified["head"].as_str().expect("a head");
    assert!(head.starts_with("2:"), "{head}");
    home.put("account.db", "new");
    home.ok(&["audit", "verify", "--head", head]);
    home.fails(2, &["audit", "verify", "--head", "x"], b"");
}

#[test]
fn an_altered_or_removed_line_is_found() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    home.ok(&["get", "account.db"]);
    let head = home.json(&["audit", "verify"])["head"].as_str().expect("a head").to_owned();
    let path = home.path("audit/audit.log");
    let log = fs::read_to_string(&path).expect("a log");
    let lines: Vec<_> = log.lines().collect();
    let altered = log.replacen("\"uid\":", "\"uid\":1", 1);
    let removed = [lines[0], lines[2], ""].join("\n");
    let last_altered =
        log.trim_end().to_owned().replace("\"operation\":\"get\"", "\"operation\":\"put\"") + "\n";
    for broken in [altered, removed, last_altered] {
        assert_ne!(broken, log);
        fs::write(&path, broken).expect("written");
        verify_finds(&home, &[], "the audit log is not as it was written");
    }
    let cut = [lines[0], lines[1], ""].join("\n");
    fs::write(&path, cut).expect("written");
    home.ok(&["audit", "verify"]);
    verify_finds(&home, &["--head", &head], "its end was cut off");
    fs::write(&path, log).expect("written");
    home.ok(&["audit", "verify", "--head", &head]);
}

#[test]
fn a_store_that_was_set_back_is_found() {
    let home = Home::ready();
    home.put("account.db", "old");
    let (records, copy) = (home.path("records"), home.path("copy"));
    copy_tree(&records, &copy);
    home.put("account.db", "new");
    home.ok(&["audit", "verify"]);
    fs::remove_dir_all(&records).expect("removed");
    copy_tree(&copy, &records);
    assert!(home.ok(&["get", "account.db"]) == "old", "it is sound in itself");
    let found = verify_finds(&home, &[], "the store differs from its log");
    assert!(found.contains("set back"), "{found}");
}

/// Verifies and expects findings; gives stdout.
fn verify_finds(home: &Home, args: &[&str], what: &str) -> String {
    let args = [&["audit", "verify"], args].concat();
    let output = home.run(&args, b"");
    assert_eq!(output.status.code(), Some(11));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains(what), "{said}");
    let json = home.run(&[&args[..], &["--json"]].concat(), b"");
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(document["ok"], false);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A log that was taken away as a whole, so that a new one begins: the store
/// holds what no line tells of.
#[test]
fn a_log_that_was_replaced_is_found() {
    let home = Home::ready();
    home.put("account.db", "value");
    fs::remove_file(home.path("audit/audit.log")).expect("removed");
    home.ok(&["list"]);
    let found = verify_finds(&home, &[], "the store differs from its log");
    assert!(found.contains("without the log"), "{found}");
}
