//! Logins, certificates, SSH keys, descriptions, tags and references, as commands.

use std::fs;

use crate::kit::{Home, VALUE};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n";
const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nREVG\n-----END CERTIFICATE-----\n";

fn put(home: &Home, args: &[&str], stdin: &str) {
    let output = home.run(&[&["put"], args].concat(), stdin.as_bytes());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_login_has_a_user_and_a_password() {
    let home = Home::ready();
    put(&home, &["account.app", "--user", "shop"], VALUE);
    assert!(home.ok(&["get", "account.app", "--field", "password"]) == VALUE);
    assert_eq!(home.ok(&["get", "account.app", "--field", "user"]), "shop");
    let document = home.json(&["get", "account.app"]);
    assert_eq!((&document["kind"], &document["fields"]["user"]), (&"login".into(), &"shop".into()));
    assert!(document["fields"]["password"] == VALUE);
    assert!(home.json(&["get", "account.app", "--field", "password"])["value"] == VALUE);
    assert_eq!(home.json(&["versions", "account.app"])["versions"][0]["kind"], "login");
    // As it is stored, through stdin and from a file.
    let stored = home.ok(&["get", "account.app"]);
    put(&home, &["account.same", "--kind", "login"], &stored);
    fs::write(home.path("password"), VALUE).expect("written");
    let file = home.path("password");
    let file = file.to_str().expect("UTF-8");
    put(&home, &["account.of-file", "--user", "shop", "--file", file], "");
    for name in ["account.same", "account.of-file"] {
        assert!(home.ok(&["get", name]) == stored, "{name}");
    }
    fs::remove_file(file).expect("removed");
    assert!(home.files_with_the_value().is_empty());
    let said = home.fails(3, &["get", "account.app", "--field", "key"], b"");
    assert!(said.contains("user and password"), "{said}");
    assert!(said.contains("account.app"), "{said}");
}

#[test]
fn a_certificate_and_an_ssh_key_have_parts() {
    let home = Home::ready();
    for (name, content) in [("chain.pem", CHAIN), ("key.pem", KEY)] {
        fs::write(home.path(name), content).expect("written");
    }
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| home.path(name));
    let [chain, key] = [&chain, &key].map(|path| path.to_str().expect("UTF-8"));
    put(&home, &["account.tls", "--cert", chain, "--key", key], "");
    assert!(home.ok(&["get", "account.tls", "--field", "certificate"]) == CHAIN);
    assert!(home.ok(&["get", "account.tls", "--field", "key"]) == KEY);
    put(&home, &["account.both", "--kind", "certificate"], &format!("{KEY}{CHAIN}"));
    assert_eq!(home.json(&["versions", "account.both"])["versions"][0]["kind"], "certificate");

    put(&home, &["account.ssh", "--kind", "ssh-key", "--file", key], "");
    let to = home.path("back");
    let to = to.to_str().expect("UTF-8");
    let told = home.json(&["get", "account.ssh", "--field", "private-key", "--output", to]);
    assert_eq!(told["bytes"], KEY.len());
    assert!(fs::read(to).expect("written") == KEY.as_bytes());
    let fields = &home.json(&["get", "account.ssh"])["fields"];
    assert!(fields["private-key"] == KEY && fields["public-key"].is_null());
}

#[test]
fn what_is_not_of_its_kind_is_refused_and_not_shown() {
    let home = Home::ready();
    for kind in ["login", "certificate", "ssh-key"] {
        let said = home.fails(6, &["put", "account.x", "--kind", kind], VALUE.as_bytes());
        assert!(!said.contains(VALUE), "a value is shown");
        assert!(!said.contains("a name is account.NAME"), "a hint about names: {said}");
    }
    for args in [
        &["--kind", "ssh-key", "--user", "me"][..],
        &["--kind", "login", "--reference", "a://b"],
        &["--user", "me", "--reference", "a://b"],
        &["--cert", "x.pem"],
        &["--unchecked"],
    ] {
        home.fails(2, &[&["put", "account.x"], args].concat(), b"");
    }
    assert!(home.json(&["list"])["secrets"].as_array().expect("a list").is_empty());
}

