//! One connection to the upstream: what is written, what is read.
//!
//! Whoever waits for an answer drives it; there is no task behind it. Invariant: it goes on to another
//! call only if both messages are over and nothing else came.

use std::collections::VecDeque;
use std::io::{self, BufRead, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncWrite};

use super::alarm::Alarm;
use super::connect::Stream;
use super::outgoing::{Outgoing, WriteError};
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
            match request.poll_pieces(cx)? {
                Poll::Ready(true) => {
                    let written = ready!(self.poll_write_pieces(cx, request.pieces()))?;
                    request.took(written);
                }
                Poll::Ready(false) => return self.poll_flush(cx, request),
                Poll::Pending => {
                    // What there is may leave while the caller takes its time.
                    ready!(self.poll_flush(cx, request))?;
                    return Poll::Pending;
                }
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
        if request.is_unflushed() {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            request.flushed();
        }
        Poll::Ready(Ok(()))
    }
}
