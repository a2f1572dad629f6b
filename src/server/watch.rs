//! What the deadlines of a connection are judged by: a socket that notes when its peer last did
//! what it should.
//!
//! No timer is set per request. The connection's one timer fires now and then and looks here.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Limits;
use super::stream::Stream;

/// What the peer does, and since when.
#[derive(Debug)]
pub(super) struct Watch {
    activity: Cell<Activity>,
    /// Since when the peer has not taken what we write.
    write_blocked: Cell<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
enum Activity {
    /// No byte of a request is here.
    Idle { since: Instant },
    /// Some of a head is here.
    Head { since: Instant },
    /// A call is in flight.
    Call,
}

/// A call is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Rc<Watch>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.activity.set(Activity::Idle { since: Instant::now() });
    }
}

impl Watch {
    pub(super) fn new() -> Rc<Self> {
        let activity = Cell::new(Activity::Idle { since: Instant::now() });
        Rc::new(Self { activity, write_blocked: Cell::new(None) })
    }

    pub(super) fn call_started(self: &Rc<Self>) -> InFlight {
        self.activity.set(Activity::Call);
        InFlight(Rc::clone(self))
    }

    /// Whether the peer does not have the whole of its answer yet, as far as we can tell.
    pub(super) fn answer_is_owed(&self) -> bool {
        matches!(self.activity.get(), Activity::Call) || self.write_blocked.get().is_some()
    }

    /// Which deadline has passed, if one has; else when to look again.
    pub(super) fn judge(&self, now: Instant, limits: &Limits) -> Result<Instant, &'static str> {
        let (since, allowed, what) = match (self.activity.get(), self.write_blocked.get()) {
            (_, Some(since)) => (since, limits.write_progress, "the answer is not read"),
            (Activity::Head { since }, None) => (since, limits.head_deadline, "the head is slow"),
            (Activity::Idle { since }, None) => (since, limits.idle, "the connection is unused"),
            (Activity::Call, None) => return Ok(now + Self::period(limits)),
        };
        let due = since + allowed;
        if due <= now { Err(what) } else { Ok(due.min(now + Self::period(limits))) }
    }

    /// How often to look: often enough that no deadline is missed by more than itself.
    pub(super) fn period(limits: &Limits) -> Duration {
        limits.head_deadline.min(limits.write_progress)
    }

    fn read(&self) {
        if let Activity::Idle { .. } = self.activity.get() {
            self.activity.set(Activity::Head { since: Instant::now() });
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

/// A socket that tells its [`Watch`].
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: Stream,
    pub(super) watch: Rc<Watch>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watch.read();
        }
        result
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
        let (watch, start) = (Watch::new(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(watch.judge(after(599), &LIMITS).is_ok());
        assert!(watch.judge(after(601), &LIMITS).is_err());
        watch.read();
        assert!(watch.judge(after(9), &LIMITS).is_ok());
        assert_eq!(watch.judge(after(11), &LIMITS), Err("the head is slow"));
    }

    #[test]
    fn a_call_has_no_deadline_here_unless_its_answer_is_not_read() {
        let (watch, start) = (Watch::new(), Instant::now());
        let call = watch.call_started();
        assert!(watch.judge(start + Duration::from_secs(9_999), &LIMITS).is_ok());
        watch.wrote(&Poll::<()>::Pending);
        assert!(watch.judge(start + Duration::from_secs(31), &LIMITS).is_err());
        watch.wrote(&Poll::Ready(()));
        assert!(watch.judge(start + Duration::from_secs(31), &LIMITS).is_ok());
        drop(call);
        assert!(!watch.answer_is_owed());
    }
}
