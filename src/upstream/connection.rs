//! One connection to the upstream: what is written, what is read.
//!
//! Whoever waits for an answer drives it; there is no task behind it. Invariant: it goes on to another
//! call only if both messages are over and nothing else came.

use std::collections::VecDeque;
use std::io::{self, BufRead, IoSlice, Write};
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

/// From this length on, it is worth a record to have the others copied faster.
const LARGE: usize = 16 * 1024;
/// Far enough from the beginning of a page, and so short that it is copied in another way.
const AHEAD: usize = 512;
/// What TLS may hold that the kernel has not taken: a piece as large as they come, and as little more
/// as its records add.
const HELD: usize = 65 * 1024;

impl Connection {
    pub(super) fn new(mut stream: Stream, open: Open) -> Box<Self> {
        stream.get_mut().1.set_buffer_limit(Some(HELD));
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
        let count = pieces.len().min(slices.len());
        let ahead = match slices.first_mut() {
            Some(first) => self.write_ahead(first)?,
            None => 0,
        };
        let slices = slices.get(..count).unwrap_or(&slices);
        match Pin::new(&mut self.stream).poll_write_vectored(cx, slices) {
            Poll::Pending if ahead == 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(ahead)), // it is taken, and leaves with the next ones
            Poll::Ready(Ok(written)) if ahead + written == 0 => {
                Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
            }
            Poll::Ready(written) => Poll::Ready(written.map(|written| ahead + written)),
        }
    }

    /// Gives TLS the beginning of a large piece as a record of its own, which leaves with the others;
    /// how much. TLS copies what goes into a record behind a header, so into a page from its sixth
    /// byte on. If it comes from the beginning of a page, where large buffers start, many a glibc does
    /// that at a sixteenth of the speed on AMD's processors (sourceware.org's bug 30994); from any
    /// other place in a page it does not.
    fn write_ahead(&mut self, piece: &mut IoSlice<'_>) -> io::Result<usize> {
        const PAGE: usize = 4096;
        if piece.len() < LARGE || !piece.as_ptr().addr().is_multiple_of(PAGE) {
            return Ok(0);
        }
        let ahead = piece.get(..AHEAD).unwrap_or_default();
        let taken = self.stream.get_mut().1.writer().write(ahead)?;
        piece.advance(taken);
        Ok(taken)
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
