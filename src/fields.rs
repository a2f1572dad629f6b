//! Names of header fields, and which of them are for one hop only.
//!
//! What is to be kept from somebody is compared folded: servers often take `user_name`, `User-Name`
//! and `UserName` for the same thing.

use http::HeaderValue;
use http::header::{self, HeaderMap, HeaderName};

/// Without `-` and `_` (the name is in lower case already); `None` if it is longer than
/// the room for it.
pub fn fold<'f, const LONGEST: usize>(
    name: &[u8],
    into: &'f mut [u8; LONGEST],
) -> Option<&'f [u8]> {
    let mut length = 0;
    for byte in name.iter().filter(|byte| !matches!(byte, b'-' | b'_')) {
        *into.get_mut(length)? = *byte;
        length += 1;
    }
    into.get(..length)
}

/// Takes away what is for this hop only (RFC 9110, section 7.6.1), and what else goes.
pub fn strip_hop(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    let named = Named::in_connection(headers);
    let goes = |name: &HeaderName| {
        let text = name.as_str();
        is_of_hop(text) || goes(text) || named.contains(name)
    };
    // Usually none, so nothing is collected.
    while let Some(name) = headers.keys().find(|name| goes(name)).cloned() {
        headers.remove(name);
    }
}

fn is_of_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The headers that `Connection` names.
pub struct Named(Vec<HeaderValue>);

impl Named {
    /// In all lines of it.
    pub fn in_connection(headers: &HeaderMap) -> Self {
        Self(headers.get_all(header::CONNECTION).iter().cloned().collect())
    }

    /// Whether this is one of them.
    pub fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.0.iter().any(|value| options(value).any(|option| option.eq_ignore_ascii_case(name)))
    }
}

/// Of bytes: one that is not ASCII spoils its own name and must not hide the others.
fn options(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
