//! `strongroom render`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::kit::{Home, VALUE};

fn ready() -> Home {
    let home = Home::ready();
    home.put("account.db", VALUE);
    home
}

fn path(home: &Home, name: &str) -> String {
    home.path(name).to_str().expect("UTF-8").to_owned()
}

const TEMPLATE: &str = "user=web\npassword=<+secrets.getValue(\"account.db\")>\nenv=<+env.name>\n";

fn filled() -> String {
    format!("user=web\npassword={VALUE}\nenv=<+env.name>\n")
}

#[test]
fn a_template_is_filled_to_stdout_from_a_file_and_from_stdin() {
    let home = ready();
    fs::write(home.path("t"), TEMPLATE).expect("written");
    assert!(home.ok(&["render", &path(&home, "t")]) == filled());
    let output = home.run(&["render", "-"], TEMPLATE.as_bytes());
    assert!(output.status.success() && output.stdout == filled().as_bytes());
    let answer = home.json(&["render", &path(&home, "t")]);
    assert_eq!(answer["secrets"], serde_json::json!(["account.db"]));
    assert!(answer["text"] == filled());
    let output = home.run(&["render", "-", "--json"], b"\xff");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["text_base64"], "/w==");
}

#[test]
fn a_file_is_written_wholly_or_not_at_all_for_its_owner_only() {
    let home = ready();
    let (template, out) = (path(&home, "t"), path(&home, "out"));
    fs::write(&template, TEMPLATE).expect("written");
    fs::write(&out, "old").expect("written");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o644)).expect("chmod");

    fs::write(
        home.path("bad"),
        "x<+secrets.getValue('account.db')><+secrets.getValue('account.no')>",
    )
    .expect("written");
    home.fails(3, &["render", &path(&home, "bad"), "--output", &out], b"");
    assert_eq!(fs::read_to_string(&out).expect("read"), "old");

    let said = home.ok(&["render", &template, "--output", &out]);
    assert!(said.contains("with 1 secret") && !said.contains(VALUE), "{said}");
    assert!(fs::read_to_string(&out).expect("read") == filled());
    let mode = fs::metadata(&out).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let answer = home.json(&["render", &template, "--output", &out]);
    assert_eq!(answer["bytes"], filled().len());
    let beside = fs::read_dir(home.dir.path()).expect("listed").flatten();
    let names: Vec<_> = beside.map(|entry| entry.file_name()).collect();
    let left = names.iter().filter(|name| name.to_string_lossy().contains("out")).count();
    assert_eq!(left, 1, "nothing is left over: {names:?}");
}

#[test]
fn errors_say_where_and_what_to_do() {
    let home = ready();
    for (code, template, said) in [
        (6, "a\n <+secrets.getValue(account.db)>", "line 2, column 21: the name of a secret"),
        (6, "<+secrets.getValue(\"account.db\"", "has no end"),
        (3, "<+secrets.getValue(\"account.no\")>", "account.no: there is no such secret"),
        (6, "<+secrets.getValue(\"db\")>", "write account.NAME"),
        (13, "<+secrets.getValue(\"account.azurevault://c/p\")>", "external store"),
    ] {
        let error = home.fails(code, &["render", "-"], template.as_bytes());
        assert!(error.contains(said), "{template}: {error}");
    }
    home.fails(9, &["render", &path(&home, "none")], b"");
}

/// A parent scope never sees a child's secrets, and a child its parents'.
#[test]
fn names_are_read_in_the_scope() {
    let home = Home::empty();
    home.ok(&["init", "--account", "acme"]);
    home.configure("account = \"acme\"", "account = \"acme\"\norg = \"ops\"\nproject = \"web\"");
    home.put("db", "of-the-project");
    home.put("account.db", "of-the-account");
    let template = b"<+secrets.getValue('db')> <+secrets.getValue('account.db')>";
    let output = home.run(&["render", "-"], template);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "of-the-project of-the-account");
    let error = home.fails(6, &["render", "-", "--scope", "account"], template);
    assert!(error.contains("`db` names a secret of a project"), "{error}");
}

#[test]
fn the_sidecar_renders_the_same() {
    let home = ready();
    let serving = home.serve();
    let output = home.run(&["render", "-", "--socket", &serving.socket], TEMPLATE.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == filled().as_bytes());
    let error = home.fails(3, &["render", "-"], b"<+secrets.getValue('account.no')>");
    assert!(error.contains("there is no such secret"), "{error}");
}
