//! Commands through a sidecar: what they say and do is what they say and do on
//! the store itself.

use std::fs;
use std::process::Output;

use crate::kit::{Home, VALUE};

/// One home is used directly, the other one through its sidecar.
struct Pair {
    direct: Home,
    served: Home,
}

impl Pair {
    /// Runs `args` on both, as text and as JSON, and compares all that is seen.
    fn same(&self, args: &[&str], stdin: &[u8]) {
        for args in [args.to_vec(), [args, &["--json"]].concat()] {
            let [direct, served] =
                [&self.direct, &self.served].map(|home| home.start(&args, stdin));
            let direct = seen(&self.direct, direct.wait_with_output().expect("it ends"));
            let served = seen(&self.served, served.wait_with_output().expect("it ends"));
            // A value may be among it.
            assert!(direct == served, "{args:?} differs: exit codes {:?}", (direct.0, served.0));
        }
    }
}

/// Exit code, stdout and stderr, without what two homes differ in.
fn seen(home: &Home, output: Output) -> (Option<i32>, String, String) {
    let folder = home.dir.path().to_str().expect("UTF-8");
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8_lossy(&bytes).replace(folder, "HOME");
        text.split_inclusive(|c: char| c.is_whitespace() || c == '"').map(neutral).collect()
    };
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The word, unless it is a time or a key's name.
fn neutral(word: &str) -> &str {
    match word {
        time if time.starts_with("20") && time.contains('T') && time.contains('Z') => "TIME",
        key if key.starts_with("local:") => "KEY",
        word => word,
    }
}

#[test]
fn every_command_is_the_same_through_a_sidecar() {
    let pair = Pair { direct: Home::ready(), served: Home::ready() };
    let large: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
    for home in [&pair.direct, &pair.served] {
        fs::write(home.path("small"), VALUE).expect("written");
        fs::write(home.path("large"), &large).expect("written");
    }
    let _serving = pair.served.serve();
    let steps: [(&[&str], &[u8]); 40] = [
        (&["put", "account.db"], VALUE.as_bytes()),
        (&["put", "account.db", "--if-absent"], b"x"),
        (&["put", "account.db", "--if-version", "1"], b"x"),
        (&["put", "account.bytes", "--kind", "file"], b"\xff\0"),
        (&["put", "account.empty"], b""),
        (&["get", "account.db"], b""),
        (&["get", "account.db", "--version", "1"], b""),
        (&["get", "account.db", "--version", "9"], b""),
        (&["get", "account.bytes"], b""),
        (&["get", "account.empty"], b""),
        (&["get", "account.none"], b""),
        (&["get", "no project"], b""),
        (&["get", "org.db"], b""),
        (&["get", "account.db", "--scope", "project"], b""),
        (&["get", "account.db", "--scope", "default/ops"], b""),
        (&["versions", "account.db"], b""),
        (&["list"], b""),
        (&["list", "--scope", "default/ops"], b""),
        (&["delete", "account.db"], b""),
        (&["put", "account.db"], b"x"),
        (&["list", "--deleted"], b""),
        (&["restore", "account.db"], b""),
        (&["restore", "account.db"], b""),
        (&["purge", "account.db"], b""),
        (&["purge", "account.db", "--yes"], b""),
        (&["purge", "account.db", "--yes"], b""),
        (&["open", "account.db", "--context", "a=b"], b"this is not sealed"),
        (&["put", "account.app", "--user", "me", "--tag", "env=prod"], VALUE.as_bytes()),
        (&["put", "account.app", "--kind", "login"], b"no login"),
        (&["get", "account.app"], b""),
        (&["get", "account.app", "--field", "password"], b""),
        (&["get", "account.app", "--field", "key"], b""),
        (&["get", "account.app", "--raw"], b""),
        (&["put", "account.ref", "--reference", "other://a#b"], b""),
        (&["put", "account.ref", "--reference", "other://a#b", "--unchecked"], b""),
        (&["get", "account.ref", "--raw"], b""),
        (&["get", "account.ref"], b""),
        (&["describe", "account.app", "--description", "a text", "--untag", "env"], b""),
        (&["describe", "account.none", "--tag", "a"], b""),
        (&["list"], b""),
    ];
    for (args, stdin) in steps {
        pair.same(args, stdin);
    }
    // Another account is refused with the same code; a sidecar adds the place.
    for home in [&pair.direct, &pair.served] {
        home.fails(7, &["get", "account.db", "--scope", "other"], b"");
    }
    for name in ["small", "large"] {
        for home in [&pair.direct, &pair.served] {
            let (from, to) = (home.path(name), home.path("back"));
            let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
            let put = home.json(&["put", "account.file", "--file", from]);
            assert_eq!(put["kind"], "file");
            let got = home.json(&["get", "account.file", "--output", to]);
            assert_eq!((&got["version"], &got["kind"]), (&put["version"], &put["kind"]));
            assert!(fs::read(from).expect("read") == fs::read(to).expect("read"), "{name}");
            assert_eq!(got["bytes"], fs::read(to).expect("read").len());
            home.fails(3, &["get", "account.none", "--output", to], b"");
            assert!(fs::read(from).expect("read") == fs::read(to).expect("read"), "it is kept");
        }
    }
    let ours = |path: &std::path::PathBuf| !path.ends_with("small") && !path.ends_with("back");
    assert!(pair.served.files_with_the_value().into_iter().all(|path| !ours(&path)));
}

