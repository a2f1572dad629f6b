//! Reads the beginning of an answer's body without taking it away: what was read is passed on
//! first, byte for byte.
//!
//! Invariant: no more than [`LIMIT`] and one piece is held. An answer that broke off while it was
//! read breaks off for the caller as well.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::telemetry::code::Unread;
use crate::upstream::{Broken, ResponseBody};

/// How much of an answer is read ahead, in bytes: envelopes are a few hundred.
const LIMIT: usize = 16 * 1024;

/// An answer's body, of which the beginning may have been read.
pub(super) struct Peeked {
    front: BytesMut,
    /// How it broke off while it was read.
    broken: Option<Broken>,
    /// Whether the caller's side was let write what came before that.
    let_write: bool,
    rest: ResponseBody,
}

impl Peeked {
    pub(super) fn unread(body: ResponseBody) -> Self {
        Self { front: BytesMut::new(), broken: None, let_write: false, rest: body }
    }

    /// Closes its connection instead of keeping it for another call.
    pub(super) fn close(&mut self) {
        self.rest.close();
    }

    pub(super) fn came_early(&self) -> bool {
        self.rest.came_early()
    }

    /// Reads it whole, if it is small and comes soon.
    ///
    /// # Errors
    /// Why it is not here whole; what came is kept.
    pub(super) async fn read(&mut self, wait: Duration) -> Result<&[u8], Unread> {
        if self.size_hint().lower() > LIMIT as u64 {
            return Err(Unread::TooLarge);
        }
        match timeout(wait, self.fill()).await {
            Ok(Ok(())) => Ok(&self.front),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(Unread::TooLate),
        }
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> usize {
        self.front.len()
    }

    /// Safe to be dropped at its `await`: nothing is between the body and `front` then.
    async fn fill(&mut self) -> Result<(), Unread> {
        while self.broken.is_none() && !self.rest.is_end_stream() {
            match self.rest.frame().await {
                None => break,
                Some(Err(broken)) => self.broken = Some(broken),
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default(); // trailers were dropped below
                    self.front.extend_from_slice(&data);
                    if self.front.len() > LIMIT {
                        return Err(Unread::TooLarge);
                    }
                }
            }
        }
        if self.broken.is_some() { Err(Unread::NoEnvelope) } else { Ok(()) }
    }
}

impl Body for Peeked {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.front.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(self.front.split().freeze()))));
        }
        if self.broken.is_some() && !std::mem::replace(&mut self.let_write, true) {
            // With the error at once, the connection would end before the head was written.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty() && self.broken.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, front) = (self.rest.size_hint(), self.front.len() as u64);
        match hint.upper() {
            Some(upper) => {
                hint.set_upper(upper + front);
                hint.set_lower(hint.lower() + front);
            }
            None => hint.set_lower(hint.lower() + front),
        }
        hint
    }
}
