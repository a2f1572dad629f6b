//! One exchange: a request leaves and the head of its answer comes, whichever is over first.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::answer_head::{AnswerHead, HeadFault, HeadReader};
use super::connection::Connection;
use super::error::{BodyFault, Error, Kind};
use super::outgoing::{Outgoing, WriteError};
use crate::config::Deadlines;
use crate::telemetry::code::Sent;

/// An exchange under way.
pub(super) struct Exchange<'e> {
    pub(super) connection: &'e mut Connection,
    pub(super) request: &'e mut Outgoing,
    pub(super) reader: HeadReader,
    pub(super) deadlines: &'e Deadlines,
    started: Instant,
    /// What had left on the connection before.
    before: u64,
    /// How the writing ended, if it did not end well. What came before that may still be an answer.
    broken: Option<WriteError>,
    written: bool,
}

/// What came of it.
pub(super) enum Failed {
    /// Not one byte left, and the connection had ended.
    Unsent,
    Error(Error),
}

impl<'e> Exchange<'e> {
    pub(super) fn new(
        connection: &'e mut Connection,
        request: &'e mut Outgoing,
        reader: HeadReader,
        deadlines: &'e Deadlines,
    ) -> Self {
        let (started, before) = (Instant::now(), connection.wire().left());
        request.body().started(started);
        let (broken, written) = (None, false);
        Self { connection, request, reader, deadlines, started, before, broken, written }
    }

    /// Waits for the answer's head. Whether the request has left altogether by then.
    pub(super) async fn run(mut self) -> Result<(AnswerHead, bool), Failed> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(AnswerHead, bool), Failed>> {
        if !self.written && self.broken.is_none() {
            match self.connection.poll_write(cx, self.request) {
                Poll::Ready(Ok(())) => self.written = true,
                Poll::Ready(Err(WriteError::Body)) => {
                    let fault = self.request.body().fault().unwrap_or(BodyFault::Broken);
                    return Poll::Ready(Err(self.failed(Kind::Body(fault), "")));
                }
                Poll::Ready(Err(error)) => self.broken = Some(error),
                Poll::Pending => {}
            }
        }
        loop {
            match self.reader.take(&mut self.connection.came) {
                Ok(Some(head)) => return Poll::Ready(Ok((head, self.written))),
                Ok(None) => {}
                Err(HeadFault::TooLarge) => {
                    let why = "more came than any answer's head may have";
                    return Poll::Ready(Err(self.failed(Kind::ResponseTooLarge, why)));
                }
                Err(HeadFault::Invalid(why)) => {
                    return Poll::Ready(Err(self.failed(Kind::ResponseInvalid, why)));
                }
            }
            match self.connection.poll_read(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Err(self.closed("it was closed"))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.closed(error))),
                Poll::Pending => break,
            }
        }
        if let Some(WriteError::Io(error)) = self.broken.take() {
            return Poll::Ready(Err(self.closed(error)));
        }
        self.poll_deadline(cx)
    }

    fn poll_deadline<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Failed>> {
        /// While the body moves, what is waited for changes, and the next deadline may be nearer.
        const OFTEN: Duration = Duration::from_millis(250);
        loop {
            let body = self.request.body();
            let (due, kind) = body.due(self.started, self.deadlines);
            let look = if body.is_done() { due } else { due.min(Instant::now() + OFTEN) };
            if self.connection.alarm.poll_at(look, cx).is_pending() {
                return Poll::Pending;
            }
            if due <= Instant::now() {
                return Poll::Ready(Err(self.failed(kind, "a deadline passed")));
            }
        }
    }

    fn closed(&self, cause: impl std::fmt::Display) -> Failed {
        if self.connection.sent_since(self.before) == Sent::No && self.request.is_whole() {
            return Failed::Unsent;
        }
        self.failed(Kind::Closed, cause)
    }

    fn failed(&self, kind: Kind, cause: impl std::fmt::Display) -> Failed {
        Failed::Error(Error::new(kind, self.connection.sent_since(self.before), cause))
    }
}
