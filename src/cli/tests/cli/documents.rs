//! Help, completions and manual pages.

use crate::kit::Home;

const COMMANDS: [&[&str]; 47] = [
    &["init"],
    &["put"],
    &["get"],
    &["list"],
    &["versions"],
    &["describe"],
    &["delete"],
    &["restore"],
    &["purge"],
    &["run"],
    &["render"],
    &["watch"],
    &["seal"],
    &["open"],
    &["rotate"],
    &["rewrap"],
    &["reencrypt"],
    &["keys"],
    &["keys", "create"],
    &["keys", "destroy"],
    &["migrate"],
    &["import"],
    &["backup"],
    &["backup", "create"],
    &["backup", "restore"],
    &["backup", "verify"],
    &["verify"],
    &["check"],
    &["serve"],
    &["status"],
    &["audit"],
    &["audit", "show"],
    &["audit", "verify"],
    &["aws"],
    &["aws", "check"],
    &["aws", "policy"],
    &["aws", "trust-policy"],
    &["aws", "trust-policy", "oidc"],
    &["aws", "trust-policy", "irsa"],
    &["aws", "trust-policy", "cross-account"],
    &["aws", "kubeconfig"],
    &["vault"],
    &["vault", "check"],
    &["vault", "policy"],
    &["quickstart"],
    &["completions"],
    &["man"],
];

#[test]
fn every_command_has_an_example() {
    let home = Home::empty();
    let all = home.ok(&["--help"]);
    for command in COMMANDS {
        let help = home.ok(&[command, &["--help"]].concat());
        let (_, example) = help.split_once("Example:\n").expect("an example");
        let call = format!("strongroom {}", command.join(" "));
        assert!(example.contains(&call), "{command:?}");
        assert!(all.contains(&format!("  {}", command[0])), "{command:?}");
    }
    assert!(all.contains("Exit codes:") && all.contains("STRONGROOM_HOME"));
    let listed = all.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next());
    let listed = listed.expect("commands").lines().filter(|line| !line.trim().is_empty()).count();
    let ours = COMMANDS.iter().filter(|command| command.len() == 1).count();
    assert_eq!(listed, ours + 1, "ours and `help`");
}

#[test]
fn completions_and_manual_pages_are_written() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.ok(&["completions", shell]);
        for word in ["quickstart", "if-version", "watch", "socket-user", "log-format"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(home.json(&["completions", "fish"])["script"].is_string());
    assert!(home.ok(&["man"]).contains(".TH strongroom"));
    let pages = home.json(&["man", home.path("man").to_str().expect("UTF-8")]);
    let pages = pages["pages"].as_array().expect("a list");
    for page in ["strongroom.1", "strongroom-serve.1", "strongroom-audit-verify.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} in {pages:?}");
    }
    let get = std::fs::read_to_string(home.path("man/strongroom.1")).expect("a page");
    assert!(get.contains("Exit codes"));
}

/// The units as they are, but for the program's path: systemd looks for it.
#[test]
fn systemd_takes_the_units() {
    let Ok(found) = std::process::Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("SKIPPED: there is no systemd-analyze; install systemd");
        return;
    };
    assert!(found.status.success());
    let dir = tempfile::tempdir().expect("a directory");
    let dist = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
    let mut paths = Vec::new();
    for unit in ["strongroom.service", "strongroom.socket"] {
        let text = std::fs::read_to_string(dist.join(unit)).expect("a unit");
        let path = dir.path().join(unit);
        let text = text.replace("/usr/bin/strongroom", env!("CARGO_BIN_EXE_strongroom"));
        std::fs::write(&path, text).expect("written");
        paths.push(path);
    }
    let mut command = std::process::Command::new("systemd-analyze");
    // The manual is not installed here.
    let checked = command.args(["verify", "--man=no"]).args(&paths).output().expect("it runs");
    let said = String::from_utf8_lossy(&checked.stderr);
    // A key that it does not know is a remark, and no failure.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("strongroom")).collect();
    assert!(checked.status.success() && ours.is_empty(), "{said}");
}
