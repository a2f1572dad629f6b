//! One record a call: the fields that may be seen, and no others.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{Method, StatusCode, Uri};

use super::code::{Code, Outcome, Pair, Repeat, Sent};
use super::line::Line;
use super::metrics::WorkerMetrics;
use super::sink::Sink;
use crate::config::LogFormat;

/// A path longer than this is cut in the record, in characters.
const PATH_SHOWN: usize = 256;

/// Where records are written.
#[derive(Debug, Clone)]
pub struct AccessLog {
    pub(super) sink: Arc<Sink>,
    pub(super) format: LogFormat,
}

impl AccessLog {
    /// Records of this form, among the lines of that sink.
    pub fn new(sink: Arc<Sink>, format: LogFormat) -> Self {
        Self { sink, format }
    }
}

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
    log: Option<AccessLog>,
}

impl AccessRecord {
    /// A call begins. In a box, because it goes from hand to hand with the call.
    pub fn start(
        method: Method,
        target: Uri,
        request_id: http::HeaderValue,
        metrics: Arc<WorkerMetrics>,
        log: Option<AccessLog>,
    ) -> Box<Self> {
        metrics.call_started();
        Box::new(Self {
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
            log,
        })
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
        if let Some(AccessLog { sink, format }) = &self.log {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            sink.add_later(self.line(*format, SystemTime::now(), micros).end());
        }
    }
}

impl AccessRecord {
    fn line(&self, format: LogFormat, now: SystemTime, micros: u64) -> Line {
        let mut line = Line::begin(format, now, "access", "call");
        line.text("request_id", self.request_id.to_str().unwrap_or_default());
        line.word("method", self.method.as_str());
        line.text("path", shown_path(&self.target));
        if let Some(status) = self.status {
            line.number("status", status.as_u16().into());
        }
        line.word("outcome", self.outcome.as_str());
        for (name, code) in [("code", self.code), ("would_refuse", self.observed)] {
            if let Some(code) = code {
                line.word(name, code.as_str());
            }
        }
        line.word("sent", self.sent.as_str());
        if let Some((pair, generation)) = self.pair {
            line.word("pair", pair.as_str());
            line.number("generation", generation);
        }
        if self.refused {
            line.truth("refused");
        }
        if let Some(repeat) = self.repeat {
            line.word("repeated_with", repeat.as_str());
        }
        line.number("response_bytes", self.response_bytes);
        line.number("duration_us", micros);
        line
    }
}

/// The path without its query, cut to a bounded length.
pub(super) fn shown_path(target: &Uri) -> &str {
    let path = target.path();
    if path.len() <= PATH_SHOWN {
        return path;
    }
    path.char_indices().nth(PATH_SHOWN).and_then(|(end, _)| path.get(..end)).unwrap_or(path)
}
