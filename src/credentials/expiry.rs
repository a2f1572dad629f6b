//! When a token expires, as far as that is known: from the file `expires-at` beside it, or from
//! the `exp` of the token itself if it is a JWT.
//!
//! InnoPaaS does not tell: the date is chosen in the console and known to whoever chose it. So
//! this only warns; no call is ever kept back for it, and a JWT's signature is not verified.
//!
//! Decides only: the time comes in as a value.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::secret::MAX_LEN;

/// Name of the file that says when the token expires.
pub const EXPIRES_AT_FILE: &str = "expires-at";

/// The longest content of that file, in bytes, spaces and line end included: a date-time with all
/// its digits has 35.
pub(super) const LONGEST: usize = 64;

const DAY: i64 = 24 * 60 * 60;
const HOUR: i64 = 60 * 60;

/// When a token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    at: OffsetDateTime,
    /// Who says so.
    pub source: Source,
}

/// Who says when a token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The file [`EXPIRES_AT_FILE`].
    File,
    /// The token's own claim.
    Jwt,
}

/// The file's content is neither a date nor a date-time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDate;

impl Expiry {
    /// Reads the content of the file: a date-time (RFC 3339), or a date, of which the first
    /// moment in UTC counts: earlier than meant is better than later.
    ///
    /// # Errors
    /// [`NoDate`].
    pub fn from_file_content(content: &[u8]) -> Result<Self, NoDate> {
        // Before trimming: of a longer file only the beginning was read.
        if content.len() > LONGEST {
            return Err(NoDate);
        }
        let text = std::str::from_utf8(content.trim_ascii()).map_err(|_| NoDate)?;
        // ISO 8601 also has weeks, days of the year, and years that RFC 3339 cannot show again.
        let text = match text.len() {
            10 => format!("{text}T00:00:00Z"),
            _ => text.to_ascii_uppercase(),
        };
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| NoDate)?;
        Ok(Self { at, source: Source::File })
    }

    /// Reads the claim `exp` (RFC 7519, section 4.1.4) of a token that is a JWT.
    pub fn of_jwt(token: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Claims {
            exp: serde_json::Number,
        }
        let mut parts = token.trim_ascii_end().splitn(4, |byte| *byte == b'.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || payload.len() > MAX_LEN || header.is_empty() {
            return None;
        }
        if !(is_base64url(header) && is_base64url(signature)) {
            return None;
        }
        // Into a buffer of ours: what is decoded until an error would be dropped as it is.
        let mut decoded = Zeroizing::new(vec![0; payload.len()]);
        let length = URL_SAFE_NO_PAD.decode_slice(payload, &mut decoded).ok()?;
        let payload = decoded.get(..length)?;
        if payload.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let Claims { exp } = serde_json::from_slice(payload).ok()?;
        // With a fraction, or as `1e9`: what is behind the point is of no interest.
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is judged below")]
        let seconds = exp.as_i64().or_else(|| exp.as_f64().map(|seconds| seconds as i64))?;
        let at = OffsetDateTime::from_unix_timestamp(seconds).ok().filter(|_| seconds > 0)?;
        Some(Self { at, source: Source::Jwt })
    }

    /// In seconds since 1970.
    pub fn unix_seconds(&self) -> i64 {
        self.at.unix_timestamp()
    }

    /// How many seconds are left; negative once it is over.
    pub fn left(&self, now: i64) -> i64 {
        self.unix_seconds().saturating_sub(now)
    }
}

fn is_base64url(part: &[u8]) -> bool {
    part.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl fmt::Display for Expiry {
    /// As RFC 3339 has it. Both readers take only what can be shown: `to_string` would panic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Source {
    /// As it stands in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => EXPIRES_AT_FILE,
            Self::Jwt => "jwt",
        }
    }
}

impl fmt::Display for NoDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "is neither a date-time such as 2026-12-31T23:59:59Z nor a date such as 2026-12-31",
        )
    }
}

/// Says when a warning is due: with 30, 14, 7 and 1 days left, and then every hour.
#[derive(Debug, Clone, Default)]
pub(super) struct Warner {
    /// What the last warning was about.
    last: Option<(i64, Step)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Days(i64),
    /// Hours since the last day began.
    Hours(i64),
}

