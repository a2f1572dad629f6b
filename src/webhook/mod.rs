//! The life of a webhook, top to bottom: verify → read the beginning of its body → route →
//! hand over → pass the application's answer on.
//!
//! Invariants: nothing reaches an application that was not verified, and an application gets each
//! try of InnoPaaS's once at most. An event is held by nobody here: what an application did not
//! take, InnoPaaS is told to try again. (Where an event waits for an application one day, it is
//! between `route` and `hand over`.)

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::config::Webhook;
use crate::server::{Abort, Fault, Linger};
use crate::telemetry::access::AccessLog;
use crate::telemetry::code::{EventOutcome, Sent, Unverified};
use crate::telemetry::event::EventRecord;
use crate::telemetry::metrics::WebhookMetrics;
use crate::telemetry::recent::RecentErrors;
use crate::telemetry::request_id::RequestIds;

use body::{AHEAD, BodyFault, EventBody};
use deliver::Deliverer;
use envelope::Event;
use reject::Reject;
use route::Router;
use seen::{Key, Seen};

pub use verify::{Verified, Verifier};

mod body;
mod deliver;
pub mod envelope;
mod heads;
mod reject;
mod route;
mod seen;
mod verify;

/// The receiver of webhooks.
#[derive(Debug)]
pub struct Receiver {
    verifier: Verifier,
    methods: Vec<Method>,
    largest_body: u64,
    deadline: Duration,
    router: Router,
    seen: Option<RefCell<Seen>>,
    deliverer: Deliverer,
    request_ids: RequestIds,
    complaints: Complaints,
    metrics: Arc<WebhookMetrics>,
    recent: Arc<RecentErrors>,
    log: Option<AccessLog>,
}

/// An event that may be handed over: verified, and known as far as it can be.
struct Known {
    verified: Verified,
    event: Event,
    head: http::request::Parts,
    body: EventBody,
}

impl Receiver {
    /// By this configuration, verifying in this way.
    pub fn new(
        config: Webhook,
        verifier: Verifier,
        metrics: Arc<WebhookMetrics>,
        recent: Arc<RecentErrors>,
        log: Option<AccessLog>,
    ) -> Self {
        Self {
            verifier,
            methods: config.methods,
            largest_body: config.largest_body,
            deadline: config.deadline,
            router: Router::new(config.routes, config.default),
            seen: config.duplicates.map(|duplicates| RefCell::new(Seen::new(duplicates))),
            deliverer: Deliverer::default(),
            request_ids: RequestIds::new(),
            complaints: Complaints::default(),
            metrics,
            recent,
            log,
        }
    }

    /// Answers a webhook, whatever happens.
    ///
    /// # Errors
    /// None; the type is what the server asks for.
    pub async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Abort> {
        let mut record = EventRecord::start(
            request.method().clone(),
            request.uri().clone(),
            self.request_ids.take_or_make(request.headers()),
            Arc::clone(&self.metrics),
            self.log.clone(),
        );
        let answer = match self.receive(request, &mut record).await {
            Ok(answer) => answer,
            Err(reject) => self.refuse_event(&reject, &mut record),
        };
        record.status = Some(answer.status());
        Ok(answer.map(Full::new))
    }

    /// Answers what is no request.
    pub fn refuse(&self, fault: Fault) -> Bytes {
        self.metrics.malformed();
        let reject = Reject::NoRequest(fault);
        reject.problem().bytes(Sent::No, &self.request_ids.make())
    }

    async fn receive(
        &self,
        request: Request<Incoming>,
        record: &mut EventRecord,
    ) -> Result<Response<Bytes>, Reject> {
        let deadline = tokio::time::Instant::now() + self.deadline;
        let (head, incoming) = request.into_parts();
        let verified = self.verifier.verify(&head.headers)?;
        record.app.clone_from(&verified.app);
        if !self.methods.contains(&head.method) {
            return Err(Reject::Method);
        }
        let body = EventBody::read(incoming, self.largest_body, deadline)
            .await
            .map_err(|fault| Reject::Body(fault, Sent::No))?;
        let known = self.identify(verified, head, body)?;
        record.kind.clone_from(&known.event.kind);
        record.id.clone_from(&known.event.id);

        let (app, kind) = (known.verified.app.as_deref(), known.event.kind.as_deref());
        let target =
            self.router.route(app, kind, known.head.uri.path()).ok_or(Reject::Unroutable)?;
        let key = self.seen.is_some().then(|| known.key()).flatten();
        if let (Some(seen), Some(key)) = (&self.seen, &key)
            && seen.borrow_mut().has(key, Instant::now())
        {
            record.outcome = EventOutcome::Duplicate;
            return Ok(heads::pass(Response::new(Bytes::new()), &record.request_id));
        }

        let course = known.body.course();
        let event = heads::for_application(known, target, &record.request_id);
        record.sent = Sent::Maybe; // which holds if the sender, or the process, does not wait
        let delivered = self.deliverer.deliver(&target.server, event, deadline).await;
        let answer = delivered.map_err(|undelivered| match course.fault(undelivered.late) {
            Some(fault) => Reject::Body(fault, undelivered.sent),
            None => Reject::Undelivered(undelivered),
        })?;
        record.outcome = EventOutcome::Delivered;
        if let (Some(seen), Some(key)) = (&self.seen, key)
            && answer.status().is_success()
        {
            seen.borrow_mut().acknowledged(key, Instant::now());
        }
        let mut answer = heads::pass(answer, &record.request_id);
        if !course.is_over() {
            answer.extensions_mut().insert(Linger);
        }
        Ok(answer)
    }

