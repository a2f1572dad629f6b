//! The rules that every call must keep, judged from its head alone.
//!
//! Invariant: pure, and a broken rule is told by its name, never by the value that broke it.
//! Whether the pair is the right one is not judged here, nor is the body (`content` does that).

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use serde::{Serialize, Serializer};

use super::routes::{Expects, expects};

/// The one type of JSON bodies that InnoPaaS documents, without a space.
const JSON: &str = "application/json;charset=utf-8";
const LONGEST_BOUNDARY: usize = 70; // RFC 2046, section 5.1.1

/// Headers of one connection only (RFC 9110, section 7.6.1), and all of `Proxy-*`.
/// `Transfer-Encoding` has a rule of its own: a body without a length needs it.
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings", "transfer-encoding"];

/// The credentials of the scheme before this one.
const OLDER_SCHEME: [&str; 4] = ["x-appkey", "x-nonce", "x-timestamp", "x-signature"];

/// What a call can do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The request's target begins with `/`.
    TargetForm,
    /// Exactly one `AppKey`.
    AppKeyOnce,
    /// `AppKey` is visible ASCII without spaces, and not empty.
    AppKeyForm,
    /// Exactly one `Authorization`.
    AuthorizationOnce,
    /// `Authorization` is the bare token: no scheme, no spaces, not empty.
    AuthorizationBare,
    /// Exactly one `Host`.
    HostOnce,
    /// `Host` is the sandbox's own name and port.
    HostOurs,
    /// Exactly one `Content-Type`.
    ContentTypeOnce,
    /// `Content-Type` is what the endpoint takes.
    ContentTypeExact,
    /// No header of one connection only.
    HopByHop,
    /// `Transfer-Encoding` is absent or one `chunked`.
    TransferEncoding,
    /// No header of the scheme before this one.
    OlderScheme,
    /// No name that becomes another one of these when `_` is taken for `-`.
    Underscore,
    /// A body of JSON is JSON.
    JsonBody,
    /// A multipart body begins and ends with the boundary of its type, and has the part `file`.
    MultipartBody,
    /// A body is at most 1 MiB, multipart at most 100 MiB.
    BodySize,
    /// The path is one of InnoPaaS's.
    Path,
    /// The method is the endpoint's.
    Method,
    /// The query is what the endpoint takes.
    Query,
}

impl Rule {
    /// Its name in answers and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TargetForm => "target-form",
            Self::AppKeyOnce => "app-key-once",
            Self::AppKeyForm => "app-key-form",
            Self::AuthorizationOnce => "authorization-once",
            Self::AuthorizationBare => "authorization-bare",
            Self::HostOnce => "host-once",
            Self::HostOurs => "host-ours",
            Self::ContentTypeOnce => "content-type-once",
            Self::ContentTypeExact => "content-type-exact",
            Self::HopByHop => "hop-by-hop",
            Self::TransferEncoding => "transfer-encoding",
            Self::OlderScheme => "older-scheme",
            Self::Underscore => "underscore",
            Self::JsonBody => "json-body",
            Self::MultipartBody => "multipart-body",
            Self::BodySize => "body-size",
            Self::Path => "path",
            Self::Method => "method",
            Self::Query => "query",
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A head that keeps the rules: the pair that it claims, and what its body says it is.
#[derive(Debug)]
pub(super) struct Claim<'h> {
    pub(super) app_key: &'h [u8],
    pub(super) authorization: &'h [u8],
    pub(super) content: Content,
}

/// What a body says it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Json,
    Multipart { boundary: String },
}

/// Judges a head that came to the sandbox at `port`; the first broken rule is told.
pub(super) fn head(head: &Parts, port: u16) -> Result<Claim<'_>, Rule> {
    let headers = &head.headers;
    if head.uri.authority().is_some() || !head.uri.path().starts_with('/') {
        return Err(Rule::TargetForm);
    }
    names(headers)?;
    transfer_encoding(headers)?;
    let host = once(headers, HOST.as_str(), Rule::HostOnce)?;
    if !is_ours(host, port) {
        return Err(Rule::HostOurs);
    }
    let app_key = once(headers, "appkey", Rule::AppKeyOnce)?;
    let authorization = once(headers, AUTHORIZATION.as_str(), Rule::AuthorizationOnce)?;
    let content_type = once(headers, CONTENT_TYPE.as_str(), Rule::ContentTypeOnce)?;
    Ok(Claim {
        app_key: bare(app_key, Rule::AppKeyForm)?,
        authorization: bare(authorization, Rule::AuthorizationBare)?,
        content: content(content_type, expects(head.uri.path()))?,
    })
}

fn names(headers: &HeaderMap) -> Result<(), Rule> {
    for name in headers.keys().map(http::HeaderName::as_str) {
        if let Some(rule) = forbids(name) {
            return Err(rule);
        }
        if name.contains('_') && is_guarded(&name.replace('_', "-")) {
            return Err(Rule::Underscore);
        }
    }
    Ok(())
}

fn forbids(name: &str) -> Option<Rule> {
    if OLDER_SCHEME.contains(&name) {
        return Some(Rule::OlderScheme);
    }
    let hop_by_hop = HOP_BY_HOP.contains(&name) && name != TRANSFER_ENCODING;
    (hop_by_hop || name.starts_with("proxy-")).then_some(Rule::HopByHop)
}

/// Names that no other spelling may stand in for.
fn is_guarded(name: &str) -> bool {
    forbids(name).is_some() || name == TRANSFER_ENCODING || name == CONTENT_TYPE
}

fn transfer_encoding(headers: &HeaderMap) -> Result<(), Rule> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(Rule::TransferEncoding),
    }
}

