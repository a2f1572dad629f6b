//! All places are taken and somebody waits for one: who has the least claim to theirs makes room.
//!
//! Otherwise a flood of connections that never send a request would keep everybody else out for as
//! long as their deadline. Nobody who waits for an answer is sent away, and nobody at all while
//! nobody waits.

use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};

use super::watch::Watch;

/// How long one look is good for: who was asked to leave needs a moment, and who has just begun may
/// yet get on.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the order of claims is good for; who has come by a better one is not asked.
const GOOD_FOR: Duration = Duration::from_millis(100);

/// The connections of one worker.
#[derive(Debug)]
pub(super) struct Crowd {
    watches: Vec<Weak<Watch>>,
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
    pub(super) fn new(pressed: Receiver<bool>, is_first: bool) -> Self {
        let patience = if is_first { Duration::ZERO } else { PAUSE };
        let now = Instant::now();
        Self {
            watches: Vec::new(),
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
        if self.watches.len() >= FEW && self.watches.len() == self.watches.capacity() {
            self.watches.retain(|watch| watch.strong_count() > 0);
        }
        self.watches.push(Rc::downgrade(watch));
    }

    /// Returns when somebody is to be asked to leave.
    pub(super) async fn is_pressed(&mut self) {
        if !*self.pressed.borrow() {
            if self.pressed.wait_for(|pressed| *pressed).await.is_err() {
                return std::future::pending().await; // nobody takes connections any more
            }
            self.next = self.next.max(Instant::now() + self.patience);
        }
        sleep_until(self.next).await;
    }

    /// Asks the one to leave who has the least claim to their place.
    pub(super) fn make_room(&mut self) {
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
