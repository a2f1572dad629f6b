//! Recognises in InnoPaaS's answer that it does not accept the pair.
//!
//! By the status, or, where codes are configured, by the code in the envelope. No byte of the
//! answer is changed, and where no codes are configured no answer waits to be looked into.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body;
use serde::Deserialize;

use super::peek::Peeked;
use crate::config::Refusal;
use crate::telemetry::code::Unread;
use crate::telemetry::metrics::WorkerMetrics;

/// What an answer says of the pair that its call was sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not accepted.
    Refused {
        /// Whether a call that was refused in this way may be sent once more.
        replay: bool,
    },
    /// It is accepted.
    Accepted,
    /// Nothing: not a success, or one that might have been a refusal and could not be read.
    Silent,
}

/// Judges an answer on this path.
pub(super) async fn judge(
    answer: &mut Response<Peeked>,
    path: &str,
    refusal: &Refusal,
    metrics: &WorkerMetrics,
) -> Verdict {
    let status = answer.status();
    if refusal.statuses.iter().any(|sign| *sign == (&status, path)) {
        // That a call with 401 did nothing is the meaning of that status (RFC 9110, section
        // 15.5.2); of any other it is somebody's word.
        return Verdict::Refused { replay: refusal.replay || status == StatusCode::UNAUTHORIZED };
    }
    if refusal.looks_into(path) && !answer.body().is_end_stream() {
        match code(answer, refusal).await {
            Ok(Some(code)) if refusal.codes.iter().any(|sign| *sign == (&*code, path)) => {
                return Verdict::Refused { replay: refusal.replay };
            }
            Ok(_) => {}
            Err(why) => {
                metrics.unread(why);
                return Verdict::Silent;
            }
        }
    }
    if status.is_success() { Verdict::Accepted } else { Verdict::Silent }
}

async fn code(answer: &mut Response<Peeked>, refusal: &Refusal) -> Result<Option<String>, Unread> {
    if is_encoded(answer.headers()) {
        return Err(Unread::Encoded);
    }
    if !is_json(answer.headers()) {
        return Err(Unread::Type);
    }
    let envelope = answer.body_mut().read(refusal.peek_wait).await?;
    code_in(envelope).map(|code| code.map(Cow::into_owned))
}

/// Whether a body came compressed, in whatever way.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.get_all(header::CONTENT_ENCODING).iter().any(|value| !identity(value))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case("text/json")
}

/// The envelope, as far as it matters here (InnoPaaS guide); the rest is skipped.
#[derive(Deserialize)]
struct Envelope<'e> {
    #[serde(borrow, default)]
    code: Option<Code<'e>>,
}

/// A text by the guide; clients have seen numbers too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Code<'e> {
    Text(#[serde(borrow)] Cow<'e, str>),
    Number(u64),
}

/// The code of an envelope, if it has one.
///
/// # Errors
/// If it is no object, or one with two codes.
fn code_in(envelope: &[u8]) -> Result<Option<Cow<'_, str>>, Unread> {
    // The parser would take a list for an envelope without names.
    if envelope.trim_ascii_start().first() != Some(&b'{') {
        return Err(Unread::NoEnvelope);
    }
    let Envelope { code } = serde_json::from_slice(envelope).map_err(|_| Unread::NoEnvelope)?;
    Ok(code.map(|code| match code {
        Code::Text(text) => text,
        Code::Number(number) => Cow::Owned(number.to_string()),
    }))
}

/// What is read of an answer's body; `None` if it is no envelope. For benches and fuzz targets: the
/// rest of the way needs sockets.
pub fn read_code(envelope: &[u8]) -> Option<Option<String>> {
    code_in(envelope).ok().map(|code| code.map(Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_envelope_is_read_and_of_nothing_else() {
        for (envelope, code) in [
            (r#"{"code":"101","success":false,"message":"鉴权失败","data":null}"#, Ok(Some("101"))),
            (r#" {"data":{"code":"5"},"code":101} "#, Ok(Some("101"))),
            (r#"{"code":"\u0031\u0030\u0031"}"#, Ok(Some("101"))),
            (r#"{"code":null}"#, Ok(None)),
            (r#"{"success":true}"#, Ok(None)),
            (r#"{"data":{"code":"101"}}"#, Ok(None)),
            (r#"{"code":"0","code":"101"}"#, Err(Unread::NoEnvelope)),
            (r#"{"code":["101"]}"#, Err(Unread::NoEnvelope)),
            (r#"{"code":"101""#, Err(Unread::NoEnvelope)),
            (r#"{"code":"101"}{}"#, Err(Unread::NoEnvelope)),
            (r#"["101"]"#, Err(Unread::NoEnvelope)),
            (r#""101""#, Err(Unread::NoEnvelope)),
            ("", Err(Unread::NoEnvelope)),
        ] {
            let read = code_in(envelope.as_bytes());
            assert_eq!(read.as_ref().map(Option::as_deref), code.as_ref().copied(), "{envelope}");
        }
        assert!(code_in("[".repeat(16 * 1024).as_bytes()).is_err());
    }

    #[test]
    fn only_uncompressed_json_is_looked_into() {
        let head = |name, value| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            headers
        };
        for (value, json) in [
            ("application/json;charset=UTF-8", true),
            ("Application/JSON", true),
            ("text/json", true),
            ("application/problem+json", false),
            ("application/jsonp", false),
            ("text/html", false),
        ] {
            assert_eq!(is_json(&head(header::CONTENT_TYPE, value)), json, "{value}");
        }
        for (value, encoded) in [("gzip", true), ("identity", false), ("Identity", false)] {
            assert_eq!(is_encoded(&head(header::CONTENT_ENCODING, value)), encoded, "{value}");
        }
    }
}
