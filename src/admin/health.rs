//! The three probes. A sidecar's readiness is its pod's: only what the pod cannot do without
//! turns it off; everything else is words in the body.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::{Admin, text};
use crate::credentials::{ConsoleReport, Store};
use crate::lifecycle::{Phase, Pulse};

impl Admin {
    /// Whether the listeners are bound and served.
    pub(super) fn startupz(&self) -> Response<Full<Bytes>> {
        let phase = self.phases.now();
        verdict(phase >= Phase::Serving, &format!("phase: {}\n", phase.as_str()))
    }

    /// Whether calls can be taken: bound, not draining, and a pair was loaded once.
    pub(super) fn readyz(&self) -> Response<Full<Bytes>> {
        let phase = self.phases.now();
        let loaded = self.keyring.primary().report().generation > 0;
        let mut words = format!("phase: {}\n", phase.as_str());
        words += &self.in_words("credentials", self.keyring.primary());
        if let Some(standby) = self.keyring.standby() {
            words += &self.in_words("standby", standby);
        }
        words += &self.webhook_in_words();
        verdict(phase == Phase::Serving && (loaded || self.ready_without_credentials), &words)
    }

    fn in_words(&self, name: &str, store: &Store) -> String {
        let (report, pair) = (store.report(), store.pair());
        let mut words = match report.generation {
            0 => format!("{name}: none was loaded yet\n"),
            generation if self.keyring.serving() == pair => {
                format!("{name}: generation {generation} is in use\n")
            }
            generation => format!("{name}: generation {generation} is loaded\n"),
        };
        if let Some(problem) = report.problem {
            words += &format!("{name}: the last reload failed: {problem}\n");
        }
        if let Some(expiry) = report.expiry {
            words += &format!("{name}: the token expires at {expiry}\n");
        }
        if let Some(problem) = report.expiry_problem {
            words += &format!("{name}: it is not known when the token expires: {problem}\n");
        }
        if self.keyring.is_refused(pair) {
            words += &format!("{name}: InnoPaaS refuses it; replace the token\n");
        }
        words
    }

    fn webhook_in_words(&self) -> String {
        let reports = match &self.webhook {
            None => return String::new(),
            Some(None) => {
                return "webhook: everybody is let in, because webhook.verify is none\n".to_owned();
            }
            Some(Some(reports)) => reports.all(),
        };
        let mut words = String::new();
        for ConsoleReport { app, which, in_use, problem } in reports {
            let state = if in_use { "is in use" } else { "holds nothing" };
            words += &format!("webhook: {app}: {which} {state}\n");
            if let Some(problem) = problem {
                words += &format!("webhook: {app}: {which}: the last reload failed: {problem}\n");
            }
        }
        words
    }

    /// Whether every worker answers, and the receiver of webhooks.
    pub(super) async fn livez(&self) -> Response<Full<Bytes>> {
        for (worker, pulse) in self.pulses.iter().enumerate() {
            if !self.is_alive(pulse).await {
                return verdict(false, &format!("worker {worker} does not answer\n"));
            }
        }
        let mut words = format!("workers: {} of {0} answer\n", self.pulses.len());
        if let Some(pulse) = &self.receiver_pulse {
            if !self.is_alive(pulse).await {
                return verdict(false, "webhook: the receiver does not answer\n");
            }
            words += "webhook: the receiver answers\n";
        }
        verdict(true, &words)
    }

    async fn is_alive(&self, pulse: &Pulse) -> bool {
        // From closing on, one that has finished is gone, as it should be.
        pulse.is_felt().await || self.phases.now() >= Phase::Closing
    }
}

fn verdict(good: bool, words: &str) -> Response<Full<Bytes>> {
    if good {
        text(StatusCode::OK, format!("ok\n{words}"))
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, format!("not ok\n{words}"))
    }
}
