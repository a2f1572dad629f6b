//! How the counters look to Prometheus: names, labels, units.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{BUCKETS_US, Counters, Durations, Metrics, Refused, STATUS_CLASSES, WorkerMetrics};
use crate::telemetry::code::{Code, Held, Outcome, Pair, Repeat, Unread};

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_calls(&mut encoder)?;
        self.encode_connections(&mut encoder)?;
        self.encode_refusals(&mut encoder)?;
        self.encode_credentials(&mut encoder)?;
        self.webhook().encode(&mut encoder)?;
        encoder
            .encode_descriptor(
                "log_lines_dropped",
                "Log lines dropped because the log's reader stood still",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(&self.log.dropped(), None)?;
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

        self.encode_words(
            encoder,
            ("errors", "Calls that the proxy answered itself, by the code in the answer"),
            ("code", Code::ALL.iter().map(|code| code.as_str())),
            |worker| &worker.errors,
        )?;

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
        self.encode_words(
            encoder,
            (
                "connections_refused",
                "Connections closed by the proxy: of another user, without TLS, or to make room \
                 for who waited",
            ),
            ("reason", Refused::ALL.iter().map(|why| why.as_str())),
            |worker| &worker.refused,
        )?;
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

    fn encode_refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_words(
            encoder,
            ("credential_refusals", "Answers that refused the pair that a call was sent with"),
            ("pair", Pair::ALL.iter().map(|pair| pair.as_str())),
            |worker| &worker.credential_refusals,
        )?;
        self.encode_words(
            encoder,
            (
                "refusal_repeats",
                "Calls sent once more after a refusal, by what they were sent with",
            ),
            ("with", Repeat::ALL.iter().map(|with| with.as_str())),
            |worker| &worker.refusal_repeats,
        )?;
        self.encode_words(
            encoder,
            ("answers_unread", "Answers that could not be looked into for a code of refusal.codes"),
            ("why", Unread::ALL.iter().map(|why| why.as_str())),
            |worker| &worker.unread,
        )?;
        self.encode_words(
            encoder,
            ("holds", "Calls that waited for a newer pair, or would have, by how that ended"),
            ("result", Held::ALL.iter().map(|how| how.as_str())),
            |worker| &worker.holds,
        )?;
        encoder
            .encode_descriptor(
                "calls_held",
                "Calls that wait for a newer pair now",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&self.level(|worker| &worker.held))
    }

    /// A counter with one label, a value of it for each word.
    pub(super) fn encode_words<const N: usize>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        (label, words): (&str, impl Iterator<Item = &'static str>),
        counters: impl Fn(&WorkerMetrics) -> &Counters<N>,
    ) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (index, word) in words.enumerate() {
            let total = self.indexed(&counters, index);
            family
                .encode_family(&[(label, word)])?
                .encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
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
