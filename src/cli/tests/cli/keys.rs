//! Rotate, rewrap, re-encrypt, and the keys that a store needs.

use std::fs;

use serde_json::Value;

use crate::kit::{Home, VALUE};

fn versions(report: &Value) -> Vec<(String, u64, bool)> {
    let versions = report["keks"][0]["versions"].as_array().expect("versions");
    let version = |one: &Value| {
        let text = one["version"].as_str().expect("text").to_owned();
        (text, one["records"].as_u64().expect("a number"), one["current"] == true)
    };
    versions.iter().map(version).collect()
}

fn seen(list: &[(&str, u64, bool)]) -> Vec<(String, u64, bool)> {
    list.iter().map(|(version, count, current)| ((*version).to_owned(), *count, *current)).collect()
}

/// The same directly and through a sidecar.
fn each_way(test: impl Fn(&Home)) {
    let direct = Home::ready();
    test(&direct);
    let served = Home::ready();
    let _serving = served.serve();
    test(&served);
}

#[test]
fn a_key_is_rotated_rewrapped_and_its_old_version_destroyed() {
    each_way(|home| {
        home.put("account.a", VALUE);
        home.put("account.b", VALUE);
        // The store's own key counts, too.
        assert_eq!(versions(&home.json(&["keys"])), seen(&[("1", 3, true)]));
        assert_eq!(home.json(&["rotate"])["version"], "2");
        let report = home.json(&["keys"]);
        assert_eq!(versions(&report), seen(&[("1", 3, false), ("2", 0, true)]));
        assert_eq!((&report["records"], &report["stale"]), (&2.into(), &2.into()));
        let said = home.fails(5, &["keys", "destroy", "1", "--yes"], b"");
        assert!(said.contains("needed by 3 records") && said.contains("default:a"), "{said}");
        let said = home.fails(5, &["keys", "destroy", "2", "--yes"], b"");
        assert!(said.contains("current one"), "{said}");

        let done = home.json(&["rewrap"]);
        assert_eq!((&done["changed"], &done["failed"]), (&2.into(), &0.into()));
        assert_eq!(home.json(&["rewrap"])["changed"], 0);
        assert_eq!(
            versions(&home.json(&["status", "--keys"])),
            seen(&[("1", 0, false), ("2", 3, true)])
        );
        let said = home.fails(2, &["keys", "destroy", "1"], b"");
        assert!(said.contains("say --yes"), "{said}");
        assert_eq!(home.json(&["keys", "destroy", "1", "--yes"])["destroyed"], true);
        assert_eq!(versions(&home.json(&["keys"])), seen(&[("2", 3, true)]));
        home.fails(3, &["keys", "destroy", "1", "--yes"], b"");
        assert!(home.ok(&["get", "account.a"]) == VALUE);
        let text = home.ok(&["keys"]);
        assert!(text.contains("all under the current keys"), "{text}");
    });
}

#[test]
fn secrets_are_encrypted_anew_all_or_some() {
    each_way(|home| {
        home.put("account.a", VALUE);
        home.put("account.a", VALUE);
        home.put("account.b", VALUE);
        let changed = |args: &[&str]| {
            let done = home.json(&[&["reencrypt"], args].concat());
            assert_eq!(done["failed"], 0);
            done["changed"].as_u64().expect("a number")
        };
        assert_eq!(changed(&[]), 3);
        assert_eq!(changed(&["account.a", "--suite", "chacha20-poly1305"]), 2);
        assert_eq!(changed(&["--within", "default"]), 3);
        assert_eq!(changed(&["--within", "default/ops"]), 0);
        home.fails(2, &["reencrypt", "account.a", "--within", "default"], b"");
        home.fails(2, &["reencrypt", "--suite", "rot13"], b"");
        assert!(home.ok(&["get", "account.a"]) == VALUE);
        assert_eq!(
            home.json(&["versions", "account.a"])["versions"].as_array().map(Vec::len),
            Some(2)
        );
    });
}

#[test]
fn progress_is_told_as_json_on_stderr_and_the_end_on_stdout() {
    let home = Home::ready();
    home.put("account.a", VALUE);
    home.ok(&["rotate"]);
    let output = home.run(&["rewrap", "--json"], b"");
    assert!(output.status.success());
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    let first: Value = serde_json::from_str(told.lines().next().expect("a line")).expect("JSON");
    let progress = &first["progress"];
    assert_eq!((&progress["operation"], &progress["left"]), (&"rewrap".into(), &1.into()));
    let end: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(end["changed"], 1);
    // For people nothing is drawn where there is no terminal.
    home.ok(&["rotate"]);
    let output = home.run(&["rewrap"], b"");
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn a_second_key_is_made_by_command_and_reads_alone() {
    let home = Home::ready();
    home.put("account.a", VALUE);
    let config = home.path("strongroom.toml");
    let text = fs::read_to_string(&config).expect("read");
    let (before, after) = text.split_once("\n[cache]").expect("the sections");
    let more = "quorum = 1\n[[kek.more]]\nkey_file = \"glass.kek\"\n";
    fs::write(&config, format!("{before}\n{more}\n[cache]{after}")).expect("written");
    let made = home.json(&["keys", "create"]);
    assert!(made["created"][0].as_str().expect("a path").ends_with("glass.kek"));
    assert_eq!(home.json(&["rewrap"])["changed"], 1);
    let report = home.json(&["keys"]);
    assert_eq!(report["keks"].as_array().map(Vec::len), Some(2));

    fs::remove_file(home.path("keys/local.kek")).expect("lost");
    assert!(home.ok(&["get", "account.a"]) == VALUE);
    let put = home.run(&["put", "account.b", "--json"], b"x");
    assert!(put.status.success(), "one of two is the quorum");
    let put: Value = serde_json::from_slice(&put.stdout).expect("JSON");
    assert_eq!(put["missing_keks"][0]["kind"], "key_unavailable");
    let said = home.fails(12, &["rewrap"], b"");
    assert!(said.contains("local.kek"), "{said}");
}

#[test]
fn upkeep_through_a_sidecar_needs_the_verb_for_every_name() {
    let home = Home::ready();
    home.put("account.a", VALUE);
    home.configure("verbs = [\"all\"]", "verbs = [\"get\", \"upkeep\"]");
    let serving = home.serve();
    home.ok(&["rotate"]);
    home.ok(&["rewrap"]);
    let said = home.fails(7, &["keys", "destroy", "1", "--yes"], b"");
    assert!(said.contains("[[sidecar.allow]]"), "{said}");
    drop(serving);
    home.configure("names = [\"**\"]", "names = [\"account.*\"]");
    let _serving = home.serve();
    for args in [&["rotate"][..], &["rewrap"], &["reencrypt", "account.a"], &["keys"]] {
        home.fails(7, args, b"");
    }
    assert!(home.ok(&["get", "account.a"]) == VALUE);
}
