//! May this caller call at all? Asked before anything else, so that a stranger learns nothing
//! more than that it is one.

use http::header::{HeaderMap, HeaderName};

use super::one::{One, one};
use super::reject::Reject;
use crate::credentials::CallerTokens;

/// What callers show; it never leaves (see `headers`), and its value is written down nowhere.
const TOKEN: HeaderName = HeaderName::from_static("innopaas-proxy-token");

/// Wants exactly one of the tokens, if there are any.
pub(super) fn check(headers: &HeaderMap, tokens: Option<&CallerTokens>) -> Result<(), Reject> {
    let Some(tokens) = tokens else { return Ok(()) };
    match one(headers, &TOKEN) {
        One::Value(shown) if tokens.admit(shown) => Ok(()),
        One::Value(_) | One::None | One::Several => Err(Reject::Caller),
    }
}
