//! The answer to the caller: InnoPaaS's own, or a problem of ours (RFC 9457).

use http::Response;

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
