//! How each pair of credentials fares, and which of them serves.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Counters, Metrics};
use crate::telemetry::code::{EchoPlace, Pair};

/// How a pair of credentials fares.
#[derive(Debug, Default)]
pub struct CredentialMetrics {
    /// Whether there is such a pair by configuration.
    configured: AtomicBool,
    generation: AtomicU64,
    loaded_at: AtomicU64,
    reloads: Counters<{ Reload::ALL.len() }>,
    /// Whether something is wrong with the files now.
    bad: AtomicBool,
    /// Whether new calls are sent with it.
    serving: AtomicBool,
    /// Whether InnoPaaS is spared calls with it.
    breaker_open: AtomicBool,
    fingerprint: Mutex<String>,
    /// Seconds since 1970; `i64::MAX` means that it is not known.
    expires_at: ExpiresAt,
}

#[derive(Debug)]
struct ExpiresAt(AtomicI64);

impl Default for ExpiresAt {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
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
    pub(super) const ALL: [Self; 3] = [Self::Loaded, Self::Unchanged, Self::Failed];

    /// As it stands in the label and in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

impl CredentialMetrics {
    /// There is such a pair by configuration: it is shown from now on.
    pub fn configured(&self) {
        self.configured.store(true, Relaxed);
    }

    /// A look into the files ended.
    pub fn reload(&self, result: Reload) {
        self.reloads.count(result as usize);
        self.bad.store(result == Reload::Failed, Relaxed);
    }

    /// This generation is what the files held, from now on.
    pub fn loaded(&self, generation: u64, fingerprint: String, now: SystemTime) {
        self.generation.store(generation, Relaxed);
        self.loaded_at.store(unix_seconds(now), Relaxed);
        *self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
    }

    /// When the token expires, in seconds since 1970; `None` if that is not known.
    pub fn expires(&self, at: Option<i64>) {
        self.expires_at.0.store(at.unwrap_or(i64::MAX), Relaxed);
    }

    /// Whether new calls are sent with it, and whether InnoPaaS is spared calls with it.
    pub fn stands(&self, serving: bool, breaker_open: bool) {
        self.serving.store(serving, Relaxed);
        self.breaker_open.store(breaker_open, Relaxed);
    }

    fn expires_in(&self) -> Option<i64> {
        let at = self.expires_at.0.load(Relaxed);
        let now = i64::try_from(unix_seconds(SystemTime::now())).ok()?;
        (at != i64::MAX).then(|| at.saturating_sub(now))
    }

    fn age(&self) -> u64 {
        match self.loaded_at.load(Relaxed) {
            0 => 0,
            loaded_at => unix_seconds(SystemTime::now()).saturating_sub(loaded_at),
        }
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Metrics {
    pub(super) fn encode_credentials(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        self.encode_pairs(
            encoder,
            (
                "credential_generation",
                "Number of the pair, counted from 1 in this process; 0 means none",
            ),
            None,
            |pair| Some(pair.generation.load(Relaxed)),
        )?;
        self.encode_pairs(
            encoder,
            ("credential_age", "For how long the pair has been what the files hold"),
            Some(&Unit::Seconds),
            |pair| Some(pair.age()),
        )?;
        self.encode_pairs(
            encoder,
            ("credential_expiry", "Time left until the token expires; only where that is known"),
            Some(&Unit::Seconds),
            CredentialMetrics::expires_in,
        )?;
        self.encode_pairs(
            encoder,
            ("credential_files_bad", "1 while the files hold nothing that can be used"),
            None,
            |pair| Some(u64::from(pair.bad.load(Relaxed))),
        )?;
        self.encode_pairs(
            encoder,
            ("credential_serving", "1 if new calls are sent with the pair"),
            None,
            |pair| Some(u64::from(pair.serving.load(Relaxed))),
        )?;
        self.encode_pairs(
            encoder,
            (
                "credential_breaker_open",
                "1 while InnoPaaS is spared because it refused the pair again and again",
            ),
            None,
            |pair| Some(u64::from(pair.breaker_open.load(Relaxed))),
        )?;
        self.encode_fingerprints(encoder)?;
        self.encode_words(
            encoder,
            (
                "credential_echoes",
                "Credentials that InnoPaaS's answers repeated, and that were taken out",
            ),
            ("place", EchoPlace::ALL.iter().map(|place| place.as_str())),
            |worker| &worker.echoes,
        )?;
        self.encode_reloads(encoder)
    }

    fn configured(&self) -> impl Iterator<Item = (&'static str, &CredentialMetrics)> {
        Pair::ALL
            .iter()
            .map(|&pair| (pair.as_str(), self.credentials(pair)))
            .filter(|(_, metrics)| metrics.configured.load(Relaxed))
    }

    /// A gauge for each pair, where it has a value.
    fn encode_pairs<V: EncodeGaugeValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        unit: Option<&Unit>,
        value: impl Fn(&CredentialMetrics) -> Option<V>,
    ) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (pair, metrics) in self.configured() {
            if let Some(value) = value(metrics) {
                family.encode_family(&[("pair", pair)])?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    fn encode_fingerprints(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "credential_fingerprint",
            "1 for the fingerprint of each pair that was loaded",
            None,
            MetricType::Gauge,
        )?;
        for (pair, metrics) in self.configured() {
            let fingerprint = metrics.fingerprint.lock().unwrap_or_else(PoisonError::into_inner);
            if !fingerprint.is_empty() {
                family
                    .encode_family(&[("pair", pair), ("fingerprint", fingerprint.as_str())])?
                    .encode_gauge(&1)?;
            }
        }
        Ok(())
    }

    fn encode_reloads(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "credential_reloads",
            "Looks into the credentials' files, by result",
            None,
            MetricType::Counter,
        )?;
        for (pair, metrics) in self.configured() {
            for result in Reload::ALL {
                let total = metrics.reloads.total(result as usize);
                family
                    .encode_family(&[("pair", pair), ("result", result.as_str())])?
                    .encode_counter::<NoLabelSet, u64, f64>(&total, None)?;
            }
        }
        Ok(())
    }
}
