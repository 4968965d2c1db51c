//! Signals on their way to a command.
//!
//! The command is in our process group, so that a terminal treats both as one job.
//! What the kernel sends to the group, such as Ctrl-C and Ctrl-Z of a terminal,
//! has reached the command as well, and is not passed on; what another process
//! sends to us is.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGURG,
    SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU,
};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::emulate_default_handler;
use signal_hook::low_level::siginfo::{Cause, Origin};
use strongroom::Error;

use crate::failure::Result;

/// What can be caught and sent on. SIGPIPE is a matter of who writes, and the
/// signals of a fault are each process's own.
const PASSED_ON: [i32; 15] = [
    SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGCONT, SIGTSTP, SIGURG, SIGXCPU,
    SIGVTALRM, SIGPROF, SIGWINCH, SIGIO,
];
/// Those that do not end a process by default.
const HARMLESS: [i32; 5] = [SIGCHLD, SIGCONT, SIGTSTP, SIGURG, SIGWINCH];

/// The signals that reach this process from now on.
pub(super) struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    pub(super) fn catch() -> Result<Self> {
        let caught = ignored().and_then(|ignored| {
            // One that is ignored, as nohup does, is to stay so for the command too.
            let wanted = PASSED_ON.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
            SignalsInfo::new(wanted.chain([SIGCHLD]))
        });
        let failed = |error| Error::internal("signals cannot be caught").with_source(error);
        Ok(Self(caught.map_err(failed)?))
    }

    /// Passes signals on to the process `to`, until `ended` says that it has ended:
    /// it is asked at first, and whenever a child has changed.
    pub(super) fn pass_on<T>(
        &mut self,
        to: Pid,
        mut ended: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        loop {
            if let Some(answer) = ended()? {
                return Ok(answer);
            }
            for origin in self.0.wait() {
                if origin.signal != SIGCHLD {
                    pass_on(to, &origin);
                }
            }
        }
    }

    /// Waits until the handle's owner closes it, or for a signal that ends a
    /// process, which is given.
    pub(super) fn wait_for_close(&mut self) -> Option<i32> {
        for origin in self.0.forever() {
            if origin.signal == SIGTSTP {
                let _ = emulate_default_handler(SIGTSTP);
            } else if !HARMLESS.contains(&origin.signal) {
                return Some(origin.signal);
            }
        }
        None
    }

    pub(super) fn handle(&self) -> Handle {
        self.0.handle()
    }
}

fn pass_on(to: Pid, origin: &Origin) {
    if origin.cause != Cause::Kernel
        && let Some(signal) = Signal::from_named_raw(origin.signal)
    {
        // It may have ended just now.
        let _ = kill_process(to, signal);
    }
    if origin.signal == SIGTSTP {
        let _ = emulate_default_handler(SIGTSTP);
    }
}

/// The signals that this process was started to ignore, a bit each (proc(5)).
fn ignored() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.ok_or_else(|| io::Error::other("/proc/self/status has no SigIgn"))
}
