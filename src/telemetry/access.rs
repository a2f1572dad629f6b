//! One record a call: the fields that may be seen, and no others.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode, Uri};

use super::code::{Code, Outcome, Pair, Repeat, Sent};
use super::metrics::WorkerMetrics;

/// A path longer than this is cut in the record, in characters.
const PATH_SHOWN: usize = 256;

/// What is known of one call; written and counted once, when it is dropped.
///
/// Until somebody says otherwise, the call ended because its caller went away.
pub struct AccessRecord {
    /// Given by the caller or made here.
    pub request_id: http::HeaderValue,
    /// What became of the call.
    pub outcome: Outcome,
    /// The status that the caller saw.
    pub status: Option<StatusCode>,
    /// Why the proxy answered itself, if it did.
    pub code: Option<Code>,
    /// Why the policy would have refused it, if it did more than observe.
    pub observed: Option<Code>,
    /// Whether a byte of the request may have left.
    pub sent: Sent,
    /// The pair that was sent last, and its generation.
    pub pair: Option<(Pair, u64)>,
    /// Whether InnoPaaS refused the first pair that was sent.
    pub refused: bool,
    /// With what it was sent once more, if it was.
    pub repeat: Option<Repeat>,
    /// Bytes of the answer's body that were passed on.
    pub response_bytes: u64,
    method: Method,
    target: Uri,
    started: Instant,
    metrics: Arc<WorkerMetrics>,
    logged: bool,
}

impl AccessRecord {
    /// A call begins.
    pub fn start(
        method: Method,
        target: Uri,
        request_id: http::HeaderValue,
        metrics: Arc<WorkerMetrics>,
        logged: bool,
    ) -> Self {
        metrics.call_started();
        Self {
            request_id,
            outcome: Outcome::ClientGone,
            status: None,
            code: None,
            observed: None,
            sent: Sent::No,
            pair: None,
            refused: false,
            repeat: None,
            response_bytes: 0,
            method,
            target,
            started: Instant::now(),
            metrics,
            logged,
        }
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let by_us = self.metrics.is_cutting() || std::thread::panicking();
        if self.outcome == Outcome::ClientGone && by_us {
            self.outcome = Outcome::Cut;
        }
        self.metrics.call_ended(self.outcome, self.status, took);
        if let Some(code) = self.code {
            self.metrics.error(code);
        }
        if let Some(code) = self.observed {
            self.metrics.observed(code);
        }
        if !self.logged {
            return;
        }
        tracing::info!(
            target: "access",
            request_id = self.request_id.to_str().unwrap_or_default(),
            method = self.method.as_str(),
            path = shown_path(&self.target),
            status = self.status.map(|status| status.as_u16()),
            outcome = self.outcome.as_str(),
            code = self.code.map(Code::as_str),
            would_refuse = self.observed.map(Code::as_str),
            sent = self.sent.as_str(),
            pair = self.pair.map(|(pair, _)| pair.as_str()),
            generation = self.pair.map(|(_, generation)| generation),
            refused = self.refused.then_some(true),
            repeated_with = self.repeat.map(Repeat::as_str),
            response_bytes = self.response_bytes,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "call"
        );
    }
}

/// The path without its query, cut to a bounded length.
fn shown_path(target: &Uri) -> &str {
    let path = target.path();
    path.char_indices().nth(PATH_SHOWN).and_then(|(end, _)| path.get(..end)).unwrap_or(path)
}