#[test]
fn descriptions_and_tags_are_listed_and_changed() {
    let home = Home::ready();
    put(
        &home,
        &["account.a", "--description", "the shop", "--tag", "env=prod", "--tag", "pci"],
        "x",
    );
    put(&home, &["account.b", "--tag", "env=test"], "y");
    home.put("account.c", "z");
    let names = |args: &[&str]| -> Vec<String> {
        let listed = home.json(&[&["list"], args].concat());
        let listed = listed["secrets"].as_array().expect("a list").iter();
        listed.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&[]), ["account.a", "account.b", "account.c"]);
    assert_eq!(names(&["--tag", "env"]), ["account.a", "account.b"]);
    assert_eq!(names(&["--tag", "env=prod"]), ["account.a"]);
    assert_eq!(names(&["--tag", "env=test", "--tag", "pci"]), [""; 0]);
    let shown = home.ok(&["list"]);
    assert!(
        shown.lines().next().expect("a line").ends_with("[env=prod] [pci] the shop"),
        "{shown}"
    );

    // A new version leaves them, and they are changed alone.
    home.put("account.a", "new");
    let changed = home.json(&["describe", "account.a", "--untag", "pci", "--tag", "env=old"]);
    assert_eq!(changed["description"], "the shop");
    assert_eq!(changed["tags"], serde_json::json!({ "env": "old" }));
    let listed = home.json(&["list"]);
    assert_eq!(listed["secrets"][0]["tags"], changed["tags"]);
    assert_eq!(listed["secrets"][0]["version"], "2");
    let cleared = home.json(&["describe", "account.a", "--clear", "--description", "new"]);
    assert_eq!(
        (&cleared["description"], &cleared["tags"]),
        (&"new".into(), &serde_json::json!({}))
    );

    home.fails(2, &["describe", "account.a"], b"");
    home.fails(2, &["describe", "account.a", "--tag", "a", "--tag", "a=b"], b"");
    home.fails(3, &["describe", "account.none", "--tag", "a"], b"");
    home.fails(14, &["describe", "account.a", "--description", &"x".repeat(1025)], b"");
    let log = home.ok(&["audit", "show", "--operation", "describe"]);
    assert!(log.contains("describe  ...") && log.contains("not_found"), "{log}");
    home.ok(&["audit", "verify"]);
}

#[test]
fn a_reference_is_read_where_it_leads() {
    let (home, other) = (Home::ready(), Home::ready());
    put(&other, &["account.app", "--user", "shop"], VALUE);
    let config = other.path("strongroom.toml");
    let entry = format!(
        "[[store.references]]\nname = \"other\"\ntype = \"strongroom\"\nconfig = {config:?}\n"
    );
    home.configure("\n[kek]\n", &format!("\n{entry}\n[kek]\n"));
    put(&home, &["account.db", "--reference", "other://account.app#password"], "");
    assert!(home.ok(&["get", "account.db"]) == VALUE);
    assert_eq!(home.ok(&["get", "account.db", "--raw"]), "other://account.app#password");
    assert_eq!(home.json(&["get", "account.db", "--raw"])["kind"], "reference");
    assert_eq!(home.json(&["list"])["secrets"][0]["kind"], "reference");
    assert_eq!(home.json(&["versions", "account.db"])["versions"][0]["kind"], "reference");
    put(&home, &["account.all", "--reference", "other://account.app"], "");
    assert_eq!(home.ok(&["get", "account.all", "--field", "user"]), "shop");
    let text = "<+secrets.getValue(\"account.db\")>";
    let rendered = home.run(&["render", "-"], text.as_bytes());
    assert!(rendered.stdout == VALUE.as_bytes(), "an expression reads what a reference leads to");

    let nowhere = ["put", "account.no", "--reference", "other://account.none"];
    let said = home.fails(3, &nowhere, b"");
    assert!(said.contains("other://account.none"), "{said}");
    put(&home, &["account.no", "--reference", "other://account.none", "--unchecked"], "");
    home.fails(3, &["get", "account.no"], b"");
    let said = home.fails(15, &["put", "account.x", "--reference", "aws://a#b"], b"");
    assert!(said.contains("the configuration has other"), "{said}");

    // The original stays, whatever becomes of the reference.
    home.ok(&["delete", "account.db"]);
    home.ok(&["purge", "account.db", "--yes"]);
    assert!(other.ok(&["get", "account.app", "--field", "password"]) == VALUE);
    assert!(home.files_with_the_value().is_empty() && other.files_with_the_value().is_empty());

    // The same through a sidecar.
    let _serving = home.serve();
    put(&home, &["account.db", "--reference", "other://account.app#password"], "");
    assert!(home.ok(&["get", "account.db"]) == VALUE);
    assert_eq!(home.ok(&["get", "account.db", "--raw"]), "other://account.app#password");
    let to = home.path("back");
    let told = home.json(&["get", "account.db", "--output", to.to_str().expect("UTF-8")]);
    assert_eq!(told["bytes"], VALUE.len());
    home.fails(3, &nowhere, b"");
}
