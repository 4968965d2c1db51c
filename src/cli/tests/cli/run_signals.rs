//! `strongroom run` while it runs: signals, terminals, and files that vanish.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::kit::Home;
use crate::run::ready;
use crate::terminal::Pty;

/// A command under way, whose output is read as it comes.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn of(home: &Home, options: &[&str], script: &str) -> Self {
        let args = [&["run"], options, &["--", "sh", "-c", script]].concat();
        Self::started(home.command(&args).stdin(Stdio::piped()))
    }

    fn started(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("UTF-8");
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn ended(&mut self) -> i32 {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("UTF-8");
        assert_eq!(rest, "");
        self.child.wait().expect("it ends").code().expect("a code")
    }
}

/// Says when it waits, and what came; ends with the code of the signal.
fn waiting_for(signal: &str) -> String {
    format!("trap 'echo {signal}; exit 9' {signal}; echo ready; read end")
}

#[test]
fn signals_are_passed_on() {
    let home = ready();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
        (Signal::ALARM, "ALRM"),
    ] {
        let script = waiting_for(name);
        let mut running = Running::of(&home, &["--env", "DB=account.db"], &script);
        assert_eq!(running.line(), "ready");
        running.signal(signal);
        assert_eq!(running.line(), name);
        assert_eq!(running.ended(), 9, "{name}");
    }
}

#[test]
fn a_command_that_a_signal_ends_gives_128_and_its_number() {
    let home = ready();
    let script = "echo ready; exec sleep 1000";
    let mut running = Running::of(&home, &["--env", "DB=account.db"], script);
    assert_eq!(running.line(), "ready");
    running.signal(Signal::TERM);
    assert_eq!(running.ended(), 128 + 15);
}

#[test]
fn what_was_ignored_stays_ignored() {
    let home = ready();
    let strongroom = env!("CARGO_BIN_EXE_strongroom");
    let inner = "kill -HUP $PPID; kill -HUP $$; echo alive";
    let script =
        format!("trap '' HUP; exec {strongroom} run --env DB=account.db -- sh -c '{inner}'");
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("STRONGROOM_HOME", home.dir.path())
        .output()
        .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n");
}

#[test]
fn a_prompt_is_seen_at_once_and_stdin_is_the_commands() {
    let home = ready();
    let script = "printf 'name: '; read name; echo \"hello $name, $DB\"";
    let mut running = Running::of(&home, &["--env", "DB=account.db"], script);
    let mut prompt = [0; 6];
    running.stdout.read_exact(&mut prompt).expect("a prompt");
    assert_eq!(&prompt, b"name: ");
    let stdin = running.child.stdin.as_mut().expect("piped");
    stdin.write_all(b"you\n").expect("written");
    assert_eq!(running.line(), "hello you, [masked]");
    assert_eq!(running.ended(), 0);
}

/// Ctrl-C goes to the whole job: a command that had it from us too would have it
/// twice. What a process sends is passed on.
#[test]
fn what_a_terminal_sends_comes_once() {
    let home = ready();
    let mut pty = Pty::open();
    let script = "n=0; trap 'n=$((n+1)); echo int $n' INT; trap 'echo end $n; exit 5' USR1; \
                  echo ready; while :; do read line; done";
    let strongroom = env!("CARGO_BIN_EXE_strongroom");
    let mut command = Command::new("/usr/bin/env");
    command
        .args(["--default-signal", "setsid"])
        .args(["--ctty", "--wait", strongroom, "run", "--no-masking", "--env", "DB=account.db"])
        .args(["--", "sh", "-c", script])
        .env("STRONGROOM_HOME", home.dir.path())
        .stdin(pty.end())
        .stdout(Stdio::piped());
    let mut running = Running::started(&mut command);
    drop(command);
    assert_eq!(running.line(), "ready");
    // Stopped, it sends nothing on before the command has had its own.
    let run = process_with(&[strongroom, "run"], home.dir.path());
    let send = |signal| kill_process(run, signal).expect("it runs");
    send(Signal::STOP);
    pty.type_line("\x03");
    assert_eq!(running.line(), "int 1");
    send(Signal::CONT);
    send(Signal::USR1);
    assert_eq!(running.line(), "end 1");
    let _ = running.child.wait();
}

/// The process that began with these arguments, in this home.
fn process_with(arguments: &[&str], home: &Path) -> Pid {
    let home = format!("STRONGROOM_HOME={}", home.display());
    let found = processes().into_iter().find(|(pid, words)| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        // Unreadable, except to root, once the process is hardened.
        let is_here = environ.is_empty() || String::from_utf8_lossy(&environ).contains(&home);
        is_here
            && words.iter().map(String::as_str).take(arguments.len()).eq(arguments.iter().copied())
    });
    Pid::from_raw(found.expect("it runs").0).expect("a process id")
}

fn processes() -> Vec<(i32, Vec<String>)> {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let words = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into());
        (pid, words.collect())
    };
    pids.map(words).collect()
}

/// By /proc/PID/stat (proc(5)), which is there from the first moment on.
fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[test]
fn files_are_private_in_memory_and_gone_with_the_command() {
    let home = ready();
    let script = "echo $F; stat -c %a $F $(dirname $F); stat -f -c %T $F; \
                  cmp $F - && echo same; read end";
    let mut running = Running::of(&home, &["--file", "F=account.db"], script);
    let path = PathBuf::from(running.line());
    assert_eq!([running.line(), running.line()], ["600", "700"]);
    assert_eq!(running.line(), "tmpfs");
    assert!(path.exists());
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    drop(running.child.stdin.take());
    running.ended();
    assert!(!path.parent().expect("a directory").exists());
}

#[test]
fn files_are_gone_when_a_signal_ends_all() {
    let home = ready();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let script = "echo $F; exec sleep 1000";
        let mut running = Running::of(&home, &["--file", "F=account.db"], script);
        let path = PathBuf::from(running.line());
        assert!(path.exists());
        running.signal(signal);
        assert_eq!(running.ended(), 128 + signal.as_raw());
        assert!(!path.parent().expect("a directory").exists());
    }
}

/// Nobody can catch SIGKILL; another process waits for the end of this one.
#[test]
fn files_are_gone_when_strongroom_is_killed() {
    let home = ready();
    let script = "echo $F; echo $$; exec sleep 1000";
    let mut running = Running::of(&home, &["--file", "F=account.db"], script);
    let path = PathBuf::from(running.line());
    let command = Pid::from_raw(running.line().parse().expect("a number")).expect("a process id");
    let directory = path.parent().expect("a directory").to_owned();
    assert!(path.exists());
    // Of its two children the one that is not the command.
    let ours =
        |pid: &i32| parent_of(*pid) == Some(running.child.id()) && *pid != command.as_raw_pid();
    let found = processes().into_iter().map(|(pid, _)| pid).find(ours);
    let watcher = Pid::from_raw(found.expect("a watcher")).expect("a process id");
    // What ends everybody who is asked to end does not end the watcher.
    kill_process(watcher, Signal::TERM).expect("it runs");
    let watcher = pidfd_open(watcher, PidfdFlags::empty()).expect("it runs");
    running.signal(Signal::KILL);
    poll(&mut [PollFd::new(&watcher, PollFlags::IN)], None).expect("it ends");
    assert!(!directory.exists());
    kill_process(command, Signal::KILL).expect("it runs");
    let _ = running.child.wait();
}
