//! An installation of its own for each test, and the binary run on it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// The value of most tests: random enough to be found only where it was put.
pub(crate) const VALUE: &str = "s3cret-9f1c77ab04e2-canary";
/// Its base64 and hex, as somebody careless might write it.
const BASE64: &str = "czNjcmV0LTlmMWM3N2FiMDRlMi1jYW5hcnk";
const HEX: &str = "7333637265742d39663163373761623034653";

pub(crate) struct Home {
    pub(crate) dir: TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Home {
    /// An empty `STRONGROOM_HOME`.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let variables = vec![("STRONGROOM_HOME", dir.path().to_owned())];
        Self { dir, variables }
    }

    /// No `STRONGROOM_HOME`: a home directory, and one XDG folder elsewhere.
    pub(crate) fn xdg() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let variables =
            vec![("HOME", dir.path().join("home")), ("XDG_DATA_HOME", dir.path().join("data"))];
        Self { dir, variables }
    }

    /// With a store in it.
    pub(crate) fn ready() -> Self {
        let home = Self::empty();
        home.ok(&["init"]);
        home
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        // As a person's shell starts it: whatever runs the tests may ignore signals.
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal", env!("CARGO_BIN_EXE_strongroom")]);
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (*name, value)));
        // Enough for a slow machine that runs everything at once.
        if !args.contains(&"--wait") {
            command.args(["--wait", "120s"]);
        }
        command.args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, args: &[&str], stdin: &[u8]) -> Child {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("it starts");
        // It may end without reading.
        let _ = child.stdin.take().expect("piped").write_all(stdin);
        child
    }

    pub(crate) fn run(&self, args: &[&str], stdin: &[u8]) -> Output {
        self.start(args, stdin).wait_with_output().expect("it ends")
    }

    /// Runs what must succeed; gives stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        text(&succeeded(args, self.command(args).output().expect("it runs")))
    }

    /// The same with a JSON answer.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let answer = self.ok(&[args, &["--json"]].concat());
        assert_eq!(answer.trim_end().lines().count(), 1, "one document");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// A sidecar of this installation, as soon as it answers.
    pub(crate) fn serve(&self) -> Serving {
        Serving::started(self.command(&["serve", "--json", "--log-format", "json"]))
    }

    pub(crate) fn put(&self, name: &str, value: &str) -> String {
        text(&succeeded(&["put", name], self.run(&["put", name], value.as_bytes())))
    }

    /// Runs what must fail with `code`; gives stderr.
    pub(crate) fn fails(&self, code: i32, args: &[&str], stdin: &[u8]) -> String {
        let output = self.run(args, stdin);
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?} answers on stdout");
        assert!(!stderr.is_empty(), "{args:?} says nothing");
        stderr
    }

    /// Every file below the folder; a socket is none.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    files.push(path);
                }
            }
        }
        files
    }

    /// The files that contain the value in some spelling.
    pub(crate) fn files_with_the_value(&self) -> Vec<PathBuf> {
        let hit = |path: &PathBuf| {
            let content = fs::read(path).expect("readable");
            [VALUE, BASE64, HEX].iter().any(|needle| contains(&content, needle.as_bytes()))
        };
        self.files().into_iter().filter(hit).collect()
    }

    /// Changes the configuration.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let path = self.path("strongroom.toml");
        let text = fs::read_to_string(&path).expect("a configuration");
        assert!(text.contains(from), "{from}");
        fs::write(path, text.replace(from, to)).expect("written");
    }
}

/// A running sidecar; killed when it is dropped.
pub(crate) struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) socket: String,
}

impl Serving {
    pub(crate) fn started(mut command: Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("UTF-8");
        let Ok(ready) = serde_json::from_str::<serde_json::Value>(&line) else {
            let output = child.wait_with_output().expect("it ends");
            panic!("no sidecar: {}", String::from_utf8_lossy(&output.stderr));
        };
        assert_eq!(ready["pid"], child.id());
        let socket = ready["socket"].as_str().expect("a path").to_owned();
        Self { child, stdout, socket }
    }

    /// Ends it with `signal`; gives its exit code.
    pub(crate) fn end(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("UTF-8");
        assert!(rest.is_empty(), "one document is all: {rest}");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn succeeded(args: &[&str], output: Output) -> Output {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn the_search_for_the_value_finds_it_in_every_spelling() {
    let home = Home::empty();
    for spelling in [VALUE, BASE64, HEX] {
        fs::write(home.path("leak"), format!("x{spelling}x")).expect("written");
        assert_eq!(home.files_with_the_value().len(), 1, "{spelling}");
    }
}
