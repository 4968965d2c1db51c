//! The configuration file, as the command line meets it.

use crate::kit::{Home, VALUE};

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    let home = Home::ready();
    home.configure("path = \"records\"", "pth = \"records\"");
    let said = home.fails(15, &["list"], b"");
    assert!(said.contains("strongroom.toml, line "), "{said}");
    assert!(said.contains("unknown key `pth` in [store]: did you mean `path`?"), "{said}");
}

#[test]
fn what_init_writes_explains_every_key() {
    let home = Home::ready();
    let written = std::fs::read_to_string(home.path("strongroom.toml")).expect("readable");
    let rule = written.strip_prefix(strongroom::config::EXAMPLE).expect("the example, and more");
    assert!(rule.contains("[[sidecar.allow]]\nowner = true"), "{rule}");
}

#[test]
fn an_installation_can_be_moved_and_named() {
    let (home, other) = (Home::ready(), Home::empty());
    home.put("account.db", VALUE);
    crate::kit::copy_tree(home.dir.path(), &other.path("moved"));
    let config = other.path("moved/strongroom.toml");
    let config = config.to_str().expect("UTF-8");
    assert!(other.ok(&["get", "account.db", "--config", config]) == VALUE);
    let mut command = other.command(&["get", "account.db"]);
    let output = command.env("STRONGROOM_CONFIG", config).output().expect("it runs");
    assert!(output.stdout == VALUE.as_bytes());
}

#[test]
fn a_key_among_the_records_is_refused() {
    let home = Home::ready();
    home.configure("keys/local.kek", "records/local.kek");
    let said = home.fails(15, &["list"], b"");
    assert!(said.contains("lies in the records' directory"), "{said}");
}

#[test]
fn limits_of_guarded_memory_are_set() {
    let home = Home::ready();
    home.configure("max_locked_bytes = 67_108_864", "max_locked_bytes = 1");
    let output = home.run(&["list"], b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("max_locked_bytes is 1"), "{said}");
    home.configure("accept_unguarded_memory = false", "accept_unguarded_memory = true");
    home.ok(&["list"]);
}
