//! What may be called: patterns of paths, and methods with them.
//!
//! A pattern is compared with the path as it stands in the request; `proxy::admit` lets only paths
//! in normal form get this far, so that there is one spelling of each.

use http::Method;

/// A path in which `*` stands for exactly one segment, and a last `**` for one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<Segment>,
    /// Whether more segments may follow; at least one must.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

/// A method, or any, and the paths that may be called with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    method: Option<Method>,
    path: PathPattern,
}

impl PathPattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let segments = text.strip_prefix('/').ok_or("must begin with `/`")?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._~/*".contains(c);
        if !segments.chars().all(legal) {
            return Err("may hold letters, digits, `-._~`, `/` and `*`".to_owned());
        }
        let (segments, open) = match segments.strip_suffix("**") {
            Some("") => return Ok(Self { segments: Vec::new(), open: true }),
            Some(before) => (before.strip_suffix('/').ok_or("has `**` beside others")?, true),
            None => (segments, false),
        };
        let segments = segments
            .split('/')
            .map(|segment| match segment {
                "*" => Ok(Segment::Any),
                "" | "." | ".." => Err("has an empty or dot segment".to_owned()),
                text if text.contains('*') => {
                    Err("has `*` beside other characters, or `**` before the end".to_owned())
                }
                text => Ok(Segment::Literal(text.to_owned())),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { segments, open })
    }

    /// Whether this path, as it stands in the request, is one of those meant. Percent-encoded
    /// spellings of a letter do not match.
    pub fn matches(&self, path: &str) -> bool {
        // What follows the slash that was met last, if there was one.
        let mut rest = path.strip_prefix('/');
        for wanted in &self.segments {
            let Some(segments) = rest else { return false };
            let behind = match wanted {
                Segment::Literal(literal) => segments.strip_prefix(literal.as_str()),
                Segment::Any => match memchr::memchr(b'/', segments.as_bytes()) {
                    Some(0) => None,
                    Some(end) => segments.get(end..),
                    None => Some("").filter(|_| !segments.is_empty()),
                },
            };
            rest = match behind {
                None => return false,
                Some("") => None,
                Some(behind) => match behind.strip_prefix('/') {
                    None => return false,
                    more => more,
                },
            };
        }
        match rest {
            Some(more) => self.open && !more.is_empty() && !more.starts_with('/'),
            None => !self.open && path.starts_with('/'),
        }
    }
}

impl Rule {
    /// `POST /api/sms/v3/msg/send`, or `* /api/**`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str =
            "must be a method or `*`, a space and a path, such as `POST /api/sms/**`";
        let (method, path) = text.split_once(' ').ok_or(FORM)?;
        let method = match method {
            "*" => None,
            "CONNECT" | "TRACE" => return Err("names a method that never passes".to_owned()),
            name if name.chars().all(|c| c.is_ascii_uppercase()) => {
                Some(Method::from_bytes(name.as_bytes()).map_err(|_| FORM)?)
            }
            _ => return Err(FORM.to_owned()),
        };
        Ok(Self { method, path: PathPattern::parse(path.trim_start())? })
    }

    /// Whether it allows this call.
    pub fn allows(&self, method: &Method, path: &str) -> bool {
        self.method.as_ref().is_none_or(|allowed| allowed == method) && self.path.matches(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_exactly_one_segment() {
        let pattern = PathPattern::parse("/api/whatsapp/*/uploadFile").unwrap();
        assert!(pattern.matches("/api/whatsapp/v3/uploadFile"));
        for other in [
            "/api/whatsapp/uploadFile",
            "/api/whatsapp//uploadFile",
            "/api/whatsapp/v3/x/uploadFile",
            "/api/whatsapp/v3/uploadFile/",
            "/api/whatsapp/v3/uploadfile",
            "/api/whatsapp/v3/upload%46ile",
        ] {
            assert!(!pattern.matches(other), "{other}");
        }
        for wrong in ["api", "/a//b", "/a/../b", "/a/b*", "/a?b", "/**/a", "/a**", "/a/***", "/"] {
            assert!(PathPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn two_stars_at_the_end_stand_for_one_segment_or_more() {
        let pattern = PathPattern::parse("/api/*/v3/**").unwrap();
        for path in ["/api/sms/v3/x", "/api/sms/v3/x/y/z", "/api/sms/v3/x/"] {
            assert!(pattern.matches(path), "{path}");
        }
        for path in ["/api/sms/v3", "/api/sms/v3/", "/api/v3/x", "/apis/sms/v3/x", "/"] {
            assert!(!pattern.matches(path), "{path}");
        }
        let everything = PathPattern::parse("/**").unwrap();
        assert!(everything.matches("/x") && everything.matches("/x/y") && !everything.matches("/"));
    }

    #[test]
    fn a_rule_is_a_method_and_a_path() {
        let rule = Rule::parse("POST /api/sms/**").unwrap();
        assert!(rule.allows(&Method::POST, "/api/sms/v3"));
        assert!(!rule.allows(&Method::GET, "/api/sms/v3"));
        assert!(Rule::parse("* /api/**").unwrap().allows(&Method::GET, "/api/x"));
        for wrong in ["/api/**", "post /api/**", "TRACE /api/**", "POST api", "POST", ""] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
