//! What a caller is told instead of InnoPaaS's answer: one exhaustive `match` from reason to status,
//! words and remedy.

use std::time::Duration;

use http::StatusCode;

use super::content_type::Refused;
use super::reject::Reject;
use crate::problem::Problem;
use crate::telemetry::code::{Code, Sent};
use crate::upstream::{self, BodyFault, Kind};

const CALLER: &str = "The request cannot be passed on: the calling application must change it";
const OPERATOR: &str = "The proxy is not able to pass on requests: its operator must act";
const NETWORK: &str = "InnoPaaS could not be reached: the network or its configuration is at fault";
const INNOPAAS: &str = "InnoPaaS gave no valid answer";

impl Reject {
    /// What the caller is told.
    pub(super) fn problem(&self) -> Problem {
        let code = self.code();
        match self {
            // A stranger keeps no place.
            Self::Caller => Problem {
                close: true,
                ..denied(
                    code,
                    "This proxy serves only callers that show a token.",
                    "Send the header Innopaas-Proxy-Token, once, with a token from the file that \
                     listen.caller_token_file names; whoever runs the proxy has it.",
                )
            },
            Self::Malformed(why) => unreadable(
                code,
                StatusCode::BAD_REQUEST,
                format!("What came is no HTTP/1.1 request: {why}."),
                "Use an HTTP client; check what builds the request's head by hand.",
            ),
            Self::Version => unreadable(
                code,
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "The request is neither HTTP/1.0 nor HTTP/1.1.",
                "Tell the client to use HTTP/1.1.",
            ),
            Self::TargetTooLong => unreadable(
                code,
                StatusCode::URI_TOO_LONG,
                "The request's target is longer than 8 KiB.",
                "Send the data in the body.",
            ),
            Self::HeadTooLarge => unreadable(
                code,
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request's head has more bytes or lines than the limits.",
                "Send fewer headers, or raise limits.head_size or limits.header_count.",
            ),
            Self::Method => {
                // What follows a CONNECT need not be HTTP.
                unreadable(
                    code,
                    StatusCode::METHOD_NOT_ALLOWED,
                    "CONNECT and TRACE are never passed on.",
                    "Use the method of InnoPaaS's guide, in nearly all cases POST.",
                )
            }
            Self::Target(why) => caller(
                code,
                StatusCode::BAD_REQUEST,
                format!("The request's target is refused: {why}."),
                "Send the path of InnoPaaS's guide, such as /api/sms/v3/msg/send, without `.`, `..`, \
                 empty segments or needless percent-encoding.",
            ),
            Self::Browser(mark) => denied(
                code,
                format!("The request comes from a browser: it has a header {mark}."),
                "Call from a server, never from a web page. A server that passes a browser's \
                 headers on must leave out Origin and Sec-Fetch-*.",
            ),
            Self::Policy => denied(
                code,
                "This method and path are not among those that may be called.",
                "Check the path; if the call is meant, its operator adds it to policy.allow.",
            ),
            Self::HostInvalid(why) => {
                let detail = format!("The Host header is refused: {why}.");
                let remedy = "Send exactly one Host header, such as localhost:7253.";
                Problem { close: true, ..caller(code, StatusCode::BAD_REQUEST, detail, remedy) }
            }
            Self::HostRefused => caller(
                code,
                StatusCode::MISDIRECTED_REQUEST,
                "The host of the request is not one that callers of this proxy use.",
                "Call the proxy by its address or as localhost, or add the name to \
                 listen.allowed_hosts.",
            ),
            Self::Framing(why) => {
                let detail = format!("The length of the body is ambiguous: {why}.");
                let remedy = "Send either one Content-Length or one `Transfer-Encoding: chunked`.";
                Problem { close: true, ..caller(code, StatusCode::BAD_REQUEST, detail, remedy) }
            }
            Self::Upgrade => caller(
                code,
                StatusCode::BAD_REQUEST,
                "Upgrades are not passed on.",
                "Send the request without an Upgrade header.",
            ),
            Self::Expectation => caller(
                code,
                StatusCode::EXPECTATION_FAILED,
                "Only the expectation 100-continue can be met.",
                "Send the request without an Expect header.",
            ),
            Self::ContentType(refused) => content_type(code, refused),
            Self::CredentialsMissing(why) => credentials_missing(code, why),
            Self::CredentialRefused { refusals, wait } => {
                credential_refused(code, *refusals, *wait)
            }
            Self::Unanswered(error) => upstream(code, error),
        }
    }
}

