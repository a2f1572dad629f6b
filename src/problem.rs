//! What somebody is told instead of the answer that they wanted: a problem (RFC 9457), and in
//! `Proxy-Status` (RFC 9209) that it is this proxy's own.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use crate::telemetry::code::{Code, Sent};
use crate::telemetry::request_id::X_REQUEST_ID;

/// RFC 9209. Its presence tells an answer of ours from InnoPaaS's.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What somebody is told.
#[derive(Debug)]
pub struct Problem {
    /// The stable word.
    pub code: Code,
    /// The status.
    pub status: StatusCode,
    /// Whose fault it is.
    pub title: &'static str,
    /// What is wrong.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
    /// An error type of RFC 9209, section 2.3.
    pub proxy_status: &'static str,
    /// In seconds.
    pub retry_after: Option<u32>,
    /// Whether the connection is of no use any more.
    pub close: bool,
}

impl Problem {
    /// As an answer. `sent` tells whether a byte may have gone on.
    pub fn response(self, sent: Sent, request_id: &HeaderValue) -> Response<Bytes> {
        let Self { code, status, title, detail, remedy, proxy_status, retry_after, close } = self;
        let problem = json!({
            "type": format!("urn:innopaas-proxy:error:{code}"),
            "title": title,
            "status": status.as_u16(),
            "code": code.as_str(),
            "detail": detail,
            "remedy": remedy,
            "sent": sent.as_str(),
            "request_id": request_id.to_str().unwrap_or_default(),
        });
        let body = Bytes::from(problem.to_string());

        let mut response = Response::new(());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let own = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, own);
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let proxy_status = HeaderValue::try_from(format!("innopaas-proxy; error={proxy_status}"));
        headers.insert(
            PROXY_STATUS,
            proxy_status.unwrap_or(HeaderValue::from_static("innopaas-proxy")),
        );
        headers.insert(X_REQUEST_ID, request_id.clone());
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(header::ALLOW, allowed);
        }
        if close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|()| body)
    }

    /// The same, as the bytes of the last answer on a connection.
    pub fn bytes(self, sent: Sent, request_id: &HeaderValue) -> Bytes {
        let (mut head, body) = self.response(sent, request_id).into_parts();
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        bytes.into()
    }
}
