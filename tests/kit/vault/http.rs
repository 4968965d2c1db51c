//! A client of Vault's API that blocks, over plain HTTP/1.0: an answer ends with its
//! connection, and comes in one piece.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// A server that says nothing for so long says nothing any more.
const PATIENCE: Duration = Duration::from_mins(1);

/// What Vault answers.
pub struct Answer {
    /// 200, or 204 without a body.
    pub status: u16,
    /// Where a node that stands by sends its clients.
    pub location: Option<String>,
    /// The body; null if there is none.
    pub body: Value,
}

impl Answer {
    /// The body, if this is no refusal.
    ///
    /// # Panics
    /// If it is one, with the server's words.
    pub fn expect(self, what: &str) -> Value {
        assert!((200..300).contains(&self.status), "{what}: {self:?}");
        self.body
    }
}

/// Never a body that is no refusal: it may be a secret.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut answer = f.debug_struct("Answer");
        answer.field("status", &self.status).field("errors", &self.body["errors"]);
        answer.field("location", &self.location).finish_non_exhaustive()
    }
}

/// The answer to a request for `/v1/` and `path` at an `http://` address.
pub(super) fn ask(
    address: &str,
    token: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> io::Result<Answer> {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    write!(
        stream,
        "{method} /v1/{path} HTTP/1.0\r\nHost: {host}\r\nX-Vault-Token: {token}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let (head, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = lines.filter_map(|line| line.split_once(": "));
    let location = headers.find(|(name, _)| name.eq_ignore_ascii_case("location"));
    let location = location.map(|(_, value)| value.to_owned());
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).ok()? };
    Some(Answer { status, location, body })
}
