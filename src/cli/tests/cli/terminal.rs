//! On a terminal: a pty, with the binary at its other end.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::kit::{Home, VALUE, contains};

pub(crate) struct Pty {
    /// What a terminal emulator holds.
    ours: File,
    theirs: File,
}

impl Pty {
    pub(crate) fn open() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let theirs = OpenOptions::new().read(true).write(true).open(name).expect("the other end");
        Self { ours: File::from(ours), theirs }
    }

    pub(crate) fn end(&self) -> OwnedFd {
        self.theirs.as_fd().try_clone_to_owned().expect("a descriptor")
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.theirs).expect("modes").local_modes.contains(LocalModes::ECHO)
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        self.ours.write_all(line.as_bytes()).expect("typed");
    }

    /// Everything that was shown; the binary has ended.
    fn shown(self) -> Vec<u8> {
        let Self { mut ours, theirs } = self;
        drop(theirs);
        let mut shown = Vec::new();
        // The other end's closing is EIO here, after what it had written.
        let _ = ours.read_to_end(&mut shown);
        shown
    }
}

/// Starts a command with its stdin on the terminal, and waits for its prompt.
fn prompted(home: &Home, pty: &Pty, args: &[&str]) -> (Child, ChildStderr) {
    let mut child = home.command(args).stdin(pty.end()).spawn().expect("it starts");
    let mut stderr = child.stderr.take().expect("piped");
    read_until(&mut stderr, b": ");
    (child, stderr)
}

fn read_until(from: &mut impl Read, end: &[u8]) {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        let mut byte = [0];
        let read = from.read(&mut byte).expect("readable");
        assert_eq!(read, 1, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
}

#[test]
fn a_typed_value_is_asked_for_twice_and_never_shown() {
    let home = Home::ready();
    let mut pty = Pty::open();
    assert!(pty.echoes());
    let (child, mut stderr) = prompted(&home, &pty, &["put", "account.db"]);
    assert!(!pty.echoes());
    // ^U and backspace take back what was typed before them.
    pty.type_line(&format!("nonsense\u{15}{VALUE}é\u{7f}\n"));
    read_until(&mut stderr, b"Once more: ");
    pty.type_line(&format!("{VALUE}\n"));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert!(pty.echoes(), "the terminal is as it was");
    assert!(!contains(&pty.shown(), b"s3cret"));
    assert!(home.ok(&["get", "account.db"]) == VALUE);
}

#[test]
fn the_process_is_hardened_before_it_holds_a_secret() {
    let home = Home::ready();
    let pty = Pty::open();
    let (mut child, _stderr) = prompted(&home, &pty, &["put", "account.db"]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id()));
    let limits = limits.expect("readable");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let values: Vec<_> = core.expect("a limit").split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "no core file");
    child.kill().expect("killed");
    child.wait().expect("it ends");
}

#[test]
fn two_values_that_differ_change_nothing() {
    let home = Home::ready();
    let mut pty = Pty::open();
    let (child, mut stderr) = prompted(&home, &pty, &["put", "account.db"]);
    pty.type_line("one\n");
    read_until(&mut stderr, b"Once more: ");
    pty.type_line("two\n");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    home.fails(3, &["get", "account.db"], b"");
}

#[test]
fn a_passphrase_is_asked_for() {
    let home = Home::empty();
    let mut pty = Pty::open();
    let (child, mut stderr) = prompted(&home, &pty, &["init", "--protection", "passphrase"]);
    pty.type_line("correct horse\n");
    read_until(&mut stderr, b"Once more: ");
    pty.type_line("correct horse\n");
    assert!(child.wait_with_output().expect("it ends").status.success());
    for (typed, code) in [("correct horse\n", 0), ("battery staple\n", 8)] {
        let (child, _stderr) = prompted(&home, &pty, &["list"]);
        pty.type_line(typed);
        assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(code));
    }
}

#[test]
fn a_signal_at_the_prompt_restores_the_terminal() {
    let home = Home::ready();
    for (signal, code) in
        [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)]
    {
        let pty = Pty::open();
        let (mut child, _stderr) = prompted(&home, &pty, &["put", "account.db"]);
        assert!(!pty.echoes());
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal)
            .expect("signalled");
        assert_eq!(child.wait().expect("it ends").code(), Some(code));
        assert!(pty.echoes(), "the terminal is as it was");
    }
}

#[test]
fn a_binary_value_is_not_written_to_a_terminal() {
    let home = Home::ready();
    assert!(home.run(&["put", "account.b"], b"\x1b[2Jbinary\0").status.success());
    home.put("account.t", VALUE);
    for (name, code) in [("account.b", 2), ("account.t", 0)] {
        let pty = Pty::open();
        let mut command = home.command(&["get", name]);
        let output = command.stdout(Stdio::from(pty.end())).output().expect("it runs");
        drop(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        let shown = pty.shown();
        if code == 0 {
            assert!(shown == format!("{VALUE}\r\n").as_bytes(), "and a newline after it");
        } else {
            assert!(shown.is_empty() && said.contains("--output FILE"), "{said}");
        }
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let home = Home::ready();
    let coloured = |variable: Option<&str>, terminal: bool| {
        let pty = Pty::open();
        let mut command = home.command(&["check"]);
        command.env("TERM", "xterm");
        if let Some(variable) = variable {
            command.env(variable, "1");
        }
        if terminal {
            command.stdout(Stdio::from(pty.end()));
        }
        let output = command.output().expect("it runs");
        drop(command);
        assert!(output.status.success());
        contains(&[output.stdout, pty.shown()].concat(), b"\x1b[")
    };
    assert!(coloured(None, true));
    assert!(!coloured(Some("NO_COLOR"), true));
    assert!(!coloured(None, false));
}

/// Whoever was faster with the store has become a sidecar.
#[test]
fn a_sidecar_that_came_while_a_value_was_typed_is_used() {
    let home = Home::ready();
    let mut pty = Pty::open();
    let (child, mut stderr) = prompted(&home, &pty, &["put", "account.db"]);
    let serving = home.serve();
    pty.type_line(&format!("{VALUE}\n"));
    read_until(&mut stderr, b"Once more: ");
    pty.type_line(&format!("{VALUE}\n"));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(home.ok(&["get", "account.db", "--socket", &serving.socket]) == VALUE);
}
