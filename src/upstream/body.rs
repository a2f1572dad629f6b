//! The body of an answer, watched on its way to the caller.
//!
//! Trailers are dropped: one could repeat a header that was dropped or replaced.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::Lease;

/// The body of the upstream's answer. When it has come to its end, the connection goes back to
/// the pool; when it is dropped before, the connection is closed.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    deadline: Duration,
    /// Made when the upstream first lets us wait; most answers are here at once.
    timer: Option<Pin<Box<Sleep>>>,
    came_early: bool,
}

/// Why an answer broke off.
#[derive(Debug)]
pub enum Broken {
    /// The connection failed or the answer's framing was wrong.
    Http(hyper::Error),
    /// Nothing came for too long.
    Stalled,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, deadline: Duration) -> Self {
        let came_early = !lease.transfer.is_done();
        let mut body = Self { incoming, lease: Some(lease), deadline, timer: None, came_early };
        body.finish_if_over();
        body
    }

    /// Whether the request's body had not come to its end when the answer began.
    pub fn came_early(&self) -> bool {
        self.came_early
    }

    fn finish_if_over(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
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
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                let deadline = self.deadline;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(deadline)));
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Some(Err(Broken::Stalled)));
            };
            self.timer = None;
            match frame {
                None => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(Broken::Http(error)))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.finish_if_over();
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => write!(f, "the answer broke off: {error}"),
            Self::Stalled => f.write_str("the answer stood still for too long"),
        }
    }
}
