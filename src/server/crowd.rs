//! All places are taken: who has waited longest without asking for anything makes room.
//!
//! Otherwise a flood of connections that never send a request would keep everybody else out for as
//! long as their deadline. Nobody who waits for an answer is sent away.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::accept::Accepted;
use super::watch::Watch;

/// How long who was asked to leave is given before others are asked.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// The connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    watches: Vec<Weak<Watch>>,
    /// The places of all workers together; known once there was a connection.
    places: Option<Arc<Semaphore>>,
}

impl Crowd {
    pub(super) fn join(&mut self, accepted: &Accepted, watch: &Rc<Watch>) {
        /// Fewer than this are not worth tidying up.
        const FEW: usize = 32;
        if self.watches.len() >= FEW && self.watches.len() == self.watches.capacity() {
            self.watches.retain(|watch| watch.strong_count() > 0);
        }
        self.watches.push(Rc::downgrade(watch));
        self.places.get_or_insert_with(|| Arc::clone(accepted.places()));
    }

    /// Whether no place is free.
    pub(super) fn is_full(&self) -> bool {
        self.places.as_ref().is_some_and(|places| places.available_permits() == 0)
    }

    /// Asks some of those to leave who have the least claim to their place.
    pub(super) fn make_room(&mut self, now: Instant) {
        /// Of so many one, so that a flood does not outrun us.
        const SOME: usize = 16;
        self.watches.retain(|watch| watch.strong_count() > 0);
        let mut claims: Vec<_> = self
            .watches
            .iter()
            .filter_map(|watch| {
                let watch = watch.upgrade()?;
                Some((watch.claim(now)?, watch))
            })
            .collect();
        claims.sort_by_key(|(claim, _)| *claim);
        for (_, watch) in claims.iter().take((self.watches.len() / SOME).max(1)) {
            watch.ask_to_leave();
        }
    }
}
