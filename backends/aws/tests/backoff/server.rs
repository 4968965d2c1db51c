//! A server that answers each attempt as a test says, and remembers what it was
//! asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What an attempt gets.
pub(crate) enum Reply {
    /// A response, after which the connection stays open.
    Answer(String),
    /// These bytes, and the end of the connection.
    Cut(String),
    /// The connection is reset.
    Reset,
}

/// A request, as far as it matters.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    /// Which attempt of its operation it is, from 1.
    pub(crate) attempt: usize,
    /// The connection it came by.
    pub(crate) connection: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1)
    }
}

pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server; `script` has the reply to an attempt, counted from 1.
    pub(crate) fn start(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let (script, log) = (Arc::new(script), Arc::clone(&seen));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    while let Some(request) = next(&mut stream, connection) {
                        let reply = script(request.attempt);
                        log.lock().unwrap().push(request);
                        match reply {
                            Reply::Answer(bytes) => {
                                swallow(&mut stream);
                                if stream.write_all(bytes.as_bytes()).is_err() {
                                    return;
                                }
                            }
                            Reply::Cut(bytes) => {
                                swallow(&mut stream);
                                let _ = stream.write_all(bytes.as_bytes());
                                return;
                            }
                            // What was not read makes the kernel reset it.
                            Reply::Reset => return,
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn attempts(&self) -> usize {
        self.seen().len()
    }
}

/// The address of a port where nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The next request, which is left where it is; none after the last.
fn next(stream: &mut TcpStream, connection: usize) -> Option<Request> {
    let (head, _) = peek(stream)?;
    let mut request = Request { head, attempt: 0, connection };
    let info = request.header("amz-sdk-request").unwrap();
    let (_, attempt) = info.split_once("attempt=").unwrap();
    request.attempt = attempt.split(';').next().unwrap().parse().unwrap();
    Some(request)
}

/// Takes the request out of the connection.
fn swallow(stream: &mut TcpStream) {
    if let Some((_, len)) = peek(stream) {
        let _ = stream.read_exact(&mut vec![0; len]);
    }
}

/// The head of a request, and how long it is with its body.
fn peek(stream: &TcpStream) -> Option<(String, usize)> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = stream.peek(&mut buffer).ok().filter(|&len| len > 0)?;
        let text = String::from_utf8_lossy(&buffer[..len]);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let request = Request { head: head.to_owned(), attempt: 0, connection: 0 };
            let body = request.header("content-length").map_or(0, |len| len.parse().unwrap());
            return Some((request.head, head.len() + 4 + body));
        }
        thread::yield_now();
    }
}
