//! Any `Content-Type` lines, against `proxy::content_type::judge`, on an ordinary path and on the
//! upload, with and without media types to replace.
//!
//! Invariant: what passes as JSON is, by a reading of its own, a JSON media type or one that the
//! configuration replaces; what passes as multipart is the caller's one value to the byte, and has
//! a boundary; no value passes as both. The input is the header's values, one a line.

#![no_main]

use std::sync::LazyLock;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use innopaas_proxy::config::{Config, Policy, Raw};
use innopaas_proxy::proxy::content_type::{Content, Refused, judge};
use libfuzzer_sys::fuzz_target;

const SEND: &str = "/api/sms/v3/msg/send";
const UPLOAD: &str = "/api/whatsapp/v3/uploadFile";
const JSON: &[&str] = &["application/json", "text/json"];
const REPLACED: &[&str] = &["text/plain", "application/x-www-form-urlencoded"];

static STRICT: LazyLock<Policy> = LazyLock::new(|| policy(&[]));
static REPLACING: LazyLock<Policy> = LazyLock::new(|| policy(REPLACED));

fuzz_target!(|lines: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|_| !lines.is_empty()) {
        // What is no header value never gets past the reader of the head.
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(CONTENT_TYPE, value);
    }
    let strict = judge(&headers, SEND, &STRICT);
    let replacing = judge(&headers, SEND, &REPLACING);
    let upload = judge(&headers, UPLOAD, &STRICT);

    is_json(&strict, &headers, &[]);
    is_json(&replacing, &headers, REPLACED);
    assert!(strict.is_err() || replacing.is_ok(), "replacing more refuses less, never more");
    is_multipart(&upload, &headers);
    assert!(strict.is_err() || upload.is_err(), "passes as JSON and as multipart");
    assert_eq!(upload, judge(&headers, UPLOAD, &REPLACING), "an upload is never replaced");
});

fn policy(rewrite: &[&str]) -> Policy {
    let mut raw = Raw::defaults();
    raw.assignment("--set", &format!("policy.content_type.rewrite={}", rewrite.join(",")));
    Config::from_raw(raw).expect("the configuration is valid").policy
}

fn is_json(judged: &Result<Content, Refused>, headers: &HeaderMap, replaced: &[&str]) {
    match judged {
        Ok(Content::Json) => {
            let values: Vec<_> = headers.get_all(CONTENT_TYPE).iter().collect();
            assert!(values.len() < 2, "several values pass");
            let media = values.first().map(|value| essence(value)).unwrap_or_default();
            let named = |list: &[&str]| list.iter().any(|kind| media == kind.as_bytes());
            assert!(media.is_empty() || named(JSON) || named(replaced), "passes as JSON");
        }
        Ok(Content::Multipart(_)) => panic!("multipart beside the upload"),
        Ok(Content::AsItCame { .. }) => panic!("passes unjudged"),
        // This is shown to the caller and in the log, so it must be a media type and no more.
        Err(Refused::NotJson(shown)) => {
            assert!(shown.contains('/') && shown.bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!shown.contains([';', '"', ',']));
        }
        Err(Refused::Charset | Refused::Malformed | Refused::Several) => {}
        Err(Refused::NotMultipart | Refused::NoBoundary) => panic!("speaks of an upload"),
    }
}

fn is_multipart(judged: &Result<Content, Refused>, headers: &HeaderMap) {
    match judged {
        Ok(Content::Multipart(passed)) => {
            let values: Vec<_> = headers.get_all(CONTENT_TYPE).iter().collect();
            assert_eq!(values, [passed], "the boundary is in it");
            assert_eq!(essence(passed), b"multipart/form-data");
            let text = passed.to_str().expect("it is visible ASCII").to_ascii_lowercase();
            assert_eq!(text.split("boundary=").count().min(2), 2, "no boundary");
        }
        Ok(Content::Json) => panic!("JSON passes as an upload"),
        Ok(Content::AsItCame { .. }) => panic!("passes unjudged"),
        Err(
            Refused::NotMultipart | Refused::NoBoundary | Refused::Malformed | Refused::Several,
        ) => {}
        Err(Refused::NotJson(_) | Refused::Charset) => panic!("speaks of JSON"),
    }
}

/// The media type without its parameters, in lower case: up to the first `;`, less blanks.
fn essence(value: &HeaderValue) -> Vec<u8> {
    let bytes = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    bytes.trim_ascii().to_ascii_lowercase()
}
