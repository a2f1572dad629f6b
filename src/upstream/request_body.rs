//! The body of a request on its way to the upstream, bounded and watched; and what is kept of it
//! to send it once more.
//!
//! Invariant: of a body that is passed on as it comes, no more than a limit is kept, and only until
//! somebody decides that it is not needed. A body that was begun again is not given to whoever had
//! it before.
//!
//! Trailers are dropped: one could repeat a header that was replaced.

use std::cell::RefCell;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::error::{BodyFault, Kind};
use super::transfer::{State, Transfer};
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
    source: Rc<RefCell<Source>>,
    /// Whose turn it must be for a poll to be answered.
    turn: u32,
}

/// Where a body comes from, shared by its reader and whoever may want to begin again.
#[derive(Debug)]
struct Source {
    incoming: Incoming,
    /// Whether its end was seen.
    over: bool,
    left: u64,
    transfer: Transfer,
    deadline: Duration,
    /// Counts the readers; the last one reads.
    turn: u32,
    /// What left already and is to leave again, before the rest.
    again: Bytes,
    kept: Kept,
}

/// What was kept of what left already.
#[derive(Debug)]
enum Kept {
    /// Everything, which is not more than so many bytes.
    All(BytesMut, usize),
    /// Nothing, because nobody wants it or it was more.
    Nothing,
}

/// How a body begins again.
enum Begun {
    /// All of it is here.
    Whole(Bytes),
    /// For the reader whose turn this is.
    Stream(u32),
}

/// What it takes to send a request's body once more. Nothing is kept any more once it is dropped.
#[derive(Debug)]
pub struct Spare(Content);

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Stream(Rc<RefCell<Source>>),
    /// More than may be kept.
    Nothing,
}

/// Why a body cannot be kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unkept {
    /// It failed; [`Spare::fault`] says how.
    Failed,
    /// It is more than may be kept.
    TooMuch,
}

/// The request's body failed; why stands in the [`Transfer`].
#[derive(Debug)]
pub struct Faulty;

impl RequestBody {
    /// Passes `incoming` on, at most `limit` bytes; the caller has `deadline` for each 16 KiB.
    pub fn stream(incoming: Incoming, limit: u64, deadline: Duration) -> Self {
        let source = Source {
            incoming,
            over: false,
            left: limit,
            transfer: Transfer::new(State::Upstream, deadline),
            deadline,
            turn: 0,
            again: Bytes::new(),
            kept: Kept::Nothing,
        };
        Self::Stream(Streamed { source: Rc::new(RefCell::new(source)), turn: 0 })
    }

    /// Keeps up to `limit` bytes of what leaves, to send it once more.
    pub fn spare(&self, limit: usize) -> Spare {
        Spare(match self {
            Self::Whole(bytes) if bytes.len() <= limit => Content::Whole(bytes.clone()),
            Self::Whole(_) => Content::Nothing,
            Self::Stream(streamed) => {
                let mut source = streamed.source.borrow_mut();
                source.kept = Kept::All(BytesMut::new(), limit);
                Content::Stream(Rc::clone(&streamed.source))
            }
        })
    }

    /// How many of its bytes are here.
    pub fn held(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Stream(_) => 0,
        }
    }

    /// The exchange starts now.
    pub(super) fn started(&self, now: Instant) {
        match self {
            Self::Whole(_) => {}
            Self::Stream(streamed) => streamed.source.borrow().transfer.started(now),
        }
    }

    /// Whether all of it is on its way.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Stream(streamed) => streamed.source.borrow().transfer.is_done(),
        }
    }

    pub(super) fn fault(&self) -> Option<BodyFault> {
        match self {
            Self::Whole(_) => None,
            Self::Stream(streamed) => streamed.source.borrow().transfer.fault(),
        }
    }

    /// Until when something must have happened in an exchange that started then, and what it means
    /// if nothing does.
    pub(super) fn due(&self, started: Instant, deadlines: &Deadlines) -> (Instant, Kind) {
        match self {
            Self::Whole(_) => (started + deadlines.response_head, Kind::ResponseTimeout),
            Self::Stream(streamed) => streamed.source.borrow().transfer.due(deadlines),
        }
    }
}

impl Spare {
    /// Whether the body can be sent once more.
    pub fn is_there(&self) -> bool {
        match &self.0 {
            Content::Whole(_) => true,
            Content::Stream(source) => source.borrow().is_kept(),
            Content::Nothing => false,
        }
    }

