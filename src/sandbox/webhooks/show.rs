//! What the headers of a webhook show: the pair as it was typed in, or one of the ways in which
//! it can be wrong.
//!
//! Invariant: what is called wrong differs from the pair. Folded lines and NULs are not here: they
//! cannot be sent by hyper.

use std::fmt;
use std::str::FromStr;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::WebhookPair;

/// What is shown of a pair.
///
/// As text: `right`, `no-user-name`, `no-authorization`, `neither`, `swapped`, or a header and its
/// fault, such as `authorization-prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// The pair, or nothing if there is none.
    #[default]
    Right,
    /// `Authorization` alone.
    NoUserName,
    /// `UserName` alone.
    NoAuthorization,
    /// Nothing.
    Neither,
    /// Each value in the other's header.
    Swapped,
    /// One header is wrong, the other one right.
    Wrong(Header, Fault),
}

/// One of the two headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// `UserName`.
    UserName,
    /// `Authorization`.
    Authorization,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `other-value`: as long, and another one in its last byte.
    OtherValue,
    /// `prefix`: without its last byte.
    Prefix,
    /// `suffix`: with a byte more.
    Suffix,
    /// `other-case`: small letters for capitals and the other way round.
    OtherCase,
    /// `doubled`: the right value in two lines.
    Doubled,
    /// `doubled-other`: the right value, and then another one in a line of its own.
    DoubledOther,
    /// `empty`: a line without a value.
    Empty,
    /// `non-ascii`: its last byte is E9, which is no UTF-8 either.
    NonAscii,
}

impl Show {
    /// Everything that a receiver must refuse.
    pub const WRONG: [Self; 20] = [
        Self::NoUserName,
        Self::NoAuthorization,
        Self::Neither,
        Self::Swapped,
        Self::Wrong(Header::UserName, Fault::OtherValue),
        Self::Wrong(Header::UserName, Fault::Prefix),
        Self::Wrong(Header::UserName, Fault::Suffix),
        Self::Wrong(Header::UserName, Fault::OtherCase),
        Self::Wrong(Header::UserName, Fault::Doubled),
        Self::Wrong(Header::UserName, Fault::DoubledOther),
        Self::Wrong(Header::UserName, Fault::Empty),
        Self::Wrong(Header::UserName, Fault::NonAscii),
        Self::Wrong(Header::Authorization, Fault::OtherValue),
        Self::Wrong(Header::Authorization, Fault::Prefix),
        Self::Wrong(Header::Authorization, Fault::Suffix),
        Self::Wrong(Header::Authorization, Fault::OtherCase),
        Self::Wrong(Header::Authorization, Fault::Doubled),
        Self::Wrong(Header::Authorization, Fault::DoubledOther),
        Self::Wrong(Header::Authorization, Fault::Empty),
        Self::Wrong(Header::Authorization, Fault::NonAscii),
    ];

    /// The header lines for this pair.
    ///
    /// # Errors
    /// A remedy, if the pair cannot be sent, or cannot be wrong in this way.
    pub(super) fn lines(
        self,
        pair: Option<&WebhookPair>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, &'static str> {
        let Some(pair) = pair else {
            let nothing = matches!(self, Self::Right | Self::Neither);
            return if nothing { Ok(Vec::new()) } else { Err("`show` needs a pair to spoil") };
        };
        let right = Self::Right.bytes(pair);
        let shown = self.bytes(pair);
        if self != Self::Right && shown == right {
            return Err("`show`: this pair cannot be wrong in that way");
        }
        shown.into_iter().map(|(header, value)| Ok((header.name(), sensitive(&value)?))).collect()
    }

    fn bytes(self, pair: &WebhookPair) -> Vec<(Header, Vec<u8>)> {
        let user_name = pair.user_name.as_bytes().to_vec();
        let authorization = pair.authorization.as_bytes().to_vec();
        let user_name_line = (Header::UserName, user_name.clone());
        let authorization_line = (Header::Authorization, authorization.clone());
        match self {
            Self::Right => vec![user_name_line, authorization_line],
            Self::NoUserName => vec![authorization_line],
            Self::NoAuthorization => vec![user_name_line],
            Self::Neither => Vec::new(),
            Self::Swapped => {
                vec![(Header::UserName, authorization), (Header::Authorization, user_name)]
            }
            Self::Wrong(Header::UserName, fault) => {
                let spoilt = fault.spoil(user_name).into_iter();
                let lines = spoilt.map(|value| (Header::UserName, value));
                lines.chain([authorization_line]).collect()
            }
            Self::Wrong(Header::Authorization, fault) => {
                let spoilt = fault.spoil(authorization).into_iter();
                let lines = spoilt.map(|value| (Header::Authorization, value));
                [user_name_line].into_iter().chain(lines).collect()
            }
        }
    }
}

fn sensitive(value: &[u8]) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| "the pair has a character that cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}

