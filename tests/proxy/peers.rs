//! The client and the server between which the proxy is, on plain sockets.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What never comes is an error after this time, instead of a test that hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A message as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) head: String,
    /// As it came, in chunks if it came so.
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1)
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn read(stream: &mut impl BufRead, is_answer_to_head: bool) -> io::Result<Self> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut message = Self { head, body: Vec::new() };
        if is_answer_to_head {
            return Ok(message);
        }
        if message.header("transfer-encoding").is_some() {
            while !message.body.ends_with(b"0\r\n\r\n") {
                stream.read_until(b'\n', &mut message.body)?;
            }
        } else if let Some(len) = message.header("content-length") {
            message.body.resize(len.parse().unwrap(), 0);
            stream.read_exact(&mut message.body)?;
        }
        Ok(message)
    }
}

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Asks with these headers and this body.
    pub(crate) fn ask(&mut self, first: &str, headers: &str, body: &str) {
        let host = "Host: kms.example:8443\r\n";
        let len = body.len();
        self.send(&format!(
            "{first} HTTP/1.1\r\n{host}{headers}Content-Length: {len}\r\n\r\n{body}"
        ));
    }

    pub(crate) fn answer(&mut self) -> io::Result<Message> {
        Message::read(&mut self.0, false)
    }

    pub(crate) fn answer_to_head(&mut self) -> io::Result<Message> {
        Message::read(&mut self.0, true)
    }

    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.ask(&format!("GET {path}"), "", "");
        self.answer().unwrap()
    }

    /// An operation of AWS.
    pub(crate) fn operation(&mut self, target: &str) {
        self.ask("POST /", &format!("X-Amz-Target: {target}\r\n"), "{}");
    }

    /// What comes until the end of the connection.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).map(|_| rest)
    }
}

/// A server that answers what it was asked: in one piece, in chunks below
/// `/chunked`, and without a length below `/endless`.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Message>>>::default();
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let log = Arc::clone(&log);
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    while let Ok(request) = Message::read(&mut stream, false) {
                        log.lock().unwrap().push(request.clone());
                        let answer = answer(&request);
                        stream.get_mut().write_all(answer.as_bytes()).unwrap();
                        if answer.starts_with("HTTP/1.0") {
                            return;
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

    pub(crate) fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn asked(&self) -> usize {
        self.seen().len()
    }
}

fn answer(request: &Message) -> String {
    let mut words = request.head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let body = format!("{method} {path} got {} bytes", request.body.len());
    if path.starts_with("/chunked") {
        let chunks = body.as_bytes().chunks(7).map(|chunk| {
            format!("{:x};what=ever\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk))
        });
        let chunks: String = chunks.collect();
        format!("HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
    } else if path.starts_with("/endless") {
        format!("HTTP/1.0 200 Fine\r\nX-Odd: yes\r\n\r\n{body}")
    } else {
        let len = body.len();
        let body = if method == "HEAD" { "" } else { &body };
        format!("HTTP/1.1 201 Fine\r\nX-Odd: yes\r\nContent-Length: {len}\r\n\r\n{body}")
    }
}
