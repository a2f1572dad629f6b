//! A request on its way out: which bytes leave next.
//!
//! Invariants: what leaves is the head and the body in the order of their bytes, and not one byte more
//! than the head says. It can begin again for as long as nobody was asked for a piece of the body.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body;

use super::request_body::RequestBody;
use super::request_head::RequestHead;

/// A request on its way out.
pub(super) struct Outgoing {
    /// Bytes that leave next: the head, and pieces of the body with what is around them.
    pieces: VecDeque<Bytes>,
    body: RequestBody,
    framing: Framing,
    ended: bool,
    /// The head and a body that is here, to begin again with; `None` once the body was asked.
    whole: Option<(Bytes, Bytes)>,
    /// Whether something was taken since the last flush.
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

    /// Sees to it that there is something to write; whether there is, or all of it was taken.
    pub(super) fn poll_pieces(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, WriteError>> {
        while self.pieces.is_empty() && !self.ended {
            self.whole = None;
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.add(frame.into_data().unwrap_or_default())?,
                Some(Err(_)) => return Poll::Ready(Err(WriteError::Body)),
                None => self.end()?,
            }
        }
        Poll::Ready(Ok(!self.pieces.is_empty()))
    }

    /// What is to be written next, in this order.
    pub(super) fn pieces(&self) -> &VecDeque<Bytes> {
        &self.pieces
    }

    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    pub(super) fn flushed(&mut self) {
        self.unflushed = false;
    }

    /// So many bytes of the pieces were taken.
    pub(super) fn took(&mut self, mut written: usize) {
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
