//! May this request pass? Decides on the head alone, and says no before anything is sent.
//!
//! `server` lets only pass what has the form of a request. Here it is asked what the request wants,
//! who wants it, and whether it may. What policy forbids, and nothing else, is only noted where the
//! policy is to observe.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Version};
use http_body::Body;

use super::content_type::{self, Content, Refused};
use super::one::One;
use super::reject::Reject;
use super::target;
use crate::config::{Limits, Mode, Policy};

/// A request that may pass, with its head still as the caller wrote it.
pub struct Admitted {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
    /// Why it would have been refused, if the policy were not only to observe.
    pub(super) observed: Option<Reject>,
}

/// Judges a head.
///
/// # Errors
/// `Reject`; nothing was sent then.
pub fn admit(head: Parts, body: &impl Body, policy: &Policy) -> Result<Admitted, Reject> {
    let Parts { method, uri, version, headers, .. } = head;
    // In whatever case: methods are case-sensitive (RFC 9110, section 9.1), servers not always.
    if ["CONNECT", "TRACE"].iter().any(|never| method.as_str().eq_ignore_ascii_case(never)) {
        return Err(Reject::Method);
    }
    let judged = Judged::among(&headers);
    let target = match (uri.authority(), uri.path_and_query()) {
        (Some(authority), Some(target)) if uri.scheme().is_some() => {
            // RFC 9112, section 3.2.2: the absolute form beats `Host`, and is reduced.
            if uri.scheme() != Some(&Scheme::HTTP) && uri.scheme() != Some(&Scheme::HTTPS) {
                return Err(Reject::Target("its scheme is neither http nor https"));
            }
            judged.only_host(version)?;
            allowed(authority.as_str(), policy)?;
            // Read anew: behind `http://localhost#x` the path is empty and would be sent so, though
            // it looks like `/` until then.
            target.as_str().parse().map_err(|_| Reject::Target("it is not a path"))?
        }
        (None, Some(target)) => {
            if let Some(host) = judged.only_host(version)? {
                let host = host.to_str().map_err(|_| Reject::HostInvalid("it is not ASCII"))?;
                allowed(host, policy)?;
            }
            target.clone()
        }
        (_, _) => return Err(Reject::Target("it is not a path")),
    };
    target::check(&target).map_err(Reject::Target)?;
    judged.check_browser()?;
    judged.check_framing(body.size_hint().exact())?;
    judged.check_wishes()?;
    let mut observed = None;
    let mut forbid = |reject| match policy.mode {
        Mode::Enforce => Err(reject),
        Mode::Observe => {
            observed.get_or_insert(reject);
            Ok(())
        }
    };
    if !policy.allow.iter().any(|rule| rule.allows(&method, target.path())) {
        forbid(Reject::Policy)?;
    }
    let content = match content_type::judge(&headers, target.path(), policy) {
        Ok(content) => content,
        Err(Refused::Several) => return Err(Reject::ContentType(Refused::Several)),
        Err(refused) => {
            forbid(Reject::ContentType(refused))?;
            content_type::as_it_came(&headers, target.path(), policy)
        }
    };
    Ok(Admitted { method, target, headers, content, observed })
}

impl Admitted {
    /// The largest body that this request may have, in bytes.
    pub(super) fn body_limit(&self, limits: &Limits) -> u64 {
        match self.content {
            Content::Json | Content::AsItCame { upload: false, .. } => limits.json_body,
            Content::Multipart(_) | Content::AsItCame { upload: true, .. } => limits.upload_body,
        }
    }
}

/// The headers that are judged here, found in one walk through the head.
#[derive(Default)]
struct Judged<'h> {
    host: One<'h>,
    coding: One<'h>,
    length: One<'h>,
    /// Whether an upgrade is wished for that cannot be granted.
    upgrade: bool,
    /// Whether something is expected that cannot be met.
    expectation: bool,
    /// What a browser marked.
    browser: Option<&'static str>,
}

impl<'h> Judged<'h> {
    fn among(headers: &'h HeaderMap) -> Self {
        let mut judged = Self::default();
        for (name, value) in headers {
            if *name == header::HOST {
                judged.host.add(value);
            } else if *name == header::CONTENT_LENGTH {
                judged.length.add(value);
            } else if *name == header::TRANSFER_ENCODING {
                judged.coding.add(value);
            } else if *name == header::UPGRADE {
                // Java's client offers h2c with every request; the offer is declined in silence, by
                // leaving it out (RFC 9110, section 7.8).
                judged.upgrade |= !value.as_bytes().eq_ignore_ascii_case(b"h2c");
            } else if *name == header::EXPECT {
                judged.expectation |= !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            } else {
                judged.browser = judged.browser.or(mark(name));
            }
        }
        judged
    }

