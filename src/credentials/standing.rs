//! How a pair stands with InnoPaaS: what its refusals and successes, taken together, say.
//!
//! One refusal says little: there are paths that an account may not call, and the answer is the
//! same. So a refusal counts only once it is confirmed, by a second one on another path or after
//! a while without a success; and any success clears all that was held against the pair. Even then
//! no call is kept back from a path that was not refused itself: its success may be the one.
//!
//! Decides only: no clock, no lock, no pair.

use std::time::{Duration, Instant};

use crate::config::Breaker;

/// How one pair stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// The generation that this is about.
    generation: u64,
    doubt: Option<Doubt>,
}

/// When a refusal is believed, and what follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// After so long without a success a second refusal confirms the first.
    pub(super) confirm: Duration,
    /// When InnoPaaS is spared, if ever.
    pub(super) breaker: Option<Breaker>,
}

/// After so many different paths it is no path's fault.
const PATHS: usize = 16;

/// What was held against a generation since its last success.
#[derive(Debug, Clone)]
struct Doubt {
    since: Instant,
    /// The paths that were refused, hashed; the first [`PATHS`] of them.
    paths: Vec<u64>,
    confirmed: bool,
    /// Refusals from the one that confirmed on.
    in_a_row: u32,
    /// When the next call may go through, once the breaker is open.
    probe_at: Option<Instant>,
}

impl Standing {
    /// What was held against an older generation says nothing about this one.
    pub(super) fn is_about(&mut self, generation: u64) {
        if generation > self.generation {
            *self = Self { generation, doubt: None };
        }
    }

    /// This generation was refused on a path.
    pub(super) fn refused(&mut self, generation: u64, path: u64, now: Instant, rules: &Rules) {
        self.is_about(generation);
        if generation < self.generation {
            return;
        }
        if let Some(doubt) = &mut self.doubt {
            return doubt.again(path, now, rules);
        }
        let (paths, confirmed, in_a_row) = (vec![path], false, 0);
        self.doubt = Some(Doubt { since: now, paths, confirmed, in_a_row, probe_at: None });
    }

    /// A call with this generation was a success.
    pub(super) fn accepted(&mut self, generation: u64) {
        if generation == self.generation {
            self.doubt = None;
        }
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubt.is_some()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.confirmed)
    }

    /// Whether it is refused beyond doubt, and was on this path: no use in trying it there.
    pub(super) fn is_refused_on(&self, path: u64) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.confirmed && doubt.is_about(path))
    }

    /// How often in a row, once confirmed.
    pub(super) fn refusals(&self) -> u32 {
        self.doubt.as_ref().map_or(0, |doubt| doubt.in_a_row)
    }

    pub(super) fn is_breaker_open(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.probe_at.is_some())
    }

    /// Whether a call to this path may go out now.
    ///
    /// # Errors
    /// How long until the next one may, while the breaker is open.
    pub(super) fn may_try(&self, path: u64, now: Instant) -> Result<(), Duration> {
        match self.doubt.as_ref().and_then(|doubt| doubt.spared_until(path)) {
            Some(at) if at > now => Err(at - now),
            Some(_) | None => Ok(()),
        }
    }

    /// The same, for a call that does go out: while the breaker is open it is the only one in an
    /// interval.
    pub(super) fn admit(&mut self, path: u64, now: Instant, rules: &Rules) -> Result<(), Duration> {
        self.may_try(path, now)?;
        if let (Some(doubt), Some(breaker)) = (&mut self.doubt, rules.breaker)
            && doubt.spared_until(path).is_some()
        {
            doubt.probe_at = Some(now + breaker.interval);
        }
        Ok(())
    }
}

