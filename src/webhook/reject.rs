//! Why an event's sender is not given an application's answer, and what it is told instead.
//!
//! Whoever cannot be verified is told always the same. InnoPaaS's own retry needs statuses of 5xx
//! for what may be tried again; what it does with 4xx is not documented.

use http::StatusCode;

use super::body::BodyFault;
use super::deliver::Undelivered;
use crate::problem::Problem;
use crate::server::Fault;
use crate::telemetry::code::{Code, EventOutcome, Sent, Unverified};

/// Why an event has no answer of an application.
#[derive(Debug)]
pub(super) enum Reject {
    /// What came is no request; why.
    NoRequest(Fault),
    /// It cannot be verified; why, for the operator alone.
    Unverified(Unverified),
    /// Its method is none that events come with.
    Method,
    /// Its body failed, after so much of it had gone on.
    Body(BodyFault, Sent),
    /// Nobody wants it.
    Unroutable,
    /// The application gave no answer.
    Undelivered(Undelivered),
}

impl From<Unverified> for Reject {
    fn from(why: Unverified) -> Self {
        Self::Unverified(why)
    }
}

impl Reject {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::NoRequest(fault) => match fault {
                Fault::Version => Code::VersionUnsupported,
                Fault::TargetTooLong => Code::TargetTooLong,
                Fault::HeadTooLarge => Code::HeadTooLarge,
                Fault::Target(_) => Code::TargetRefused,
                Fault::Framing(_) => Code::FramingAmbiguous,
                Fault::Malformed(_) | Fault::Http2 | Fault::Body => Code::RequestMalformed,
            },
            Self::Unverified(_) => Code::EventRefused,
            Self::Method => Code::MethodRefused,
            Self::Body(BodyFault::TooLarge, _) => Code::BodyTooLarge,
            Self::Body(BodyFault::Stalled, _) => Code::BodyTimeout,
            Self::Body(BodyFault::Broken, _) => Code::BodyBroken,
            Self::Unroutable => Code::EventUnroutable,
            Self::Undelivered(Undelivered { sent: Sent::No, .. }) => Code::ApplicationUnreachable,
            Self::Undelivered(Undelivered { late: true, .. }) => Code::ApplicationTimeout,
            Self::Undelivered(_) => Code::ApplicationClosed,
        }
    }

    pub(super) fn outcome(&self) -> EventOutcome {
        match self {
            Self::Unverified(_) => EventOutcome::Refused,
            Self::NoRequest(_) | Self::Method | Self::Body(..) => EventOutcome::Rejected,
            Self::Unroutable => EventOutcome::Unroutable,
            Self::Undelivered(Undelivered { sent: Sent::No, .. }) => EventOutcome::Undelivered,
            Self::Undelivered(_) => EventOutcome::Unknown,
        }
    }

    pub(super) fn sent(&self) -> Sent {
        match self {
            Self::Body(_, sent) => *sent,
            Self::Undelivered(undelivered) => undelivered.sent,
            Self::NoRequest(_) | Self::Unverified(_) | Self::Method | Self::Unroutable => Sent::No,
        }
    }

    /// For the operator; nothing of an event is in it.
    pub(super) fn cause(&self) -> &str {
        match self {
            Self::Unverified(why) => why.as_str(),
            Self::Undelivered(undelivered) => &undelivered.cause,
            Self::NoRequest(_) | Self::Method | Self::Body(..) | Self::Unroutable => "",
        }
    }

    /// What the sender is told.
    pub(super) fn problem(&self) -> Problem {
        let (status, title, detail, remedy) = self.words();
        Problem {
            code: self.code(),
            status,
            title,
            detail: detail.to_owned(),
            remedy: remedy.to_owned(),
            proxy_status: match self {
                Self::Undelivered(Undelivered { sent: Sent::No, .. }) => "destination_unavailable",
                Self::Undelivered(Undelivered { late: true, .. }) => "http_response_timeout",
                Self::Undelivered(_) => "connection_terminated",
                Self::Unverified(_) => "http_request_denied",
                Self::NoRequest(_) | Self::Method | Self::Body(..) | Self::Unroutable => {
                    "http_request_error"
                }
            },
            retry_after: None,
            close: matches!(self, Self::NoRequest(_) | Self::Body(..)),
        }
    }

    fn words(&self) -> (StatusCode, &'static str, &'static str, &'static str) {
        const SENDER: &str = "The webhook cannot be passed on: its sender must change it";
        const OPERATOR: &str = "The webhook cannot be passed on: the receiver's operator must act";
        const APPLICATION: &str = "The application did not take the webhook";
        match self {
            Self::NoRequest(fault) => (
                match fault {
                    Fault::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                    Fault::TargetTooLong => StatusCode::URI_TOO_LONG,
                    Fault::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    Fault::Target(_)
                    | Fault::Framing(_)
                    | Fault::Malformed(_)
                    | Fault::Http2
                    | Fault::Body => StatusCode::BAD_REQUEST,
                },
                SENDER,
                "What came is no HTTP/1.1 request.",
                "Use an HTTP client.",
            ),
            Self::Unverified(_) => (
                StatusCode::UNAUTHORIZED,
                SENDER,
                "The webhook could not be verified.",
                "In InnoPaaS's console the webhook's UserName and Authorization must be those that \
                 the receiver has in webhook.credentials.",
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                SENDER,
                "The method is none that webhooks come with here.",
                "Choose another request method in InnoPaaS's console, or add it to \
                 webhook.methods.",
            ),
            Self::Body(BodyFault::TooLarge, _) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                SENDER,
                "The body is larger than the limit.",
                "Raise webhook.body; an SMS push whose body is checked may have 64 KiB at most.",
            ),
            // 408 invites a client to repeat by itself (RFC 9110, section 15.5.9).
            Self::Body(BodyFault::Stalled, _) => (
                StatusCode::REQUEST_TIMEOUT,
                SENDER,
                "The body did not come in time.",
                "Send the body without pauses, or raise webhook.deadline.",
            ),
            Self::Body(BodyFault::Broken, _) => (
                StatusCode::BAD_REQUEST,
                SENDER,
                "The body broke off or its chunks are malformed.",
                "Send as many bytes as Content-Length says, or well-formed chunks.",
            ),
            Self::Unroutable => (
                StatusCode::NOT_FOUND,
                OPERATOR,
                "No route fits this webhook, and there is no default.",
                "Add its app, event type or path to webhook.routes, or set webhook.default.",
            ),
            Self::Undelivered(Undelivered { sent: Sent::No, .. }) => (
                StatusCode::SERVICE_UNAVAILABLE,
                APPLICATION,
                "No byte of the webhook reached the application.",
                "Send it again: nothing has seen it yet. Check that the application listens where \
                 webhook.routes says.",
            ),
            Self::Undelivered(_) => (
                StatusCode::GATEWAY_TIMEOUT,
                APPLICATION,
                "The webhook left for the application, which gave no whole answer in time: whether \
                 it acted on it is not known.",
                "Send it again; the application must know events by their id to act on each once.",
            ),
        }
    }
}