    fn check_browser(&self) -> Result<(), Reject> {
        self.browser.map_or(Ok(()), |mark| Err(Reject::Browser(mark)))
    }

    /// Exactly one `Host` (RFC 9112, section 3.2). HTTP/1.0 may leave it out.
    fn only_host(&self, version: Version) -> Result<Option<&'h HeaderValue>, Reject> {
        match self.host {
            One::None if version == Version::HTTP_10 => Ok(None),
            One::None => Err(Reject::HostInvalid("it is missing")),
            One::Several => Err(Reject::HostInvalid("there are several")),
            One::Value(value) => Ok(Some(value)),
        }
    }

    /// `server` has refused what is ambiguous on the wire, before hyper settled it. What leaves is
    /// framed by what hyper made of it, which is this length, so it is asked here whether the head
    /// agrees.
    fn check_framing(&self, length: Option<u64>) -> Result<(), Reject> {
        let chunked = match self.coding {
            One::None => false,
            One::Value(value) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
            One::Value(_) => {
                return Err(Reject::Framing("Transfer-Encoding is something else than `chunked`"));
            }
            One::Several => {
                return Err(Reject::Framing("there are several Transfer-Encoding lines"));
            }
        };
        match (chunked, &self.length, length) {
            (true, One::None, None) | (false, One::None | One::Value(_), Some(_)) => Ok(()),
            (true, _, _) => {
                Err(Reject::Framing("there are both Transfer-Encoding and Content-Length"))
            }
            (false, One::Several, _) => {
                Err(Reject::Framing("there are several Content-Length lines"))
            }
            (false, _, None) => Err(Reject::Framing("the length of the body is not told")),
        }
    }

    /// Wishes that cannot be granted.
    fn check_wishes(&self) -> Result<(), Reject> {
        match (self.upgrade, self.expectation) {
            (true, _) => Err(Reject::Upgrade),
            (false, true) => Err(Reject::Expectation),
            (false, false) => Ok(()),
        }
    }
}

/// Browsers mark what a page makes them send; no server-side client does. A page could otherwise
/// spend money through whoever looks at it on this machine. `Sec-Fetch-Mode` alone is no such mark:
/// Node's own fetch sends it.
fn mark(name: &HeaderName) -> Option<&'static str> {
    match name.as_str() {
        "origin" => Some("origin"),
        "sec-fetch-site" => Some("sec-fetch-site"),
        "sec-fetch-dest" => Some("sec-fetch-dest"),
        _ => None,
    }
}

