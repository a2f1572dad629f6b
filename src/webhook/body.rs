//! The body of an event: its beginning is waited for, because the way depends on it; the rest
//! streams.
//!
//! Invariant: no more than [`AHEAD`] and one piece is held, and not more than the limit passes.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

/// How much is read ahead, in bytes. Events are a few kB; what is larger has its type before that,
/// or goes where events without a type go.
pub(super) const AHEAD: usize = 64 * 1024;

/// How a sender's body failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// It is larger than the limit.
    TooLarge,
    /// It stopped coming.
    Stalled,
    /// It broke off, or its chunks are malformed.
    Broken,
}

/// A body whose beginning is here.
pub(super) struct EventBody {
    front: Bytes,
    rest: Option<Incoming>,
    /// How many bytes the rest may have.
    left: u64,
    course: Course,
}

/// What has become of a body, for who has given it away.
#[derive(Debug, Clone)]
pub(super) struct Course(Rc<Cell<State>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is more of it, and nobody asked for that yet.
    Open,
    /// The sender is waited for.
    Waiting,
    /// All of it has been given.
    Over,
    Failed(BodyFault),
}

impl Course {
    /// How it failed, if it did: also by not coming before time was up.
    pub(super) fn fault(&self, late: bool) -> Option<BodyFault> {
        match self.0.get() {
            State::Failed(fault) => Some(fault),
            State::Waiting if late => Some(BodyFault::Stalled),
            State::Waiting | State::Open | State::Over => None,
        }
    }

    /// Whether nothing of it is left with its sender.
    pub(super) fn is_over(&self) -> bool {
        self.0.get() == State::Over
    }
}

impl EventBody {
    /// Waits for the beginning, or for all of it if it is small.
    pub(super) async fn read(
        mut incoming: Incoming,
        limit: u64,
        deadline: Instant,
    ) -> Result<Self, BodyFault> {
        if incoming.size_hint().lower() > limit {
            return Err(BodyFault::TooLarge);
        }
        let mut front = BytesMut::new();
        let reading = async {
            while front.len() < AHEAD {
                match incoming.frame().await {
                    None => return Ok(true),
                    Some(Err(_)) => return Err(BodyFault::Broken),
                    // Trailers are dropped.
                    Some(Ok(frame)) => front.extend(frame.into_data().unwrap_or_default()),
                }
            }
            Ok(incoming.is_end_stream())
        };
        let over = timeout_at(deadline, reading).await.map_err(|_| BodyFault::Stalled)??;
        let left = limit.checked_sub(front.len() as u64).ok_or(BodyFault::TooLarge)?;
        let rest = (!over).then_some(incoming);
        let state = if over { State::Over } else { State::Open };
        Ok(Self { front: front.freeze(), rest, left, course: Course(Rc::new(Cell::new(state))) })
    }

    /// What is here.
    pub(super) fn front(&self) -> &Bytes {
        &self.front
    }

    /// Whether that is all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// The same with something else of the same length at its beginning.
    pub(super) fn with_front(self, front: Bytes) -> Self {
        Self { front, ..self }
    }

    pub(super) fn course(&self) -> Course {
        self.course.clone()
    }

    fn failed<T>(&self, fault: BodyFault) -> Poll<Option<Result<T, &'static str>>> {
        self.course.0.set(State::Failed(fault));
        Poll::Ready(Some(Err("the event's body failed")))
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if !self.front.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.front)))));
        }
        loop {
            let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
            let polled = Pin::new(&mut *rest).poll_frame(cx);
            let state = match (&polled, rest.is_end_stream()) {
                (Poll::Pending, _) => State::Waiting,
                (Poll::Ready(None), _) | (_, true) => State::Over,
                (Poll::Ready(Some(_)), false) => State::Open,
            };
            self.course.0.set(state);
            let data = match ready!(polled) {
                None => return Poll::Ready(None),
                Some(Err(_)) => return self.failed(BodyFault::Broken),
                Some(Ok(frame)) => frame.into_data(),
            };
            let Ok(data) = data else { continue }; // trailers are dropped
            match self.left.checked_sub(data.len() as u64) {
                None => return self.failed(BodyFault::TooLarge),
                Some(left) => self.left = left,
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let front = self.front.len() as u64;
        match self.rest.as_ref().map_or(Some(0), |rest| rest.size_hint().exact()) {
            Some(rest) => SizeHint::with_exact(front + rest),
            None => SizeHint::default(),
        }
    }
}
