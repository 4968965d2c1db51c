//! Help, completions and manual pages.

use crate::kit::Home;

const COMMANDS: [&[&str]; 15] = [
    &["init"],
    &["put"],
    &["get"],
    &["list"],
    &["versions"],
    &["delete"],
    &["restore"],
    &["purge"],
    &["check"],
    &["audit"],
    &["audit", "show"],
    &["audit", "verify"],
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
        assert!(script.contains("quickstart") && script.contains("if-version"), "{shell}");
    }
    assert!(home.json(&["completions", "fish"])["script"].is_string());
    assert!(home.ok(&["man"]).contains(".TH strongroom"));
    let pages = home.json(&["man", home.path("man").to_str().expect("UTF-8")]);
    let pages = pages["pages"].as_array().expect("a list");
    for page in ["strongroom.1", "strongroom-get.1", "strongroom-audit-verify.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} in {pages:?}");
    }
    let get = std::fs::read_to_string(home.path("man/strongroom.1")).expect("a page");
    assert!(get.contains("Exit codes"));
}