#[test]
fn the_limit_of_a_file_is_the_stores() {
    let home = Home::ready();
    home.configure("max_file_bytes = 1_099_511_627_776", "max_file_bytes = 2_000_000");
    fs::write(home.path("large"), vec![1; 2_000_001]).expect("written");
    let large = home.path("large");
    let put = ["put", "account.f", "--file", large.to_str().expect("UTF-8")];
    let direct = home.fails(14, &put, b"");
    let serving = home.serve();
    assert_eq!(home.fails(14, &put, b""), direct);
    let elsewhere = Home::empty();
    let through = [&put[..], &["--socket", &serving.socket]].concat();
    assert_eq!(elsewhere.fails(14, &through, b""), direct);
    fs::write(&large, vec![1; 2_000_000]).expect("written");
    elsewhere.ok(&through);
}

#[test]
fn what_is_sealed_directly_opens_through_a_sidecar_and_the_other_way_round() {
    let home = Home::ready();
    let context = ["--context", "table=users", "--context", "row=7"];
    let seal = [&["seal", "account.app"][..], &context].concat();
    let open = [&["open", "account.app"][..], &context].concat();
    let sealed = |args: &[&str]| {
        let output = home.run(args, VALUE.as_bytes());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!crate::kit::contains(&output.stdout, VALUE.as_bytes()));
        output.stdout
    };
    let opens = |bytes: &[u8]| home.run(&open, bytes).stdout == VALUE.as_bytes();
    let direct = sealed(&seal);
    assert!(opens(&direct));
    let serving = home.serve();
    assert!(opens(&direct));
    let through = sealed(&seal);
    drop(serving);
    assert!(opens(&through));
    home.fails(11, &["open", "account.app", "--context", "row=7"], &direct);
    home.fails(2, &["seal", "account.app"], b"x");
    home.fails(2, &["seal", "account.app", "--context", "row"], b"x");
    home.fails(2, &["seal", "account.app", "--context", "a=1", "--context", "a=2"], b"x");
    let document = home.run(&[&seal[..], &["--json"]].concat(), b"x");
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).expect("JSON");
    assert!(document["sealed_base64"].is_string() && document["context"]["row"] == "7");
}

#[test]
fn a_sidecar_is_found_or_named() {
    let (home, elsewhere) = (Home::ready(), Home::empty());
    home.put("account.db", VALUE);
    let serving = home.serve();
    // The store is in use: only the sidecar can answer.
    assert!(home.ok(&["--wait", "0s", "get", "account.db"]) == VALUE);
    assert!(elsewhere.ok(&["get", "account.db", "--socket", &serving.socket]) == VALUE);
    let by_variable = |args: &[&str]| {
        elsewhere.command(args).env("STRONGROOM_SOCKET", &serving.socket).output().expect("runs")
    };
    assert!(by_variable(&["get", "account.db"]).stdout == VALUE.as_bytes());
    // What stands on the command line goes first.
    let other = Home::ready();
    other.put("account.db", "other");
    let config = other.path("strongroom.toml");
    let config = config.to_str().expect("UTF-8");
    assert!(by_variable(&["get", "account.db", "--config", config]).stdout == b"other");
    let both = ["get", "account.db", "--config", config, "--socket", &serving.socket];
    assert!(by_variable(&both).stdout == VALUE.as_bytes());
    let checked = elsewhere.ok(&["check", "--socket", &serving.socket]);
    assert!(checked.contains("it answers") && checked.contains("store"), "{checked}");
    assert!(home.ok(&["check"]).contains("configuration"), "both were looked at");
    // Killed, it leaves its socket behind, and the store is free.
    drop(serving);
    assert!(home.path("run/sidecar.sock").exists());
    assert!(home.ok(&["get", "account.db"]) == VALUE);
}

#[test]
fn without_a_sidecar_its_commands_say_so() {
    let home = Home::ready();
    for args in [["status"].as_slice(), &["watch"]] {
        let said = home.fails(9, args, b"");
        assert!(
            said.contains("there is no sidecar") && said.contains("strongroom serve"),
            "{said}"
        );
    }
    let nowhere = home.path("nowhere");
    let nowhere = nowhere.to_str().expect("UTF-8");
    let said = home.fails(9, &["get", "account.db", "--socket", nowhere, "--json"], b"");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["error"]["kind"], "unavailable");
    assert!(said["error"]["message"].as_str().expect("text").contains(nowhere));
    assert!(said["error"]["hint"].as_str().expect("a hint").contains("strongroom serve"));
}

#[test]
fn what_the_rules_forbid_is_denied_with_a_hint() {
    let home = Home::ready();
    home.put("account.db", VALUE);
    home.configure("verbs = [\"all\"]", "verbs = [\"list\", \"status\"]");
    let _serving = home.serve();
    let said = home.fails(7, &["get", "account.db"], b"");
    assert!(said.contains("get account.db") && said.contains("[[sidecar.allow]]"), "{said}");
    home.ok(&["list"]);
}
