//! One connection to the upstream, and one exchange at a time on it: what is written, what is read.
//!
//! Whoever waits for an answer drives the connection; there is no task behind it. Invariants: what
//! leaves is the head and the body in the order of their bytes, and not one byte more than the head
//! says; a connection goes on to another call only if both messages are over and nothing else came.

use std::collections::VecDeque;
use std::io::{self, BufRead, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tokio::io::{AsyncBufRead, AsyncWrite};

use super::alarm::Alarm;
use super::connect::Stream;
use super::request_body::RequestBody;
use super::request_head::RequestHead;
use super::wire::Wire;
use crate::telemetry::code::Sent;
use crate::telemetry::metrics::Open;

/// An open connection. Closed when dropped. Large: it goes from hand to hand in a box.
pub(super) struct Connection {
    stream: Stream,
    /// What was read and not taken yet.
    pub(super) came: BytesMut,
    pub(super) alarm: Alarm,
    _open: Open,
}

/// A request on its way out.
pub(super) struct Outgoing {
    /// Bytes that leave next: the head, and pieces of the body with what is around them.
    pieces: VecDeque<Bytes>,
    body: RequestBody,
    framing: Framing,
    ended: bool,
    /// The head and a body that is here, to begin again with; `None` once the body was asked.
    whole: Option<(Bytes, Bytes)>,
    /// Whether something was given to TLS since the last flush.
    unflushed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes are still to come.
    Left(u64),
    Chunks,
}

/// Why a request could not be written.
#[derive(Debug)]
pub(super) enum WriteError {
    Io(io::Error),
    /// The caller's body failed; the transfer knows how.
    Body,
}

impl Connection {
    pub(super) fn new(stream: Stream, open: Open) -> Box<Self> {
        Box::new(Self { stream, came: BytesMut::new(), alarm: Alarm::new(), _open: open })
    }

    pub(super) fn wire(&self) -> &Wire {
        self.stream.get_ref().0
    }

    /// Whether a byte left since so many had.
    pub(super) fn sent_since(&self, before: u64) -> Sent {
        if self.wire().left() == before { Sent::No } else { Sent::Maybe }
    }

    /// Whether nothing is here that was not asked for, not even decrypted.
    pub(super) fn is_at_rest(&mut self) -> bool {
        let mut tls = self.stream.get_mut().1.reader();
        let nothing_decrypted =
            tls.fill_buf().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.came.is_empty() && nothing_decrypted && self.wire().is_quiet()
    }

    /// Gives back what only an exchange needs.
    pub(super) fn rest(&mut self) {
        self.came = BytesMut::new();
    }

    /// Reads more behind what came; whether anything did, or the end, in good order.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut stream = Pin::new(&mut self.stream);
        let read = ready!(stream.as_mut().poll_fill_buf(cx))?;
        self.came.extend_from_slice(read);
        let length = read.len();
        stream.consume(length);
        Poll::Ready(Ok(length > 0))
    }

    /// Writes as much of a request as can be written now; ready when all of it has left.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Outgoing,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            while !request.pieces.is_empty() {
                let written = ready!(self.poll_write_pieces(cx, &request.pieces))?;
                request.advance(written);
            }
            if request.ended {
                return self.poll_flush(cx, request);
            }
            request.whole = None;
            let Poll::Ready(frame) = Pin::new(&mut request.body).poll_frame(cx) else {
                // What there is may leave while the caller takes its time.
                ready!(self.poll_flush(cx, request))?;
                return Poll::Pending;
            };
            match frame {
                Some(Ok(frame)) => request.add(frame.into_data().unwrap_or_default())?,
                Some(Err(_)) => return Poll::Ready(Err(WriteError::Body)),
                None => request.end()?,
            }
        }
    }

    fn poll_write_pieces(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); 4];
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
        }
        let slices = slices.get(..pieces.len()).unwrap_or(&slices);
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        if written == 0 {
            Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
        } else {
            Poll::Ready(Ok(written))
        }
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Outgoing,
    ) -> Poll<Result<(), WriteError>> {
        if request.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            request.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Outgoing {
    /// A request that is still to be written, all of it.
    pub(super) fn new(head: RequestHead, mut body: RequestBody) -> Self {
        let length = body.size_hint().exact();
        let head = head.framed(length);
        let framing = length.map_or(Framing::Chunks, Framing::Left);
        // Here already: it leaves with the head.
        let (whole, ended) = match &mut body {
            RequestBody::Whole(bytes) => (std::mem::take(bytes), true),
            RequestBody::Stream(_) => (Bytes::new(), false),
        };
        let whole = Some((head, whole));
        let mut request = Self {
            pieces: VecDeque::with_capacity(4),
            body,
            framing,
            ended,
            whole,
            unflushed: false,
        };
        request.begin();
        request
    }

    /// Writes it from the beginning, for another connection.
    pub(super) fn begin(&mut self) {
        self.pieces.clear();
        if let Some((head, body)) = &self.whole {
            self.pieces.extend([head, body].into_iter().filter(|piece| !piece.is_empty()).cloned());
        }
    }

    /// Whether it could begin again.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    pub(super) fn body(&self) -> &RequestBody {
        &self.body
    }

    fn advance(&mut self, mut written: usize) {
        self.unflushed = true;
        while let Some(piece) = self.pieces.front_mut() {
            let of_it = written.min(piece.len());
            piece.advance(of_it);
            written -= of_it;
            if !piece.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
    }

    /// Adds a piece of the body. Empty ones would end one that comes in chunks.
    fn add(&mut self, data: Bytes) -> Result<(), WriteError> {
        match &mut self.framing {
            _ if data.is_empty() => {}
            Framing::Left(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WriteError::Body)?;
                self.pieces.push_back(data);
                self.ended = *left == 0 && self.body.is_end_stream();
            }
            Framing::Chunks => {
                self.pieces.push_back(Bytes::from(format!("{:x}\r\n", data.len())));
                self.pieces.push_back(data);
                let over = self.body.is_end_stream();
                let end: &[u8] = if over { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                self.pieces.push_back(Bytes::from_static(end));
                self.ended = over;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), WriteError> {
        self.ended = true;
        match self.framing {
            Framing::Left(0) => {}
            Framing::Left(_) => return Err(WriteError::Body),
            Framing::Chunks => self.pieces.push_back(Bytes::from_static(b"0\r\n\r\n")),
        }
        Ok(())
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
