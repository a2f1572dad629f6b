//! The life of a call, top to bottom: admit → strip → take the body → inject → send, and once more
//! if the pair was refused → search the answer → respond. A caller that does not show its token is
//! refused first of all, and then a call that finds no credentials.
//!
//! The order is held by types: `inject` takes only what `strip` returns, `strip` only what `admit`
//! returns, and `send::Upstream` takes only what `inject` returns. Whatever goes wrong on the
//! way is a `Reject`, which knows its answer.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::config::{Guard, Limits, Policy, Refusal};
use crate::credentials::{CallerTokens, Keyring};
use crate::server::{Abort, Fault};
use crate::telemetry::access::{AccessLog, AccessRecord};
use crate::telemetry::code::{Code, Outcome};
use crate::telemetry::metrics::WorkerMetrics;
use crate::telemetry::recent::RecentErrors;
use crate::telemetry::request_id::RequestIds;
use crate::upstream;

use admit::admit;
use body::AnswerBody;
use echo::SearchedBody;
use exchange::Exchange;
use reject::Reject;
use send::Upstream;

pub mod admit;
mod answer;
mod body;
mod caller;
pub mod content_type;
mod echo;
mod exchange;
pub mod headers;
mod hold;
pub mod inject;
mod one;
mod peek;
#[cfg(test)]
mod properties;
mod refusal;
mod reject;
mod respond;
mod send;
mod target;

#[cfg(fuzzing)]
pub use echo::mask;
pub use hold::Places;
pub use refusal::read_code;

/// One worker's proxy.
#[derive(Debug)]
pub struct Proxy {
    callers: Option<CallerTokens>,
    exchange: Exchange,
    policy: Policy,
    limits: Limits,
    guard: Guard,
    request_ids: RequestIds,
    metrics: Arc<WorkerMetrics>,
    recent: Arc<RecentErrors>,
    access_log: Option<AccessLog>,
}

/// What a [`Proxy`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Tokens of which a call must show one, if it must.
    pub callers: Option<CallerTokens>,
    /// Where the pair to send a call with is found.
    pub keyring: Arc<Keyring>,
    /// The way to InnoPaaS.
    pub client: Rc<upstream::Client>,
    /// How a refused pair is recognised.
    pub refusal: Refusal,
    /// Where refused calls wait for a newer pair, if they do.
    pub held: Option<Arc<Places>>,
    /// What may pass.
    pub policy: Policy,
    /// How large and how slow a caller's body may be.
    pub limits: Limits,
    /// What is looked for in answers.
    pub guard: Guard,
    /// Whether `X-Request-Id` goes upstream.
    pub forward_request_id: bool,
    /// This worker's counters.
    pub metrics: Arc<WorkerMetrics>,
    /// Where errors are remembered for the status.
    pub recent: Arc<RecentErrors>,
    /// Where calls leave their records, if they leave any.
    pub access_log: Option<AccessLog>,
}

impl Proxy {
    /// A proxy of these parts.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            callers,
            keyring,
            client,
            refusal,
            held,
            policy,
            limits,
            guard,
            forward_request_id,
            metrics,
            recent,
            access_log,
        } = parts;
        let exchange = Exchange {
            keyring,
            upstream: Upstream::new(client),
            refusal,
            held,
            plain_text: guard.echo,
            forward_request_id,
            metrics: Arc::clone(&metrics),
        };
        Self {
            callers,
            exchange,
            policy,
            limits,
            guard,
            request_ids: RequestIds::new(),
            metrics,
            recent,
            access_log,
        }
    }

    /// Answers a call, whatever happens.
    ///
    /// # Errors
    /// None; the type is what the server asks for.
    pub async fn handle(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Abort> {
        let mut record = AccessRecord::start(
            request.method().clone(),
            request.uri().clone(),
            self.request_ids.take_or_make(request.headers()),
            Arc::clone(&self.metrics),
            self.access_log.clone(),
        );
        Ok(match self.forward(request, &mut record).await {
            Ok(answer) => respond::pass(answer, record),
            Err(reject) => {
                self.note(&reject, &record);
                respond::refuse(&reject, record)
            }
        })
    }

    /// Answers what is no request, so that whoever sent it knows what is wrong with it.
    pub fn refuse(&self, fault: Fault) -> Bytes {
        self.metrics.malformed();
        let reject = Reject::from(fault);
        self.metrics.error(reject.code());
        self.recent.note(reject.code(), reject.cause(), false);
        reject.problem().bytes(reject.sent(), &self.request_ids.make())
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        record: &mut AccessRecord,
    ) -> Result<Response<SearchedBody>, Reject> {
        caller::check(request.headers(), self.callers.as_ref())?;
        self.exchange.available(request.uri().path())?;
        let (head, incoming) = request.into_parts();
        let admitted = admit(head, &incoming, &self.policy)?;
        record.observed = admitted.observed.as_ref().map(Reject::code);
        let limit = admitted.body_limit(&self.limits);
        let coding = self.exchange.coding(admitted.target.path());
        let stripped = admitted.strip(&self.policy, coding);
        let body = body::take(incoming, limit, self.limits.body_progress).await?;
        // Only now, because the pair may be replaced while the body comes.
        let chosen = self.exchange.choose(stripped.path(), body.held()).await?;
        let (answer, used) = self.exchange.run(stripped, chosen, body, record).await?;
        Ok(echo::search(answer, used, self.guard, &self.metrics, record)?)
    }

    fn note(&self, reject: &Reject, record: &AccessRecord) {
        let code = reject.code();
        let failed = reject.outcome() == Outcome::Failed;
        self.recent.note(code, reject.cause(), failed);
        if failed {
            tracing::warn!(
                request_id = record.request_id.to_str().unwrap_or_default(),
                code = Code::as_str(code),
                sent = reject.sent().as_str(),
                cause = reject.cause(),
                "no answer from InnoPaaS"
            );
        }
    }
}