/// What the parser of requests has to say; nothing more is read after it.
fn unreadable(
    code: Code,
    status: StatusCode,
    detail: impl Into<String>,
    remedy: &'static str,
) -> Problem {
    Problem { close: true, ..caller(code, status, detail, remedy) }
}

/// Well-formed, and not allowed (RFC 9209, section 2.3.23).
fn denied(code: Code, detail: impl Into<String>, remedy: &'static str) -> Problem {
    let proxy_status = "http_request_denied";
    Problem { proxy_status, ..caller(code, StatusCode::FORBIDDEN, detail, remedy) }
}

fn caller(
    code: Code,
    status: StatusCode,
    detail: impl Into<String>,
    remedy: impl Into<String>,
) -> Problem {
    Problem {
        code,
        status,
        title: CALLER,
        detail: detail.into(),
        remedy: remedy.into(),
        proxy_status: "http_request_error",
        retry_after: None,
        close: false,
    }
}

fn credentials_missing(code: Code, why: &str) -> Problem {
    Problem {
        code,
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: OPERATOR,
        detail: format!("No credentials are loaded: {why}."),
        remedy: "Put the files app-key and authorization right; they are picked up by themselves."
            .to_owned(),
        proxy_status: "proxy_configuration_error",
        retry_after: Some(1),
        close: false,
    }
}

fn credential_refused(code: Code, refusals: u32, wait: Duration) -> Problem {
    // Up, so that who waits so long is not early; a second at least.
    let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
    Problem {
        code,
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: OPERATOR,
        detail: format!(
            "InnoPaaS refused the credentials {refusals} times in a row, so it is not asked now."
        ),
        remedy: format!(
            "Nothing was sent: the call can be made again once the token is replaced; make a new \
             one in InnoPaaS's console and put it into the Secret. Until then one call in each \
             refusal.breaker.interval is let through, the next in {seconds} s."
        ),
        proxy_status: "proxy_configuration_error",
        retry_after: Some(seconds),
        close: false,
    }
}

fn content_type(code: Code, refused: &Refused) -> Problem {
    let (detail, remedy) = match refused {
        Refused::NotMultipart => (
            "This path takes multipart/form-data and nothing else.".to_owned(),
            "Send the file as a form field: curl -F file=@picture.png, or your client's form data \
             type."
                .to_owned(),
        ),
        Refused::NoBoundary => (
            "The multipart/form-data has no boundary.".to_owned(),
            "Do not set Content-Type by hand on an upload: your client writes it with the boundary."
                .to_owned(),
        ),
        Refused::Charset => (
            "InnoPaaS takes UTF-8 and no other charset.".to_owned(),
            "Encode the body in UTF-8 and send `Content-Type: application/json`.".to_owned(),
        ),
        Refused::Malformed | Refused::Several => (
            "The Content-Type is not one media type.".to_owned(),
            "Send `Content-Type: application/json`, once.".to_owned(),
        ),
        Refused::NotJson(kind) => (
            format!("InnoPaaS takes JSON; this request says that it is {kind}."),
            format!(
                "Change one line where the request is made: {}. If the body already is \
                 JSON and its sender cannot be changed, list {kind} in policy.content_type.rewrite.",
                line_to_change(kind)
            ),
        ),
    };
    caller(code, StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, remedy)
}

/// What the usual clients send by default, and how each is told otherwise.
fn line_to_change(kind: &str) -> &'static str {
    match kind {
        "text/plain" => {
            "in Node's fetch add headers: {\"Content-Type\": \"application/json\"} beside body, \
             elsewhere set the header Content-Type: application/json"
        }
        "application/x-www-form-urlencoded" => {
            "with curl use --json instead of -d, in Python use json= instead of data=, elsewhere \
             set the header Content-Type: application/json"
        }
        _ => "set the header Content-Type: application/json",
    }
}