    /// How many bytes are kept, or will be at most.
    pub fn most(&self) -> usize {
        match &self.0 {
            Content::Whole(bytes) => bytes.len(),
            Content::Stream(source) => {
                let source = source.borrow();
                match &source.kept {
                    Kept::All(bytes, _) if source.is_over() => bytes.len(),
                    Kept::All(_, limit) => *limit,
                    Kept::Nothing => 0,
                }
            }
            Content::Nothing => 0,
        }
    }

    /// How the caller's body failed, if it did.
    pub fn fault(&self) -> Option<BodyFault> {
        match &self.0 {
            Content::Stream(source) => source.borrow().transfer.fault(),
            Content::Whole(_) | Content::Nothing => None,
        }
    }

    /// Takes in what is still to come, so that a caller that goes away is noticed. Ends only if
    /// it cannot be kept. Nobody else may be reading the body.
    pub async fn read_on(&self) -> Unkept {
        let Content::Stream(source) = &self.0 else { return pending().await };
        loop {
            match poll_fn(|cx| source.borrow_mut().poll_data(cx)).await {
                None => return pending().await,
                Some(Err(Faulty)) => return Unkept::Failed,
                Some(Ok(_)) if source.borrow().is_kept() => {}
                Some(Ok(_)) => return Unkept::TooMuch,
            }
        }
    }

    /// The body from its beginning; whoever had it before gets no more of it.
    pub fn begin_again(mut self) -> Option<RequestBody> {
        match std::mem::replace(&mut self.0, Content::Nothing) {
            Content::Whole(bytes) => Some(RequestBody::Whole(bytes)),
            Content::Stream(source) => {
                let begun = source.borrow_mut().begin_again()?;
                Some(match begun {
                    Begun::Whole(bytes) => RequestBody::Whole(bytes),
                    Begun::Stream(turn) => RequestBody::Stream(Streamed { source, turn }),
                })
            }
            Content::Nothing => None,
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Content::Stream(source) = &self.0 {
            source.borrow_mut().kept = Kept::Nothing;
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
            Self::Stream(streamed) => {
                let mut source = streamed.source.borrow_mut();
                if source.turn != streamed.turn {
                    return Poll::Ready(Some(Err(Faulty)));
                }
                source.poll_data(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(streamed) => streamed.source.borrow().is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(streamed) => streamed.source.borrow().size_hint(),
        }
    }
}

impl Source {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Faulty>>> {
        if !self.again.is_empty() {
            let again = std::mem::take(&mut self.again);
            self.transfer.moved(if self.is_end() { State::Done } else { State::Upstream });
            return Poll::Ready(Some(Ok(Frame::data(again))));
        }
        if self.over {
            self.transfer.moved(State::Done);
            return Poll::Ready(None);
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                self.transfer.moved(State::Caller);
                return Poll::Pending;
            };
            let data = match frame {
                None => {
                    self.over = true;
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
            self.kept.add(&data);
            self.transfer.moved(if self.is_end() { State::Done } else { State::Upstream });
            self.transfer.received(data.len());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end(&self) -> bool {
        self.again.is_empty() && self.is_over()
    }

    fn is_over(&self) -> bool {
        self.over || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, again) = (self.incoming.size_hint(), self.again.len() as u64);
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(rest + again),
            None => rest,
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self.kept, Kept::All(..)) && self.transfer.fault().is_none()
    }

    fn begin_again(&mut self) -> Option<Begun> {
        let kept = self.is_kept().then(|| std::mem::replace(&mut self.kept, Kept::Nothing));
        let Some(Kept::All(kept, _)) = kept else { return None };
        self.turn += 1;
        if self.is_over() {
            return Some(Begun::Whole(kept.freeze()));
        }
        self.again = kept.freeze();
        self.transfer = Transfer::new(State::Upstream, self.deadline);
        Some(Begun::Stream(self.turn))
    }

    fn faulty(&self, fault: BodyFault) -> Faulty {
        self.transfer.failed(fault);
        Faulty
    }
}

impl Kept {
    /// A copy: a piece of a larger buffer would keep all of it.
    fn add(&mut self, data: &[u8]) {
        match self {
            Self::All(kept, limit) if kept.len() + data.len() <= *limit => {
                kept.extend_from_slice(data);
            }
            Self::All(..) => *self = Self::Nothing,
            Self::Nothing => {}
        }
    }
}

impl std::error::Error for Faulty {}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller's body failed")
    }
}
