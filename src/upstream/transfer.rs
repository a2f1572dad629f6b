//! How far a body that is passed on has come, what is waited for next, and for how long.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::error::{BodyFault, Kind};
use crate::config::Deadlines;

/// How far a request's body has come.
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
pub(super) enum State {
    /// The upstream is to take more.
    Upstream,
    /// The caller is to send more.
    Caller,
    /// All of it is on its way.
    Done,
}

impl Transfer {
    pub(super) fn new(state: State, caller_deadline: Duration) -> Self {
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
    pub(super) fn moved(&self, state: State) {
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

    pub(super) fn received(&self, bytes: usize) {
        let portion = self.portion.get() + bytes as u64;
        if portion >= PORTION {
            self.caller_took.set(Duration::ZERO);
        }
        self.portion.set(portion % PORTION);
    }

    pub(super) fn is_done(&self) -> bool {
        self.state.get() == State::Done
    }

    pub(super) fn failed(&self, fault: BodyFault) {
        self.fault.set(Some(fault));
    }

    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.fault.get()
    }

    /// The exchange starts now.
    pub(super) fn started(&self, now: Instant) {
        self.progress.set(now);
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
}
