//! Whatever headers a caller sends, in whatever spelling and order: what InnoPaaS gets of them.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::admit::admit;
use super::headers::Coding;
use crate::config::{Config, Policy, Raw};
use crate::credentials::Credentials;
use crate::secret::Secret;
use crate::telemetry::code::Pair;

const APP_KEY: &str = "OursAppKey1234567";
const AUTHORIZATION: &str = "OursAuthorizationToken";

/// Names that are ours or this hop's, and some that are nearly so.
const TRICKY: [&str; 26] = [
    "AppKey",
    "app_key",
    "APP-KEY",
    "Authorization",
    "authori-zation",
    "Proxy-Authorization",
    "Content-Type",
    "content_type",
    "Content-Length",
    "Transfer-Encoding",
    "transfer_encoding",
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Upgrade",
    "Expect",
    "Host",
    "ho_st",
    "X-Request-Id",
    "x-appKey",
    "X_Nonce",
    "Innopaas-Proxy-Token",
    "AppKeyX",
    "X-Authorization",
];

fn name() -> impl Strategy<Value = String> {
    let tricky = select(&TRICKY[..]).prop_flat_map(|name| {
        vec(any::<bool>(), name.len()).prop_map(move |upper| {
            let cased = |(c, upper): (char, &bool)| {
                if *upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
            };
            name.chars().zip(&upper).map(cased).collect()
        })
    });
    prop_oneof![3 => tricky, 1 => "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,24}"]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let names =
        vec((name(), select(vec![",", ", ", " ,\t", ",,", ",\u{e9},"])), 0..4).prop_map(|names| {
            names.into_iter().flat_map(|(name, between)| (name + between).into_bytes()).collect()
        });
    prop_oneof![
        2 => names,
        1 => vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..40),
        1 => select(vec!["chunked", "close", "2", "application/json", "trailers", "h2c"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

/// What is sent for these headers; `None` if they are refused.
fn send(headers: &[(String, Vec<u8>)], policy: &Policy) -> Option<Parts> {
    let mut request = Request::post("/api/sms/v3/msg/send").header("host", "localhost");
    for (name, value) in headers {
        request = request.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    let (head, body) = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap().into_parts();
    let secret = |text: &str| Secret::from_file_content(text.as_bytes()).unwrap();
    let credentials = Credentials {
        app_key: secret(APP_KEY),
        authorization: secret(AUTHORIZATION),
        generation: 1,
        pair: Pair::Primary,
    };
    let stripped = admit(head, &body, policy).ok()?.strip(policy, Coding::Any);
    let host = HeaderValue::from_static("api.innopaas.com");
    Some(read(&stripped.inject(&credentials, &host, None).bytes()))
}

fn read(bytes: &[u8]) -> Parts {
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut lines);
    assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    let mut head = Request::new(()).into_parts().0;
    head.method = request.method.unwrap().parse().unwrap();
    for line in request.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).unwrap();
        head.headers.append(name, HeaderValue::from_bytes(line.value).unwrap());
    }
    head
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '_'], "")
}

/// What the caller's own headers may never be called on the way, folded.
fn is_never_the_callers(name: &str) -> bool {
    let tricky = TRICKY.iter().take(TRICKY.len() - 2).any(|tricky| folded(tricky) == folded(name));
    tricky
        || ["http2settings", "proxyauthenticate", "xtimestamp", "xsignature"]
            .contains(&folded(name).as_str())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn upstream_sees_our_pair_once_and_nothing_of_the_callers(
        headers in vec((name(), value()), 0..12),
    ) {
        let policy = Config::from_raw(Raw::defaults()).unwrap().policy;
        let Some(head) = send(&headers, &policy) else { return Ok(()) };
        prop_assert_eq!(&head.method, Method::POST);
        for (name, ours) in [
            ("appkey", APP_KEY),
            ("authorization", AUTHORIZATION),
            ("host", "api.innopaas.com"),
            ("content-type", "application/json;charset=utf-8"),
        ] {
            let values: Vec<_> = head.headers.get_all(name).iter().collect();
            prop_assert_eq!(values, [ours], "{}", name);
        }
        let framing = ["content-length", "transfer-encoding"];
        let framed: usize = framing.iter().map(|name| head.headers.get_all(*name).iter().count()).sum();
        prop_assert_eq!(framed, 1);

        let ours = ["appkey", "authorization", "host", "content-type"];
        for name in head.headers.keys().map(HeaderName::as_str) {
            let is_ours = ours.contains(&name) || framing.contains(&name);
            prop_assert!(is_ours || !is_never_the_callers(name), "{} left", name);
        }
    }

    #[test]
    fn what_is_end_to_end_passes_in_order_and_what_connection_names_does_not(
        headers in vec((name(), value()), 0..12),
    ) {
        let policy = Config::from_raw(Raw::defaults()).unwrap().policy;
        let Some(head) = send(&headers, &policy) else { return Ok(()) };
        let named: Vec<String> = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
            .flat_map(|(_, value)| value.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect::<Vec<_>>())
            .map(|option| String::from_utf8_lossy(&option).trim().to_ascii_lowercase())
            .collect();
        let kinds: Vec<String> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        for kind in kinds {
            let sent: Vec<&[u8]> = headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(&kind))
                .map(|(_, value)| value.trim_ascii())
                .collect();
            let arrived: Vec<&[u8]> =
                head.headers.get_all(&kind).iter().map(|value| value.as_bytes().trim_ascii()).collect();
            if named.contains(&kind) && !is_never_the_callers(&kind) {
                prop_assert!(arrived.is_empty(), "{} was named in Connection", kind);
            } else if !is_never_the_callers(&kind) {
                prop_assert_eq!(arrived, sent, "{}", kind);
            }
        }
    }
}
