//! What a process can do for its own memory as a whole.

#![allow(unsafe_code, reason = "this module talks to the kernel")]

use crate::Error;

/// Keeps this process's memory out of core dumps and away from its user's other
/// processes.
///
/// - `RLIMIT_CORE` becomes 0, soft and hard: no core file, and no way back. Programs
///   that this process starts inherit it.
/// - `PR_SET_DUMPABLE` becomes 0 (prctl(2)): no core dump through a pipe helper
///   either, no `ptrace` by processes of the same user, and `/proc/PID/mem` belongs to
///   root. `execve` resets it, so that each program makes this call itself.
///
/// It stops neither root nor a holder of `CAP_SYS_PTRACE`: both may still read the
/// memory of a process that is not dumpable; `memfd_secret` memory is closed to
/// `/proc/PID/mem`, but a tracer can make the process itself read it. Debuggers and profilers of the same user stop
/// working, which is the point.
///
/// # Errors
/// [`Error::Os`] when the kernel refuses; the process is then hardened in part.
pub fn harden_process() -> Result<(), Error> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } != 0 {
        return Err(Error::last_os("setrlimit(RLIMIT_CORE)"));
    }
    let (off, unused): (libc::c_ulong, libc::c_ulong) = (0, 0);
    // SAFETY: this prctl takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, off, unused, unused, unused) } != 0 {
        return Err(Error::last_os("prctl(PR_SET_DUMPABLE)"));
    }
    Ok(())
}
