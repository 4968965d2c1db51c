//! migrate, verify, backup and import, as people run them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::kit::{Home, Serving, VALUE};

/// A second installation, and the path of its configuration.
fn other(store: &str) -> (Home, String) {
    let home = Home::empty();
    home.ok(&["init", "--store", store]);
    let config = home.path("strongroom.toml").to_str().expect("UTF-8").to_owned();
    (home, config)
}

fn got(home: &Home, name: &str) -> String {
    home.ok(&["get", name])
}

#[test]
fn secrets_move_to_another_store_and_the_first_says_where() {
    let home = Home::ready();
    let (target, config) = other("sled");
    home.put("account.db", "first");
    home.put("account.db", VALUE);
    home.put("account.other", "stays");
    let dry = home.json(&["migrate", "account.db", "--to", &config, "--dry-run"]);
    assert_eq!((&dry["moved"], &dry["dry_run"]), (&1.into(), &true.into()));
    assert!(got(&home, "account.db") == VALUE);
    let moved = home.json(&["migrate", "account.db", "--to", &config, "--remove-source"]);
    assert_eq!((&moved["moved"], &moved["versions"]), (&1.into(), &2.into()));
    assert_eq!((&moved["removed"], &moved["failed"]), (&1.into(), &0.into()));
    assert!(got(&target, "account.db") == VALUE);
    assert!(target.ok(&["get", "account.db", "--version", "1"]) == "first");
    let error = home.fails(3, &["get", "account.db"], b"");
    assert!(error.contains("moved to sled"), "{error}");
    let error = home.fails(5, &["put", "account.db"], b"stale");
    assert!(error.contains("moved to sled"), "{error}");
    let again = home.ok(&["migrate", "--to", &config]);
    assert!(again.contains("1 of 2 secrets moved"), "{again}");
    assert!(again.contains("had moved there before"), "{again}");
    for home in [&home, &target] {
        home.ok(&["verify"]);
        home.ok(&["audit", "verify"]);
    }
    assert!(target.files_with_the_value().is_empty(), "a value is in clear");
}

#[test]
fn what_does_not_move_is_told_by_name_and_code() {
    let home = Home::ready();
    let (target, config) = other("redb");
    home.put("account.db", "mine");
    target.put("account.db", "theirs");
    let error = home.run(&["migrate", "--to", &config, "--json"], b"");
    assert_eq!(error.status.code(), Some(4));
    let document: serde_json::Value = serde_json::from_slice(&error.stdout).expect("JSON");
    assert_eq!(document["failures"][0]["name"], "default:db");
    assert_eq!(document["failures"][0]["kind"], "already_exists");
    assert!(got(&home, "account.db") == "mine" && got(&target, "account.db") == "theirs");
    let itself = home.path("strongroom.toml");
    let itself = itself.to_str().expect("UTF-8");
    home.fails(15, &["migrate", "--to", itself], b"");
}

#[test]
fn progress_comes_as_lines_of_json() {
    let home = Home::ready();
    let (_target, config) = other("redb");
    home.put("account.db", VALUE);
    let output = home.run(&["migrate", "--to", &config, "--json"], b"");
    assert!(output.status.success());
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    let first: serde_json::Value =
        serde_json::from_str(told.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["progress"]["operation"], "migrate");
    assert_eq!(first["progress"]["total"], 1);
}

/// By itself, and through a sidecar.
fn each_way(test: impl Fn(&Home, &dyn Fn(&Home) -> Option<Serving>)) {
    test(&Home::ready(), &|_| None);
    test(&Home::ready(), &|home| Some(home.serve()));
}

#[test]
fn a_sidecar_moves_what_its_configuration_says() {
    let home = Home::ready();
    let (target, config) = other("sled");
    home.put("account.db", "first");
    home.put("account.db", VALUE);
    let serving = home.serve();
    let error = home.fails(15, &["migrate", "--to", &config], b"");
    assert!(error.contains("migrate: a sidecar has the store"), "{error}");
    assert!(error.contains("[store] moving_to") && error.contains("SIGHUP"), "{error}");
    drop(serving);
    let line = format!("moving_to = \"{config}\"");
    home.configure("#moving_to = \"new/strongroom.toml\"", &line);
    let serving = home.serve();
    let moved = home.json(&["migrate"]);
    assert_eq!((&moved["moved"], &moved["versions"]), (&1.into(), &2.into()));
    assert!(got(&home, "account.db") == VALUE, "it is served from where it is");
    home.put("account.new", VALUE);
    drop(serving);
    // The same without a sidecar.
    let backup = home.path("both.backup");
    home.fails(5, &["backup", "create", "--output", backup.to_str().expect("UTF-8")], b"");
    assert!(!backup.exists());
    assert!(got(&home, "account.new") == VALUE);
    assert_eq!(home.json(&["migrate", "--to", &config])["failed"], 0);
    let (_other, elsewhere) = other("redb");
    home.fails(15, &["migrate", "--to", &elsewhere], b"");
    assert!(got(&target, "account.new") == VALUE);
    for home in [&home, &target] {
        home.ok(&["audit", "verify"]);
    }
    home.configure(&line, "#");
    home.ok(&["verify"]);
    let error = home.fails(15, &["migrate"], b"");
    assert!(error.contains("--to"), "{error}");
}

#[test]
fn a_store_with_a_bad_record_does_not_verify() {
    each_way(a_bad_record_is_found);
}

