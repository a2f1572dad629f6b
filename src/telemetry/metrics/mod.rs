//! Every metric and label, in one place.
//!
//! A worker counts into a [`WorkerMetrics`] of its own, with relaxed atomic operations and no
//! lock; a scrape adds the workers up. Labels are closed sets of words, but for the fingerprint of
//! a pair: no path, host or id ever becomes a label.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::registry::Registry;

use super::code::{Code, EchoPlace, Held, Outcome, Pair, Repeat, Unread};
use super::sink::Sink;

pub use credentials::{CredentialMetrics, Reload};
pub use webhook::WebhookMetrics;

mod credentials;
mod encode;
mod webhook;

/// Upper bounds of the duration histogram, in microseconds.
const BUCKETS_US: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// The status classes that an answer can have (RFC 9110, section 15).
const STATUS_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What the process counts.
#[derive(Debug)]
pub struct Metrics {
    workers: Vec<Arc<WorkerMetrics>>,
    credentials: [CredentialMetrics; Pair::ALL.len()],
    webhook: Arc<WebhookMetrics>,
    log: Arc<Sink>,
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    answered: Counters<{ STATUS_CLASSES.len() }>,
    unanswered: Counters<{ Outcome::ALL.len() }>,
    errors: Counters<{ Code::ALL.len() }>,
    observed: Counters<{ Code::ALL.len() }>,
    durations: [Durations; Outcome::ALL.len()],
    in_flight: AtomicI64,
    downstream_open: AtomicI64,
    upstream_open: AtomicI64,
    upstream_opened: AtomicU64,
    repeated: AtomicU64,
    malformed: AtomicU64,
    refused: Counters<{ Refused::ALL.len() }>,
    echoes: Counters<{ EchoPlace::ALL.len() }>,
    credential_refusals: Counters<{ Pair::ALL.len() }>,
    refusal_repeats: Counters<{ Repeat::ALL.len() }>,
    unread: Counters<{ Unread::ALL.len() }>,
    holds: Counters<{ Held::ALL.len() }>,
    held: AtomicI64,
    cutting: AtomicBool,
}

/// A counter for each word of a closed set, by the word's number.
#[derive(Debug)]
struct Counters<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

impl<const N: usize> Counters<N> {
    fn count(&self, word: usize) {
        if let Some(counter) = self.0.get(word) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn total(&self, word: usize) -> u64 {
        self.0.get(word).map_or(0, |counter| counter.load(Relaxed))
    }
}

#[derive(Debug, Default)]
struct Durations {
    /// One more than there are bounds: the last holds what is above all of them.
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

/// Why the proxy closed a caller's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its user is none of `listen.allowed_uids`.
    Uid,
    /// No TLS handshake came about.
    Tls,
    /// All places were taken, somebody waited, and it had no call in flight.
    Room,
}

impl Refused {
    const ALL: [Self; 3] = [Self::Uid, Self::Tls, Self::Room];

    fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "uid",
            Self::Tls => "tls",
            Self::Room => "room",
        }
    }
}

impl Metrics {
    /// Metrics for this many workers.
    pub fn new(workers: usize, log: Arc<Sink>) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            credentials: Default::default(),
            webhook: Arc::default(),
            log,
        })
    }

    /// The counters of each worker.
    pub fn workers(&self) -> &[Arc<WorkerMetrics>] {
        &self.workers
    }

    /// What the receiver of webhooks counts.
    pub fn webhook(&self) -> &Arc<WebhookMetrics> {
        &self.webhook
    }

    /// How a pair of credentials fares.
    pub fn credentials(&self, pair: Pair) -> &CredentialMetrics {
        let [primary, standby] = &self.credentials;
        match pair {
            Pair::Primary => primary,
            Pair::Standby => standby,
        }
    }

    /// What is still in flight is about to be cut: it did not end because its callers went away.
    pub fn cutting(&self) {
        self.workers.iter().for_each(|worker| worker.cutting());
    }

    /// Everything, in the `OpenMetrics` text format that Prometheus reads.
    pub fn render(self: &Arc<Self>) -> String {
        let mut registry = Registry::with_prefix("innopaas_proxy");
        registry.register_collector(Box::new(Arc::clone(self)));
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }

    fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| counter(worker).load(Relaxed)).sum()
    }

    fn level(&self, gauge: impl Fn(&WorkerMetrics) -> &AtomicI64) -> i64 {
        self.workers.iter().map(|worker| gauge(worker).load(Relaxed)).sum()
    }
}

