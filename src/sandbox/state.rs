//! What the sandbox's thread and its owner share: the pair, the act, the tally.
//!
//! Invariant: no lock is held across a wait; every method takes it once. Decides nothing about a
//! call but whether its pair is the valid one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::request::Parts;

use super::act::{Act, Refusal};
use super::calls::{Call, Calls, Outcome, Tally};
use super::check::Claim;
use super::pair::{Mint, Pair};

/// Shared by the thread that serves and the one that directs.
pub(super) struct State(Mutex<Inner>);

struct Inner {
    mint: Mint,
    pair: Pair,
    /// Whether the pair is accepted.
    alive: bool,
    refusal: Refusal,
    act: Act,
    /// For how many calls the act is still good; `None` for all.
    act_left: Option<u32>,
    tally: Tally,
    last_id: u64,
}

/// A call that is not over. If it is dropped before its end, its client went away.
pub(super) struct Open {
    state: Arc<State>,
    call: Option<Call>,
}

impl State {
    pub(super) fn new(mut mint: Mint, pair: Option<Pair>, refusal: Refusal) -> Self {
        let pair = pair.unwrap_or_else(|| mint.pair());
        Self(Mutex::new(Inner {
            mint,
            pair,
            alive: true,
            refusal,
            act: Act::Normal,
            act_left: None,
            tally: Tally::default(),
            last_id: 0,
        }))
    }

    pub(super) fn pair(&self) -> Pair {
        self.lock().pair.clone()
    }

    pub(super) fn new_token(&self) -> Pair {
        let mut inner = self.lock();
        let token = inner.mint.token();
        inner.pair = Pair::new(inner.pair.app_key(), token);
        inner.alive = true;
        inner.pair.clone()
    }

    pub(super) fn expire_token(&self) {
        self.lock().alive = false;
    }

    pub(super) fn accepts(&self, claim: &Claim<'_>) -> bool {
        let inner = self.lock();
        inner.alive
            && claim.app_key == inner.pair.app_key().as_bytes()
            && claim.authorization == inner.pair.authorization().as_bytes()
    }

    pub(super) fn set_refusal(&self, refusal: Refusal) {
        self.lock().refusal = refusal;
    }

    pub(super) fn refusal(&self) -> Refusal {
        self.lock().refusal
    }

    pub(super) fn set_act(&self, act: Act, times: Option<u32>) {
        let mut inner = self.lock();
        inner.act = act;
        inner.act_left = times;
    }

    /// The act for the next call; uses it up.
    pub(super) fn next_act(&self) -> Act {
        let mut inner = self.lock();
        match inner.act_left {
            None => inner.act.clone(),
            Some(0) => Act::Normal,
            Some(left) => {
                inner.act_left = Some(left - 1);
                inner.act.clone()
            }
        }
    }

    /// A number that was not given out before.
    pub(super) fn next_id(&self) -> u64 {
        let mut inner = self.lock();
        inner.last_id += 1;
        inner.last_id
    }

    pub(super) fn calls(&self) -> Calls {
        self.lock().tally.calls()
    }

    pub(super) fn reset_counts(&self) {
        self.lock().tally = Tally::default();
    }

    /// Counts a call whose head arrived.
    pub(super) fn open(self: &Arc<Self>, head: &Parts) -> Open {
        self.lock().tally.arrived(head.uri.path());
        Open { state: Arc::clone(self), call: Some(Call::begun(head)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Notes what was read of the body.
    pub(super) fn read(&mut self, bytes: u64, sha256: String) {
        if let Some(call) = &mut self.call {
            call.body_bytes = bytes;
            call.body_sha256 = sha256;
        }
    }

    /// The answer begins now; `None` stands for a reset.
    pub(super) fn end(mut self, outcome: Outcome, status: Option<u16>) {
        if let Some(call) = self.call.take() {
            self.state.lock().tally.ended(Call { outcome, status, ..call });
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.state.lock().tally.ended(call);
        }
    }
}
