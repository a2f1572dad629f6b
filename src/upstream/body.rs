//! Bodies on their way: the request's, bounded and watched, and the answer's.
//!
//! Trailers are dropped in both directions: a trailer could repeat a header that was replaced.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::Lease;
use super::error::{BodyFault, Kind};
use crate::config::Deadlines;

/// The body of a request to the upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// Here already, and small: it leaves together with the head.
    Whole(Bytes),
    /// Passed on as it comes.
    Stream(Streamed),
}

/// A body that is passed on as it comes, up to a limit.
#[derive(Debug)]
pub struct Streamed {
    incoming: Incoming,
    left: u64,
    transfer: Rc<Transfer>,
}

/// How far a request's body has come; shared by the body and whoever waits for the answer.
#[derive(Debug)]
pub(super) struct Transfer {
    state: Cell<State>,
    progress: Cell<Instant>,
    /// How long the caller may take for each [`PORTION`].
    caller_deadline: Duration,
    /// How long it took already for the one that comes, and how much of that is here.
    caller_took: Cell<Duration>,
    portion: Cell<u64>,
    fault: Cell<Option<BodyFault>>,
}

/// A caller that sends a byte now and then makes no progress: each so many bytes have a deadline
/// together, or one call could last for years.
const PORTION: u64 = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The upstream is to take more.
    Upstream,
    /// The caller is to send more.
    Caller,
    /// All of it is on its way.
    Done,
}

/// The request's body failed; why stands in the [`Transfer`].
#[derive(Debug)]
pub struct Faulty;

impl RequestBody {
    /// Passes `incoming` on, at most `limit` bytes; the caller has `deadline` for each 16 KiB.
    pub fn stream(incoming: Incoming, limit: u64, deadline: Duration) -> Self {
        let transfer = Transfer::new(State::Upstream, deadline);
        Self::Stream(Streamed { incoming, left: limit, transfer: Rc::new(transfer) })
    }

    pub(super) fn transfer(&self) -> Rc<Transfer> {
        match self {
            Self::Whole(_) => Rc::new(Transfer::new(State::Done, Duration::ZERO)),
            Self::Stream(streamed) => Rc::clone(&streamed.transfer),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Faulty;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Faulty>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(streamed) => streamed.poll_data(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(streamed) => streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(streamed) => streamed.incoming.size_hint(),
        }
    }
}

impl Streamed {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Faulty>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                self.transfer.moved(State::Caller);
                return Poll::Pending;
            };
            let data = match frame {
                None => {
                    self.transfer.moved(State::Done);
                    return Poll::Ready(None);
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(self.faulty(BodyFault::Broken)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(self.faulty(BodyFault::TooLarge))));
            };
            self.left = left;
            let end = self.incoming.is_end_stream();
            self.transfer.moved(if end { State::Done } else { State::Upstream });
            self.transfer.received(data.len());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn faulty(&self, fault: BodyFault) -> Faulty {
        self.transfer.fault.set(Some(fault));
        Faulty
    }
}

impl Transfer {
    fn new(state: State, caller_deadline: Duration) -> Self {
        Self {
            state: Cell::new(state),
            progress: Cell::new(Instant::now()),
            caller_deadline,
            caller_took: Cell::new(Duration::ZERO),
            portion: Cell::new(0),
            fault: Cell::new(None),
        }
    }

    /// Waiting longer for the same thing is no progress; anything else is.
    fn moved(&self, state: State) {
        let was = self.state.replace(state);
        if (was, state) == (State::Caller, State::Caller) {
            return;
        }
        let now = Instant::now();
        if was == State::Caller {
            self.caller_took.set(self.caller_took.get() + (now - self.progress.get()));
        }
        self.progress.set(now);
    }

    fn received(&self, bytes: usize) {
        let portion = self.portion.get() + bytes as u64;
        if portion >= PORTION {
            self.caller_took.set(Duration::ZERO);
        }
        self.portion.set(portion % PORTION);
    }

    pub(super) fn is_done(&self) -> bool {
        self.state.get() == State::Done
    }

    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.fault.get()
    }

    /// The exchange starts now.
    pub(super) fn started(&self) {
        self.progress.set(Instant::now());
    }

    /// Until when something must have happened, and what it means if nothing does.
    pub(super) fn due(&self, deadlines: &Deadlines) -> (Instant, Kind) {
        let (allowed, kind) = match self.state.get() {
            State::Done => (deadlines.response_head, Kind::ResponseTimeout),
            State::Upstream => (deadlines.body_progress, Kind::UploadStalled),
            State::Caller => (
                self.caller_deadline.saturating_sub(self.caller_took.get()),
                Kind::Body(BodyFault::Stalled),
            ),
        };
        (self.progress.get() + allowed, kind)
    }

    /// When to ask again what is due. While the body moves, what is waited for changes, and the
    /// next deadline may be nearer than this one.
    pub(super) fn look_at(&self, deadlines: &Deadlines) -> Instant {
        const OFTEN: Duration = Duration::from_millis(250);
        let (due, _) = self.due(deadlines);
        if self.is_done() { due } else { due.min(Instant::now() + OFTEN) }
    }
}

impl std::error::Error for Faulty {}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller's body failed")
    }
}

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