fn once<'h>(headers: &'h HeaderMap, name: &str, rule: Rule) -> Result<&'h HeaderValue, Rule> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) | (_, Some(_)) => Err(rule),
    }
}

fn bare(value: &HeaderValue, rule: Rule) -> Result<&[u8], Rule> {
    let bytes = value.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic) { Ok(bytes) } else { Err(rule) }
}

fn is_ours(host: &HeaderValue, port: u16) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host == format!("{name}:{port}").as_str())
}

fn content(value: &HeaderValue, expects: Expects) -> Result<Content, Rule> {
    let json = value == JSON;
    let boundary = value.to_str().ok().and_then(boundary);
    match (expects, boundary) {
        (Expects::Json | Expects::Either, _) if json => Ok(Content::Json),
        (Expects::Multipart | Expects::Either, Some(boundary)) => {
            Ok(Content::Multipart { boundary })
        }
        (Expects::Json | Expects::Multipart | Expects::Either, _) => Err(Rule::ContentTypeExact),
    }
}

/// The boundary of `multipart/form-data; boundary=…`.
fn boundary(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let (_, value) = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let value = value.trim_matches('"');
    (!value.is_empty() && value.len() <= LONGEST_BOUNDARY).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLOAD: &str = "/api/whatsapp/v3/uploadFile";

    fn good() -> Vec<(&'static str, &'static str)> {
        vec![
            ("host", "localhost:4443"),
            ("appkey", "XFbZY1rtTKo3UD4n1"),
            ("authorization", "YUIYIUIAI"),
            ("content-type", JSON),
        ]
    }

    fn judge(target: &str, headers: &[(&'static str, &'static str)]) -> Result<Content, Rule> {
        let mut request = http::Request::builder().method("POST").uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        head(&parts, 4443).map(|claim| claim.content)
    }

    fn with(name: &'static str, value: &'static str) -> Result<Content, Rule> {
        let mut headers = good();
        headers.push((name, value));
        judge("/api/sms/v3/msg/send", &headers)
    }

    fn with_instead(name: &'static str, value: Option<&'static str>) -> Result<Content, Rule> {
        let mut headers = good();
        headers.retain(|(other, _)| *other != name);
        headers.extend(value.map(|value| (name, value)));
        judge("/api/sms/v3/msg/send", &headers)
    }

    #[test]
    fn a_documented_call_passes() {
        assert_eq!(judge("/api/sms/v3/msg/send", &good()), Ok(Content::Json));
        assert_eq!(with("transfer-encoding", "chunked"), Ok(Content::Json));
        assert_eq!(with("x-request-id", "1"), Ok(Content::Json));
    }

    #[test]
    fn a_header_that_must_be_there_once_is_missed_and_found_twice() {
        for (name, rule) in [
            ("host", Rule::HostOnce),
            ("appkey", Rule::AppKeyOnce),
            ("authorization", Rule::AuthorizationOnce),
            ("content-type", Rule::ContentTypeOnce),
        ] {
            assert_eq!(with_instead(name, None), Err(rule));
            let same = good().into_iter().find(|(n, _)| *n == name).unwrap().1;
            assert_eq!(with(name, same), Err(rule));
        }
    }

    #[test]
    fn a_token_with_a_scheme_or_without_a_value_is_not_bare() {
        for value in ["Bearer YUIYIUIAI", "", "one, two"] {
            assert_eq!(with_instead("authorization", Some(value)), Err(Rule::AuthorizationBare));
        }
        assert_eq!(with_instead("appkey", Some("")), Err(Rule::AppKeyForm));
    }

    #[test]
    fn only_our_own_authority_is_a_host() {
        assert!(with_instead("host", Some("127.0.0.1:4443")).is_ok());
        for value in ["localhost", "localhost:1", "api.innopaas.com:4443"] {
            assert_eq!(with_instead("host", Some(value)), Err(Rule::HostOurs));
        }
    }

    #[test]
    fn the_content_type_must_be_the_documented_one_to_the_letter() {
        for value in [
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "multipart/form-data; boundary=x",
        ] {
            assert_eq!(with_instead("content-type", Some(value)), Err(Rule::ContentTypeExact));
        }
    }

    #[test]
    fn an_upload_is_multipart_with_a_boundary() {
        let upload = |value| {
            let mut headers = good();
            headers[3].1 = value;
            judge(UPLOAD, &headers)
        };
        let boundary = "a b".to_owned();
        assert_eq!(
            upload("multipart/form-data; boundary=\"a b\""),
            Ok(Content::Multipart { boundary })
        );
        for value in [JSON, "multipart/form-data", "multipart/form-data; boundary="] {
            assert_eq!(upload(value), Err(Rule::ContentTypeExact));
        }
    }

    #[test]
    fn headers_of_the_connection_or_of_another_scheme_break_a_rule() {
        for (name, value, rule) in [
            ("connection", "keep-alive", Rule::HopByHop),
            ("te", "trailers", Rule::HopByHop),
            ("proxy-authorization", "x", Rule::HopByHop),
            ("proxy-anything", "x", Rule::HopByHop),
            ("transfer-encoding", "gzip, chunked", Rule::TransferEncoding),
            ("x-appkey", "x", Rule::OlderScheme),
            ("x-signature", "x", Rule::OlderScheme),
            ("x_appkey", "x", Rule::Underscore),
            ("content_type", "x", Rule::Underscore),
            ("transfer_encoding", "chunked", Rule::Underscore),
            ("proxy_connection", "x", Rule::Underscore),
        ] {
            assert_eq!(with(name, value), Err(rule), "{name}");
        }
    }

    #[test]
    fn a_target_with_an_authority_breaks_a_rule() {
        let target = "https://localhost:4443/api/sms/v3/msg/send";
        assert_eq!(judge(target, &good()), Err(Rule::TargetForm));
    }
}
