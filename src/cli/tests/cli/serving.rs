//! `strongroom serve` as a process, and what only it can tell: its status, and
//! changes as they happen.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;

use rustix::process::Signal;

use crate::kit::{Home, Serving, VALUE};

#[test]
fn a_sidecar_logs_and_ends_when_it_is_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::ready();
        home.put("account.db", VALUE);
        // To a file: nobody reads it before the end.
        let log = home.path("log");
        let every = ["serve", "--json", "--log-format", "json", "--log-level", "trace"];
        let mut command = home.command(&every);
        command.stderr(fs::File::create(&log).expect("a file"));
        let serving = Serving::started(command);
        home.ok(&["get", "account.db"]);
        let said = home.fails(9, &["serve"], b"");
        assert!(said.contains("in use by another sidecar"), "{said}");
        assert_eq!(serving.end(signal), Some(0));
        let log = fs::read_to_string(log).expect("UTF-8");
        assert!(!home.path("run/sidecar.sock").exists(), "it tidies up");
        assert!(!log.is_empty() && !log.contains(VALUE));
        for line in log.lines() {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let target = event["target"].as_str().expect("a target");
            assert!(target.starts_with("strongroom"), "{line}");
        }
    }
}

#[test]
fn for_people_the_log_is_text_without_colours() {
    let home = Home::ready();
    let mut child = home.command(&["serve"]).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("ready")));
    let ready = ready.expect("it gets ready").expect("UTF-8");
    assert!(ready.contains("run/sidecar.sock") && ready.contains(&child.id().to_string()));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM)
        .expect("it runs");
    for line in lines {
        assert!(!line.expect("UTF-8").contains('\u{1b}'));
    }
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stdout.is_empty());
}

#[test]
fn what_cannot_be_served_is_told() {
    let home = Home::empty();
    let said = home.fails(15, &["serve"], b"");
    assert!(said.contains("there is no configuration"), "{said}");
    let home = Home::ready();
    let said = home.fails(15, &["serve", "--socket", &"x".repeat(200)], b"");
    assert!(said.contains("socket"), "{said}");
}

#[test]
fn the_status_tells_of_the_sidecar_and_its_cache() {
    let home = Home::ready();
    home.configure("[cache]\n", "[cache]\n#");
    let text = fs::read_to_string(home.path("strongroom.toml")).expect("readable");
    let cached = text.replacen("enabled = false", "enabled = true", 1);
    assert_ne!(text, cached);
    fs::write(home.path("strongroom.toml"), cached).expect("written");
    home.put("account.db", VALUE);
    let serving = home.serve();
    home.ok(&["get", "account.db"]);
    let status = home.json(&["status", "account.db", "account.none", "no project"]);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&status["socket"], &status["scope"]),
        (&serving.socket.as_str().into(), &"default".into())
    );
    // The one before may still be on its way out.
    assert!(status["connections"].as_u64() >= Some(1));
    assert!(status["uptime_ms"].is_u64() && status["reload_error"].is_null());
    assert_eq!(status["cache"]["misses"], 1);
    let secret = &status["secrets"][0];
    assert_eq!((&secret["cached"], &secret["version"]), (&true.into(), &"1".into()));
    assert_eq!((&secret["stale"], &secret["error"]), (&false.into(), &serde_json::Value::Null));
    assert!(secret["age_ms"].is_u64() && secret["expires_in_ms"].is_u64());
    assert!(secret["last_success"].as_str().expect("a time").ends_with('Z'));
    assert_eq!(status["secrets"][1]["cached"], false);
    assert_eq!(status["secrets"][2]["error"]["kind"], "invalid_name");
    let text = home.ok(&["status", "account.db", "account.none"]);
    for word in ["serving", "cache", "version 1, confirmed", "not cached"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn changes_are_printed_as_they_happen() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    let serving = home.serve();
    let mut child = home.command(&["watch", "--json"]).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || {
        let line = lines.next().expect("a line").expect("UTF-8");
        let change: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let text = |field: &str| change[field].as_str().unwrap_or_default().to_owned();
        [text("change"), text("name"), text("version")]
    };
    assert_eq!(next(), ["present", "account.db", "1"]);
    assert_eq!(next(), ["synced", "", ""]);
    home.put("account.db", "new");
    assert_eq!(next(), ["put", "account.db", "2"]);
    home.ok(&["delete", "account.db"]);
    assert_eq!(next()[..2], ["deleted", "account.db"]);
    drop(serving);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(9));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("sidecar") && !said.contains(VALUE), "{said}");
}

/// Somebody else makes a socket where ours is expected.
#[test]
fn a_sidecar_of_another_user_is_sent_nothing() {
    const OTHER: u32 = 61_234;
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can start a process of another user");
        return;
    }
    let hostile = Home::empty();
    chown(hostile.dir.path(), Some(OTHER), Some(OTHER)).expect("chown");
    fs::set_permissions(hostile.dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let program = hostile.path("strongroom");
    fs::copy(env!("CARGO_BIN_EXE_strongroom"), &program).expect("copied");
    let theirs = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(args).env_clear().env("STRONGROOM_HOME", hostile.dir.path());
        command.uid(OTHER).gid(OTHER).current_dir("/");
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };
    assert!(theirs(&["init"]).output().expect("it runs").status.success());
    let serving = Serving::started(theirs(&["serve", "--json"]));
    let audited = || fs::read_to_string(hostile.path("audit/audit.log")).unwrap_or_default();

    let home = Home::ready();
    home.configure("run/sidecar.sock", &serving.socket);
    // Named, and found where the configuration says.
    for args in
        [["put", "account.db", "--socket", &serving.socket].as_slice(), &["put", "account.db"]]
    {
        let said = home.fails(8, args, VALUE.as_bytes());
        assert!(said.contains("user 61234 serves the socket"), "{said}");
        assert!(said.contains("--socket-user"), "{said}");
    }
    assert_eq!(audited(), "");
    // Believed, it is asked, and its rules know only its owner.
    let trusting = ["put", "account.db", "--socket", &serving.socket, "--socket-user", "61234"];
    home.fails(7, &trusting, VALUE.as_bytes());
    assert!(audited().contains("access_denied"), "it was asked");
    let unknown = ["list", "--socket", &serving.socket, "--socket-user", "nobody-of-this-name"];
    home.fails(2, &unknown, b"");
}
