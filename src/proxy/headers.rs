//! Builds the head that leaves, instead of editing the one that came.
//!
//! Everything passes but what is on the list, in any case and with `_` for `-`: servers behind
//! the upstream's own proxies often take `app_key` and `App-Key` for the same thing. This happens
//! before anything is injected: the other order let clients remove injected headers by naming
//! them in `Connection`, in more than one well-known proxy.

use http::header::{self, HeaderMap, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use super::admit::Admitted;
use super::content_type::Content;
use crate::config::Policy;
use crate::fields::{Named, fold, strip_hop};
use crate::upstream::Fields;

/// A request without anything that is ours to write. Can be sent more than once, with another pair.
pub struct Stripped {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) fields: Fields,
    pub(super) content: Content,
}

/// What codings the answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Whatever the caller can take.
    Any,
    /// None, because it is to be read.
    Identity,
}

/// Names that never leave, folded: lower case, without `-` and `_`. Patterns, because the compiler
/// makes a decision by length of them.
fn never_leaves(folded: &[u8]) -> bool {
    matches!(
        folded,
        // Ours to write.
        b"appkey" | b"authorization" | b"contenttype" | b"contentlength" | b"host" | b"xrequestid"
        // What the caller shows to us, and to nobody else.
        | b"innopaasproxytoken"
        // For the next hop only (RFC 9110, section 7.6.1), or answered by us.
        | b"connection" | b"expect" | b"http2settings" | b"keepalive" | b"proxyauthenticate"
        | b"proxyauthorization" | b"proxyconnection" | b"te" | b"trailer" | b"transferencoding"
        | b"upgrade"
    )
}

/// The older scheme's credentials; pass only if somebody says so.
fn is_of_signature(folded: &[u8]) -> bool {
    matches!(folded, b"xappkey" | b"xnonce" | b"xtimestamp" | b"xsignature")
}

/// Length of the longest of these names: what is longer when folded passes.
const LONGEST: usize = "innopaasproxytoken".len();

impl Stripped {
    /// The path without the query.
    pub(super) fn path(&self) -> &str {
        self.target.path()
    }
}

impl Admitted {
    /// Takes away what is for this hop only and what is ours to write.
    pub fn strip(self, policy: &Policy, coding: Coding) -> Stripped {
        /// Most heads are smaller, in bytes.
        const USUAL: usize = 256;
        let Self { method, target, headers: received, content, observed: _ } = self;
        let named = Named::in_connection(&received);
        let mut fields = Fields::with_capacity(USUAL);
        for (name, value) in &received {
            let passes = !is_ours(name, policy) && !named.contains(name);
            if passes && (coding == Coding::Any || *name != header::ACCEPT_ENCODING) {
                fields.add(name.as_str(), value);
            }
        }
        if coding == Coding::Identity {
            const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
            fields.add(header::ACCEPT_ENCODING.as_str(), &IDENTITY);
        }
        Stripped { method, target, fields, content }
    }
}

/// What is for this hop only in an answer, or ours to write. End-to-end headers pass unchanged.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    // Only we tell what this proxy did, and under which id.
    strip_hop(headers, |name| matches!(name, "proxy-status" | "x-request-id"));
}

fn is_ours(name: &HeaderName, policy: &Policy) -> bool {
    match name.as_str() {
        // What nearly every head has, for which nothing needs to be folded.
        "user-agent" | "accept" | "accept-encoding" | "accept-language" => return false,
        "host" | "content-type" | "content-length" | "connection" => return true,
        _ => {}
    }
    let mut folded = [0; LONGEST];
    let Some(folded) = fold(name.as_str().as_bytes(), &mut folded) else { return false };
    never_leaves(folded) || (!policy.keep_signature_headers && is_of_signature(folded))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Empty;

    use super::*;
    use crate::config::{Config, Raw};
    use crate::proxy::admit::admit;
    use crate::upstream::RequestHead;

    fn strip_for(coding: Coding, headers: &[(&str, &str)]) -> Vec<String> {
        let policy = Config::from_raw(Raw::defaults()).unwrap().policy;
        let mut request = Request::builder().uri("/api/x").header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, body) = request.body(Empty::<Bytes>::new()).unwrap().into_parts();
        let stripped = admit(head, &body, &policy).unwrap().strip(&policy, coding);
        let mut head = RequestHead::new(&Method::GET, &PathAndQuery::from_static("/"), 0);
        head.extend(&stripped.fields);
        let text = String::from_utf8(head.bytes(Some(0)).to_vec()).unwrap();
        let lines = text.strip_prefix("GET / HTTP/1.1\r\n").unwrap().split("\r\n");
        lines.filter(|line| !line.is_empty()).map(|line| line.replacen(": ", "=", 1)).collect()
    }

    fn strip(headers: &[(&str, &str)]) -> Vec<String> {
        strip_for(Coding::Any, headers)
    }

    #[test]
    fn the_caller_s_codings_pass_unless_the_answer_is_to_be_read() {
        let sent = [("accept-encoding", "gzip"), ("accept-encoding", "br")];
        assert_eq!(strip(&sent), ["accept-encoding=gzip", "accept-encoding=br"]);
        assert_eq!(strip_for(Coding::Identity, &sent), ["accept-encoding=identity"]);
        assert_eq!(strip_for(Coding::Identity, &[]), ["accept-encoding=identity"]);
    }

    #[test]
    fn every_spelling_of_a_credential_goes() {
        let none: [&str; 0] = [];
        for name in [
            "AppKey",
            "APPKEY",
            "app_key",
            "App-Key",
            "a-p-p_key",
            "Authorization",
            "authorization",
            "authori_zation",
            "Proxy-Authorization",
            "proxy_authorization",
            "x-appKey",
            "X_App_Key",
            "x-nonce",
            "x-timestamp",
            "x-signature",
            "content_type",
            "transfer_encoding",
            "X_Request-Id",
            "Innopaas-Proxy-Token",
            "innopaas_proxy_token",
        ] {
            assert_eq!(strip(&[(name, "stale"), (name, "again")]), none, "{name}");
        }
    }

    #[test]
    fn what_connection_names_goes_and_the_rest_stays_in_order() {
        let kept = strip(&[
            ("x-first", "1"),
            ("connection", "close, X-Hop"),
            ("x-hop", "gone"),
            ("connection", "x-other"),
            ("x-other", "gone"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("x-twice", "a"),
            ("x-twice", "b"),
            ("user-agent", "test"),
        ]);
        assert_eq!(kept, ["x-first=1", "x-twice=a", "x-twice=b", "user-agent=test"]);
    }

    #[test]
    fn a_byte_that_is_not_ascii_does_not_hide_what_connection_names() {
        let none: [&str; 0] = [];
        assert_eq!(strip(&[("connection", "cl\u{f6}se, x-hop"), ("x-hop", "gone")]), none);
        let mut answer = HeaderMap::new();
        answer.insert("connection", HeaderValue::from_bytes(b"cl\xf6se,, x-hop").unwrap());
        answer.insert("x-hop", HeaderValue::from_static("gone"));
        strip_answer(&mut answer);
        assert!(answer.is_empty());
    }
}
