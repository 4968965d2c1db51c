//! Messages of HTTP/1.1 (RFC 9112), as far as a proxy for tests needs them.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Headers that are about one connection, RFC 9110 §7.6.1.
const HOP: [&str; 4] = ["connection", "keep-alive", "proxy-connection", "proxy-authorization"];

/// A request or an answer.
#[derive(Debug)]
pub(super) struct Message {
    /// The three parts of the first line.
    pub(super) start: [String; 3],
    pub(super) headers: Vec<(String, String)>,
    /// What it says.
    pub(super) body: Vec<u8>,
    /// The same in chunks, if it came so, with its trailers.
    chunks: Option<Vec<u8>>,
}

/// The first value of a header.
pub(super) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut headers = headers.iter();
    headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Message {
    /// An answer.
    pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Self {
        let start = ["HTTP/1.1".to_owned(), status.to_string(), "Injected".to_owned()];
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut answer =
            Self { start, headers: headers.iter().map(owned).collect(), body, chunks: None };
        answer.announce();
        answer
    }

    /// The next request of a client; none if it has closed the connection.
    pub(super) async fn read_request<S>(stream: &mut S) -> io::Result<Option<Self>>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        if stream.fill_buf().await?.is_empty() {
            return Ok(None);
        }
        let mut request = Self::read_head(stream).await?;
        if !request.start[2].starts_with("HTTP/1.") {
            return Err(invalid("no HTTP/1"));
        }
        if request.header("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            request.remove(&["expect"]);
        }
        request.read_body(stream, false).await?;
        Ok(Some(request))
    }

    /// The answer to a request with `method`.
    pub(super) async fn read_answer<S>(stream: &mut S, method: &str) -> io::Result<Self>
    where
        S: AsyncBufRead + Unpin,
    {
        loop {
            let mut answer = Self::read_head(stream).await?;
            let status = answer.status()?;
            if (100..200).contains(&status) {
                continue;
            }
            if method != "HEAD" && ![204, 304].contains(&status) {
                answer.read_body(stream, true).await?;
            }
            "HTTP/1.1".clone_into(&mut answer.start[0]);
            return Ok(answer);
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(super) fn status(&self) -> io::Result<u16> {
        self.start[1].parse().map_err(|_| invalid("no status"))
    }

    /// Whether the client that sent it goes on with the connection.
    pub(super) fn is_persistent(&self) -> bool {
        let value = self.header("connection").unwrap_or_default().to_ascii_lowercase();
        self.start[2] != "HTTP/1.0" && !value.contains("close")
    }

    /// Takes the headers away that are about the connection it came by.
    pub(super) fn leave_connection(&mut self) {
        self.remove(&HOP);
    }

    /// Sets the length of the body that it has now; it goes in one piece.
    pub(super) fn announce(&mut self) {
        self.chunks = None;
        self.remove(&["content-length", "transfer-encoding"]);
        self.headers.push(("Content-Length".to_owned(), self.body.len().to_string()));
    }

    /// All that goes before the body.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = self.start.join(" ");
        head.push_str("\r\n");
        for (key, value) in &self.headers {
            head.extend([key, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// All of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend(self.chunks.as_ref().unwrap_or(&self.body));
        bytes
    }

    fn remove(&mut self, names: &[&str]) {
        self.headers.retain(|(key, _)| !names.iter().any(|name| key.eq_ignore_ascii_case(name)));
    }

    async fn read_head<S: AsyncBufRead + Unpin>(stream: &mut S) -> io::Result<Self> {
        let first = text(line(stream).await?)?;
        let mut parts = first.splitn(3, ' ').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let start = [part(), part(), part()];
        let mut headers = Vec::new();
        loop {
            let line = text(line(stream).await?)?;
            if line.is_empty() {
                return Ok(Self { start, headers, body: Vec::new(), chunks: None });
            }
            let (key, value) = line.split_once(':').ok_or_else(|| invalid("no header"))?;
            headers.push((key.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads the body as the headers announce it. An answer that does not say how
    /// long it is ends with its connection.
    async fn read_body<S>(&mut self, stream: &mut S, is_answer: bool) -> io::Result<()>
    where
        S: AsyncBufRead + Unpin,
    {
        if self.header("transfer-encoding").is_some() {
            self.read_chunks(stream).await
        } else if let Some(length) = self.header("content-length") {
            let length = length.parse().map_err(|_| invalid("no length"))?;
            self.body.resize(length, 0);
            stream.read_exact(&mut self.body).await.map(|_| ())
        } else if is_answer {
            stream.read_to_end(&mut self.body).await?;
            self.announce();
            Ok(())
        } else {
            Ok(())
        }
    }

    async fn read_chunks<S: AsyncBufRead + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        let mut chunks = Vec::new();
        loop {
            let size = line(stream).await?;
            chunks.extend([&size[..], b"\r\n"].concat());
            let size = text(size)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("no chunk"))?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size];
            stream.read_exact(&mut chunk).await?;
            self.body.extend(&chunk);
            chunks.extend(chunk);
            if !line(stream).await?.is_empty() {
                return Err(invalid("a chunk does not end"));
            }
            chunks.extend(b"\r\n");
        }
        loop {
            let trailer = line(stream).await?;
            chunks.extend([&trailer[..], b"\r\n"].concat());
            if trailer.is_empty() {
                break;
            }
        }
        self.chunks = Some(chunks);
        Ok(())
    }
}

/// A line without its end.
async fn line<S: AsyncBufRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn text(line: Vec<u8>) -> io::Result<String> {
    String::from_utf8(line).map_err(|_| invalid("no text"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
