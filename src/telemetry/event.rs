//! One record a webhook: the fields that may be seen, and no others. Phone numbers, texts and check
//! values are in its body and its query, which never come here.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{Method, StatusCode, Uri};

use super::access::{AccessLog, shown_path};
use super::code::{Code, EventOutcome, Sent};
use super::line::Line;
use super::metrics::WebhookMetrics;

/// What is known of one webhook; written and counted once, when it is dropped.
///
/// Until somebody says otherwise, it ended because its sender went away. One that could not be
/// verified leaves no line: whoever reaches the receiver could fill the log.
pub struct EventRecord {
    /// Given by the sender or made here.
    pub request_id: http::HeaderValue,
    /// What became of it.
    pub outcome: EventOutcome,
    /// The status that the sender saw.
    pub status: Option<StatusCode>,
    /// Why the proxy answered itself, if it did.
    pub code: Option<Code>,
    /// Whether a byte of it may have left for the application.
    pub sent: Sent,
    /// Whose pair it showed.
    pub app: Option<Arc<str>>,
    /// Its type, if that is a word.
    pub kind: Option<String>,
    /// Its id, if that is a word.
    pub id: Option<String>,
    method: Method,
    target: Uri,
    started: Instant,
    metrics: Arc<WebhookMetrics>,
    log: Option<AccessLog>,
}

impl EventRecord {
    /// A webhook begins. In a box, because it goes from hand to hand with it.
    pub fn start(
        method: Method,
        target: Uri,
        request_id: http::HeaderValue,
        metrics: Arc<WebhookMetrics>,
        log: Option<AccessLog>,
    ) -> Box<Self> {
        metrics.event_started();
        Box::new(Self {
            request_id,
            outcome: EventOutcome::SenderGone,
            status: None,
            code: None,
            sent: Sent::No,
            app: None,
            kind: None,
            id: None,
            method,
            target,
            started: Instant::now(),
            metrics,
            log,
        })
    }

    fn line(&self, log: &AccessLog, now: SystemTime, micros: u64) -> Line {
        let mut line = Line::begin(log.format, now, "webhook", "event");
        line.text("request_id", self.request_id.to_str().unwrap_or_default());
        line.word("method", self.method.as_str());
        line.text("path", shown_path(&self.target));
        for (name, value) in [
            ("app", self.app.as_deref()),
            ("type", self.kind.as_deref()),
            ("event_id", self.id.as_deref()),
        ] {
            if let Some(value) = value {
                line.text(name, value);
            }
        }
        if let Some(status) = self.status {
            line.number("status", status.as_u16().into());
        }
        line.word("outcome", self.outcome.as_str());
        if let Some(code) = self.code {
            line.word("code", code.as_str());
        }
        line.word("sent", self.sent.as_str());
        line.number("duration_us", micros);
        line
    }
}

impl Drop for EventRecord {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.metrics.event_ended(self.outcome, self.status, took);
        if self.outcome == EventOutcome::Refused {
            return;
        }
        if let Some(log) = &self.log {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            log.sink.add_later(self.line(log, SystemTime::now(), micros).end());
        }
    }
}