impl Doubt {
    fn again(&mut self, path: u64, now: Instant, rules: &Rules) {
        let waited = now.saturating_duration_since(self.since);
        let another = !self.paths.contains(&path);
        if another && self.paths.len() < PATHS {
            self.paths.push(path);
        }
        self.confirmed |= another || waited >= rules.confirm;
        if !self.confirmed {
            return;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if let Some(breaker) = rules.breaker
            && self.in_a_row >= breaker.refusals
        {
            self.probe_at.get_or_insert(now + breaker.interval);
        }
    }

    /// When the next call to this path may go through, if it is kept back.
    fn spared_until(&self, path: u64) -> Option<Instant> {
        self.probe_at.filter(|_| self.is_about(path))
    }

    fn is_about(&self, path: u64) -> bool {
        self.paths.len() >= PATHS || self.paths.contains(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        confirm: Duration::from_secs(5),
        breaker: Some(Breaker { refusals: 3, interval: Duration::from_secs(10) }),
    };

    /// What happens to generation 1, at which second.
    enum Event {
        Refused(u64, u64),
        Accepted,
    }
    use Event::{Accepted, Refused};

    fn after(events: &[Event]) -> (Standing, Instant) {
        let start = Instant::now();
        let mut standing = Standing::default();
        for event in events {
            match event {
                Refused(path, second) => {
                    standing.refused(1, *path, start + Duration::from_secs(*second), &RULES);
                }
                Accepted => standing.accepted(1),
            }
        }
        (standing, start)
    }

    #[test]
    fn a_refusal_is_confirmed_by_another_path_or_by_time_without_a_success() {
        for (events, refused) in [
            (&[][..], false),
            (&[Refused(1, 0)], false),
            (&[Refused(1, 0), Refused(1, 4)], false),
            (&[Refused(1, 0), Refused(1, 5)], true),
            (&[Refused(1, 0), Refused(2, 0)], true),
            (&[Refused(1, 0), Accepted, Refused(2, 0)], false),
            (&[Refused(1, 0), Accepted, Refused(1, 5)], false),
            (&[Refused(1, 0), Refused(2, 0), Accepted], false),
        ] {
            assert_eq!(after(events).0.is_refused(), refused);
        }
    }

    #[test]
    fn a_path_that_is_always_refused_beside_successes_moves_nothing() {
        let events: Vec<Event> =
            (0..1000).flat_map(|second| [Refused(1, second), Accepted]).collect();
        let standing = after(&events).0;
        assert!(!standing.is_doubted() && !standing.is_breaker_open());
    }

    #[test]
    fn the_breaker_opens_after_so_many_and_lets_one_through_in_each_interval() {
        let refusals = [Refused(1, 0), Refused(2, 0), Refused(2, 1)];
        let (mut standing, start) = after(&refusals);
        let at = |second| start + Duration::from_secs(second);
        assert!(!standing.is_breaker_open() && standing.admit(1, at(1), &RULES).is_ok());
        standing.refused(1, 1, at(2), &RULES);
        assert!(standing.is_breaker_open());
        assert_eq!(standing.admit(1, at(5), &RULES), Err(Duration::from_secs(7)));
        assert_eq!(standing.may_try(1, at(12)), Ok(()));
        assert_eq!(standing.admit(1, at(12), &RULES), Ok(()));
        assert_eq!(standing.admit(1, at(12), &RULES), Err(Duration::from_secs(10)));
        standing.refused(1, 1, at(13), &RULES);
        assert_eq!(standing.admit(1, at(13), &RULES), Err(Duration::from_secs(9)));
        standing.accepted(1);
        assert_eq!(standing.admit(1, at(13), &RULES), Ok(()));
    }

    #[test]
    fn the_breaker_keeps_no_call_from_a_path_that_was_not_refused_itself() {
        let (mut standing, start) = after(&[Refused(1, 0), Refused(1, 5), Refused(1, 6)]);
        standing.refused(1, 1, start + Duration::from_secs(7), &RULES);
        assert!(standing.is_breaker_open());
        let at = start + Duration::from_secs(8);
        assert_eq!(standing.admit(1, at, &RULES), Err(Duration::from_secs(9)));
        assert_eq!(standing.admit(2, at, &RULES), Ok(()));
        standing.refused(1, 2, at, &RULES);
        assert_eq!(standing.admit(2, at, &RULES), Err(Duration::from_secs(9)));
        for path in 3..=PATHS as u64 {
            assert_eq!(standing.admit(path, at, &RULES), Ok(()));
            standing.refused(1, path, at, &RULES);
        }
        assert!(standing.admit(1000, at, &RULES).is_err(), "it is no path's fault any more");
    }

    #[test]
    fn a_newer_generation_begins_without_doubt_and_is_not_blamed_for_an_older_one() {
        let (mut standing, start) = after(&[Refused(1, 0), Refused(2, 0), Refused(3, 0)]);
        standing.is_about(2);
        standing.refused(1, 4, start, &RULES);
        standing.refused(1, 5, start, &RULES);
        assert!(!standing.is_doubted());
        standing.refused(2, 1, start, &RULES);
        standing.accepted(1);
        assert!(standing.is_doubted(), "a success of the old pair is none of the new one's");
    }

    #[test]
    fn without_a_breaker_calls_always_go_out() {
        let rules = Rules { breaker: None, ..RULES };
        let (mut standing, start) = (Standing::default(), Instant::now());
        (0..100).for_each(|path| standing.refused(1, path, start, &rules));
        assert!(standing.is_refused() && standing.admit(1, start, &rules).is_ok());
    }
}
