//! What the deadlines of a connection, and its claim to its place, are judged by: a socket that
//! notes when its peer last did what it should.
//!
//! No timer is set per request. The connection's one timer fires now and then and looks here.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::Limits;
use super::inlet::{Inlet, Next};
use super::stream::Stream;

/// Younger than this, a connection without a request is one whose request is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// What the peer does, and since when.
pub(super) struct Watch {
    in_flight: Cell<bool>,
    /// Whether there ever was a call.
    used: Cell<bool>,
    /// When the connection began, or its last call ended.
    idle_since: Cell<Instant>,
    /// Since when a part of a head, or of a TLS handshake, has been here.
    head_since: Cell<Option<Instant>>,
    /// Since when the peer has not taken what we write.
    write_blocked: Cell<Option<Instant>>,
    /// Who reads, while it waits for the end of the call in flight.
    reader: Cell<Option<Waker>>,
    leave: Notify,
    leaving: Cell<bool>,
}

/// A call is in flight until this is dropped.
pub(super) struct InFlight(Rc<Watch>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(false);
        self.0.idle_since.set(Instant::now());
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }
}

/// Who goes first when there is no place left: the lowest, and among equals the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// Has begun something and not gone on.
    HalfAHead(Instant),
    /// Has never asked for anything.
    Unused(Instant),
    /// Was of use, and may be again.
    Idle(Instant),
}

