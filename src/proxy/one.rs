//! Headers that have one value or none: to take the first of several would be to guess.

use http::header::{HeaderMap, HeaderName};

/// What a head has of such a header.
pub(super) enum One<'h> {
    None,
    Value(&'h http::HeaderValue),
    Several,
}

/// The only value of a header, if it has only one.
pub(super) fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> One<'h> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => One::None,
        (Some(value), None) => One::Value(value),
        (Some(_), Some(_)) => One::Several,
    }
}
