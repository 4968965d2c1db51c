//! `strongroom serve` as a process of its own, for the tests that look at it
//! from outside: with a store, a socket and a log in a temporary directory.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use strongroom::{Config, OpenOptions};
use tempfile::TempDir;

use crate::{binary, block_on, embedded};

/// After this time something that was expected will not come any more.
const PATIENCE: Duration = Duration::from_mins(1);

/// Allows this user everything.
pub const ALLOW_OWNER: &str =
    "[[sidecar.allow]]\nowner = true\nnames = [\"**\"]\nverbs = [\"all\"]\n";

/// A directory with a configuration, and the store that it describes.
#[derive(Debug)]
pub struct Home(TempDir);

impl Home {
    /// One whose configuration says `more`, besides the account.
    #[must_use]
    pub fn new(more: &str) -> Self {
        let home = Self(tempfile::tempdir().expect("a directory"));
        home.configure(more);
        drop(block_on(home.config().create(OpenOptions::default())).expect("a store"));
        home
    }

    /// Replaces what the configuration says.
    pub fn configure(&self, more: &str) {
        let text = format!("[scope]\naccount = \"{}\"\n{more}", embedded::ACCOUNT);
        fs::write(self.config_file(), text).expect("the configuration is written");
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The configuration's file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.path().join("strongroom.toml")
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        Config::load(&self.config_file()).expect("a configuration")
    }

    /// Where the socket is once a sidecar serves.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.config().socket_path()
    }

    /// What starts the sidecar.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command_of(binary::strongroom())
    }

    /// What starts the sidecar with another program, called as ours is.
    #[must_use]
    pub fn command_of(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.args(["serve", "--config"]).arg(self.config_file());
        command.args(["--log-format", "json", "--log-level", "trace"]);
        command
    }

    /// A sidecar that serves.
    #[must_use]
    pub fn start(&self) -> Daemon {
        Daemon::start(self.command())
    }
}

/// A sidecar. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    ended: bool,
}

impl Daemon {
    /// Runs `command` and waits until it serves.
    #[must_use]
    pub fn start(command: Command) -> Self {
        let sidecar = Self::launch(command);
        sidecar.wait_for("\"serving\"", 0);
        sidecar
    }

    /// Runs `command`.
    #[must_use]
    pub fn launch(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the sidecar starts");
        let (log, errors) = (Arc::<Log>::default(), child.stderr.take().expect("a pipe"));
        let kept = Arc::clone(&log);
        thread::spawn(move || kept.read(errors));
        Self { child, log }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the sidecar is there");
    }

    /// Waits for a line with `text` in its log, of those after the first `from`.
    pub fn wait_for(&self, text: &str, from: usize) -> String {
        let began = Instant::now();
        let mut lines = self.log.lines();
        loop {
            if let Some(line) = lines.all.iter().skip(from).find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = PATIENCE.saturating_sub(began.elapsed());
            let all = lines.all.join("\n");
            assert!(!lines.ended, "the sidecar ended without {text}:\n{all}");
            assert!(!left.is_zero(), "the sidecar does not say {text}:\n{all}");
            lines = self.log.more.wait_timeout(lines, left).expect("not poisoned").0;
        }
    }

    /// How many lines it has logged.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.log.lines().all.len()
    }

    /// Has it read its configuration again, and waits for the line with
    /// `outcome` in it.
    pub fn reload(&self, outcome: &str) -> String {
        let from = self.lines();
        self.signal(Signal::HUP);
        self.wait_for(outcome, from)
    }

    /// Waits until it has ended: its status, and all that it logged.
    #[must_use]
    pub fn ended(mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        let mut lines = self.log.lines();
        while !lines.ended {
            let left = PATIENCE.saturating_sub(began.elapsed());
            assert!(!left.is_zero(), "the sidecar does not end:\n{}", lines.all.join("\n"));
            lines = self.log.more.wait_timeout(lines, left).expect("not poisoned").0;
        }
        let all = lines.all.join("\n");
        drop(lines);
        (self.child.wait().expect("its status"), all)
    }

    /// Tells it to end, and waits for that.
    pub fn end(self) {
        self.signal(Signal::TERM);
        let (status, log) = self.ended();
        assert!(status.success(), "{status}:\n{log}");
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
    }

    /// Its metrics, from where the line of its log after the first `from` says.
    #[must_use]
    pub fn metrics(&self, from: usize) -> String {
        let line = self.wait_for("\"metrics are served\"", from);
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let address = line["fields"]["address"].as_str().expect("an address");
        let address: SocketAddr = address.parse().expect("an address");
        let mut stream = TcpStream::connect(address).expect("metrics are served");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended, or is of no use any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("not poisoned")
    }

    fn read(&self, errors: ChildStderr) {
        for line in BufReader::new(errors).lines() {
            let Ok(line) = line else { break };
            self.lines().all.push(line);
            self.more.notify_all();
        }
        self.lines().ended = true;
        self.more.notify_all();
    }
}
