//! What the body says it is, and what InnoPaaS is told.
//!
//! The guide wants exactly `application/json;charset=utf-8` on every endpoint but one: the upload,
//! whose `multipart/form-data` carries a boundary that must not be touched.

use http::header::{self, HeaderMap, HeaderValue};

use super::one::{One, one};
use crate::config::Policy;

/// The value that the guide demands, to the byte.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=utf-8");

/// What the upstream is told of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// [`JSON`], whatever the spelling was.
    Json,
    /// The caller's own value, to the byte, because the boundary is in it.
    Multipart(HeaderValue),
    /// What the caller said, if anything; refused, where the policy does more than observe.
    AsItCame {
        /// The caller's own value.
        value: Option<HeaderValue>,
        /// Whether the path is one of uploads.
        upload: bool,
    },
}

/// Why a content type is refused; the remedy follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The upload takes `multipart/form-data` and nothing else.
    NotMultipart,
    /// `multipart/form-data` without a boundary: somebody set the header by hand.
    NoBoundary,
    /// A `charset` other than UTF-8.
    Charset,
    /// Another media type than JSON: in lower case, if it may be shown.
    NotJson(String),
    /// Not a media type at all.
    Malformed,
    /// There are several; to choose one would be to guess.
    Several,
}

/// Decides what the upstream is told.
///
/// # Errors
/// [`Refused`], from which the remedy follows.
pub fn judge(headers: &HeaderMap, path: &str, policy: &Policy) -> Result<Content, Refused> {
    let value = match one(headers, &header::CONTENT_TYPE) {
        One::None => None,
        One::Value(value) if value.is_empty() => None,
        One::Value(value) => Some(value),
        One::Several => return Err(Refused::Several),
    };
    match (is_upload(path, policy), value) {
        (true, Some(value)) => multipart(value),
        (true, None) => Err(Refused::NotMultipart),
        (false, Some(value)) => json(value, &policy.rewrite),
        (false, None) => Ok(Content::Json),
    }
}

/// What the caller said, for a policy that only observes.
pub(super) fn as_it_came(headers: &HeaderMap, path: &str, policy: &Policy) -> Content {
    let value = headers.get(header::CONTENT_TYPE).filter(|value| !value.is_empty()).cloned();
    Content::AsItCame { value, upload: is_upload(path, policy) }
}

fn is_upload(path: &str, policy: &Policy) -> bool {
    policy.upload_paths.iter().any(|pattern| pattern.matches(path))
}

fn json(value: &HeaderValue, rewrite: &[String]) -> Result<Content, Refused> {
    // What nearly everybody says.
    if *value == JSON || value.as_bytes().eq_ignore_ascii_case(b"application/json") {
        return Ok(Content::Json);
    }
    let media = Media::parse(value).ok_or(Refused::Malformed)?;
    let is_json = media.is("application/json") || media.is("text/json");
    if !is_json && !rewrite.iter().any(|kind| media.is(kind)) {
        return Err(Refused::NotJson(media.essence.to_ascii_lowercase()));
    }
    match media.parameter("charset") {
        None => Ok(Content::Json),
        Some(charset) if is_utf8(charset) => Ok(Content::Json),
        Some(_) => Err(Refused::Charset),
    }
}

fn multipart(value: &HeaderValue) -> Result<Content, Refused> {
    let media = Media::parse(value).ok_or(Refused::NotMultipart)?;
    if !media.is("multipart/form-data") {
        return Err(Refused::NotMultipart);
    }
    match media.parameter("boundary") {
        Some(boundary) if !boundary.is_empty() => Ok(Content::Multipart(value.clone())),
        Some(_) | None => Err(Refused::NoBoundary),
    }
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

/// A media type with its parameters (RFC 9110, section 8.3.1).
struct Media<'v> {
    essence: &'v str,
    parameters: Vec<(&'v str, &'v str)>,
}

impl<'v> Media<'v> {
    fn parse(value: &'v HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let (essence, mut rest) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim_matches([' ', '\t']);
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut parameters = Vec::new();
        while !rest.is_empty() {
            let (parameter, after) = next_parameter(rest)?;
            parameters.extend(parameter);
            rest = after;
        }
        Some(Self { essence, parameters })
    }

    fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// The value of a parameter; the empty text if it stands there twice, which fits nothing.
    fn parameter(&self, wanted: &str) -> Option<&'v str> {
        let mut values =
            self.parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let (_, value) = values.next()?;
        Some(if values.next().is_some() { "" } else { value })
    }
}

type Parameter<'v> = (&'v str, &'v str);

/// The parameter before the next `;`, which may be none, and what follows it. A quoted value may
/// hold a `;`; backslash escapes in it are left as they are.
fn next_parameter(text: &str) -> Option<(Option<Parameter<'_>>, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    if let Some(after) = text.strip_prefix(';') {
        return Some((None, after));
    }
    if text.is_empty() {
        return Some((None, ""));
    }
    let (name, value) = text.split_once('=')?;
    let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
        quoted.split_once('"')?
    } else {
        let end = value.find(';').unwrap_or(value.len());
        let (value, after) = value.split_at_checked(end)?;
        (value.trim_end_matches([' ', '\t']), after)
    };
    let after = after.trim_start_matches([' ', '\t']);
    let after = if after.is_empty() { after } else { after.strip_prefix(';')? };
    if is_token(name) { Some((Some((name, value)), after)) } else { None }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Raw};

    fn policy(rewrite: &str) -> Policy {
        let mut raw = Raw::defaults();
        raw.assignment("--set", &format!("policy.content_type.rewrite={rewrite}"));
        Config::from_raw(raw).unwrap().policy
    }

    fn judge_value(path: &str, value: Option<&str>, rewrite: &str) -> Result<Content, Refused> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert("content-type", value.parse().unwrap());
        }
        judge(&headers, path, &policy(rewrite))
    }

    const SEND: &str = "/api/sms/v3/msg/send";
    const UPLOAD: &str = "/api/whatsapp/v3/uploadFile";

    #[test]
    fn json_in_any_spelling_and_no_type_at_all_pass() {
        for value in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json ;charset=\"UTF-8\"",
            "application/json;charset=utf8;",
            "application/json; version=1; charset=utf-8",
            "application/json; note=\"a;b\"",
            "text/json",
            "",
        ] {
            assert_eq!(judge_value(SEND, Some(value), ""), Ok(Content::Json), "{value}");
        }
        assert_eq!(judge_value(SEND, None, ""), Ok(Content::Json));
    }

    #[test]
    fn other_types_and_charsets_are_refused() {
        let refused = |value| judge_value(SEND, Some(value), "").unwrap_err();
        for value in ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded"] {
            assert!(matches!(refused(value), Refused::NotJson(_)), "{value}");
        }
        assert_eq!(refused("multipart/form-data; boundary=x"), {
            Refused::NotJson("multipart/form-data".to_owned())
        });
        for value in
            ["application/json; charset=latin1", "application/json; charset=utf-8; charset=latin1"]
        {
            assert_eq!(refused(value), Refused::Charset, "{value}");
        }
        for value in ["json", "application/", "application/json; charset", "application/json; a=\""]
        {
            assert_eq!(refused(value), Refused::Malformed, "{value}");
        }
    }

    #[test]
    fn listed_types_are_replaced_unless_their_charset_is_wrong() {
        let rewrite = "text/plain,application/x-www-form-urlencoded";
        let value = Some("text/plain;charset=UTF-8");
        assert_eq!(judge_value(SEND, value, rewrite), Ok(Content::Json));
        let value = Some("text/plain; charset=iso-8859-1");
        assert_eq!(judge_value(SEND, value, rewrite), Err(Refused::Charset));
    }

    #[test]
    fn the_upload_passes_multipart_to_the_byte_and_nothing_else() {
        let value = "Multipart/Form-Data; boundary=\"a;b\"; Charset=UTF-8";
        let passed = Content::Multipart(value.parse().unwrap());
        assert_eq!(judge_value(UPLOAD, Some(value), ""), Ok(passed));
        assert_eq!(judge_value(UPLOAD, Some("multipart/form-data"), ""), Err(Refused::NoBoundary));
        for value in [None, Some("application/json"), Some("multipart/mixed; boundary=x")] {
            assert_eq!(judge_value(UPLOAD, value, ""), Err(Refused::NotMultipart), "{value:?}");
        }
    }
}