fn a_bad_record_is_found(home: &Home, serve: &dyn Fn(&Home) -> Option<Serving>) {
    home.put("account.bad", VALUE);
    home.put("account.good", VALUE);
    let good = home.json(&["verify"]);
    assert_eq!((&good["secrets"], &good["versions"]), (&2.into(), &2.into()));
    assert_eq!(good["failed"], 0);
    spoil_a_record(home);
    let _serving = serve(home);
    let output = home.run(&["verify", "--json"], b"");
    assert_eq!(output.status.code(), Some(11));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&found["versions"], &found["failed"]), (&2.into(), &1.into()));
    assert_eq!(found["failures"][0]["name"], "default:bad");
    assert_eq!(found["failures"][0]["version"], "1");
    assert!(home.run(&["get", "account.good"], b"").status.success());
}

/// Flips the last byte of the first record: the head stays as it is.
fn spoil_a_record(home: &Home) {
    use strongroom::local::records::{RecordOptions, RecordStoreKind, open_records};
    use strongroom::{Batch, PageLimit};
    let (kind, options) = (RecordStoreKind::Redb, RecordOptions::default());
    let records = open_records(kind, &home.path("records"), &options).expect("opened");
    let page = records.scan(b"\x02", None, PageLimit::entries(1));
    let page = futures_executor::block_on(page).expect("a record");
    let (key, stored) = page.entries.into_iter().next().expect("a record");
    let mut value = stored.value;
    *value.last_mut().expect("bytes") ^= 1;
    futures_executor::block_on(records.commit(Batch::new().write(key, value))).expect("spoilt");
}

#[test]
fn a_backup_is_private_sealed_and_becomes_the_same_store_elsewhere() {
    each_way(a_backup_becomes_the_same_store);
}

fn a_backup_becomes_the_same_store(home: &Home, serve: &dyn Fn(&Home) -> Option<Serving>) {
    home.put("account.db", "first");
    home.put("account.db", VALUE);
    let _serving = serve(home);
    let file = home.path("it.backup");
    let path = file.to_str().expect("UTF-8");
    let made = home.json(&["backup", "create", "--output", path]);
    assert_eq!((&made["written"], &made["names"]), (&true.into(), &1.into()));
    let permissions = file.metadata().expect("there").permissions().mode() & 0o7777;
    assert_eq!(permissions, 0o600);
    assert!(home.files_with_the_value().is_empty(), "a value is in clear");
    home.put("account.later", "not in it");
    assert_eq!(home.json(&["backup", "verify", path])["whole"], true);

    let elsewhere = Home::empty();
    fs::copy(home.path("strongroom.toml"), elsewhere.path("strongroom.toml")).expect("copied");
    fs::create_dir(elsewhere.path("keys")).expect("a directory");
    let private = PermissionsExt::from_mode(0o700);
    fs::set_permissions(elsewhere.path("keys"), private).expect("chmod");
    for entry in fs::read_dir(home.path("keys")).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = elsewhere.path("keys").join(entry.file_name());
        fs::copy(entry.path(), to).expect("copied");
    }
    elsewhere.ok(&["backup", "restore", path]);
    assert!(got(&elsewhere, "account.db") == VALUE);
    elsewhere.fails(3, &["get", "account.later"], b"");
    elsewhere.ok(&["verify"]);
    elsewhere.fails(4, &["backup", "restore", path], b"");

    let mut bytes = fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("written");
    home.fails(11, &["backup", "verify", path], b"");
    let other = Home::ready();
    other.fails(15, &["backup", "verify", path], b"");
}

#[test]
fn an_import_maps_names_shows_no_value_and_never_doubles() {
    each_way(an_import_never_doubles);
}

fn an_import_never_doubles(home: &Home, serve: &dyn Fn(&Home) -> Option<Serving>) {
    let _serving = serve(home);
    let file = home.path("export.env");
    let path = file.to_str().expect("UTF-8");
    fs::write(&file, format!("# made by a test\nDB_URL=\"{VALUE}\"\nA=plain\n")).expect("written");
    let import = ["--scope", "account", "import", path, "--prefix", "app-"];
    let dry = home.json(&[&import[..], &["--dry-run"]].concat());
    assert_eq!((&dry["new"], &dry["written"]), (&2.into(), &false.into()));
    home.fails(3, &["get", "account.app-A"], b"");
    let output = home.run(&import, b"");
    let told = [&output.stdout[..], &output.stderr].concat();
    let told = String::from_utf8(told).expect("UTF-8");
    assert!(output.status.success(), "{told}");
    assert!(!told.contains(VALUE) && !told.contains("plain\n"), "a value is shown");
    assert!(told.contains("app-DB_URL") && told.contains("remove it"), "{told}");
    assert!(got(home, "account.app-DB_URL") == VALUE);
    let again = home.json(&import);
    assert_eq!((&again["same"], &again["new"]), (&2.into(), &0.into()));
    assert!(home.json(&["versions", "account.app-A"]).to_string().matches("\"1\"").count() == 1);

    fs::write(&file, "A=other\nNEW=1\n").expect("written");
    let refused = home.run(&import, b"");
    assert_eq!(refused.status.code(), Some(4));
    home.fails(3, &["get", "account.app-NEW"], b"");
    let skipped = home.json(&[&import[..], &["--existing", "skip"]].concat());
    assert_eq!((&skipped["left"], &skipped["new"]), (&1.into(), &1.into()));
    assert!(got(home, "account.app-A") == "plain");
    let written = home.json(&[&import[..], &["--existing", "overwrite"]].concat());
    assert_eq!((&written["changed"], &written["same"]), (&1.into(), &1.into()));
    assert!(got(home, "account.app-A") == "other");

    fs::write(&file, "a b=1\n").expect("written");
    home.fails(15, &import, b"");
    let json = home.path("db.json");
    fs::write(&json, r#"{"data":{"data":{"user":"u","p/w":"x"},"metadata":{}}}"#).expect("written");
    let json = json.to_str().expect("UTF-8");
    home.ok(&["--scope", "account", "import", json, "--format", "vault"]);
    assert!(got(home, "account.p_w") == "x");
}