/// Whether a caller may use this authority. A web page that made its own name point here
/// (DNS rebinding) is turned away by it.
fn allowed(authority: &str, policy: &Policy) -> Result<(), Reject> {
    // An address in brackets ends with one, its port without.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        Some(_) | None => (authority, ""),
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reject::HostInvalid("its port is not a number"));
    }
    if policy.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        Ok(())
    } else {
        Err(Reject::HostRefused)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Empty;

    use super::*;
    use crate::config::{Config, Raw};
    use crate::telemetry::code::Code;

    fn policy() -> Policy {
        Config::from_raw(Raw::defaults()).unwrap().policy
    }

    fn admit_get(target: &str, headers: &[(&str, &str)]) -> Result<Admitted, Code> {
        admit_request("GET", target, headers)
    }

    fn admit_request(
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Admitted, Code> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, body) = request.body(Empty::<Bytes>::new()).unwrap().into_parts();
        admit(head, &body, &policy()).map_err(|reject| reject.code())
    }

    #[test]
    fn hosts_of_our_own_pass_with_any_port_and_others_do_not() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:7253", "[::1]:80", "api.innopaas.com"] {
            assert!(admit_get("/api/x", &[("host", host)]).is_ok(), "{host}");
        }
        for host in ["evil.example", "localhost.evil", "127.0.0.2", "[::2]", "", "a@localhost"] {
            let code = admit_get("/api/x", &[("host", host)]).err().unwrap();
            assert_eq!(code, Code::HostRefused, "{host}");
        }
        for headers in [&[][..], &[("host", "localhost"), ("host", "localhost")]] {
            assert_eq!(admit_get("/api/x", headers).err().unwrap(), Code::HostInvalid);
        }
        let code = admit_get("/api/x", &[("host", "localhost:x")]).err().unwrap();
        assert_eq!(code, Code::HostInvalid);
    }

    #[test]
    fn an_absolute_form_is_reduced_if_it_names_us_and_refused_if_not() {
        let admitted = admit_get("http://localhost:7253/api/x?y=1", &[("host", "evil")]).unwrap();
        assert_eq!(admitted.target, "/api/x?y=1");
        let refused =
            admit_get("http://evil.example/api/x", &[("host", "localhost")]).err().unwrap();
        assert_eq!(refused, Code::HostRefused);
        let policy = Policy { mode: Mode::Observe, ..policy() };
        for bare in ["http://localhost", "http://localhost#x"] {
            let request = Request::get(bare).header("host", "localhost");
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let (head, body) = request.into_parts();
            let admitted = admit(head, &body, &policy).map_err(|reject| reject.code()).unwrap();
            assert_eq!(http::Uri::from(admitted.target).to_string(), "/", "{bare}");
        }
    }

    #[test]
    fn targets_that_are_no_path_are_refused() {
        let host = [("host", "localhost")];
        for target in [
            "*",
            "//evil.example/x",
            "localhost:80",
            "/api/ü",
            "/api/../x",
            "ftp://localhost/api/x",
            "://localhost/api/x",
        ] {
            assert_eq!(admit_get(target, &host).err().unwrap(), Code::TargetRefused, "{target}");
        }
        for method in ["CONNECT", "TRACE"] {
            let code = admit_request(method, "/api/x", &host).err().unwrap();
            assert_eq!(code, Code::MethodRefused);
        }
    }

    #[test]
    fn a_length_told_in_two_ways_is_refused() {
        let judge = |headers: &[(&str, &str)], length: Option<u64>| {
            let mut request = Request::builder();
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let judged = Judged::among(&head.headers).check_framing(length);
            judged.map_err(|reject| reject.code())
        };
        assert_eq!(judge(&[("content-length", "2")], Some(2)), Ok(()));
        assert_eq!(judge(&[("transfer-encoding", "Chunked")], None), Ok(()));
        for ambiguous in [
            &[("transfer-encoding", ",chunked")][..],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked"), ("content-length", "2")],
            &[("content-length", "2"), ("content-length", "2")],
        ] {
            for length in [Some(2), None] {
                let judged = judge(ambiguous, length);
                assert_eq!(judged, Err(Code::FramingAmbiguous), "{ambiguous:?}");
            }
        }
    }

    #[test]
    fn h2c_is_declined_and_other_upgrades_and_expectations_are_refused() {
        let with =
            |name, value| admit_get("/api/x", &[("host", "localhost"), (name, value)]).map(drop);
        assert_eq!(with("upgrade", "h2c"), Ok(()));
        assert_eq!(with("upgrade", "websocket"), Err(Code::UpgradeRefused));
        assert_eq!(with("upgrade", "h2c, websocket"), Err(Code::UpgradeRefused));
        assert_eq!(with("expect", "100-Continue"), Ok(()));
        assert_eq!(with("expect", "200-ok"), Err(Code::ExpectationRefused));
    }

    #[test]
    fn what_a_browser_marks_is_refused_and_what_node_marks_is_not() {
        let with = |name, value| admit_get("/api/x", &[("host", "localhost"), (name, value)]);
        for (name, value) in
            [("origin", "null"), ("sec-fetch-site", "none"), ("Sec-Fetch-Dest", "empty")]
        {
            assert_eq!(with(name, value).err(), Some(Code::BrowserRefused), "{name}");
        }
        assert!(with("sec-fetch-mode", "cors").is_ok());
    }

    #[test]
    fn what_is_not_on_the_list_is_refused_or_only_observed() {
        let post = |policy: &Policy, target: &str, kind: &str| {
            let request = Request::post(target)
                .header("host", "localhost")
                .header("content-type", kind)
                .body(Empty::<Bytes>::new());
            let (head, body) = request.unwrap().into_parts();
            admit(head, &body, policy).map_err(|reject| reject.code())
        };
        let mut raw = Raw::defaults();
        raw.assignment("--set", "policy.allow=POST /api/sms/**");
        let mut policy = Config::from_raw(raw).unwrap().policy;
        let json = "application/json";
        assert!(post(&policy, "/api/sms/v3/msg/send", json).is_ok());
        assert_eq!(post(&policy, "/api/otp/v3", json).err(), Some(Code::PolicyRefused));
        policy.mode = Mode::Observe;
        let observed = |target, kind| {
            let admitted = post(&policy, target, kind)?;
            Ok((admitted.observed.map(|reject| reject.code()), admitted.content))
        };
        assert_eq!(observed("/api/sms/x", json), Ok((None, Content::Json)));
        assert_eq!(observed("/api/otp/v3", json), Ok((Some(Code::PolicyRefused), Content::Json)));
        let (code, content) = observed("/api/sms/x", "text/plain").unwrap();
        assert_eq!(code, Some(Code::ContentTypeRefused));
        let value = Some(HeaderValue::from_static("text/plain"));
        assert_eq!(content, Content::AsItCame { value, upload: false });
        assert_eq!(observed("/api/../x", json).err(), Some(Code::TargetRefused));
    }
}