impl Warner {
    /// Whether to warn now that so many seconds are left until `at`. What is due already at the
    /// first question is told once.
    pub(super) fn is_due(&mut self, at: i64, left: i64) -> bool {
        let step = match [1, 7, 14, 30].into_iter().find(|days| left <= days * DAY) {
            None => return false,
            Some(1) => Step::Hours((DAY - left) / HOUR),
            Some(days) => Step::Days(days),
        };
        // Also an earlier step than the last one: the clock was wrong then.
        self.last.replace((at, step)) != Some((at, step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> Option<i64> {
        Expiry::from_file_content(content.as_bytes()).ok().map(|expiry| expiry.unix_seconds())
    }

    #[test]
    fn a_file_holds_a_date_time_or_a_date() {
        for (content, at) in [
            ("2026-12-31T23:59:59Z", Some(1_798_761_599)),
            ("2026-12-31t23:59:59.25z\r\n", Some(1_798_761_599)),
            (" 2027-01-01T01:59:59+02:00\n", Some(1_798_761_599)),
            ("2026-12-31", Some(1_798_675_200)),
            ("2026-12-31\n", Some(1_798_675_200)),
            ("1998-12-31", Some(915_062_400)),
            ("2026-13-31", None),
            ("2026-02-30", None),
            ("2026-12-31 23:59", None),
            ("31.12.2026", None),
            ("20261231", None),
            ("2026-W53-5", None),
            ("+002026365", None),
            ("-002026365", None),
            ("-000001001", None),
            ("2026-12-31\u{a0}", None),
            ("never", None),
            ("", None),
        ] {
            assert_eq!(file(content), at, "{content:?}");
        }
        let padded = |spaces| format!("2026-12-31{}", " ".repeat(spaces));
        assert_eq!(file(&padded(LONGEST - 10)), Some(1_798_675_200));
        assert_eq!(file(&padded(LONGEST - 9)), None, "something else may follow");
        assert_eq!(file(&"9".repeat(100)), None);
        assert!(Expiry::from_file_content(b"2026-12-31\xff").is_err());
    }

    #[test]
    fn the_claim_of_a_jwt_is_read_and_of_nothing_else() {
        let jwt = |payload: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload));
        for (token, at) in [
            (jwt(r#"{"exp":1798761599,"sub":"x"}"#), Some(1_798_761_599)),
            (jwt(r#"{"exp":1798761599.9}"#), Some(1_798_761_599)),
            (jwt(r#"{"exp":"1798761599"}"#), None),
            (jwt(r#"{"exp":-5}"#), None),
            (jwt(r#"{"exp":1e300}"#), None),
            (jwt(r#"{"iat":5}"#), None),
            (jwt("[1798761599]"), None),
            (jwt(r#"{"exp":253402300799}"#), Some(253_402_300_799)),
            (jwt(r#"{"exp":253402300800}"#), None),
            (format!("{}.x", jwt(r#"{"exp":5}"#)), None),
            (jwt(r#"{"exp":5}"#).replace("c2ln", ""), Some(5)), // without a signature it is one too
            (jwt(r#"{"exp":5}"#).replace("c2ln", "c2l!"), None),
            (jwt(r#"{"exp":5}"#).replace("e30.", "."), None),
            (jwt(r#"{"exp":5}"#).replace("e30.", "e3=."), None),
            ("YUIYIUIAIIASUDIAOSIDUOIWUOQWUEOIUWOEUQWOEUOQWUOUWOUWQOWU".to_owned(), None),
            ("a.b".to_owned(), None),
            ("..".to_owned(), None),
        ] {
            assert_eq!(Expiry::of_jwt(token.as_bytes()).map(|e| e.unix_seconds()), at, "{token}");
        }
    }

    #[test]
    fn an_expiry_is_shown_as_it_could_stand_in_the_file() {
        let expiry = Expiry::from_file_content(b"2026-12-31").unwrap();
        assert_eq!(expiry.to_string(), "2026-12-31T00:00:00Z");
        assert_eq!((expiry.left(1_798_675_190), expiry.left(1_798_675_210)), (10, -10));
    }

    #[test]
    fn whatever_is_taken_can_be_shown_and_shows_the_same_moment() {
        for content in [
            "0000-01-01",
            "9999-12-31",
            "0000-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "2026-12-31T23:59:60Z",
            "2026-12-31T23:59:59.123456789Z",
        ] {
            let shown = Expiry::from_file_content(content.as_bytes()).unwrap().to_string();
            assert_eq!(file(&shown), file(content), "{content} as {shown}");
        }
    }

    #[test]
    fn warnings_come_at_30_14_7_and_1_days_and_then_hourly() {
        let mut warner = Warner::default();
        let at = 1_000 * DAY;
        let quarter = 15 * 60;
        let due: Vec<i64> = (-2 * HOUR / quarter..=40 * DAY / quarter)
            .rev()
            .map(|quarters| quarters * quarter)
            .filter(|left| warner.is_due(at, *left))
            .collect();
        let hourly = (-2..=24).rev().map(|hours| hours * HOUR);
        let expected: Vec<i64> = [30 * DAY, 14 * DAY, 7 * DAY].into_iter().chain(hourly).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn what_is_due_at_first_is_told_once_and_a_new_token_begins_anew() {
        let mut warner = Warner::default();
        assert!(warner.is_due(0, 10 * DAY) && !warner.is_due(0, 9 * DAY));
        assert!(!warner.is_due(0, 12 * DAY), "a clock that was set back within the step");
        assert!(warner.is_due(0, 6 * DAY) && !warner.is_due(0, 6 * DAY));
        assert!(warner.is_due(1, 10 * DAY) && !warner.is_due(2, 31 * DAY));
        assert!(warner.is_due(3, -5 * DAY));
        assert!(warner.is_due(3, 20 * DAY), "a clock that was far ahead");
    }
}
