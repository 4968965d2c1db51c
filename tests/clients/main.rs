//! Clients as their users would write them, on stock gRPC libraries for Python
//! and Node: nothing of ours but the .proto file, no option set.
//!
//! The libraries are installed below cargo's target directory, at the versions
//! that are written here, and kept for the next run.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use strongroom_client::Client;
use strongroom_core::{PutOptions, SecretBytes, Select};
use strongroom_kit::daemon::{ALLOW_OWNER, Home};
use strongroom_kit::python;
use strongroom_kit::random::Random;
use strongroom_kit::sha256_hex;

/// The folder that the protocol's file is found in.
fn protocol() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/rpc/proto")
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// A value that goes on a line.
fn value() -> String {
    sha256_hex(&Random::fresh().0.bytes(16))
}

#[tokio::test(flavor = "multi_thread")]
async fn five_lines_of_python_read_a_secret() {
    let (home, value) = (Home::new(ALLOW_OWNER), value());
    let sidecar = home.start();
    put(&home, "account.db", &value).await;
    let read = python("read.py", [home.socket().as_os_str(), "account.db".as_ref()], "");
    assert!(read == value, "another value was read");
    sidecar.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn python_puts_gets_understands_errors_and_watches() {
    let (home, first, second) = (Home::new(ALLOW_OWNER), value(), value());
    let sidecar = home.start();
    let input = format!("{first}\n{second}\n");
    let told = python("tour.py", [home.socket().as_os_str()], &input);
    let expected = "\
        put and got version 1\n\
        rendered\n\
        missing: NOT_FOUND NOT_FOUND\n\
        again: ALREADY_EXISTS ALREADY_EXISTS\n\
        watched: CHANGE_PRESENT 1\n\
        watched: CHANGE_SYNCED \n\
        watched: CHANGE_PUT 2\n\
        called as localhost\n\
        called as /run/sidecar.sock\n\
        called as %2Frun%2Fsidecar.sock\n\
        called as run%2Fsidecar.sock\n";
    assert_eq!(told, expected);
    assert!(get(&home, "account.python").await == second, "another value was written");
    sidecar.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_puts_gets_understands_errors_and_watches() {
    let (home, first, second) = (Home::new(ALLOW_OWNER), value(), value());
    let sidecar = home.start();
    let mut node = Command::new("node");
    node.arg(here("node/tour.js")).arg(protocol()).arg(home.socket());
    node.env("NODE_PATH", node_modules());
    let told = run(&mut node, &format!("{first}\n{second}\n"));
    let expected = "\
        put and got version 1\n\
        missing: NOT_FOUND NOT_FOUND\n\
        again: ALREADY_EXISTS ALREADY_EXISTS\n\
        watched: CHANGE_PRESENT 1\n\
        watched: CHANGE_SYNCED\n\
        watched: CHANGE_PUT 2\n";
    assert_eq!(told, expected);
    assert!(get(&home, "account.node").await == second, "another value was written");
    sidecar.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_is_enough_to_read_a_secret() {
    let (home, value) = (Home::new(ALLOW_OWNER), value());
    let sidecar = home.start();
    put(&home, "account.db", &value).await;
    let told = python("explore.py", [home.socket().as_os_str(), "account.db".as_ref()], "");
    for line in [
        "service grpc.health.v1.Health",
        "service strongroom.v1.Strongroom",
        "details reason domain metadata",
        "method Get GetRequest GetResponse",
        "method Upload UploadRequest UploadResponse",
        "method Open OpenRequest OpenResponse",
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not told");
    }
    assert!(told.ends_with(&format!("value {value}\n")), "another value was read");
    sidecar.end();
}

async fn put(home: &Home, name: &str, value: &str) {
    let client = Client::connect(home.socket()).await.expect("connected");
    let value = SecretBytes::copy_from(value.as_bytes()).expect("guarded memory");
    client.put(name, &value, &PutOptions::default()).await.expect("put");
}

async fn get(home: &Home, name: &str) -> String {
    let client = Client::connect(home.socket()).await.expect("connected");
    let secret = client.get(name, &Select::Latest).await.expect("got");
    String::from_utf8(secret.value.expose().to_vec()).expect("text")
}

fn python<'a>(script: &str, arguments: impl IntoIterator<Item = &'a OsStr>, input: &str) -> String {
    let mut python = Command::new(python_with_grpc());
    python.arg(here("python").join(script)).args(arguments);
    python.env("PYTHONPATH", protocol()).env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut python, input)
}

/// What the program says; it must succeed.
fn run(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("the program listens");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    let told = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{command:?}: {}, after {told}", output.status);
    told
}

/// A Python with the libraries of `requirements.txt`.
fn python_with_grpc() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| python::with(include_str!("python/requirements.txt"), within()))
}

/// The libraries of `package-lock.json`, as they were installed for the same one
/// before, or are now.
fn node_modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        let files = ["package.json", "package-lock.json"].map(|name| here("node").join(name));
        let wanted: Vec<u8> = files.iter().flat_map(|file| fs::read(file).expect("read")).collect();
        let folder = within().join(format!("node-{}", &sha256_hex(&wanted)[..16]));
        let done = folder.join("complete");
        if !done.exists() {
            // What an installation that was interrupted left.
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).expect("a folder");
            for file in &files {
                fs::copy(file, folder.join(file.file_name().expect("a name"))).expect("copied");
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
            run(npm.current_dir(&folder), "");
            fs::write(done, "").expect("noted");
        }
        folder.join("node_modules")
    })
}

fn within() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
