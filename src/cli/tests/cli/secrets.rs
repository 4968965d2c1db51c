//! What the commands do with secrets when all is well.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;

use crate::kit::{Home, VALUE};

fn stored_and_read_back(home: &Home) {
    home.put("account.db", VALUE);
    assert!(home.ok(&["get", "account.db"]) == VALUE);
    assert_eq!(home.files_with_the_value(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_value_is_read_back_and_stands_in_no_file() {
    let home = Home::ready();
    stored_and_read_back(&home);
    for path in home.files() {
        let mode = path.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is private", path.display());
    }
}

#[test]
fn it_works_on_redb() {
    let home = Home::empty();
    assert_eq!(home.json(&["init", "--store", "redb"])["store"]["type"], "redb");
    stored_and_read_back(&home);
    assert!(home.path("records/records.redb").exists());
}

#[test]
fn it_works_by_the_xdg_rules() {
    let home = Home::xdg();
    home.ok(&["init"]);
    stored_and_read_back(&home);
    for file in [
        "home/.config/strongroom/strongroom.toml",
        "home/.config/strongroom/keys/local.kek",
        "data/strongroom/records/lock",
        "home/.local/state/strongroom/audit/audit.log",
    ] {
        assert!(home.path(file).exists(), "{file}");
    }
}

#[test]
fn it_works_with_a_passphrase_from_a_file() {
    let home = Home::empty();
    let passphrase = home.path("passphrase");
    fs::write(&passphrase, "correct horse\n").expect("written");
    fs::set_permissions(&passphrase, PermissionsExt::from_mode(0o600)).expect("chmod");
    home.ok(&["init", "--protection", "passphrase", "--passphrase", "file:passphrase"]);
    stored_and_read_back(&home);
    fs::write(&passphrase, "battery staple\n").expect("written");
    home.fails(8, &["get", "account.db"], b"");
    fs::set_permissions(&passphrase, PermissionsExt::from_mode(0o644)).expect("chmod");
    let said = home.fails(15, &["get", "account.db"], b"");
    assert!(said.contains("chmod 600") && !said.contains("battery"), "{said}");
}

#[test]
fn without_a_terminal_a_missing_passphrase_is_an_error() {
    let home = Home::empty();
    let setsid = std::process::Command::new("setsid")
        .args(["--wait", env!("CARGO_BIN_EXE_strongroom"), "init", "--protection", "passphrase"])
        .env("STRONGROOM_HOME", home.dir.path())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("setsid runs");
    let said = String::from_utf8_lossy(&setsid.stderr);
    assert_eq!(setsid.status.code(), Some(15), "{said}");
    assert!(said.contains("env:NAME or file:PATH"), "{said}");
    assert!(home.files().is_empty(), "nothing is left over");
}

#[test]
fn every_byte_is_kept() {
    let home = Home::ready();
    let every: Vec<u8> = (0..=255).chain(*b"\r\n\n").collect();
    assert!(home.run(&["put", "account.b"], &every).status.success());
    assert!(home.run(&["get", "account.b"], b"").stdout == every);
    assert!(home.run(&["put", "account.empty"], b"").status.success());
    assert!(home.run(&["get", "account.empty"], b"").stdout.is_empty());

    let file = home.path("in.bin");
    fs::write(&file, &every).expect("written");
    let put = home.json(&["put", "account.f", "--file", file.to_str().expect("UTF-8")]);
    assert_eq!(put["kind"], "file");
    let out = home.path("out.bin");
    let got = home.json(&["get", "account.f", "--output", out.to_str().expect("UTF-8")]);
    assert_eq!(got["bytes"], every.len());
    assert!(fs::read(&out).expect("written") == every);
    let mode = out.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn versions_are_kept_and_conditions_are_honoured() {
    let home = Home::ready();
    home.put("account.db", "one");
    home.put("account.db", "two");
    assert!(home.ok(&["get", "account.db", "--version", "1"]) == "one");
    assert!(home.ok(&["get", "account.db"]) == "two");
    let listed = home.json(&["versions", "account.db"]);
    assert_eq!(listed["versions"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["versions"][1]["version"], "2");
    home.fails(5, &["put", "account.db", "--if-version", "1"], b"x");
    assert!(home.run(&["put", "account.db", "--if-version", "2"], b"three").status.success());
    home.fails(4, &["put", "account.db", "--if-absent"], b"x");
    assert!(home.run(&["put", "account.new", "--if-absent"], b"x").status.success());
    home.fails(3, &["get", "account.db", "--version", "9"], b"");
}

#[test]
fn a_secret_is_deleted_restored_and_purged() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    home.put("account.other", "x");
    assert_eq!(home.json(&["delete", "account.db"])["deleted"], true);
    home.fails(3, &["get", "account.db"], b"");
    let names = |args: &[&str]| {
        let listed = home.json(args);
        let secrets = listed["secrets"].as_array().expect("a list");
        secrets.iter().map(|s| s["name"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["list"]), ["account.other"]);
    assert_eq!(names(&["list", "--deleted"]), ["account.db", "account.other"]);
    assert_eq!(home.json(&["restore", "account.db"])["restored"], true);
    assert!(home.ok(&["get", "account.db"]) == VALUE);
    let said = home.fails(2, &["purge", "account.db"], b"");
    assert!(said.contains("--yes"), "{said}");
    assert_eq!(home.json(&["purge", "account.db", "--yes"])["purged"], true);
    home.fails(3, &["versions", "account.db"], b"");
    assert_eq!(names(&["list", "--deleted"]), ["account.other"]);
}

#[test]
fn json_carries_text_as_text_and_bytes_as_base64() {
    let home = Home::ready();
    home.put("account.t", "a\"ñ\n");
    let got = home.json(&["get", "account.t"]);
    assert_eq!(got["value"], "a\"ñ\n");
    assert_eq!(got["stale"], false);
    assert_eq!(got["version"], "1");
    assert_eq!(got["age_ms"], 0);
    assert!(home.run(&["put", "account.b"], b"\xff\0").status.success());
    let got = home.json(&["get", "account.b"]);
    assert_eq!(got["value_base64"], "/wA=");
    assert!(got.get("value").is_none());
}

#[test]
fn scopes_are_read_from_the_configuration_and_the_command_line() {
    let home = Home::empty();
    home.ok(&["init", "--account", "acme"]);
    home.configure("#org = \"ops\"", "org = \"ops\"");
    home.configure("#project = \"web\"", "project = \"web\"");
    for (name, value) in [("db", "project's"), ("org.db", "org's"), ("account.db", "account's")] {
        home.put(name, value);
    }
    assert!(home.ok(&["get", "db"]) == "project's");
    assert!(home.ok(&["get", "org.db", "--scope", "acme/ops"]) == "org's");
    for (level, scope) in [
        ("account", "acme"),
        ("org", "acme/ops"),
        ("project", "acme/ops/web"),
        ("acme/x", "acme/x"),
    ] {
        let listed = home.json(&["list", "--scope", level]);
        assert_eq!(listed["scope"], scope);
        let expected = usize::from(level != "acme/x");
        assert_eq!(listed["secrets"].as_array().map(Vec::len), Some(expected), "{level}");
    }
    home.fails(6, &["get", "db", "--scope", "acme/ops"], b"");
    home.fails(7, &["get", "account.db", "--scope", "other"], b"");
}

#[test]
fn processes_at_the_same_time_take_turns() {
    let home = Home::ready();
    let args = ["put", "account.db", "--json"];
    let children: Vec<_> = (0..6).map(|_| home.start(&args, VALUE.as_bytes())).collect();
    let mut versions: Vec<_> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            answer["version"].as_str().expect("text").to_owned()
        })
        .collect();
    versions.sort();
    assert_eq!(versions, ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn quickstart_shows_a_store_and_leaves_it() {
    let home = Home::empty();
    let folder = home.path("trial");
    let shown = home.json(&["quickstart", folder.to_str().expect("UTF-8"), "--once"]);
    assert_eq!(shown["folder"], folder.to_str().expect("UTF-8"));
    assert_eq!(shown["files_with_the_value"], 0);
    for process in ["read_back_by_pid", "sidecar_pid", "read_through_it_by_pid"] {
        assert!(shown[process].is_u64(), "{process}");
    }
    let socket = shown["socket"].as_str().expect("a path");
    home.fails(9, &["status", "--socket", socket], b"");
    let config = folder.join("strongroom.toml");
    let value =
        home.ok(&["get", "account.quickstart", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(value.len(), 24);

    let mut command = home.command(&["quickstart", "--once"]);
    let output = command.env("TMPDIR", home.dir.path()).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    assert!(text.contains(home.dir.path().to_str().expect("UTF-8")), "{text}");
    assert!(text.contains("Next"), "{text}");
}

#[test]
fn quickstart_serves_until_it_is_interrupted() {
    let home = Home::empty();
    let folder = home.path("trial");
    let mut child = home
        .command(&["quickstart", folder.to_str().expect("UTF-8"), "--json"])
        .spawn()
        .expect("runs");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("UTF-8");
    let shown: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let socket = shown["socket"].as_str().expect("a path").to_owned();
    assert_eq!(home.ok(&["get", "account.quickstart", "--socket", &socket]).len(), 24);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    home.fails(9, &["get", "account.quickstart", "--socket", &socket], b"");
}

/// Whoever writes to a pipe decides how much each read gives.
#[test]
fn a_long_value_comes_through_a_pipe_in_odd_pieces() {
    use std::io::Write;
    let home = Home::ready();
    let mut child = home.command(&["put", "account.long", "--kind", "file"]);
    let mut child = child.stdin(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"x").expect("written");
    while rustix::io::ioctl_fionread(&stdin).expect("a pipe") > 0 {
        std::thread::yield_now();
    }
    let rest = vec![b'y'; 3 << 20];
    stdin.write_all(&rest).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let back = home.run(&["get", "account.long"], b"").stdout;
    assert!(back.len() == rest.len() + 1 && back.starts_with(b"xyyy"));
}
