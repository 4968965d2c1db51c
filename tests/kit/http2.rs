//! HTTP/2 by hand (RFC 9113): what no library would send, and clients that
//! stop in the middle.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Frame types, RFC 9113 §6.
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;
/// See [`DATA`].
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 1;
/// See [`END_STREAM`].
pub const ACK: u8 = 1;
/// See [`END_STREAM`].
pub const END_HEADERS: u8 = 4;

/// What a client begins with, RFC 9113 §3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `SETTINGS_INITIAL_WINDOW_SIZE`
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// One frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The preface and these settings.
#[must_use]
pub fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let pair = |(key, value): &(u16, u32)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let settings: Vec<u8> = settings.iter().flat_map(pair).collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()
}

/// The header block of a call of `method` of our service, each field literal
/// (RFC 7541 §6.2.2).
#[must_use]
pub fn fields(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(u8::try_from(text.len()).expect("short"));
        out.extend(text.as_bytes());
    };
    // `:method: POST` and `:scheme: http` are in the static table.
    let mut block = vec![0x83, 0x86, 0x04];
    text(&mut block, &format!("/strongroom.v1.Strongroom/{method}"));
    block.push(0x01);
    text(&mut block, "localhost");
    for (key, value) in
        [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(more)
    {
        block.push(0);
        text(&mut block, key);
        text(&mut block, value);
    }
    block
}

/// The beginning of a call.
#[must_use]
pub fn headers(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(method, &[]))
}

/// A message as gRPC frames it, in as many frames as it takes, and the end of
/// the stream.
#[must_use]
pub fn message(stream: u32, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let bytes = [&[0][..], &length, message].concat();
    let count = bytes.chunks(16_384).count();
    let frames = bytes.chunks(16_384).enumerate().map(|(index, chunk)| {
        frame(DATA, if index + 1 == count { END_STREAM } else { 0 }, stream, chunk)
    });
    frames.flatten().collect()
}

/// A whole call.
#[must_use]
pub fn call(stream: u32, method: &str, body: &[u8]) -> Vec<u8> {
    [headers(stream, method), message(stream, body)].concat()
}

/// `WINDOW_UPDATE`
#[must_use]
pub fn widen(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A frame that was read.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether the stream ends with it, well or not.
    #[must_use]
    pub fn is_end(&self) -> bool {
        let last = matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0;
        last || self.kind == RST_STREAM
    }
}

/// A connection that does what it is told.
#[derive(Debug)]
pub struct Wire(UnixStream);

impl Wire {
    /// Connects, and says nothing.
    pub async fn connect(socket: &Path) -> io::Result<Self> {
        UnixStream::connect(socket).await.map(Self)
    }

    /// Connects and sends `bytes`.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn saying(socket: &Path, bytes: &[u8]) -> Self {
        let mut wire = Self::connect(socket).await.expect("a connection");
        wire.send(bytes).await;
        wire
    }

    /// Sends `bytes`, or as much of them as the other side takes before it
    /// closes; whether it took all.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// The next frame; `None` once the other side has closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of a stream. Settings and pings are acknowledged on the
    /// way, as by a client that is in good order otherwise.
    pub async fn next_of_stream(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            match frame.kind {
                SETTINGS | PING if frame.flags & ACK == 0 => {
                    let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                    self.send(&self::frame(frame.kind, ACK, 0, payload)).await;
                }
                DATA | HEADERS | RST_STREAM => return Some(frame),
                _ => {}
            }
        }
    }

    /// Reads until the other side closes; the code of its `GOAWAY`, if it sent
    /// one.
    pub async fn closed(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            match frame.kind {
                GOAWAY => {
                    let bytes = frame.payload.get(4..8).and_then(|bytes| bytes.try_into().ok());
                    code = bytes.map(u32::from_be_bytes);
                }
                PING if frame.flags & ACK == 0 => {
                    self.send(&self::frame(PING, ACK, 0, &frame.payload)).await;
                }
                _ => {}
            }
        }
        code
    }
}
