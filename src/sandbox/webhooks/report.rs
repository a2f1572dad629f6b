//! What became of the events of one order, while it is sent and after.
//!
//! Invariant: no lock is held across a wait; nothing of a request is kept but its event's id. An
//! order that is dropped before its end is over as well, and its report says that it was cut.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::sandbox::events::Event;

/// What became of an order so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebhookReport {
    /// Number of the order, counted from 1.
    pub order: u64,
    /// Whether there is more to come.
    pub state: WebhookState,
    /// Events that were answered with a 2xx.
    pub delivered: u64,
    /// Events whose every try failed.
    pub lost: u64,
    /// Tries that are over, of all events.
    pub tries: u64,
    /// Events that were tried, in the order of their first tries.
    pub events: Vec<SentEvent>,
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookState {
    /// There is more to come.
    Running,
    /// Every event is delivered or lost.
    Done,
    /// The sandbox ended before.
    Cut,
}

/// What became of an event so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SentEvent {
    /// What tells it from others: `id` of the envelope, `msgid` of a status report, a part of the
    /// text of an uplink.
    pub id: String,
    /// What became of it.
    pub outcome: EventOutcome,
    /// The tries that are over.
    pub tries: Vec<Try>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventOutcome {
    /// It is being tried, or will be again.
    Pending,
    /// The last try was answered with a 2xx.
    Delivered,
    /// There will be no other try.
    Lost,
}

/// One try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Try {
    /// How it ended.
    pub result: TryResult,
    /// From its begin to the answer's head, or to its failure; in JSON in microseconds.
    #[serde(rename = "took_us", serialize_with = "microseconds")]
    pub took: Duration,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TryResult {
    /// With an answer of this status.
    Status(u16),
    /// There was no connection to be had.
    Refused,
    /// There was a connection, and no TLS on it that can be trusted.
    Tls,
    /// The connection ended before there was an answer.
    Broken,
    /// There was no answer within the patience.
    NoAnswer,
}

impl TryResult {
    /// Whether the event needs no other try.
    pub fn is_delivered(self) -> bool {
        match self {
            Self::Status(status) => (200..300).contains(&status),
            Self::Refused | Self::Tls | Self::Broken | Self::NoAnswer => false,
        }
    }
}

impl fmt::Display for SentEvent {
    /// One line: id, outcome, and how each try ended.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            EventOutcome::Pending => "pending",
            EventOutcome::Delivered => "delivered",
            EventOutcome::Lost => "lost",
        };
        let tries: Vec<_> = self.tries.iter().map(|tried| tried.result.to_string()).collect();
        write!(f, "{} {outcome}: {}", self.id, tries.join(", "))
    }
}

impl fmt::Display for TryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Refused => f.write_str("no connection"),
            Self::Tls => f.write_str("no TLS"),
            Self::Broken => f.write_str("broken off"),
            Self::NoAnswer => f.write_str("no answer"),
        }
    }
}

fn microseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

/// An order on its way. Whoever drops this does not stop it; the sandbox's end does.
#[derive(Debug)]
pub struct Sending {
    progress: Arc<Progress>,
    /// How many of the events that ended were told as news.
    told: usize,
}

impl Sending {
    pub(super) fn of(progress: Arc<Progress>) -> Self {
        Self { progress, told: 0 }
    }

    /// Its number, counted from 1.
    pub fn order(&self) -> u64 {
        self.progress.order
    }

    /// Whether there is nothing more to come.
    pub fn is_over(&self) -> bool {
        self.progress.lock().state != WebhookState::Running
    }

    /// What became of it so far.
    pub fn report(&self) -> WebhookReport {
        self.progress.report(usize::MAX)
    }

    /// Blocks until it is over, or this time has passed; the report tells which.
    pub fn wait(&self, at_most: Duration) -> WebhookReport {
        drop(self.progress.wait(at_most, |inner| inner.state != WebhookState::Running));
        self.report()
    }

    /// As [`Self::wait`], for those inside a runtime.
    pub async fn finished(&self, at_most: Duration) -> WebhookReport {
        let mut over = self.progress.over.subscribe();
        let _ = timeout(at_most, over.wait_for(|over| *over)).await; // the report tells
        self.report()
    }

