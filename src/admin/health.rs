//! The three probes. A sidecar's readiness is its pod's: only what the pod cannot do without
//! turns it off; everything else is words in the body.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::{Admin, text};
use crate::lifecycle::Phase;

impl Admin {
    /// Whether the listeners are bound and served.
    pub(super) fn startupz(&self) -> Response<Full<Bytes>> {
        let phase = self.phases.now();
        verdict(phase >= Phase::Serving, &format!("phase: {}\n", phase.as_str()))
    }

    /// Whether calls can be taken: bound, not draining, and a pair was loaded once.
    pub(super) fn readyz(&self) -> Response<Full<Bytes>> {
        let phase = self.phases.now();
        let report = self.credentials.report();
        let loaded = report.generation > 0;
        let mut words = format!("phase: {}\n", phase.as_str());
        words += &match report.generation {
            0 => "credentials: none was loaded yet\n".to_owned(),
            generation => format!("credentials: generation {generation} is in use\n"),
        };
        if let Some(problem) = report.problem {
            words += &format!("credentials: the last reload failed: {problem}\n");
        }
        verdict(phase == Phase::Serving && (loaded || self.ready_without_credentials), &words)
    }

    /// Whether every worker answers.
    pub(super) async fn livez(&self) -> Response<Full<Bytes>> {
        for (worker, pulse) in self.pulses.iter().enumerate() {
            // From closing on, a worker that has finished is gone, as it should be.
            if !pulse.is_felt().await && self.phases.now() < Phase::Closing {
                return verdict(false, &format!("worker {worker} does not answer\n"));
            }
        }
        verdict(true, &format!("workers: {} of {0} answer\n", self.pulses.len()))
    }
}

fn verdict(good: bool, words: &str) -> Response<Full<Bytes>> {
    if good {
        text(StatusCode::OK, format!("ok\n{words}"))
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, format!("not ok\n{words}"))
    }
}
