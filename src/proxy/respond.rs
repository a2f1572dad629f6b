//! The answer to the caller: InnoPaaS's own, or a problem of ours (RFC 9457).

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use super::answer::Answer;
use super::body::AnswerBody;
use super::echo::SearchedBody;
use super::headers::strip_answer;
use super::reject::Reject;
use super::request_id::X_REQUEST_ID;
use crate::server::Linger;
use crate::telemetry::access::AccessRecord;

/// RFC 9209. Its presence tells an answer of ours from InnoPaaS's.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Passes InnoPaaS's answer on: status and body untouched, headers but for those of the hop.
pub(super) fn pass(
    answer: Response<SearchedBody>,
    mut record: Box<AccessRecord>,
) -> Response<AnswerBody> {
    let (mut head, body) = answer.into_parts();
    strip_answer(&mut head.headers);
    head.headers.insert(X_REQUEST_ID, record.request_id.clone());
    if body.came_early() {
        head.extensions.insert(Linger);
    }
    record.status = Some(head.status);
    Response::from_parts(head, AnswerBody::passed(body, record))
}

/// Tells what is wrong, whose fault it is, whether something was sent, and what to do.
pub(super) fn refuse(reject: &Reject, mut record: Box<AccessRecord>) -> Response<AnswerBody> {
    let mut response = problem(reject, &record.request_id);
    record.status = Some(response.status());
    record.outcome = reject.outcome();
    record.code = Some(reject.code());
    record.sent = reject.sent();
    // The caller may still be sending the body that nobody will read.
    response.extensions_mut().insert(Linger);
    response.map(|body| AnswerBody::own(body, record))
}

/// The same, as bytes, for what never became a request.
pub(super) fn refuse_unread(reject: &Reject, request_id: &HeaderValue) -> Bytes {
    let (mut head, body) = problem(reject, request_id).into_parts();
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes.into()
}

fn problem(reject: &Reject, request_id: &HeaderValue) -> Response<Bytes> {
    let Answer { code, status, title, detail, remedy, proxy_status, retry_after, close } =
        reject.answer();
    let problem = json!({
        "type": format!("urn:innopaas-proxy:error:{code}"),
        "title": title,
        "status": status.as_u16(),
        "code": code.as_str(),
        "detail": detail,
        "remedy": remedy,
        "sent": reject.sent().as_str(),
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
    headers
        .insert(PROXY_STATUS, proxy_status.unwrap_or(HeaderValue::from_static("innopaas-proxy")));
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
