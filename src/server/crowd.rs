//! The connections of one worker, as a whole: they are told of the process's end, and of deadlines
//! that their peers let pass. And when all places are taken and somebody waits for one, who has the
//! least claim to theirs makes room.
//!
//! Otherwise a flood of connections that never send a request would keep everybody else out for as
//! long as their deadline. Nobody who waits for an answer is sent away, and nobody at all while
//! nobody waits.

use std::future::pending;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Limits;
use super::watch::{UNTIL_REST, Watch};
use crate::lifecycle::Phase;

/// How long one look is good for: who was asked to leave needs a moment, and who has just begun may
/// yet get on.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the order of claims is good for; who has come by a better one is not asked.
const GOOD_FOR: Duration = Duration::from_millis(100);

/// What there is to do for a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Somebody is to be asked to leave.
    MakeRoom,
    /// Deadlines may have passed.
    Look,
}

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct Crowd {
    watches: Vec<Weak<Watch>>,
    limits: Limits,
    /// What the process has gone on to.
    phase: Phase,
    /// When deadlines are looked at next. One timer for all, that is set for as long as there is
    /// anybody.
    look: Pin<Box<Sleep>>,
    /// Those who could be asked to leave, the one with the least claim last.
    line: Vec<Weak<Watch>>,
    lined_up: Instant,
    /// Whether somebody waits for a place.
    pressed: Receiver<bool>,
    /// Who was asked to leave last.
    asked: Weak<Watch>,
    /// Not before this is anybody asked.
    next: Instant,
    /// How long others are left to make room first.
    patience: Duration,
}

impl Crowd {
    /// Of a worker; one that is not the first to take connections lets the first make room first.
    pub(super) fn new(limits: Limits, pressed: Receiver<bool>, is_first: bool) -> Self {
        let patience = if is_first { Duration::ZERO } else { PAUSE };
        let now = Instant::now();
        Self {
            watches: Vec::new(),
            limits,
            phase: Phase::Serving,
            look: Box::pin(sleep_until(now)),
            line: Vec::new(),
            lined_up: now,
            pressed,
            asked: Weak::new(),
            next: now,
            patience,
        }
    }

    pub(super) fn join(&mut self, watch: &Rc<Watch>) {
        /// Fewer than this are not worth tidying up.
        const FEW: usize = 32;
        let soon = Instant::now() + Watch::period(&self.limits).min(UNTIL_REST);
        if self.watches.is_empty() || self.look.deadline() > soon {
            self.look.as_mut().reset(soon);
        }
        if self.watches.len() >= FEW && self.watches.len() == self.watches.capacity() {
            self.watches.retain(|watch| watch.strong_count() > 0);
        }
        watch.reached(self.phase);
        self.watches.push(Rc::downgrade(watch));
    }

    /// The process has gone on to this phase.
    pub(super) fn reached(&mut self, phase: Phase) {
        self.phase = phase;
        self.watches.iter().filter_map(Weak::upgrade).for_each(|watch| watch.reached(phase));
    }

    /// Returns when there is something to do.
    pub(super) async fn duty(&mut self) -> Duty {
        let Self { watches, look, pressed, next, patience, .. } = self;
        let is_pressed = async {
            if !*pressed.borrow() {
                if pressed.wait_for(|pressed| *pressed).await.is_err() {
                    return pending().await; // nobody takes connections any more
                }
                *next = (*next).max(Instant::now() + *patience);
            }
            sleep_until(*next).await;
        };
        tokio::select! {
            () = is_pressed => Duty::MakeRoom,
            () = look.as_mut(), if !watches.is_empty() => Duty::Look,
        }
    }

    /// Does it.
    pub(super) fn perform(&mut self, duty: Duty) {
        match duty {
            Duty::MakeRoom => self.make_room(),
            Duty::Look => self.look(),
        }
    }

    /// Looks for deadlines that have passed.
    fn look(&mut self) {
        self.watches.retain(|watch| watch.strong_count() > 0);
        let now = Instant::now().into_std();
        let watches = self.watches.iter().filter_map(Weak::upgrade);
        let next = watches.map(|watch| watch.look(now, &self.limits)).min();
        let next = next.unwrap_or(now + Watch::period(&self.limits));
        self.look.as_mut().reset(next.into());
    }

    /// Asks the one to leave who has the least claim to their place.
    fn make_room(&mut self) {
        let now = Instant::now();
        self.next = now + PAUSE;
        if self.asked.strong_count() > 0 {
            return; // their place will be free in a moment
        }
        if self.line.is_empty() || now.duration_since(self.lined_up) > GOOD_FOR {
            self.line_up(now);
        }
        while let Some(watch) = self.line.pop() {
            if let Some(watch) = watch.upgrade().filter(|w| w.claim(now.into_std()).is_some()) {
                watch.ask_to_leave();
                self.asked = Rc::downgrade(&watch);
                return;
            }
        }
    }

    /// Looks at everybody at once, because in a flood many are asked one after the other.
    fn line_up(&mut self, now: Instant) {
        self.watches.retain(|watch| watch.strong_count() > 0);
        let claim = |weak: &Weak<Watch>| {
            let watch = weak.upgrade()?;
            Some((watch.claim(now.into_std())?, Weak::clone(weak)))
        };
        let mut claims: Vec<_> = self.watches.iter().filter_map(claim).collect();
        claims.sort_by_key(|(claim, _)| std::cmp::Reverse(*claim));
        self.line = claims.into_iter().map(|(_, watch)| watch).collect();
        self.lined_up = now;
    }

    /// Somebody left: if it was who was asked, the next may be asked at once.
    pub(super) fn left(&mut self) {
        if self.asked.strong_count() == 0 {
            self.next = Instant::now() + self.patience;
        }
    }
}
