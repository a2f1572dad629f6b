//! What the deadlines of a connection, and its claim to its place, are judged by: when its peer last
//! did what it should.
//!
//! No timer is set per request, nor per connection: now and then `crowd` looks at all of them, and
//! tells those that are concerned.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Limits;
use crate::lifecycle::Phase;

/// Younger than this, a connection without a request is one whose request is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// The same where a TLS handshake comes first, and more than one machine is on the way.
const ON_ITS_WAY_BY_TLS: Duration = Duration::from_secs(1);
/// A connection that was unused for so long gives back what only a call needs.
pub(super) const UNTIL_REST: Duration = Duration::from_secs(1);
/// A connection whose last call ended less than this ago is in use.
const IN_USE: Duration = Duration::from_secs(1);

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
    /// How long a request may be on its way.
    patience: Duration,
    leaving: Cell<bool>,
    parting: Cell<bool>,
    /// What was told and not heard yet.
    told: Cell<Told>,
    /// Whether it holds no more than it must, until the peer wants something.
    resting: Cell<bool>,
    /// Whether every request that began is here to its end.
    between_requests: Cell<bool>,
    /// Who drives the connection.
    driver: Cell<Option<Waker>>,
}

/// Something that the connection itself does not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// The process has gone on to this phase.
    Phase(Phase),
    /// Somebody else needs the place.
    Leave,
    /// The peer let a deadline pass; which.
    Overdue(&'static str),
    /// The peer has wanted nothing for a while.
    Rest,
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    phase: Option<Phase>,
    leave: bool,
    overdue: Option<&'static str>,
    rest: bool,
}

/// A call is in flight until this is dropped.
pub(super) struct InFlight(Rc<Watch>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(false);
        self.0.idle_since.set(Instant::now());
        self.0.wake_reader();
    }
}

/// Who goes first when there is no place left: the lowest, and among equals the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// Has had its last answer.
    Parting,
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
            patience: if handshake { ON_ITS_WAY_BY_TLS } else { ON_ITS_WAY },
            leaving: Cell::new(false),
            parting: Cell::new(false),
            told: Cell::new(Told::default()),
            resting: Cell::new(false),
            between_requests: Cell::new(true),
            driver: Cell::new(None),
        })
    }

    /// The TLS handshake is over.
    pub(super) fn secured(&self) {
        self.head_since.set(None);
        self.idle_since.set(Instant::now());
    }

    /// No further call will be taken on it.
    pub(super) fn parts(&self) {
        self.parting.set(true);
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
        if self.leaving.get() {
            return None;
        }
        if self.parting.get() {
            return Some(Claim::Parting);
        }
        if self.answer_is_owed() {
            return None;
        }
        let idle_since = self.idle_since.get();
        let (since, patience, claim): (_, _, fn(Instant) -> Claim) = match self.head_since.get() {
            Some(since) => (since.max(idle_since), self.patience, Claim::HalfAHead),
            None if self.used.get() => (idle_since, IN_USE, Claim::Idle),
            None => (idle_since, self.patience, Claim::Unused),
        };
        (now.duration_since(since) >= patience).then(|| claim(since))
    }

    /// Asks the connection to leave.
    pub(super) fn ask_to_leave(&self) {
        self.leaving.set(true);
        self.tell(|told| told.leave = true);
    }

    /// The process has gone on to this phase.
    pub(super) fn reached(&self, phase: Phase) {
        self.tell(|told| told.phase = Some(phase));
    }

    fn tell(&self, what: impl FnOnce(&mut Told)) {
        let mut told = self.told.get();
        what(&mut told);
        self.told.set(told);
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// What the connection was told and has not heard yet. Whoever asks is woken when there is more.
    pub(super) fn poll_notice(&self, cx: &mut Context<'_>) -> Poll<Notice> {
        let mut told = self.told.get();
        let notice = if let Some(reason) = told.overdue.take() {
            Notice::Overdue(reason)
        } else if let Some(phase) = told.phase.take() {
            Notice::Phase(phase)
        } else if std::mem::take(&mut told.leave) {
            self.leaving.set(false);
            Notice::Leave
        } else if std::mem::take(&mut told.rest) {
            Notice::Rest
        } else {
            let same = self.driver.take().filter(|driver| driver.will_wake(cx.waker()));
            self.driver.set(Some(same.unwrap_or_else(|| cx.waker().clone())));
            return Poll::Pending;
        };
        self.told.set(told);
        Poll::Ready(notice)
    }

    /// Waits until the connection is asked to leave.
    pub(super) async fn asked_to_leave(&self) {
        while poll_fn(|cx| self.poll_notice(cx)).await != Notice::Leave {}
    }

    /// Whether it holds no more than it must, until the peer wants something.
    pub(super) fn rests(&self, resting: bool) {
        self.resting.set(resting);
    }

    /// Tells the connection if a deadline has passed, or if it may rest; when to look again.
    pub(super) fn look(&self, now: Instant, limits: &Limits) -> Instant {
        let due = match self.judge(now, limits) {
            Ok(due) => due,
            Err(reason) => {
                self.tell(|told| told.overdue = Some(reason));
                return now + Self::period(limits);
            }
        };
        let tires = self.idle_since.get() + UNTIL_REST;
        if self.resting.get() || self.answer_is_owed() || self.head_since.get().is_some() {
            due
        } else if tires <= now {
            self.tell(|told| told.rest = true);
            due
        } else {
            due.min(tires)
        }
    }

    /// Which deadline has passed, if one has; else when to look again.
    fn judge(&self, now: Instant, limits: &Limits) -> Result<Instant, &'static str> {
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

    /// Nothing may be read before no answer is owed any more.
    pub(super) fn wait_to_read(&self, reader: &Waker) {
        self.reader.set(Some(reader.clone()));
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    pub(super) fn took_whole_requests(&self, whole: bool) {
        self.between_requests.set(whole);
    }

    pub(super) fn is_between_requests(&self) -> bool {
        self.between_requests.get()
    }

    /// Part of a head is held, or is not any more.
    pub(super) fn holds_head(&self, holds: bool) {
        match (holds, self.head_since.get()) {
            (true, None) => self.head_since.set(Some(Instant::now())),
            (false, Some(_)) => self.head_since.set(None),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// What came of an attempt to write.
    pub(super) fn wrote<T>(&self, result: &Poll<T>) {
        match (result, self.write_blocked.get()) {
            (Poll::Pending, None) => self.write_blocked.set(Some(Instant::now())),
            (Poll::Ready(_), Some(_)) => {
                self.write_blocked.set(None);
                self.wake_reader();
            }
            (Poll::Pending, Some(_)) | (Poll::Ready(_), None) => {}
        }
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
        assert!([&half, &unused, &idle].iter().all(|watch| watch.claim(now).is_none()), "at work");
        let now = now + Duration::from_secs(2);
        let parting = Watch::new(false);
        parting.parts();
        let claims = [&parting, &half, &unused, &idle].map(|watch| watch.claim(now).unwrap());
        assert!(claims.is_sorted() && busy.claim(now).is_none(), "{claims:?}");
        half.ask_to_leave();
        assert!(half.claim(now).is_none(), "asked twice");
    }
}