impl Header {
    fn name(self) -> HeaderName {
        match self {
            Self::UserName => HeaderName::from_static("username"),
            Self::Authorization => AUTHORIZATION,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::UserName => "user-name",
            Self::Authorization => "authorization",
        }
    }
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Self::OtherValue => "other-value",
            Self::Prefix => "prefix",
            Self::Suffix => "suffix",
            Self::OtherCase => "other-case",
            Self::Doubled => "doubled",
            Self::DoubledOther => "doubled-other",
            Self::Empty => "empty",
            Self::NonAscii => "non-ascii",
        }
    }

    /// The lines that stand for the right one.
    fn spoil(self, right: Vec<u8>) -> Vec<Vec<u8>> {
        let with_last = |last: Option<u8>| {
            let mut value = right.clone();
            value.pop();
            value.extend(last);
            value
        };
        let other = || with_last(Some(if right.ends_with(b"x") { b'y' } else { b'x' }));
        match self {
            Self::OtherValue => vec![other()],
            Self::Prefix => vec![with_last(None)],
            Self::Suffix => vec![[right.as_slice(), b"x"].concat()],
            Self::OtherCase => vec![right.iter().map(|byte| other_case(*byte)).collect()],
            Self::Doubled => vec![right.clone(), right],
            Self::DoubledOther => vec![right.clone(), other()],
            Self::Empty => vec![Vec::new()],
            Self::NonAscii => vec![with_last(Some(0xE9))],
        }
    }
}

fn other_case(byte: u8) -> u8 {
    if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
}

impl fmt::Display for Show {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right => f.write_str("right"),
            Self::NoUserName => f.write_str("no-user-name"),
            Self::NoAuthorization => f.write_str("no-authorization"),
            Self::Neither => f.write_str("neither"),
            Self::Swapped => f.write_str("swapped"),
            Self::Wrong(header, fault) => write!(f, "{}-{}", header.as_str(), fault.as_str()),
        }
    }
}

impl FromStr for Show {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = [Self::Right].into_iter().chain(Self::WRONG);
        all.find(|show| show.to_string() == name).ok_or_else(|| {
            let names: Vec<_> = Self::WRONG.iter().map(ToString::to_string).collect();
            format!("must be right or one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(show: Show, pair: Option<&WebhookPair>) -> Result<Vec<Vec<u8>>, &'static str> {
        let lines = show.lines(pair)?;
        let line = |(name, value): &(HeaderName, HeaderValue)| {
            assert!(value.is_sensitive());
            [name.as_str().as_bytes(), b": ", value.as_bytes()].concat()
        };
        Ok(lines.iter().map(line).collect())
    }

    #[test]
    fn every_wrong_way_has_a_name_and_differs_from_all_others() {
        let pair = WebhookPair::new("Shop", "TokEn");
        let mut seen = vec![lines(Show::Right, Some(&pair)).unwrap()];
        assert_eq!(seen[0], [&b"username: Shop"[..], b"authorization: TokEn"]);
        for show in Show::WRONG {
            assert_eq!(show.to_string().parse(), Ok(show));
            let lines = lines(show, Some(&pair)).unwrap();
            assert!(!seen.contains(&lines), "{show}");
            seen.push(lines);
        }
        assert!("authorization".parse::<Show>().unwrap_err().contains("user-name-empty"));
    }

    #[test]
    fn faults_are_what_they_are_called() {
        let pair = WebhookPair::new("u", "TokEx");
        let authorization = |fault| {
            let mut lines = lines(Show::Wrong(Header::Authorization, fault), Some(&pair)).unwrap();
            assert_eq!(lines.remove(0), b"username: u");
            lines
        };
        for (fault, value) in [
            (Fault::OtherValue, &b"authorization: TokEy"[..]),
            (Fault::Prefix, b"authorization: TokE"),
            (Fault::Suffix, b"authorization: TokExx"),
            (Fault::OtherCase, b"authorization: tOKeX"),
            (Fault::Empty, b"authorization: "),
            (Fault::NonAscii, b"authorization: TokE\xE9"),
        ] {
            assert_eq!(authorization(fault), [value]);
        }
        let doubled = authorization(Fault::DoubledOther);
        assert_eq!(doubled, [&b"authorization: TokEx"[..], b"authorization: TokEy"]);
        assert_eq!(authorization(Fault::Doubled).len(), 2);
    }

    #[test]
    fn what_cannot_be_wrong_or_sent_is_refused() {
        let same = WebhookPair::new("1", "1");
        assert!(lines(Show::Swapped, Some(&same)).is_err());
        let case = Show::Wrong(Header::UserName, Fault::OtherCase);
        assert!(lines(case, Some(&same)).is_err(), "a digit has no case");
        assert!(lines(Show::Right, Some(&WebhookPair::new("a\nb", "1"))).is_err());
        assert!(lines(Show::NoUserName, None).is_err());
        assert!(lines(Show::Right, None).unwrap().is_empty());
    }
}
