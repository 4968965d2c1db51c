//! Who calls: the kernel's word about the process at the other end of a Unix
//! socket.

use std::io;
use std::path::PathBuf;

use strongroom_core::audit::Actor;
use tokio::net::UnixStream;

/// The process that connected, as the kernel noted it then (`SO_PEERCRED`,
/// unix(7)). The caller cannot choose any of it.
///
/// A process may hand a connected socket to another one, or run another program
/// while it keeps the socket: the identity is that of whoever connected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The effective user.
    pub uid: u32,
    /// The effective group; supplementary groups are not known.
    pub gid: u32,
    /// The process; `None` if it is in another PID namespace.
    pub pid: Option<u32>,
    /// The program that the process ran shortly after it connected; `None` if
    /// the kernel does not let us see it, as for other users' processes where we
    /// are not root (`proc_pid_exe(5)`).
    pub executable: Option<PathBuf>,
}

impl Peer {
    /// Asks the kernel who is at the other end of `stream`.
    ///
    /// # Errors
    /// The kernel's, if it does not know.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let executable = pid.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), pid, executable })
    }

    /// The caller as the audit log names it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let executable = self.executable.as_ref().map(|path| path.display().to_string());
        Actor { uid: Some(self.uid), pid: self.pid, executable, ..Actor::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_is_who_connected() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let peer = Peer::of(&ours).expect("credentials");
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.executable, std::env::current_exe().ok());
        assert_eq!(peer.actor().pid, peer.pid);
    }
}
