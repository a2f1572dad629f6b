//! The answer to the caller: InnoPaaS's own, or a problem of ours (RFC 9457).

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};

use super::body::AnswerBody;
use super::echo::SearchedBody;
use super::headers::strip_answer;
use super::reject::Reject;
use crate::server::Linger;
use crate::telemetry::access::AccessRecord;
use crate::telemetry::request_id::X_REQUEST_ID;

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
    let mut response = reject.problem().response(reject.sent(), &record.request_id);
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
    let (mut head, body) = reject.problem().response(reject.sent(), request_id).into_parts();
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes.into()
}