    /// What kind of event it is; and whether an SMS push shows what it must.
    fn identify(
        &self,
        verified: Verified,
        mut head: http::request::Parts,
        body: EventBody,
    ) -> Result<Known, Reject> {
        let query = head.uri.query().unwrap_or_default().to_owned();
        let asked = Event::in_query(&query);
        // A GET may have both, and its application looks at either.
        let in_query =
            body.front().is_empty() || (head.method == Method::GET && asked.push.is_some());
        let event = if in_query { asked } else { Event::in_body(body.front()) };
        if !verified.checks_push() {
            return Ok(Known { verified, event, head, body });
        }
        let Some(push) = event.push.as_ref() else {
            // An application may read more leniently, and find a push in it.
            return match (body.is_whole(), event.understood, &event.kind) {
                (true, true, _) | (false, _, Some(_)) => Ok(Known { verified, event, head, body }),
                (true, false, _) => Err(Reject::Unverified(Unverified::Body)),
                (false, _, None) => Err(Reject::Body(BodyFault::TooLarge, Sent::No)),
            };
        };
        // However much of it the last piece has brought.
        if !body.is_whole() || body.front().len() > AHEAD {
            return Err(Reject::Body(BodyFault::TooLarge, Sent::No));
        }
        let [receiver, pswd] = push.values();
        self.verifier.verify_push(&verified, receiver, pswd)?;
        let body = if in_query {
            let masked = push.mask(Bytes::from(query));
            head.uri = heads::with_query(&head.uri, &masked);
            body
        } else {
            let masked = push.mask(body.front().clone());
            body.with_front(masked)
        };
        Ok(Known { verified, event, head, body })
    }

    fn refuse_event(&self, reject: &Reject, record: &mut EventRecord) -> Response<Bytes> {
        record.outcome = reject.outcome();
        record.code = Some(reject.code());
        record.sent = reject.sent();
        match reject {
            Reject::Unverified(why) => {
                self.metrics.refused(*why);
                self.complaints.refused(*why, Instant::now());
            }
            Reject::Undelivered(undelivered) => {
                self.recent.note(reject.code(), reject.cause(), true);
                tracing::warn!(
                    request_id = record.request_id.to_str().unwrap_or_default(),
                    code = reject.code().as_str(),
                    sent = undelivered.sent.as_str(),
                    cause = undelivered.cause,
                    "a webhook has no answer of its application"
                );
            }
            Reject::NoRequest(_) | Reject::Method | Reject::Body(..) | Reject::Unroutable => {
                self.recent.note(reject.code(), reject.cause(), false);
            }
        }
        let mut response = reject.problem().response(reject.sent(), &record.request_id);
        // The sender may still be sending a body that nobody will read.
        response.extensions_mut().insert(Linger);
        if matches!(reject, Reject::Method) {
            let methods: Vec<_> = self.methods.iter().map(Method::as_str).collect();
            if let Ok(methods) = HeaderValue::try_from(methods.join(", ")) {
                response.headers_mut().insert(header::ALLOW, methods);
            }
        }
        response
    }
}

impl Known {
    /// What tells it from others, if anything does: an SMS push has no id of its own (one message
    /// has several reports), so all of it does.
    fn key(&self) -> Option<Key> {
        let app = self.verified.app.as_deref().unwrap_or_default().as_bytes();
        let kind = self.event.kind.as_deref()?.as_bytes();
        match (&self.event.push, &self.event.id) {
            (Some(_), _) if self.body.is_whole() => {
                let query = self.head.uri.query().unwrap_or_default().as_bytes();
                Some(Key::of(&[app, kind, query, self.body.front()]))
            }
            (None, Some(id)) => Some(Key::of(&[app, kind, id.as_bytes()])),
            (Some(_), _) | (None, None) => None,
        }
    }
}

/// Speaks of what cannot be verified now and then, and not of each: whoever reaches the receiver
/// could fill the log.
#[derive(Debug, Default)]
struct Complaints {
    unsaid: Cell<u64>,
    last: Cell<Option<Instant>>,
}

impl Complaints {
    fn refused(&self, why: Unverified, now: Instant) {
        const EVERY: Duration = Duration::from_secs(10);
        self.unsaid.set(self.unsaid.get() + 1);
        if self.last.get().is_some_and(|last| now.duration_since(last) < EVERY) {
            return;
        }
        self.last.set(Some(now));
        let refused = self.unsaid.take();
        tracing::warn!(refused, last_reason = why.as_str(), "webhooks could not be verified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_counted_and_told_now_and_then() {
        let (complaints, start) = (Complaints::default(), Instant::now());
        for second in 0..25 {
            complaints.refused(Unverified::Missing, start + Duration::from_secs(second));
        }
        assert_eq!(complaints.unsaid.get(), 4, "told at 0, 10 and 20");
    }
}
