//! Which pairs are valid now, and which ever were.
//!
//! Invariant: one pair of the first application is valid at a time, as InnoPaaS has it; those of
//! further applications live and die apart from it. The memory is bounded, and nothing here can be
//! printed but by `Pair`, which does not print its values.

use std::collections::VecDeque;

use super::check::Claim;
use super::pair::Pair;

const FURTHER: usize = 64; // applications; one more, and the oldest is dead
const REMEMBERED: usize = 4096; // pairs; searched only for calls that are refused

/// The applications of the sandbox's one customer.
pub(super) struct Applications {
    first: Pair,
    /// Whether the first application's pair is accepted.
    alive: bool,
    further: VecDeque<Pair>,
    /// Every pair that was valid once, oldest first.
    ever: VecDeque<Pair>,
}

/// What a call's pair is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    Valid,
    /// Unknown, or dead.
    Invalid,
    /// Invalid, its halves being of two pairs that each were valid once.
    Mixed,
}

impl Applications {
    pub(super) fn of(first: Pair) -> Self {
        let ever = VecDeque::from([first.clone()]);
        Self { first, alive: true, further: VecDeque::new(), ever }
    }

    pub(super) fn first(&self) -> &Pair {
        &self.first
    }

    /// The pair before is dead at once.
    pub(super) fn replace_first(&mut self, pair: Pair) {
        self.first = pair.clone();
        self.alive = true;
        push(&mut self.ever, pair, REMEMBERED);
    }

    pub(super) fn expire_first(&mut self) {
        self.alive = false;
    }

    pub(super) fn add(&mut self, pair: Pair) {
        push(&mut self.further, pair.clone(), FURTHER);
        push(&mut self.ever, pair, REMEMBERED);
    }

    pub(super) fn kill_further(&mut self) {
        self.further.clear();
    }

    pub(super) fn worth(&self, claim: &Claim<'_>) -> Worth {
        let is = |pair: &Pair| has_app_key(pair, claim) && has_authorization(pair, claim);
        if (self.alive && is(&self.first)) || self.further.iter().any(is) {
            return Worth::Valid;
        }
        let known_halves = self.ever.iter().any(|pair| has_app_key(pair, claim))
            && self.ever.iter().any(|pair| has_authorization(pair, claim));
        if known_halves && !self.ever.iter().any(is) { Worth::Mixed } else { Worth::Invalid }
    }
}

fn has_app_key(pair: &Pair, claim: &Claim<'_>) -> bool {
    claim.app_key == pair.app_key().as_bytes()
}

fn has_authorization(pair: &Pair, claim: &Claim<'_>) -> bool {
    claim.authorization == pair.authorization().as_bytes()
}

fn push(pairs: &mut VecDeque<Pair>, pair: Pair, most: usize) {
    if pairs.len() == most {
        pairs.pop_front();
    }
    pairs.push_back(pair);
}

#[cfg(test)]
mod tests {
    use super::super::check::Content;
    use super::*;

    fn worth(applications: &Applications, app_key: &str, authorization: &str) -> Worth {
        applications.worth(&Claim {
            app_key: app_key.as_bytes(),
            authorization: authorization.as_bytes(),
            content: Content::Json,
        })
    }

    #[test]
    fn halves_of_two_pairs_are_mixed_unless_they_were_a_pair_themselves() {
        let mut applications = Applications::of(Pair::new("a", "1"));
        assert_eq!(worth(&applications, "a", "1"), Worth::Valid);
        applications.replace_first(Pair::new("b", "2"));
        applications.add(Pair::new("c", "3"));
        assert_eq!(worth(&applications, "a", "1"), Worth::Invalid, "dead, but one pair");
        for (app_key, authorization) in [("a", "2"), ("b", "1"), ("c", "2"), ("a", "3")] {
            assert_eq!(worth(&applications, app_key, authorization), Worth::Mixed);
        }
        assert_eq!(worth(&applications, "a", "x"), Worth::Invalid, "half of it is a stranger's");
        // A new token under an old AppKey makes one pair out of known halves.
        applications.replace_first(Pair::new("b", "1"));
        assert_eq!(worth(&applications, "b", "1"), Worth::Valid);
        applications.expire_first();
        assert_eq!(worth(&applications, "b", "1"), Worth::Invalid);
    }

    #[test]
    fn further_applications_live_beside_the_first_until_they_are_killed() {
        let mut applications = Applications::of(Pair::new("a", "1"));
        applications.add(Pair::new("b", "2"));
        applications.add(Pair::new("c", "3"));
        applications.expire_first();
        assert_eq!(worth(&applications, "b", "2"), Worth::Valid);
        assert_eq!(worth(&applications, "c", "3"), Worth::Valid);
        applications.kill_further();
        assert_eq!(worth(&applications, "c", "3"), Worth::Invalid);
    }

    #[test]
    fn the_memory_of_pairs_is_bounded() {
        let mut applications = Applications::of(Pair::new("a", "1"));
        for number in 0..REMEMBERED {
            applications.replace_first(Pair::new(format!("k{number}"), format!("t{number}")));
        }
        assert_eq!(applications.ever.len(), REMEMBERED);
        assert_eq!(worth(&applications, "a", "t0"), Worth::Invalid, "the first is forgotten");
        assert_eq!(worth(&applications, "k1", "t0"), Worth::Mixed);
    }
}