fn body(code: Code, fault: BodyFault, sent: Sent) -> Problem {
    // 408 invites a client to repeat by itself (RFC 9110, section 15.5.9); after a byte left that
    // could send a message twice.
    let stalled = match sent {
        Sent::No => StatusCode::REQUEST_TIMEOUT,
        Sent::Maybe => StatusCode::BAD_REQUEST,
    };
    let (status, detail, remedy) = match fault {
        BodyFault::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is larger than the limit.",
            "Send less, or raise limits.json_body or limits.upload_body.",
        ),
        BodyFault::Stalled => (
            stalled,
            "The application stopped sending its body.",
            "Send the body without pauses, or raise limits.body_progress.",
        ),
        BodyFault::Broken => (
            StatusCode::BAD_REQUEST,
            "The body broke off or its chunks are malformed.",
            "Send as many bytes as Content-Length says, or well-formed chunks.",
        ),
    };
    let remedy = match sent {
        Sent::No => remedy.to_owned(),
        Sent::Maybe => format!("{remedy} {CHECK_FIRST}"),
    };
    Problem { close: true, ..caller(code, status, detail, remedy) }
}

/// A message that is sent twice is billed twice.
const CHECK_FIRST: &str = "Part of the request may have left: whether InnoPaaS acted on it is not \
                           known, so look there before you send it again.";
const TRY_AGAIN: &str = "Nothing was sent: the call can be made again.";

fn upstream(code: Code, error: &upstream::Error) -> Problem {
    const BAD: StatusCode = StatusCode::BAD_GATEWAY;
    const LATE: StatusCode = StatusCode::GATEWAY_TIMEOUT;
    let (status, title, what, proxy_status) = match error.kind {
        Kind::ResolveFailed => (BAD, NETWORK, "The name could not be looked up", "dns_error"),
        Kind::ResolveTimeout => (LATE, NETWORK, "Looking up the name took too long", "dns_timeout"),
        Kind::AddressRefused => {
            (BAD, NETWORK, "The address must not be connected to", "destination_ip_prohibited")
        }
        Kind::ConnectRefused => (BAD, NETWORK, "The connection was refused", "connection_refused"),
        Kind::ConnectFailed => (BAD, NETWORK, "The connection failed", "destination_unavailable"),
        Kind::ConnectTimeout => (LATE, NETWORK, "Connecting took too long", "connection_timeout"),
        Kind::CertificateRefused => {
            (BAD, NETWORK, "The certificate is not acceptable", "tls_certificate_error")
        }
        Kind::TlsFailed => (BAD, NETWORK, "TLS could not be agreed on", "tls_protocol_error"),
        Kind::TlsTimeout => {
            (LATE, NETWORK, "The TLS handshake took too long", "connection_timeout")
        }
        Kind::Closed => {
            (BAD, INNOPAAS, "The connection ended before the answer", "connection_terminated")
        }
        Kind::UploadStalled => {
            (LATE, INNOPAAS, "InnoPaaS stopped taking the body", "connection_write_timeout")
        }
        Kind::ResponseTimeout => {
            (LATE, INNOPAAS, "The answer did not begin in time", "http_response_timeout")
        }
        Kind::ResponseInvalid => {
            (BAD, INNOPAAS, "The answer is not valid HTTP/1.1", "http_protocol_error")
        }
        Kind::ResponseTooLarge => (
            BAD,
            INNOPAAS,
            "The answer's head is larger than limits.head_size or limits.header_count",
            "http_response_header_section_size",
        ),
        Kind::Body(fault) => return body(code, fault, error.sent),
    };
    let remedy = match (error.sent, error.kind) {
        (Sent::Maybe, _) => CHECK_FIRST.to_owned(),
        (Sent::No, Kind::TlsFailed) => format!(
            "{TRY_AGAIN} Check that upstream.origin and its port are right: what answers there \
             does not speak TLS 1.2 or 1.3."
        ),
        (Sent::No, Kind::CertificateRefused) => format!(
            "{TRY_AGAIN} Check that upstream.origin is right and that upstream.ca_file, if set, \
             holds the authority that signed its certificate."
        ),
        (Sent::No, Kind::ResolveFailed | Kind::ResolveTimeout) => {
            format!("{TRY_AGAIN} Check upstream.origin and the pod's DNS.")
        }
        (Sent::No, Kind::AddressRefused) => format!(
            "{TRY_AGAIN} Check upstream.origin and the pod's DNS. If the upstream is really meant \
             to be there, add its network to upstream.allow_private."
        ),
        (Sent::No, Kind::ConnectRefused | Kind::ConnectFailed | Kind::ConnectTimeout) => {
            format!("{TRY_AGAIN} Check the network policy and the route to the upstream.")
        }
        (Sent::No, _) => TRY_AGAIN.to_owned(),
    };
    Problem {
        code,
        status,
        title,
        detail: format!("{what}: {}.", error.cause),
        remedy,
        proxy_status,
        retry_after: None,
        close: false,
    }
}
