//! Every metric and label, in one place.
//!
//! A worker counts into a [`WorkerMetrics`] of its own, with relaxed atomic operations and no
//! lock; a scrape adds the workers up. Labels are closed sets of words: no path, host or id ever
//! becomes a label.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::code::{Code, EchoPlace, Outcome};

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
    /// How the pair of credentials fares.
    pub credentials: CredentialMetrics,
    dropped_lines: tracing_appender::non_blocking::ErrorCounter,
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

/// How the pair of credentials fares.
#[derive(Debug, Default)]
pub struct CredentialMetrics {
    generation: AtomicU64,
    loaded_at: AtomicU64,
    reloads: Counters<{ Reload::ALL.len() }>,
}

/// How one look into the credentials' files ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// A new pair is in use.
    Loaded,
    /// The files hold the pair that is in use already.
    Unchanged,
    /// The files hold no usable pair; the last good one stays.
    Failed,
}

impl Reload {
    const ALL: [Self; 3] = [Self::Loaded, Self::Unchanged, Self::Failed];

    /// As it stands in the label and in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

impl Metrics {
    /// Metrics for this many workers.
    pub fn new(
        workers: usize,
        dropped_lines: tracing_appender::non_blocking::ErrorCounter,
    ) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            credentials: CredentialMetrics::default(),
            dropped_lines,
        })
    }

    /// The counters of each worker.
    pub fn workers(&self) -> &[Arc<WorkerMetrics>] {
        &self.workers
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

/// Counts one open connection for as long as it lives.
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

impl CredentialMetrics {
    /// A look into the files ended.
    pub fn reload(&self, result: Reload) {
        self.reloads.count(result as usize);
    }

    /// This generation is in use from now on.
    pub fn in_use(&self, generation: u64, now: SystemTime) {
        self.generation.store(generation, Relaxed);
        self.loaded_at.store(unix_seconds(now), Relaxed);
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_calls(&mut encoder)?;
        self.encode_connections(&mut encoder)?;
        self.encode_credentials(&mut encoder)?;
        encoder
            .encode_descriptor(
                "log_lines_dropped",
                "Log lines dropped because the log's reader stood still",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(
                &(self.dropped_lines.dropped_lines() as u64),
                None,
            )?;
        encoder
            .encode_descriptor("build", "The version that runs", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

/// The parts of [`Collector::encode`], a group of metrics each.
impl Metrics {
    fn encode_calls(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "requests",
            "Calls by what became of them; status_class is InnoPaaS's, for answered calls",
            None,
            MetricType::Counter,
        )?;
        for (index, class) in STATUS_CLASSES.iter().enumerate() {
            let total = self.indexed(|worker| &worker.answered, index);
            let labels = [("outcome", Outcome::Answered.as_str()), ("status_class", class)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
        }
        for &outcome in Outcome::ALL.iter().filter(|&&outcome| outcome != Outcome::Answered) {
            let total = self.indexed(|worker| &worker.unanswered, outcome as usize);
            let labels = [("outcome", outcome.as_str()), ("status_class", "")];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
        }

        let mut family = encoder.encode_descriptor(
            "errors",
            "Calls that the proxy answered itself, by the code in the answer",
            None,
            MetricType::Counter,
        )?;
        for &code in Code::ALL {
            let total = self.indexed(|worker| &worker.errors, code as usize);
            family
                .encode_family(&[("code", code.as_str())])?
                .encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
        }

        let mut family = encoder.encode_descriptor(
            "observed_refusals",
            "Calls that passed because policy.mode is observe, by the code they would have had",
            None,
            MetricType::Counter,
        )?;
        for code in [Code::PolicyRefused, Code::ContentTypeRefused] {
            let total = self.indexed(|worker| &worker.observed, code as usize);
            family
                .encode_family(&[("code", code.as_str())])?
                .encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
        }

        let mut family = encoder.encode_descriptor(
            "request_duration",
            "From the end of a request's head to the end of its answer",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for &outcome in Outcome::ALL {
            let (sum, count, buckets) = self.durations(outcome);
            family
                .encode_family(&[("outcome", outcome.as_str())])?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }

        encoder
            .encode_descriptor("requests_in_flight", "Calls now", None, MetricType::Gauge)?
            .encode_gauge(&self.level(|worker| &worker.in_flight))?;
        encoder
            .encode_descriptor(
                "malformed_requests",
                "What callers sent that has not the form of a request; counted in errors, not in requests",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(&self.sum(|worker| &worker.malformed), None)?;
        encoder
            .encode_descriptor(
                "upstream_repeats",
                "Requests sent again because no byte had left the first time",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(&self.sum(|worker| &worker.repeated), None)
    }

    fn encode_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        encoder
            .encode_descriptor(
                "downstream_connections",
                "Open connections from applications",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&self.level(|worker| &worker.downstream_open))?;
        let mut family = encoder.encode_descriptor(
            "connections_refused",
            "Connections closed by the proxy: of another user, without TLS, or to make room for who waited",
            None,
            MetricType::Counter,
        )?;
        for why in Refused::ALL {
            let total = self.indexed(|worker| &worker.refused, why as usize);
            family
                .encode_family(&[("reason", why.as_str())])?
                .encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
        }
        encoder
            .encode_descriptor(
                "upstream_connections",
                "Open connections to InnoPaaS",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&self.level(|worker| &worker.upstream_open))?;
        encoder
            .encode_descriptor(
                "upstream_connections_opened",
                "Connections ever opened to InnoPaaS",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(
                &self.sum(|worker| &worker.upstream_opened),
                None,
            )
    }

    fn encode_credentials(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let generation = self.credentials.generation.load(Relaxed);
        encoder
            .encode_descriptor(
                "credential_generation",
                "Number of the pair in use, counted from 1 in this process; 0 means none",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&generation)?;
        let loaded_at = self.credentials.loaded_at.load(Relaxed);
        let age = if loaded_at == 0 {
            0
        } else {
            unix_seconds(SystemTime::now()).saturating_sub(loaded_at)
        };
        encoder
            .encode_descriptor(
                "credential_age",
                "For how long the pair has been in use",
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?
            .encode_gauge(&age)?;
        let mut family = encoder.encode_descriptor(
            "credential_echoes",
            "Credentials that InnoPaaS's answers repeated, and that were taken out",
            None,
            MetricType::Counter,
        )?;
        for &place in EchoPlace::ALL {
            let total = self.indexed(|worker| &worker.echoes, place as usize);
            family
                .encode_family(&[("place", place.as_str())])?
                .encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
        }
        let mut family = encoder.encode_descriptor(
            "credential_reloads",
            "Looks into the credentials' files, by result",
            None,
            MetricType::Counter,
        )?;
        for result in Reload::ALL {
            family
                .encode_family(&[("result", result.as_str())])?
                .encode_counter::<NoLabelSet, u64, f64>(
                    &self.credentials.reloads.total(result as usize),
                    None,
                )?;
        }
        Ok(())
    }

    fn indexed<const N: usize>(
        &self,
        counters: impl Fn(&WorkerMetrics) -> &Counters<N>,
        index: usize,
    ) -> u64 {
        self.workers.iter().map(|worker| counters(worker).total(index)).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum of seconds for a graph")]
    fn durations(&self, outcome: Outcome) -> (f64, u64, Vec<(f64, u64)>) {
        let of_outcome = || self.workers.iter().filter_map(|w| w.durations.get(outcome as usize));
        let bounds = BUCKETS_US.iter().map(|&us| us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(index, bound)| {
                let count = |d: &Durations| d.buckets.get(index).map_or(0, |c| c.load(Relaxed));
                (bound, of_outcome().map(count).sum())
            })
            .collect();
        let sum_us: u64 = of_outcome().map(|durations| durations.sum_us.load(Relaxed)).sum();
        (sum_us as f64 / 1e6, buckets.iter().map(|(_, count)| count).sum(), buckets)
    }
}
