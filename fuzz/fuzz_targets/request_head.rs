//! Any head that an HTTP/1 reader takes in, against admit → strip → inject.
//!
//! Invariant: what would be sent carries our pair, `Host`, content type and framing exactly once
//! and to the byte; no hop-by-hop header, nothing that `Connection` named, no other spelling of a
//! name that is ours; and every other header as it came, in its order. The heads are read by
//! httparse, as hyper does it, and judged twice: with the framing settled the way hyper settles
//! it, and as they stand. Nothing here relies on hyper having looked first.

#![no_main]

use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use innopaas_proxy::config::{Config, Policy, Raw};
use innopaas_proxy::credentials::Credentials;
use innopaas_proxy::proxy::admit::admit;
use innopaas_proxy::proxy::headers::Coding;
use innopaas_proxy::proxy::inject::Authenticated;
use innopaas_proxy::secret::Secret;
use innopaas_proxy::telemetry::code::Pair;
use libfuzzer_sys::fuzz_target;

const HOST: HeaderValue = HeaderValue::from_static("api.innopaas.com");
const ID: HeaderValue = HeaderValue::from_static("0123456789abcdef-0");
const APP_KEY: &str = "Q7ZK4XJW9VHR2MTB8";
const AUTHORIZATION: &str = "L5N3P8C6F2";

static PAIR: LazyLock<Credentials> = LazyLock::new(|| Credentials {
    app_key: secret(APP_KEY),
    authorization: secret(AUTHORIZATION),
    generation: 1,
    pair: Pair::Primary,
});
static POLICY: LazyLock<Policy> = LazyLock::new(|| policy("false"));
static KEEPING: LazyLock<Policy> = LazyLock::new(|| policy("true"));

fuzz_target!(|bytes: &[u8]| {
    let Some(head) = read::<100>(bytes) else { return };
    let as_it_stands = (head.clone(), Length(Some(0)));
    for (head, length) in [settled(head), Some(as_it_stands)].into_iter().flatten() {
        for (policy, keeps_signature) in [(&POLICY, false), (&KEEPING, true)] {
            for id in [None, Some(&ID)] {
                let Ok(admitted) = admit(head.clone(), &length, policy) else { continue };
                let sent = admitted.strip(policy, Coding::Any).inject(&PAIR, &HOST, id);
                check(&head, sent, keeps_signature, id);
            }
        }
    }
});

fn secret(text: &str) -> Secret {
    Secret::from_file_content(text.as_bytes()).expect("it can be sent")
}

fn policy(keep_signature_headers: &str) -> Policy {
    let mut raw = Raw::defaults();
    let assignment = format!("policy.keep_signature_headers={keep_signature_headers}");
    raw.assignment("--set", &assignment);
    Config::from_raw(raw).expect("the configuration is valid").policy
}

/// A head as hyper makes it of the bytes.
fn read<const LINES: usize>(bytes: &[u8]) -> Option<Parts> {
    let mut lines = [httparse::EMPTY_HEADER; LINES];
    let mut request = httparse::Request::new(&mut lines);
    if request.parse(bytes).ok()?.is_partial() {
        return None;
    }
    let mut head = Request::new(()).into_parts().0;
    head.method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    head.uri = Uri::try_from(request.path?).ok()?;
    head.version = if request.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    for line in request.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        head.headers.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    Some(head)
}

/// What hyper decides on the framing before we see the head: a length beside a coding is dropped,
/// an equal second one too, and what contradicts itself is refused.
fn settled(mut head: Parts) -> Option<(Parts, Length)> {
    if let Some(coding) = head.headers.get_all(header::TRANSFER_ENCODING).iter().next_back() {
        let last = coding.to_str().ok()?.rsplit(',').next()?.trim();
        if head.version == Version::HTTP_10 || !last.eq_ignore_ascii_case("chunked") {
            return None;
        }
        head.headers.remove(header::CONTENT_LENGTH);
        return Some((head, Length(None)));
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Some((head, Length(Some(0)))) };
    if lengths.any(|other| *other != first) {
        return None;
    }
    let digits = first.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    let length = digits.parse().ok()?;
    head.headers.insert(header::CONTENT_LENGTH, first);
    Some((head, Length(Some(length))))
}

