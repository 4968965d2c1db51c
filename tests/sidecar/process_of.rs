//! A sidecar in a process of its own, whose memory is its alone.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use strongroom_kit::sidecar::metric;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sidecar-process");

/// A sidecar that runs. Dropping it ends it, and asserts that it ended well.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Process {
    /// Starts one with these settings of `[sidecar]`.
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_as(Command::new(PROGRAM), settings)
    }

    /// Starts one that has so many file descriptors.
    pub(crate) fn with_descriptors(count: usize, settings: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {count} && exec \"$@\""), "sh", PROGRAM]);
        Self::start_as(shell, settings)
    }

    fn start_as(mut command: Command, settings: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("strongroom.toml");
        std::fs::write(&config, format!("[sidecar]\n{settings}\n")).expect("written");
        command.arg("serve").arg(&config).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut path = String::new();
        output.read_line(&mut path).expect("its socket");
        let socket = PathBuf::from(path.trim_end());
        Self { child, input, output, socket, _dir: dir }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }

    /// The figure `name`; 0 if there is none as yet.
    pub(crate) fn metric(&mut self, name: &str) -> u64 {
        self.say("metrics");
        let mut text = String::new();
        while !text.ends_with("# EOF\n") {
            assert!(self.output.read_line(&mut text).expect("figures") > 0, "it is gone");
        }
        metric(&text, name).unwrap_or(0)
    }

    /// Whether nobody is connected and nothing under way.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.metric("strongroom_connections") == 0
            && self.metric("strongroom_requests_in_flight") == 0
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most that was ever resident, in bytes.
    pub(crate) fn most_resident(&self) -> usize {
        self.status("VmHWM:")
    }

    /// Whether each of its threads waits for something (`proc_pid_stat(5)`).
    pub(crate) fn sleeps(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut stats = threads.expect("its threads").map(|thread| {
            std::fs::read_to_string(thread.expect("a thread").path().join("stat"))
                .expect("its state")
        });
        stats.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')))
    }

    fn status(&self, field: &str) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = text.expect("its status");
        let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        let kib = line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number");
        kib * 1024
    }

    fn say(&mut self, command: &str) {
        let input = self.input.as_mut().expect("it runs");
        writeln!(input, "{command}").expect("it listens");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.say("end");
            let mut ended = String::new();
            self.output.read_line(&mut ended).expect("how it ended");
            assert_eq!(ended, "Ok(())\n");
        }
        drop(self.input.take());
        let status = self.child.wait().expect("it ends");
        assert!(status.success() || std::thread::panicking(), "{status}");
    }
}
