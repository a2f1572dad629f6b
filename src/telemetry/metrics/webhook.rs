//! What the receiver of webhooks counts.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{BUCKETS_US, Counters, Durations, Reload, STATUS_CLASSES};
use crate::telemetry::code::{EventOutcome, Unverified};

/// What the receiver counts.
#[derive(Debug, Default)]
pub struct WebhookMetrics {
    /// By the class of the application's status.
    delivered: Counters<{ STATUS_CLASSES.len() }>,
    others: Counters<{ EventOutcome::ALL.len() }>,
    refusals: Counters<{ Unverified::ALL.len() }>,
    reloads: Counters<{ Reload::ALL.len() }>,
    durations: Durations,
    in_flight: AtomicI64,
    malformed: AtomicU64,
    /// 1 if everybody is let in.
    open: AtomicI64,
}

impl WebhookMetrics {
    /// Everybody is let in, for as long as the process lives.
    pub fn opened(&self) {
        self.open.store(1, Relaxed);
    }

    /// An event begins.
    pub fn event_started(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// An event is over, after this long; with the application's status, if it gave one.
    pub fn event_ended(&self, outcome: EventOutcome, status: Option<StatusCode>, took: Duration) {
        self.in_flight.fetch_sub(1, Relaxed);
        let class = status.map(|status| usize::from(status.as_u16() / 100).saturating_sub(2));
        match (outcome, class) {
            (EventOutcome::Delivered, Some(class)) if class < STATUS_CLASSES.len() => {
                self.delivered.count(class);
            }
            _ => self.others.count(outcome as usize),
        }
        // What is refused is over at once, and would hide what is not.
        if outcome != EventOutcome::Refused {
            self.durations.observe(took);
        }
    }

    /// An event was refused because it could not be verified.
    pub fn refused(&self, why: Unverified) {
        self.refusals.count(why as usize);
    }

    /// What came has not the form of a request.
    pub fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    /// The files with what events are verified by were read.
    pub fn reload(&self, result: Reload) {
        self.reloads.count(result as usize);
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "webhook_events",
            "Webhooks by what became of them; status_class is the application's, for delivered ones",
            None,
            MetricType::Counter,
        )?;
        for (index, class) in STATUS_CLASSES.iter().enumerate() {
            let labels = [("outcome", EventOutcome::Delivered.as_str()), ("status_class", class)];
            let total = self.delivered.total(index);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
        }
        for &outcome in EventOutcome::ALL.iter().filter(|&&o| o != EventOutcome::Delivered) {
            let labels = [("outcome", outcome.as_str()), ("status_class", "")];
            let total = self.others.total(outcome as usize);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
        }
        words(
            encoder,
            (
                "webhook_refusals",
                "Webhooks that could not be verified, by what was wrong",
                "reason",
            ),
            Unverified::ALL.iter().map(|why| (why.as_str(), self.refusals.total(*why as usize))),
        )?;
        words(
            encoder,
            ("webhook_reloads", "Reads of the files that webhooks are verified with", "result"),
            Reload::ALL
                .iter()
                .map(|result| (result.as_str(), self.reloads.total(*result as usize))),
        )?;
        let (sum, count, buckets) = self.durations.read();
        encoder
            .encode_descriptor(
                "webhook_duration",
                "From the end of a webhook's head to its answer, but for refused ones",
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        encoder
            .encode_descriptor("webhooks_in_flight", "Webhooks now", None, MetricType::Gauge)?
            .encode_gauge(&self.in_flight.load(Relaxed))?;
        encoder
            .encode_descriptor(
                "webhook_malformed_requests",
                "What came to the receiver and has not the form of a request",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(&self.malformed.load(Relaxed), None)?;
        encoder
            .encode_descriptor(
                "webhook_receiver_open",
                "1 if webhook.verify is none, so that everybody is let in",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&self.open.load(Relaxed))
    }
}

fn words(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &str),
    totals: impl Iterator<Item = (&'static str, u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (word, total) in totals {
        let labels = [(label, word)];
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
    }
    Ok(())
}

impl Durations {
    /// The sum in seconds, the count, and each bucket's bound with what is in it.
    fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let counts = self.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
        let bounds = BUCKETS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        let buckets = bounds.zip(counts).collect();
        (seconds(self.sum_us.load(Relaxed)), counts.iter().sum(), buckets)
    }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}
