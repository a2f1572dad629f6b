//! The life of a call, top to bottom: credentials → admit → strip → inject → send → respond.
//!
//! The order is held by types: `inject` takes only what `strip` returns, `strip` only what `admit`
//! returns, and `send::Upstream` takes only what `inject` returns. Whatever goes wrong on the
//! way is a `Reject`, which knows its answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::config::Policy;
use crate::credentials::Store;
use crate::server::Abort;
use crate::telemetry::access::AccessRecord;
use crate::telemetry::code::{Code, Outcome, Sent};
use crate::telemetry::metrics::WorkerMetrics;
use crate::telemetry::recent::RecentErrors;
use crate::upstream;

use admit::admit;
use body::AnswerBody;
use reject::Reject;
use request_id::RequestIds;
use send::Upstream;

pub mod admit;
mod body;
pub mod content_type;
pub mod headers;
pub mod inject;
mod one;
mod reject;
mod request_id;
mod respond;
mod send;

/// One worker's proxy.
#[derive(Debug)]
pub struct Proxy {
    credentials: Arc<Store>,
    upstream: Upstream,
    policy: Policy,
    body_progress: Duration,
    request_ids: RequestIds,
    metrics: Arc<WorkerMetrics>,
    recent: Arc<RecentErrors>,
    log_access: bool,
}

/// What a [`Proxy`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where the pair is found.
    pub credentials: Arc<Store>,
    /// The way to InnoPaaS.
    pub client: Rc<upstream::Client>,
    /// What may pass.
    pub policy: Policy,
    /// How long a caller's body may stand still.
    pub body_progress: Duration,
    /// This worker's counters.
    pub metrics: Arc<WorkerMetrics>,
    /// Where errors are remembered for the status.
    pub recent: Arc<RecentErrors>,
    /// Whether every call leaves a record in the log.
    pub log_access: bool,
}

impl Proxy {
    /// A proxy of these parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { credentials, client, policy, body_progress, metrics, recent, log_access } =
            parts;
        Self {
            credentials,
            upstream: Upstream::new(client),
            policy,
            body_progress,
            request_ids: RequestIds::new(),
            metrics,
            recent,
            log_access,
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
            self.log_access,
        );
        Ok(match self.forward(request, &mut record).await {
            Ok(answer) => respond::pass(answer, record),
            Err(reject) => {
                self.note(&reject, &record);
                respond::refuse(&reject, record)
            }
        })
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        record: &mut AccessRecord,
    ) -> Result<Response<upstream::ResponseBody>, Reject> {
        let credentials = self.credentials.current().ok_or_else(|| self.no_credentials())?;
        let (head, incoming) = request.into_parts();
        let admitted = admit(head, &incoming, &self.policy)?;
        let limit = admitted.body_limit(&self.policy);
        let stripped = admitted.strip(&self.policy);
        let authenticated = stripped.inject(&credentials, self.upstream.host(), record);
        let body = body::take(incoming, limit, self.body_progress).await?;
        record.generation = Some(credentials.generation);
        record.sent = Sent::Maybe; // should the caller go away in the middle
        Ok(self.upstream.send(authenticated, body).await?)
    }

    fn no_credentials(&self) -> Reject {
        let problem = self.credentials.report().problem;
        Reject::CredentialsMissing(
            problem.unwrap_or_else(|| "the files have not been read yet".to_owned()),
        )
    }

    fn note(&self, reject: &Reject, record: &AccessRecord) {
        let code = reject.code();
        self.recent.note(code, reject.cause());
        if reject.outcome() == Outcome::Failed {
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
