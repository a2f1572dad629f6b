//! What the sandbox's thread and its owner share: the pairs, the act, the tally, the orders for
//! webhooks.
//!
//! Invariant: no lock is held across a wait; every method takes it once. Decides nothing about a
//! call but whether it is refused.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::request::Parts;

use super::act::{Act, Refusal};
use super::applications::{Applications, Worth};
use super::calls::{Call, Calls, Outcome, Tally};
use super::check::Claim;
use super::pair::{Mint, Pair};
use super::webhooks::{Desk, Plan, Sending, Webhook, WebhookReport};

const FORBIDDEN: usize = 64; // paths; one more, and the oldest is allowed again

/// Shared by the thread that serves and the one that directs.
pub(super) struct State(Mutex<Inner>);

struct Inner {
    mint: Mint,
    applications: Applications,
    /// Paths whose calls are refused whatever pair they show.
    forbidden: VecDeque<String>,
    refusal: Refusal,
    act: Act,
    /// For how many calls the act is still good; `None` for all.
    act_left: Option<u32>,
    tally: Tally,
    last_id: u64,
    /// Where orders for webhooks go.
    desk: Desk,
}

/// A call that is not over. If it is dropped before its end, its client went away.
pub(super) struct Open {
    state: Arc<State>,
    call: Option<Call>,
}

impl State {
    pub(super) fn new(mut mint: Mint, pair: Option<Pair>, refusal: Refusal, desk: Desk) -> Self {
        let pair = pair.unwrap_or_else(|| mint.pair());
        Self(Mutex::new(Inner {
            mint,
            applications: Applications::of(pair),
            forbidden: VecDeque::new(),
            refusal,
            act: Act::Normal,
            act_left: None,
            tally: Tally::default(),
            last_id: 0,
            desk,
        }))
    }

    pub(super) fn pair(&self) -> Pair {
        self.lock().applications.first().clone()
    }

    pub(super) fn new_token(&self) -> Pair {
        let mut inner = self.lock();
        let token = inner.mint.token();
        let pair = Pair::new(inner.applications.first().app_key(), token);
        inner.applications.replace_first(pair.clone());
        pair
    }

    pub(super) fn set_pair(&self, pair: Pair) {
        self.lock().applications.replace_first(pair);
    }

    pub(super) fn expire_token(&self) {
        self.lock().applications.expire_first();
    }

    pub(super) fn new_application(&self) -> Pair {
        let mut inner = self.lock();
        let pair = inner.mint.pair();
        inner.applications.add(pair.clone());
        pair
    }

    pub(super) fn add_application(&self, pair: Pair) {
        self.lock().applications.add(pair);
    }

    pub(super) fn kill_applications(&self) {
        self.lock().applications.kill_further();
    }

    pub(super) fn forbid(&self, path: String) {
        let mut inner = self.lock();
        inner.forbidden.retain(|forbidden| *forbidden != path);
        if inner.forbidden.len() == FORBIDDEN {
            inner.forbidden.pop_front();
        }
        inner.forbidden.push_back(path);
    }

    pub(super) fn allow(&self, path: &str) {
        self.lock().forbidden.retain(|forbidden| forbidden != path);
    }

    /// Whether a call to this path with this pair is let in; counts it if its pair is mixed.
    pub(super) fn accepts(&self, path: &str, claim: &Claim<'_>) -> bool {
        let mut inner = self.lock();
        let worth = inner.applications.worth(claim);
        if worth == Worth::Mixed {
            inner.tally.mixed();
        }
        worth == Worth::Valid && !inner.forbidden.iter().any(|forbidden| forbidden == path)
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

    /// # Errors
    /// If it cannot be sent, or not now.
    pub(super) fn send_webhooks(&self, webhook: Webhook) -> io::Result<Sending> {
        let plan = Plan::new(webhook)
            .map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?;
        self.lock().desk.take(plan)
    }

    pub(super) fn webhooks(&self) -> Vec<WebhookReport> {
        self.lock().desk.reports()
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
