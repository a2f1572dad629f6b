//! Headers that have one value or none: to take the first of several would be to guess.

use http::header::{HeaderMap, HeaderName};

/// What a head has of such a header.
#[derive(Default)]
pub(super) enum One<'h> {
    #[default]
    None,
    Value(&'h http::HeaderValue),
    Several,
}

impl<'h> One<'h> {
    /// Takes in one more value.
    pub(super) fn add(&mut self, value: &'h http::HeaderValue) {
        *self = match self {
            Self::None => Self::Value(value),
            Self::Value(_) | Self::Several => Self::Several,
        };
    }
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
