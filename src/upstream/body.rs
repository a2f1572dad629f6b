//! The body of an answer, read from its connection on the way to the caller.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Client;
use super::answer_body::{Decoder, Piece};
use super::connection::Connection;
use super::outgoing::Outgoing;

/// The body of the upstream's answer. When it is dropped, the connection goes back to the pool if it
/// was read to its end; before that, or after [`close`](Self::close), the connection is closed.
pub struct ResponseBody {
    decoder: Decoder,
    /// What was here together with the head.
    front: Bytes,
    source: Option<Source>,
    came_early: bool,
}

/// A connection that an answer comes from.
struct Source {
    connection: Box<Connection>,
    /// What is still to be written; the upstream may wait for it, or not.
    request: Option<Box<Outgoing>>,
    /// Whether it can carry another call.
    keeps_open: bool,
    client: Weak<Client>,
    deadline: Duration,
    /// Since when nothing came; asked once the upstream lets us wait, which most never do.
    waiting: Option<Instant>,
}

/// Why an answer broke off.
#[derive(Debug)]
pub enum Broken {
    /// The connection failed.
    Io(io::Error),
    /// The connection ended before the body did.
    Ended,
    /// The chunks are malformed.
    Malformed,
    /// Nothing came for too long.
    Stalled,
}

impl ResponseBody {
    pub(super) fn new(
        decoder: Decoder,
        connection: Box<Connection>,
        request: Option<Box<Outgoing>>,
        keeps_open: bool,
        (client, deadline): (&Rc<Client>, Duration),
    ) -> Self {
        let came_early = request.as_ref().is_some_and(|request| !request.body().is_done());
        let client = Rc::downgrade(client);
        let source = Source { connection, request, keeps_open, client, deadline, waiting: None };
        let mut body = Self { decoder, front: Bytes::new(), source: Some(source), came_early };
        // A usual answer is here whole, and its body's length is known. What is malformed is found
        // again when somebody reads.
        if let Some(source) = &mut body.source
            && body.decoder.left().is_some()
            && let Ok(Piece::Data(data)) = body.decoder.next(&mut source.connection.came)
        {
            body.front = data;
        }
        body
    }

    /// Closes its connection instead of keeping it for another call.
    pub fn close(&mut self) {
        self.source = None;
    }

    /// Whether the request's body had not come to its end when the answer began.
    pub fn came_early(&self) -> bool {
        self.came_early
    }

    /// What the connection has of it next; `None` at its end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(if self.decoder.is_over() { Ok(None) } else { Err(Broken::Ended) });
        };
        source.go_on_writing(cx);
        loop {
            match self.decoder.next(&mut source.connection.came) {
                Ok(Piece::Data(data)) => {
                    source.waiting = None;
                    return Poll::Ready(Ok(Some(data)));
                }
                Ok(Piece::End) => return Poll::Ready(Ok(None)),
                Ok(Piece::More) => {}
                Err(_) => return Poll::Ready(Err(Broken::Malformed)),
            }
            if ready!(source.poll_read(cx))? {
                continue;
            }
            let over = self.decoder.ends_with_connection();
            return Poll::Ready(if over { Ok(None) } else { Err(Broken::Ended) });
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(source) = self.source.take().filter(|_| self.is_end_stream()) {
            source.give_back();
        }
    }
}

impl Source {
    /// Errors are left: the answer that has begun says more than they do.
    fn go_on_writing(&mut self, cx: &mut Context<'_>) {
        if let Some(request) = &mut self.request
            && let Poll::Ready(written) = self.connection.poll_write(cx, request)
        {
            self.request = None;
            self.keeps_open &= written.is_ok();
        }
    }

    /// Whether more came, or the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        if let Poll::Ready(read) = self.connection.poll_read(cx) {
            return Poll::Ready(read.map_err(Broken::Io));
        }
        let since = *self.waiting.get_or_insert_with(Instant::now);
        ready!(self.connection.alarm.poll_at(since + self.deadline, cx));
        Poll::Ready(Err(Broken::Stalled))
    }

    /// The answer is over. A request that is not over yet makes the connection useless.
    fn give_back(self) {
        if self.keeps_open
            && self.request.is_none()
            && let Some(client) = self.client.upgrade()
        {
            client.keep(self.connection);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.front.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.front)))));
        }
        let piece = ready!(self.poll_piece(cx));
        if let Ok(None) = piece {
            self.decoder = Decoder::none(); // also if nothing but the connection's end ended it
        }
        Poll::Ready(piece.transpose().map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty() && self.decoder.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match self.decoder.left() {
            Some(left) => SizeHint::with_exact(left + self.front.len() as u64),
            None => SizeHint::default(),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the answer broke off: {error}"),
            Self::Ended => f.write_str("the answer broke off: the connection ended before it"),
            Self::Malformed => f.write_str("the answer broke off: its chunks are malformed"),
            Self::Stalled => f.write_str("the answer stood still for too long"),
        }
    }
}
