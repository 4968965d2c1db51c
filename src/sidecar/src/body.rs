//! The bodies of requests and answers, counted: what they hold in memory, and
//! whether the client keeps moving.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use strongroom::config::SidecarSection;
use tonic::Status;

use crate::usage::Request;

/// An answer is handed to HTTP/2 in pieces of this size, each only once the
/// client has room for it: what a slow reader does not take stays here, counted,
/// and not in the connection's buffers.
const PIECE_BYTES: usize = 16 << 10;

/// How a connection gets on; the watchdog looks at it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Grows with every answer that begins and every piece that the kernel took.
    /// What HTTP/2 says of its own accord, such as a ping, is not counted: a
    /// client that answers those may still never read an answer.
    pub(crate) moved: AtomicU64,
    /// Answers, other than watches, that are not read to their end.
    pub(crate) open_answers: AtomicUsize,
    /// What the client has sent, as far as its preface.
    pub(crate) read: AtomicU64,
    /// Grows with everything that the kernel takes.
    pub(crate) written: AtomicU64,
    /// Whether the socket takes nothing more.
    pub(crate) write_blocked: AtomicBool,
}

/// A request's body. Its messages count until the request ends, and from their
/// first bytes on: gRPC makes room for as much as a message says that it has.
pub(crate) struct Incoming<B> {
    inner: B,
    request: Arc<Request>,
    limits: Arc<SidecarSection>,
    /// The longest message that gRPC takes, in bytes.
    longest: usize,
    claims: Claims,
}

/// Where in its messages a body is: each has five bytes before it, a flag and
/// its length (gRPC over HTTP/2, "Length-Prefixed-Message").
#[derive(Default)]
struct Claims {
    prefix: [u8; 5],
    /// How much of `prefix` is there.
    have: usize,
    /// How much of the message is to come.
    rest: usize,
}

impl Claims {
    /// How many bytes the messages have that begin in `data`. One that is longer
    /// than `longest` is refused by gRPC before it makes room.
    fn take(&mut self, mut data: &[u8], longest: usize) -> usize {
        let mut claimed = 0;
        while !data.is_empty() {
            if self.rest == 0 {
                let wanted = data.len().min(self.prefix.len() - self.have);
                let (prefix, rest) = data.split_at(wanted);
                self.prefix[self.have..][..wanted].copy_from_slice(prefix);
                (self.have, data) = (self.have + wanted, rest);
                if self.have < self.prefix.len() {
                    break;
                }
                let [_, length @ ..] = self.prefix;
                (self.have, self.rest) = (0, u32::from_be_bytes(length) as usize);
                claimed += self.prefix.len() + if self.rest > longest { 0 } else { self.rest };
            }
            let passed = data.len().min(self.rest);
            (self.rest, data) = (self.rest - passed, &data[passed..]);
        }
        claimed
    }
}

impl<B> Incoming<B> {
    pub(crate) fn new(
        inner: B,
        request: Arc<Request>,
        limits: Arc<SidecarSection>,
        longest: usize,
    ) -> Self {
        Self { inner, request, limits, longest, claims: Claims::default() }
    }
}

impl<B: Body<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Unpin> Body for Incoming<B> {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref() {
            let this = &mut *self;
            let claimed = this.claims.take(data, this.longest);
            if let Err(refusal) = this.request.try_hold(claimed, &this.limits) {
                return Poll::Ready(Some(Err(refusal.status(&this.limits).into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body.
pub(crate) struct Outgoing {
    inner: tonic::body::Body,
    /// What was read from `inner` and not yet handed on.
    rest: Bytes,
    held: Option<(Arc<Held>, Arc<SidecarSection>)>,
}

/// An answer, until the kernel has the last of it.
struct Held {
    request: Arc<Request>,
    progress: Arc<Progress>,
    watch: bool,
}

/// A part of an answer. It counts until HTTP/2 has written it and drops it: a
/// client that opens its window by a byte has the rest of the piece lie in the
/// connection's buffers, where nobody else counts it.
struct Piece {
    bytes: Bytes,
    held: Arc<Held>,
}

impl Outgoing {
    pub(crate) fn new(
        inner: tonic::body::Body,
        request: Arc<Request>,
        limits: Arc<SidecarSection>,
        progress: Arc<Progress>,
        watch: bool,
    ) -> Self {
        if !watch {
            progress.open_answers.fetch_add(1, Relaxed);
            progress.moved.fetch_add(1, Relaxed);
        }
        let held = Arc::new(Held { request, progress, watch });
        Self { inner, rest: Bytes::new(), held: Some((held, limits)) }
    }

    /// An answer that holds nothing: a refusal.
    pub(crate) fn refusal(inner: tonic::body::Body) -> Self {
        Self { inner, rest: Bytes::new(), held: None }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        let Some((held, _)) = &self.held else { return Frame::data(bytes) };
        Frame::data(Bytes::from_owner(Piece { bytes, held: Arc::clone(held) }))
    }

    /// Takes what `inner` gave, or the end of the answer if that is too much.
    fn take(&mut self, data: Bytes) -> Frame<Bytes> {
        if let Some((held, limits)) = &self.held
            && let Err(refusal) = held.request.try_hold(data.len(), limits)
        {
            let mut trailers = http::HeaderMap::new();
            if refusal.status(limits).add_header(&mut trailers).is_ok() {
                self.inner = tonic::body::Body::empty();
                return Frame::trailers(trailers);
            }
        }
        self.rest = data;
        self.piece()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.has_remaining() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        let Some(frame) = frame else { return Poll::Ready(None) };
        Poll::Ready(Some(Ok(match frame?.into_data() {
            Ok(data) => self.take(data),
            Err(frame) => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.held.request.release(self.bytes.len());
        self.held.progress.moved.fetch_add(1, Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.watch {
            self.progress.open_answers.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_count_from_their_first_bytes_on() {
        let message = |length: u32| [&[0][..], &length.to_be_bytes()].concat();
        let mut claims = Claims::default();
        assert_eq!(claims.take(&message(1_000), 2_000), 1_005);
        assert_eq!(claims.take(&[7; 999], 2_000), 0);
        // The last byte, two messages without a byte, and a part of a prefix.
        let next = [&[7][..], &message(0), &message(0), &[0, 0, 0]].concat();
        assert_eq!(claims.take(&next, 2_000), 10);
        assert_eq!(claims.take(&[1], 2_000), 0);
        assert_eq!(claims.take(&[0, 7, 7], 2_000), 5 + 256);
        let mut claims = Claims::default();
        assert_eq!(claims.take(&message(u32::MAX), 2_000), 5);
    }
}