    /// The events that were delivered or lost since this was last asked, in that order; blocks
    /// until there is one, the order is over, or this time has passed.
    pub fn news(&mut self, at_most: Duration) -> Vec<SentEvent> {
        let told = self.told;
        let is_news =
            |inner: &Inner| inner.ended.len() > told || inner.state != WebhookState::Running;
        let inner = self.progress.wait(at_most, is_news);
        let ended = inner.ended.iter().skip(told);
        let news: Vec<_> = ended
            .filter_map(|index| inner.events.get(*index))
            .map(|event| self.progress.told(event))
            .collect();
        drop(inner);
        self.told += news.len();
        news
    }
}

/// An order's report while it is written.
#[derive(Debug)]
pub(super) struct Progress {
    order: u64,
    event: Event,
    inner: Mutex<Inner>,
    /// Something ended.
    changed: Condvar,
    /// Everything ended.
    over: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    state: WebhookState,
    delivered: u64,
    lost: u64,
    tries: u64,
    events: Vec<Tried>,
    /// Those that are delivered or lost, by their place in `events`.
    ended: Vec<usize>,
}

#[derive(Debug)]
struct Tried {
    number: u64,
    outcome: EventOutcome,
    tries: Vec<Try>,
}

impl Progress {
    pub(super) fn new(order: u64, event: Event) -> Self {
        Self {
            order,
            event,
            inner: Mutex::new(Inner {
                state: WebhookState::Running,
                delivered: 0,
                lost: 0,
                tries: 0,
                events: Vec::new(),
                ended: Vec::new(),
            }),
            changed: Condvar::new(),
            over: watch::Sender::new(false),
        }
    }

    /// The next event is tried for the first time.
    pub(super) fn begin(&self, number: u64) {
        let tried = Tried { number, outcome: EventOutcome::Pending, tries: Vec::new() };
        self.lock().events.push(tried);
    }

    /// A try of the event that began as this one is over; tells whether the event needs another.
    pub(super) fn tried(&self, index: usize, tried: Try, at_most: u32) -> EventOutcome {
        let mut inner = self.lock();
        let Inner { delivered, lost, tries, events, ended, .. } = &mut *inner;
        let Some(event) = events.get_mut(index) else { return EventOutcome::Lost };
        *tries += 1;
        event.tries.push(tried);
        let spent = u32::try_from(event.tries.len()).unwrap_or(u32::MAX) >= at_most;
        event.outcome = match tried.result.is_delivered() {
            true => EventOutcome::Delivered,
            false if spent => EventOutcome::Lost,
            false => EventOutcome::Pending,
        };
        let outcome = event.outcome;
        match outcome {
            EventOutcome::Pending => return outcome,
            EventOutcome::Delivered => *delivered += 1,
            EventOutcome::Lost => *lost += 1,
        }
        ended.push(index);
        drop(inner);
        self.changed.notify_all();
        outcome
    }

    /// Only the first end counts.
    pub(super) fn end(&self, state: WebhookState) {
        let mut inner = self.lock();
        if inner.state == WebhookState::Running {
            inner.state = state;
        }
        drop(inner);
        self.changed.notify_all();
        self.over.send_replace(true);
    }

    /// With the last events only, so many at most.
    pub(super) fn report(&self, events: usize) -> WebhookReport {
        let inner = self.lock();
        let skipped = inner.events.len().saturating_sub(events);
        WebhookReport {
            order: self.order,
            state: inner.state,
            delivered: inner.delivered,
            lost: inner.lost,
            tries: inner.tries,
            events: inner.events.iter().skip(skipped).map(|event| self.told(event)).collect(),
        }
    }

    fn told(&self, event: &Tried) -> SentEvent {
        let id = self.event.id(event.number);
        SentEvent { id, outcome: event.outcome, tries: event.tries.clone() }
    }

    fn wait(&self, at_most: Duration, holds: impl Fn(&Inner) -> bool) -> MutexGuard<'_, Inner> {
        let begin = Instant::now();
        let mut inner = self.lock();
        while !holds(&inner) {
            let Some(left) = at_most.checked_sub(begin.elapsed()) else { break };
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