impl Watch {
    /// Of a connection that begins; with a TLS handshake, if it has one.
    pub(super) fn new(handshake: bool) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            in_flight: Cell::new(false),
            used: Cell::new(false),
            idle_since: Cell::new(now),
            head_since: Cell::new(handshake.then_some(now)),
            write_blocked: Cell::new(None),
            reader: Cell::new(None),
            leave: Notify::new(),
            leaving: Cell::new(false),
        })
    }

    /// The TLS handshake is over.
    pub(super) fn secured(&self) {
        self.head_since.set(None);
    }

    pub(super) fn call_started(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(true);
        self.used.set(true);
        InFlight(Rc::clone(self))
    }

    /// Whether the peer does not have the whole of its answer yet, as far as we can tell.
    pub(super) fn answer_is_owed(&self) -> bool {
        self.in_flight.get() || self.write_blocked.get().is_some()
    }

    /// How good a claim to its place the connection has; `None` if nobody may take it.
    pub(super) fn claim(&self, now: Instant) -> Option<Claim> {
        if self.answer_is_owed() || self.leaving.get() {
            return None;
        }
        let idle_since = self.idle_since.get();
        if self.used.get() && self.head_since.get().is_none() {
            return Some(Claim::Idle(idle_since));
        }
        let since = self.head_since.get().map_or(idle_since, |since| since.max(idle_since));
        match self.head_since.get() {
            _ if now.duration_since(since) < ON_ITS_WAY => None,
            Some(_) => Some(Claim::HalfAHead(since)),
            None => Some(Claim::Unused(since)),
        }
    }

    /// Asks the connection to leave.
    pub(super) fn ask_to_leave(&self) {
        self.leaving.set(true);
        self.leave.notify_one();
    }

    /// Waits until the connection is asked to leave.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
        self.leaving.set(false);
    }

    /// Which deadline has passed, if one has; else when to look again.
    pub(super) fn judge(&self, now: Instant, limits: &Limits) -> Result<Instant, &'static str> {
        let idle_since = self.idle_since.get();
        let (since, allowed, what) = match (self.write_blocked.get(), self.head_since.get()) {
            (Some(since), _) => (since, limits.write_progress, "the answer is not read"),
            (None, _) if self.in_flight.get() => return Ok(now + Self::period(limits)),
            (None, Some(since)) => {
                (since.max(idle_since), limits.head_deadline, "the head is slow")
            }
            (None, None) => (idle_since, limits.idle, "the connection is unused"),
        };
        let due = since + allowed;
        if due <= now { Err(what) } else { Ok(due.min(now + Self::period(limits))) }
    }

    /// How often to look: often enough that no deadline is missed by more than itself.
    pub(super) fn period(limits: &Limits) -> Duration {
        limits.head_deadline.min(limits.write_progress)
    }

    /// Part of a head is held, or is not any more.
    fn holds_head(&self, holds: bool) {
        match (holds, self.head_since.get()) {
            (true, None) => self.head_since.set(Some(Instant::now())),
            (false, Some(_)) => self.head_since.set(None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn wrote<T>(&self, result: &Poll<T>) {
        match (result, self.write_blocked.get()) {
            (Poll::Pending, None) => self.write_blocked.set(Some(Instant::now())),
            (Poll::Ready(_), Some(_)) => self.write_blocked.set(None),
            (Poll::Pending, Some(_)) | (Poll::Ready(_), None) => {}
        }
    }
}

/// A socket that lets requests pass, and tells its [`Watch`].
pub(super) struct Watched {
    pub(super) stream: Stream,
    pub(super) watch: Rc<Watch>,
    pub(super) inlet: Inlet,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, watch, inlet } = &mut *self;
        loop {
            match inlet.next(watch.answer_is_owed()) {
                Next::Read => {}
                Next::End => return Poll::Ready(Ok(())),
                Next::Wait => {
                    watch.reader.set(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                Next::Held(length) => {
                    inlet.give(buf.remaining().min(length)).for_each(|byte| buf.put_slice(&[byte]));
                    return Poll::Ready(Ok(()));
                }
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
            let Some(read) = buf.filled().get(before..).filter(|read| !read.is_empty()) else {
                return Poll::Ready(Ok(()));
            };
            let fit = inlet.take(read);
            watch.holds_head(inlet.holds_head());
            buf.set_filled(before + fit);
            if fit > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch.wrote(&result);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inlet.refused().is_some() {
            return Poll::Ready(Ok(())); // the refusal is still to be written
        }
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch.wrote(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        head_size: 0,
        header_count: 0,
        head_deadline: Duration::from_secs(10),
        write_progress: Duration::from_secs(30),
        idle: Duration::from_secs(600),
    };

    #[test]
    fn a_slow_head_is_due_before_an_unused_connection() {
        let (watch, start) = (Watch::new(false), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(watch.judge(after(599), &LIMITS).is_ok());
        assert!(watch.judge(after(601), &LIMITS).is_err());
        watch.holds_head(true);
        assert!(watch.judge(after(9), &LIMITS).is_ok());
        assert_eq!(watch.judge(after(11), &LIMITS), Err("the head is slow"));
        watch.holds_head(false);
        assert!(watch.judge(after(11), &LIMITS).is_ok());
    }

    #[test]
    fn a_call_has_no_deadline_here_unless_its_answer_is_not_read() {
        let (watch, start) = (Watch::new(false), Instant::now());
        let call = watch.call_started();
        assert!(watch.judge(start + Duration::from_secs(9_999), &LIMITS).is_ok());
        watch.wrote(&Poll::<()>::Pending);
        assert!(watch.judge(start + Duration::from_secs(31), &LIMITS).is_err());
        watch.wrote(&Poll::Ready(()));
        assert!(watch.judge(start + Duration::from_secs(31), &LIMITS).is_ok());
        drop(call);
        assert!(!watch.answer_is_owed());
    }

    #[test]
    fn who_holds_half_a_head_makes_room_first_and_who_waits_for_an_answer_never() {
        let [half, unused, idle, busy] = [(); 4].map(|()| Watch::new(false));
        half.holds_head(true);
        drop(idle.call_started());
        let _call = busy.call_started();
        let now = Instant::now();
        assert!(half.claim(now).is_none() && unused.claim(now).is_none(), "on their way");
        let now = now + Duration::from_secs(1);
        let claims = [&half, &unused, &idle].map(|watch| watch.claim(now).unwrap());
        assert!(claims.is_sorted() && busy.claim(now).is_none(), "{claims:?}");
        half.ask_to_leave();
        assert!(half.claim(now).is_none(), "asked twice");
    }
}
