//! A server in a process of its own, which says one line once it serves and ends with
//! its standard input: so with the process that started it, however that ends.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// After this time it will not serve any more.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many lines of its log are kept.
const LINES: usize = 500;

/// The process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// It ends with this.
    _input: ChildStdin,
    log: Log,
    reader: Option<JoinHandle<()>>,
}

/// The last lines that it wrote to its standard error.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Server {
    /// The process and what `read` makes of its line, or what it says instead. Nothing
    /// of this process's environment gets to it.
    pub(crate) fn launch<T>(
        command: &mut Command,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<(Self, T), String> {
        command.env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let input = child.stdin.take().expect("a pipe");
        let output = child.stdout.take().expect("a pipe");
        let errors = child.stderr.take().expect("a pipe");
        let log = Log::default();
        let kept = log.clone();
        let reader = Some(thread::spawn(move || kept.read(errors)));
        let mut server = Self { child, _input: input, log, reader };
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            // Nobody listens once patience is over.
            let _ = tell.send(read.map(|_| line));
        });
        let line = told.recv_timeout(PATIENCE);
        let Some(read) = line.as_ref().ok().and_then(|line| read(line.as_ref().ok()?.trim()))
        else {
            server.end();
            return Err(format!("it says {line:?}, and\n{}", server.log()));
        };
        Ok((server, read))
    }

    /// The last lines of its log.
    pub(crate) fn log(&self) -> String {
        Vec::from(self.log.lines().clone()).join("\n")
    }

    /// Kills it. Its log stays.
    pub(crate) fn end(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Log {
    fn read(&self, errors: impl Read) {
        for line in BufReader::new(errors).split(b'\n') {
            let Ok(line) = line else { break };
            let mut lines = self.lines();
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(String::from_utf8_lossy(&line).into_owned());
        }
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_serve_says_why() {
        let script = "import sys; print('no port'); sys.exit('there is no moto')";
        let mut command = Command::new("python3");
        let launched =
            Server::launch(command.args(["-c", script]), |line| line.parse::<u16>().ok());
        let why = launched.unwrap_err();
        assert!(why.contains("no port") && why.contains("there is no moto"), "{why}");
    }
}
