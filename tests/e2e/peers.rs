//! Callers that really are another user: what keeps them out, what lets them in,
//! and what the audit log knows of them.
//!
//! Only root can become somebody else: anybody else is told that nothing was
//! tested, except where `CI` is set, where that is a failure.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use strongroom_client::Client;
use strongroom_core::{PutOptions, SecretBytes};
use strongroom_kit::daemon::{ALLOW_OWNER, Home};

/// nobody's number on every Linux.
const STRANGER: u32 = 65_534;

const VERBS: [&str; 15] = [
    "get", "batch", "download", "put", "upload", "list", "versions", "delete", "restore", "purge",
    "watch", "seal", "open", "status", "check",
];

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!in_ci, "these tests need root, to run callers as another user");
    // Past the capture of the test harness.
    let warning = "NOT TESTED: callers of another user; run these tests as root\n";
    let _ = fs::write("/dev/stderr", warning);
    false
}

/// A home that others can reach, with the caller's program in it.
struct Place {
    home: Home,
    program: PathBuf,
}

impl Place {
    fn new(more: &str) -> Self {
        let home = Home::new(more);
        fs::set_permissions(home.path(), Permissions::from_mode(0o711)).expect("opened");
        let program = home.path().join("caller");
        fs::copy(env!("CARGO_BIN_EXE_peer-client"), &program).expect("copied");
        Self { home, program }
    }

    /// What a caller with this user and group is told, and its process.
    fn call(&self, program: &Path, uid: u32, gid: u32, wanted: &[String]) -> (Vec<String>, u32) {
        let child = Command::new(program)
            .arg(self.home.socket())
            .args(wanted)
            .uid(uid)
            .gid(gid)
            .current_dir("/")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the caller starts");
        let pid = child.id();
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", output.status);
        let told = String::from_utf8(output.stdout).expect("text");
        (told.lines().map(str::to_owned).collect(), pid)
    }

    fn strange(&self, wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<_> = wanted.iter().map(|&wanted| wanted.to_owned()).collect();
        self.call(&self.program, STRANGER, STRANGER, &wanted).0
    }
}

#[test]
fn a_socket_of_its_owner_lets_nobody_else_connect() {
    if !is_root() {
        return;
    }
    for mode in ["0600", "0660"] {
        let anyone = "[[sidecar.allow]]\nanyone = true\nnames = [\"**\"]\nverbs = [\"all\"]\n";
        let place = Place::new(&format!("[sidecar]\nsocket_mode = \"{mode}\"\n{anyone}"));
        let sidecar = place.home.start();
        // Its group, which is root's here, could with 0660.
        let opened = place.home.socket().parent().expect("a folder").to_owned();
        fs::set_permissions(opened, Permissions::from_mode(0o755)).expect("opened");
        assert_eq!(place.strange(&["get:account.a"]), ["connect access_denied"], "{mode}");
        sidecar.end();
    }
}

#[test]
fn without_a_rule_everything_is_denied_and_recorded() {
    if !is_root() {
        return;
    }
    let place = Place::new(&format!("[sidecar]\nsocket_mode = \"0666\"\n{ALLOW_OWNER}"));
    let sidecar = place.home.start();
    let wanted = VERBS.map(|verb| format!("{verb}:account.a"));
    let (told, pid) = place.call(&place.program, STRANGER, STRANGER, &wanted);
    assert_eq!(told, wanted.clone().map(|wanted| format!("{wanted} access_denied")));
    // The rules decide, not the socket: its owner may.
    let (told, _) = place.call(&place.program, 0, 0, &["put:account.a".to_owned()]);
    assert_eq!(told, ["put:account.a ok"]);
    sidecar.end();

    let lines = audit_of(&place, pid);
    for line in &lines {
        assert_eq!(line["actor"]["uid"], STRANGER, "{line}");
        assert_eq!(line["actor"]["pid"], pid, "{line}");
        assert_eq!(line["actor"]["executable"], place.program.to_str().expect("text"), "{line}");
    }
    assert_eq!(lines.len(), VERBS.len(), "one line for each refusal: {lines:?}");
}

#[test]
fn a_rule_gives_exactly_what_it_says_to_a_user_a_group_or_a_program() {
    if !is_root() {
        return;
    }
    let (group, other) = (STRANGER - 1, STRANGER - 2);
    let place = Place::new("");
    let second = place.home.path().join("second");
    fs::copy(&place.program, &second).expect("copied");
    let rules = [
        (format!("uid = {STRANGER}\nexecutable = {:?}", place.program), "account.u-*"),
        (format!("gid = {group}"), "account.g-*"),
        (format!("executable = {second:?}"), "account.x-*"),
    ];
    let rules = rules.map(|(who, names)| {
        format!("[[sidecar.allow]]\n{who}\nnames = [{names:?}]\nverbs = [\"get\"]\n")
    });
    let mode = "[sidecar]\nsocket_mode = \"0666\"\n";
    place.home.configure(&format!("{mode}{ALLOW_OWNER}{}", rules.concat()));
    let sidecar = place.home.start();
    fill(&place.home);

    let names = ["u", "g", "x"];
    let wanted: Vec<_> = names
        .iter()
        .flat_map(|name| ["get", "put"].map(|verb| format!("{verb}:account.{name}-1")))
        .collect();
    for (program, uid, gid, allowed) in [
        (&place.program, STRANGER, STRANGER, &["u"][..]),
        (&place.program, STRANGER, group, &["u", "g"]),
        (&place.program, other, group, &["g"]),
        (&place.program, other, other, &[]),
        (&second, STRANGER, STRANGER, &["x"]),
        (&second, other, group, &["g", "x"]),
    ] {
        let told = place.call(program, uid, gid, &wanted).0;
        let expected: Vec<_> = wanted
            .iter()
            .map(|wanted| {
                let may = allowed.iter().any(|name| *wanted == format!("get:account.{name}-1"));
                format!("{wanted} {}", if may { "ok" } else { "access_denied" })
            })
            .collect();
        assert_eq!(told, expected, "{program:?} as {uid}:{gid}");
    }
    sidecar.end();
}

fn fill(home: &Home) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(home.socket()).await.expect("connected");
        let value = SecretBytes::copy_from(b"v").expect("guarded memory");
        for name in ["account.u-1", "account.g-1", "account.x-1"] {
            client.put(name, &value, &PutOptions::default()).await.expect("put");
        }
    });
}

/// The lines of the audit log on what the process `pid` was denied.
fn audit_of(place: &Place, pid: u32) -> Vec<serde_json::Value> {
    let log = place.home.config().audit_path().expect("an audit log");
    let log = fs::read_to_string(log).expect("read");
    let lines = log.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.filter(|line: &serde_json::Value| line["actor"]["pid"] == pid).collect()
}