impl WorkerMetrics {
    /// What is still in flight is about to be cut, by us.
    fn cutting(&self) {
        self.cutting.store(true, Relaxed);
    }

    /// Whether a call that ends now was cut by us.
    pub fn is_cutting(&self) -> bool {
        self.cutting.load(Relaxed)
    }

    /// A call begins.
    pub fn call_started(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A call is over, after this long.
    pub fn call_ended(&self, outcome: Outcome, status: Option<StatusCode>, took: Duration) {
        self.in_flight.fetch_sub(1, Relaxed);
        let class = status.map(|status| usize::from(status.as_u16() / 100).saturating_sub(2));
        match (outcome, class) {
            (Outcome::Answered, Some(class)) if class < STATUS_CLASSES.len() => {
                self.answered.count(class);
            }
            _ => self.unanswered.count(outcome as usize),
        }
        if let Some(durations) = self.durations.get(outcome as usize) {
            durations.observe(took);
        }
    }

    /// The proxy answered itself.
    pub fn error(&self, code: Code) {
        self.errors.count(code as usize);
    }

    /// A call passed that the policy would have refused.
    pub fn observed(&self, code: Code) {
        self.observed.count(code as usize);
    }

    /// A caller sent what is not HTTP/1.1.
    pub fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    /// A caller's connection was closed by the proxy.
    pub fn connection_refused(&self, why: Refused) {
        self.refused.count(why as usize);
    }

    /// A request was sent again, because no byte of it had left the first time.
    pub fn repeated(&self) {
        self.repeated.fetch_add(1, Relaxed);
    }

    /// An answer repeated a credential, which was taken out.
    pub fn echoed(&self, place: EchoPlace) {
        self.echoes.count(place as usize);
    }

    /// InnoPaaS refused a pair.
    pub fn credential_refused(&self, pair: Pair) {
        self.credential_refusals.count(pair as usize);
    }

    /// A refused call is sent once more.
    pub fn refusal_repeated(&self, with: Repeat) {
        self.refusal_repeats.count(with as usize);
    }

    /// An answer could not be looked into.
    pub fn unread(&self, why: Unread) {
        self.unread.count(why as usize);
    }

    /// A call's wait for a newer pair ended, or did not begin.
    pub fn hold_ended(&self, how: Held) {
        self.holds.count(how as usize);
    }

    /// A call waits for a newer pair until the returned value is dropped.
    pub fn held_call(self: &Arc<Self>) -> Open {
        self.held.fetch_add(1, Relaxed);
        Open { worker: Arc::clone(self), gauge: |worker| &worker.held }
    }

    /// A caller's connection is open until the returned value is dropped.
    pub fn downstream_connection(self: &Arc<Self>) -> Open {
        self.downstream_open.fetch_add(1, Relaxed);
        Open { worker: Arc::clone(self), gauge: |worker| &worker.downstream_open }
    }

    /// A connection to the upstream is open until the returned value is dropped.
    pub fn upstream_connection(self: &Arc<Self>) -> Open {
        self.upstream_opened.fetch_add(1, Relaxed);
        self.upstream_open.fetch_add(1, Relaxed);
        Open { worker: Arc::clone(self), gauge: |worker| &worker.upstream_open }
    }
}

/// Counts one open connection, or one waiting call, for as long as it lives.
#[derive(Debug)]
pub struct Open {
    worker: Arc<WorkerMetrics>,
    gauge: fn(&WorkerMetrics) -> &AtomicI64,
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.gauge)(&self.worker).fetch_sub(1, Relaxed);
    }
}

impl Durations {
    fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(BUCKETS_US.len());
        if let Some(counter) = self.buckets.get(bucket) {
            counter.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
    }
}
