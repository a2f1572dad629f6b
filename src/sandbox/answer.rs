//! What is answered: envelopes, refusals, and the acts of a bad day.
//!
//! Invariant: an answer says which rule was broken, never a value that came in.

use std::time::Duration;

use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER,
};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::act::{REFUSAL_CODE, Refusal};
use super::body::Body;
use super::check::Rule;
use super::content::Read;
use super::routes::{self, Endpoint};

pub(super) type Answer = Response<Body>;

#[derive(Serialize)]
struct Envelope<'a> {
    code: &'a str,
    success: bool,
    message: &'a str,
    data: Value,
}

/// The ordinary answer of an endpoint. `id` is new for every call.
pub(super) fn success(endpoint: Endpoint, id: u64) -> Answer {
    let message_id = json!(format!("sandbox{id:012}"));
    let (code, message, data) = match endpoint {
        Endpoint::OtpSend => ("000000", "Success", message_id),
        Endpoint::SmsSend | Endpoint::WhatsappSend | Endpoint::TemplateUpdate => {
            ("0", "Success", message_id)
        }
        Endpoint::TemplateSubmit => ("0", "模板提交成功", message_id),
        Endpoint::TemplateDelete => ("0", "Success", Value::Null),
        Endpoint::TemplateList => ("0", "Success", templates()),
        Endpoint::WabaInfo => ("0", "Success", waba()),
        Endpoint::PhoneInfo => ("0", "Success", phone()),
        Endpoint::UploadFile => ("0", "Success", json!({ "handle": message_id })),
        Endpoint::Media { bytes } => {
            return typed(StatusCode::OK, "application/octet-stream", Body::media(bytes));
        }
    };
    envelope(StatusCode::OK, &Envelope { code, success: true, message, data })
}

fn templates() -> Value {
    json!([{ "templateId": "1001", "name": "order_update", "language": "en", "status": "APPROVED" }])
}

fn waba() -> Value {
    json!({ "wabaId": "100200300", "name": "Sandbox", "status": "APPROVED", "currency": "USD" })
}

fn phone() -> Value {
    json!({ "wabaId": "100200300", "phone": "10000000000", "qualityRating": "GREEN" })
}

/// The answer to a call that broke a rule.
pub(super) fn broken(rule: Rule, head: &Parts) -> Answer {
    let status = match rule {
        Rule::Path => StatusCode::NOT_FOUND,
        Rule::Method => StatusCode::METHOD_NOT_ALLOWED,
        Rule::BodySize => StatusCode::PAYLOAD_TOO_LARGE,
        Rule::TargetForm
        | Rule::AppKeyOnce
        | Rule::AppKeyForm
        | Rule::AuthorizationOnce
        | Rule::AuthorizationBare
        | Rule::HostOnce
        | Rule::HostOurs
        | Rule::ContentTypeOnce
        | Rule::ContentTypeExact
        | Rule::HopByHop
        | Rule::TransferEncoding
        | Rule::OlderScheme
        | Rule::Underscore
        | Rule::JsonBody
        | Rule::MultipartBody
        | Rule::Query => StatusCode::BAD_REQUEST,
    };
    let message = format!("sandbox: the call breaks the rule {}", rule.as_str());
    let answer = failure(status, status.as_str(), &message);
    let allowed = routes::allowed(head.uri.path())
        .filter(|_| rule == Rule::Method)
        .and_then(|method| HeaderValue::from_str(method.as_str()).ok());
    match allowed {
        Some(method) => with(answer, ALLOW, method),
        None => answer,
    }
}

/// The answer to a pair that is not, or no longer, valid.
pub(super) fn refused(refusal: Refusal) -> Answer {
    const PAGE: &str = "<html><head><title>401 Unauthorized</title></head>\
                        <body><h1>401 Unauthorized</h1></body></html>";
    let enveloped = |status| failure(status, REFUSAL_CODE, "Authentication failed");
    match refusal {
        Refusal::Unauthorized401Json => enveloped(StatusCode::UNAUTHORIZED),
        Refusal::Forbidden403Json => enveloped(StatusCode::FORBIDDEN),
        Refusal::Ok200Code => enveloped(StatusCode::OK),
        Refusal::Unauthorized401Html => {
            let page = Body::held(PAGE);
            typed(StatusCode::UNAUTHORIZED, "text/html; charset=utf-8", page)
        }
    }
}

/// 200 and an envelope that tells a failure.
pub(super) fn code(code: &str) -> Answer {
    failure(StatusCode::OK, code, "The sandbox was told to answer this code")
}

pub(super) fn too_many(retry_after: Option<u32>) -> Answer {
    let answer = failure(StatusCode::TOO_MANY_REQUESTS, "429", "Too many requests");
    match retry_after {
        Some(seconds) => with(answer, RETRY_AFTER, seconds.into()),
        None => answer,
    }
}

pub(super) fn redirect() -> Answer {
    let answer = typed(StatusCode::FOUND, "text/html", Body::held(""));
    let elsewhere = HeaderValue::from_static("https://elsewhere.invalid/api/sms/v3/msg/send");
    with(answer, LOCATION, elsewhere)
}

/// What came in, without the value of any header.
pub(super) fn echo(head: &Parts, read: &Read) -> Answer {
    let names: Vec<&str> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
    json(
        StatusCode::OK,
        &json!({
            "method": head.method.as_str(),
            "path": head.uri.path(),
            "query": head.uri.query(),
            "header_names": names,
            "body_bytes": read.bytes,
            "body_sha256": read.sha256,
        }),
    )
}

/// To be given while the body is still on its way.
pub(super) fn too_large() -> Answer {
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    unread(failure(status, "413", "The body was not read"))
}

/// Lets the peer find the answer although it still writes.
pub(super) fn unread(mut answer: Answer) -> Answer {
    answer.extensions_mut().insert(crate::server::Linger);
    closing(answer)
}

pub(super) fn closing(answer: Answer) -> Answer {
    with(answer, CONNECTION, HeaderValue::from_static("close"))
}

pub(super) fn slow(answer: Answer, pause: Duration) -> Answer {
    answer.map(|body| body.slow(pause))
}

pub(super) fn cut(answer: Answer) -> Answer {
    let declared = answer.body().len().into();
    with(answer, CONTENT_LENGTH, declared).map(Body::cut)
}

pub(super) fn with_hop_headers(answer: Answer) -> Answer {
    [
        ("connection", "x-internal"),
        ("x-internal", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-status", "upstream-claims"),
    ]
    .into_iter()
    .fold(answer, |answer, (name, value)| {
        with(answer, HeaderName::from_static(name), HeaderValue::from_static(value))
    })
}

/// An answer of JSON that is no envelope.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).unwrap_or_default(); // no map here has keys but strings
    typed(status, "application/json;charset=UTF-8", Body::held(body))
}

pub(super) fn failure(status: StatusCode, code: &str, message: &str) -> Answer {
    envelope(status, &Envelope { code, success: false, message, data: Value::Null })
}

fn envelope(status: StatusCode, envelope: &Envelope<'_>) -> Answer {
    json(status, envelope)
}

fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let answer = with(answer, CONTENT_TYPE, HeaderValue::from_static(content_type));
    let ours = HeaderName::from_static("x-sandbox");
    with(answer, ours, HeaderValue::from_static("1"))
}

fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}
