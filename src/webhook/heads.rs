//! What an application gets of an event's head, and an event's sender of the answer's.
//!
//! What verified the event stays here, in every spelling: the application is not to hold it. So does
//! what only this proxy tells, so that it cannot be made up.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};

use super::Known;
use super::body::EventBody;
use crate::config::Target;
use crate::fields::{fold, strip_hop};
use crate::telemetry::request_id::X_REQUEST_ID;

/// The request that the application gets: to the route's address and nothing of the one that the
/// event came to, but for the query that is the event itself.
pub(super) fn for_application(
    known: Known,
    target: &Target,
    request_id: &HeaderValue,
) -> Request<EventBody> {
    let Known { verified, event, head, body } = known;
    let mut headers = head.headers;
    strip(&mut headers);
    headers.insert(header::HOST, target.host.clone());
    headers.insert(X_REQUEST_ID, request_id.clone());
    for (name, value) in [
        ("x-innopaas-app", verified.app.as_deref()),
        ("x-innopaas-event-type", event.kind.as_deref()),
        ("x-innopaas-event-id", event.id.as_deref()),
    ] {
        // All are words, so they fit.
        if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let uri = match (head.method == Method::GET, head.uri.query()) {
        (true, Some(query)) => {
            let path = &target.path;
            let joint = if path.query().is_some() { '&' } else { '?' };
            let whole = format!("{path}{joint}{query}");
            whole.parse().unwrap_or_else(|_| Uri::from(path.clone()))
        }
        (true, None) | (false, _) => Uri::from(target.path.clone()),
    };
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// The application's answer, without what is for its hop only, and without the length that it told:
/// its body is here, and may have another one.
pub(super) fn pass(answer: Response<Bytes>, request_id: &HeaderValue) -> Response<Bytes> {
    let (mut head, body) = answer.into_parts();
    strip_hop(&mut head.headers, |name| matches!(name, "content-length" | "proxy-status"));
    head.headers.insert(X_REQUEST_ID, request_id.clone());
    Response::from_parts(head, body)
}

/// The same target with another query.
pub(super) fn with_query(uri: &Uri, query: &[u8]) -> Uri {
    let text = [uri.path().as_bytes(), b"?", query].concat();
    // It was one before, and only letters were replaced.
    PathAndQuery::try_from(text.as_slice()).map_or_else(|_| Uri::default(), Uri::from)
}

fn strip(headers: &mut HeaderMap) {
    strip_hop(headers, stays_here);
}

/// Folded, because applications often take `User-Name` and `USER_NAME` for the same.
fn stays_here(name: &str) -> bool {
    const OURS: &[u8] = b"xinnopaas";
    // However long it is.
    let beginning = name.bytes().filter(|byte| !matches!(byte, b'-' | b'_')).take(OURS.len());
    if beginning.eq(OURS.iter().copied()) {
        return true;
    }
    let mut room = [0; "proxyauthorization".len()];
    let Some(folded) = fold(name.as_bytes(), &mut room) else { return false };
    matches!(
        folded,
        b"username"
            | b"authorization"
            | b"proxyauthorization"
            | b"proxyauthenticate"
            | b"connection"
            | b"keepalive"
            | b"proxyconnection"
            | b"te"
            | b"trailer"
            | b"transferencoding"
            | b"upgrade"
            | b"http2settings"
            | b"expect"
            | b"host"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_verified_an_event_and_what_only_we_tell_stays_here_in_every_spelling() {
        let mut headers = HeaderMap::new();
        for name in [
            "username",
            "user-name",
            "user_name",
            "authorization",
            "x-innopaas-app",
            "x_innopaas_event-id",
            "connection",
            "te",
            "host",
            "x-hop",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("x-hop"));
        }
        headers.append("content-type", HeaderValue::from_static("application/json"));
        headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        strip(&mut headers);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert!(headers.contains_key("content-type") && headers.contains_key("x-forwarded-for"));
    }
}