/// A body that was not read: only its length is known, or not even that.
struct Length(Option<u64>);

impl Body for Length {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Names that are ours to write, and those that are for one hop only (RFC 9110, section 7.6.1);
/// without `-` and `_`, because some servers do not tell these apart.
const OURS: &[&str] = &[
    "appkey",
    "authorization",
    "connection",
    "contentlength",
    "contenttype",
    "expect",
    "host",
    "http2settings",
    "keepalive",
    "proxyauthenticate",
    "proxyauthorization",
    "proxyconnection",
    "te",
    "trailer",
    "transferencoding",
    "upgrade",
    "xrequestid",
];
const SIGNATURE: &[&str] = &["xappkey", "xnonce", "xtimestamp", "xsignature"];

fn check(head: &Parts, sent: Authenticated, keeps_signature: bool, id: Option<&HeaderValue>) {
    // Also by the bytes it is one head and nothing more.
    let bytes = sent.bytes();
    assert_eq!(memchr::memmem::find(&bytes, b"\r\n\r\n"), Some(bytes.len() - 4));
    let sent = read::<128>(&bytes).expect("it is a head");
    assert!(sent.method == head.method);
    assert!(sent.method != Method::CONNECT && sent.method != Method::TRACE);
    is_a_path(&sent.uri);

    let headers = &sent.headers;
    assert_eq!(all(headers, "appkey"), [APP_KEY]);
    assert_eq!(all(headers, "authorization"), [AUTHORIZATION]);
    assert_eq!(all(headers, "host"), [&HOST]);
    assert_eq!(all(headers, "x-request-id"), Vec::from_iter(id));
    has_one_content_type(headers, &head.headers);
    has_one_framing(headers);

    let passes = |name: &str| {
        let folded = name.replace(['-', '_'], "");
        let folded = folded.as_str();
        !OURS.contains(&folded) && (keeps_signature || !SIGNATURE.contains(&folded))
    };
    let named = named_in_connection(&head.headers);
    let wanted = head.headers.iter().filter(|(name, _)| {
        passes(name.as_str()) && !named.contains(&name.as_str().as_bytes().to_vec())
    });
    let written: &[&str] = &[
        "appkey",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "x-request-id",
    ];
    let others = headers.iter().filter(|(name, _)| !written.contains(&name.as_str()));
    assert!(others.eq(wanted), "sent {headers:?} of {:?}", head.headers);
}

fn is_a_path(target: &Uri) {
    assert!(target.scheme().is_none() && target.authority().is_none());
    let text = target.to_string();
    assert!(text.starts_with('/') && !text.starts_with("//"), "{text}");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{text}");
}

fn has_one_content_type(sent: &HeaderMap, received: &HeaderMap) {
    let values = all(sent, "content-type");
    let [value] = values[..] else { panic!("{values:?}") };
    let json = "application/json;charset=utf-8";
    assert!(value == json || all(received, "content-type") == [value], "{value:?}");
}

fn has_one_framing(sent: &HeaderMap) {
    let (lengths, codings) = (all(sent, "content-length"), all(sent, "transfer-encoding"));
    assert!(lengths.len() + codings.len() < 2, "{lengths:?} {codings:?}");
    for length in lengths {
        assert!(length.as_bytes().iter().all(u8::is_ascii_digit) && !length.is_empty());
    }
    for coding in codings {
        assert_eq!(coding, "chunked");
    }
}

fn all<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h HeaderValue> {
    headers.get_all(name).iter().collect()
}

/// In lower case.
fn named_in_connection(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|name| name.trim_ascii().to_ascii_lowercase())
        .collect()
}
