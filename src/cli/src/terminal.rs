//! Asking a person: for a secret, without showing it, and for a decision.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use strongroom::{Error, SecretBytes};

use crate::failure::{Failure, Result};

/// The longest secret that is typed or pasted, in bytes; a longer one comes
/// from a file or through stdin.
const MAX_TYPED_BYTES: usize = 4096;
/// The signals that end a prompt.
const SIGNALS: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Asks for a secret twice and compares.
pub(crate) fn ask_twice(prompt: &str) -> Result<SecretBytes> {
    let first = ask_once(prompt)?;
    let second = ask_once("Once more: ")?;
    if first == second {
        return Ok(first);
    }
    Err(Failure::Usage("the two are not the same: nothing was changed".to_owned()))
}

/// Asks for a secret. What is typed is not shown, and goes from the terminal
/// straight into guarded memory.
pub(crate) fn ask_once(prompt: &str) -> Result<SecretBytes> {
    let tty = open_terminal()?;
    // In this order: signals are let through again after the echo is back.
    let signals = Signals::catch()?;
    let _quiet = Quiet::begin(tty.as_fd())?;
    let mut err = io::stderr();
    write!(err, "{prompt}").and_then(|()| err.flush())?;
    let answer = read_line(tty.as_fd(), &signals);
    writeln!(err)?;
    answer
}

/// Asks for something that is no secret.
pub(crate) fn ask_in_clear(prompt: &str) -> Result<String> {
    let mut err = io::stderr();
    write!(err, "{prompt}").and_then(|()| err.flush())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "" => Err(Failure::Usage("nothing was typed".to_owned())),
        answer => Ok(answer.to_owned()),
    }
}

/// Asks a question on a terminal; only `y` and `yes` are a yes.
pub(crate) fn confirm(question: &str) -> Result<bool> {
    let mut err = io::stderr();
    write!(err, "{question} [y/N] ").and_then(|()| err.flush())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// Stdin where it is a terminal, otherwise the process's own terminal, so that
/// a passphrase can be asked for while a value comes through a pipe.
fn open_terminal() -> Result<OwnedFd> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(stdin.as_fd().try_clone_to_owned()?);
    }
    File::open("/dev/tty").map(OwnedFd::from).map_err(|error| {
        let what = "nobody can be asked for a passphrase, as there is no terminal: set [kek] \
                    passphrase to env:NAME or file:PATH";
        Error::configuration(what).with_source(error).into()
    })
}

/// Reads to the end of the line, with the keys that a terminal's own line
/// editing has. That one is off, since it cuts a line at 4095 bytes silently.
fn read_line(tty: BorrowedFd<'_>, signals: &Signals) -> Result<SecretBytes> {
    let too_long = || {
        Failure::Usage(format!(
            "more than {MAX_TYPED_BYTES} bytes were typed: use --file, or a pipe"
        ))
    };
    let mut line = SecretBytes::zeroed(MAX_TYPED_BYTES)?;
    let mut len = 0;
    loop {
        signals.wait_for(tty)?;
        let free = line.expose_mut().get_mut(len..=len).ok_or_else(too_long)?;
        if rustix::io::read(tty, &mut *free).map_err(io::Error::from)? == 0 {
            return Err(Failure::Usage("the terminal has gone".to_owned()));
        }
        match free[0] {
            b'\n' | b'\r' => break,
            // ^D
            4 if len == 0 => return Err(Failure::Usage("nothing was typed".to_owned())),
            // Backspace and ^H take one character, ^U takes them all.
            0x7f | 8 => len = character_before(&line.expose()[..len]),
            0x15 => len = 0,
            byte if byte < b' ' && byte != b'\t' => {}
            _ => len += 1,
        }
    }
    line.truncate(len);
    // A slot of the size that the value needs.
    Ok(line.try_clone()?)
}

/// Where the last character of a UTF-8 text begins.
fn character_before(text: &[u8]) -> usize {
    text.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(0)
}

/// The terminal without echo, until this is dropped.
struct Quiet<'a> {
    tty: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(tty: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Stopping here would leave the shell a terminal without echo.
        quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
        // Flush: what was typed before the prompt was not meant for it.
        tcsetattr(tty, OptionalActions::Flush, &quiet)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}

/// Signals as something to wait for, until this is dropped.
pub(crate) struct Signals {
    caught: Vec<(u8, UnixStream)>,
    released: Arc<AtomicBool>,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        let released = Arc::new(AtomicBool::new(false));
        let mut caught = Vec::new();
        for signal in SIGNALS {
            let (ours, theirs) = UnixStream::pair()?;
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&released))?;
            signal_hook::low_level::pipe::register(signal, theirs)?;
            caught.push((u8::try_from(signal).unwrap_or(0), ours));
        }
        Ok(Self { caught, released })
    }

    /// Returns when `tty` has something to read, or is closed; a signal is an
    /// error.
    pub(crate) fn wait_for(&self, tty: BorrowedFd<'_>) -> Result {
        let mut waiting = vec![PollFd::from_borrowed_fd(tty, PollFlags::IN)];
        waiting.extend(self.caught.iter().map(|(_, end)| PollFd::new(end, PollFlags::IN)));
        loop {
            match poll(&mut waiting, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(_) => break,
            }
        }
        let signal =
            waiting[1..].iter().zip(&self.caught).find(|(end, _)| !end.revents().is_empty());
        signal.map_or(Ok(()), |(_, (number, _))| Err(Failure::Signalled(*number)))
    }
}

impl Drop for Signals {
    /// From here on each signal does what it does by default.
    fn drop(&mut self) {
        self.released.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backspace_takes_a_whole_character() {
        assert_eq!(character_before("aé".as_bytes()), 1);
        assert_eq!(character_before(b"ab"), 1);
        assert_eq!(character_before(b""), 0);
    }
}
