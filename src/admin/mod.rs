//! Health, status and metrics: read-only and without secrets, so that it may be bound to the
//! pod's address for probes and Prometheus. Never asks the upstream anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::credentials::{ConsoleReports, Keyring};
use crate::lifecycle::{Phases, Pulse};
use crate::server::Abort;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::RecentErrors;

mod health;
mod status;

/// What the admin endpoints look at.
#[derive(Debug)]
pub struct Admin {
    /// The phase of the process.
    pub phases: Phases,
    /// One for each worker.
    pub pulses: Vec<Pulse>,
    /// That of the receiver of webhooks, if there is one.
    pub receiver_pulse: Option<Pulse>,
    /// How the pairs of credentials fare.
    pub keyring: Arc<Keyring>,
    /// How what webhooks are verified with fares: nothing, if they are not received, and no reports,
    /// if everybody is let in.
    pub webhook: Option<Option<ConsoleReports>>,
    /// Whether `/readyz` may say yes without a pair.
    pub ready_without_credentials: bool,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// The last few errors.
    pub recent: Arc<RecentErrors>,
    /// Where calls go.
    pub upstream: String,
    /// When the process began.
    pub started: SystemTime,
}

/// The media type that Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Longer than this no answer takes; the pulse of a worker that hangs is the longest wait.
const DEADLINE: Duration = Duration::from_secs(5);

impl Admin {
    /// Answers a request.
    ///
    /// # Errors
    /// None; the type is what the server asks for.
    pub async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<impl http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin>, Abort>
    {
        let endpoints = service_fn(move |request: Request<Incoming>| {
            let admin = Arc::clone(&self);
            async move {
                Ok::<_, Infallible>(admin.answer(request.method(), request.uri().path()).await)
            }
        });
        let service = ServiceBuilder::new()
            .layer(SetResponseHeaderLayer::overriding(
                header::CACHE_CONTROL,
                HeaderValue::from_static("no-store"),
            ))
            .layer(SetResponseHeaderLayer::overriding(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ))
            .layer(CatchPanicLayer::new())
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, DEADLINE))
            .service(endpoints);
        match service.oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let known = ["/startupz", "/readyz", "/livez", "/status", "/metrics"];
        if known.contains(&path) && method != Method::GET && method != Method::HEAD {
            let mut response =
                text(StatusCode::METHOD_NOT_ALLOWED, "read-only: use GET\n".to_owned());
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/startupz" => self.startupz(),
            "/readyz" => self.readyz(),
            "/livez" => self.livez().await,
            "/status" => body(StatusCode::OK, "application/json", self.status()),
            "/metrics" => body(StatusCode::OK, OPEN_METRICS, self.metrics.render()),
            _ => text(StatusCode::NOT_FOUND, format!("there are {}\n", known.join(" "))),
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn text(status: StatusCode, words: String) -> Response<Full<Bytes>> {
    body(status, "text/plain; charset=utf-8", words)
}

fn body(status: StatusCode, kind: &'static str, content: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(content)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
