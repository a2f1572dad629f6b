//! How a refused pair is recognised in InnoPaaS's answers, and what is done about it.
//!
//! What InnoPaaS answers to a pair that it does not accept is not public: neither the status nor
//! the envelope's code. So both are settings, and what a wrong one would do bounds them: a call is
//! sent once more after a refusal, and an answer that stands for a message that was sent, or for
//! part of a list, must never be taken for one.

use std::time::Duration;

use http::StatusCode;

use super::judge::Judge;
use super::path::PathPattern;
use super::settings as s;
use super::value;

/// How a refused pair is recognised, and what is done about it.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Statuses that say it.
    pub statuses: Vec<Sign<StatusCode>>,
    /// Codes in the envelope that say it.
    pub codes: Vec<Sign<String>>,
    /// Whether a call is sent once more after another refusal than a 401.
    pub replay: bool,
    /// How much of a request's body is kept for that, in bytes.
    pub buffer: usize,
    /// How long an answer may take to be looked into.
    pub peek_wait: Duration,
    /// After so long without a success a second refusal confirms the first.
    pub confirm: Duration,
    /// How refused calls wait for a newer pair, if they do.
    pub hold: Option<Hold>,
    /// When InnoPaaS is spared further calls, if ever.
    pub breaker: Option<Breaker>,
}

/// A sign of a refusal, and the paths on which it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign<T> {
    sign: T,
    /// `None` means every path.
    path: Option<PathPattern>,
}

/// Bounds on calls that wait for a newer pair.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    /// How long each may wait.
    pub longest: Duration,
    /// How many may wait at a time.
    pub calls: usize,
    /// How many bytes of bodies they may keep together.
    pub bytes: usize,
}

/// When InnoPaaS is spared further calls with a pair that it refuses.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    /// After so many confirmed refusals in a row.
    pub refusals: u32,
    /// One call is let through in each.
    pub interval: Duration,
}

impl Refusal {
    /// Whether answers on this path are looked into for a code.
    pub fn looks_into(&self, path: &str) -> bool {
        self.codes.iter().any(|sign| sign.covers(path))
    }
}

impl<T: PartialEq<Q>, Q: ?Sized> PartialEq<(&Q, &str)> for Sign<T> {
    /// Whether this value on this path is the sign.
    fn eq(&self, (value, path): &(&Q, &str)) -> bool {
        self.sign == **value && self.covers(path)
    }
}

impl<T> Sign<T> {
    /// Whether it counts on this path.
    pub fn covers(&self, path: &str) -> bool {
        self.path.as_ref().is_none_or(|pattern| pattern.matches(path))
    }

    /// `401`, or `401 /api/sms/**`.
    fn parse(text: &str, sign: impl Fn(&str) -> Result<T, String>) -> Result<Self, String> {
        let (value, path) = match text.split_once(' ') {
            Some((value, path)) => (value, Some(PathPattern::parse(path.trim_start())?)),
            None => (text, None),
        };
        Ok(Self { sign: sign(value)?, path })
    }
}

pub(super) fn refusal(judge: &mut Judge) -> Option<Refusal> {
    let statuses = judge.many(&s::REFUSAL_STATUSES, |text| Sign::parse(text, status));
    let codes = judge.many(&s::REFUSAL_CODES, |text| Sign::parse(text, code));
    let replay = judge.one(&s::REFUSAL_REPLAY, value::switch);
    let buffer = judge.one(&s::REFUSAL_BUFFER, |text| bytes(text, 1 << 20));
    let peek_wait = judge.one(&s::REFUSAL_PEEK_WAIT, |text| at_most(text, "10s"));
    let confirm = judge.one(&s::REFUSAL_CONFIRM, value::deadline);
    let longest = judge.one(&s::REFUSAL_HOLD, |text| at_most(text, "60s"));
    let calls = judge.one(&s::REFUSAL_HELD_CALLS, |text| value::number(text, 1, 100_000));
    let together = judge.one(&s::REFUSAL_HELD_BYTES, |text| bytes(text, 1 << 30));
    let refusals = judge.one(&s::REFUSAL_BREAKER_REFUSALS, |t| value::number(t, 0, 1_000_000));
    let interval = judge.one(&s::REFUSAL_BREAKER_INTERVAL, value::deadline);
    let hold = Hold { longest: longest?, calls: calls?, bytes: together? };
    let breaker = Breaker { refusals: u32::try_from(refusals?).ok()?, interval: interval? };
    Some(Refusal {
        statuses: statuses?,
        codes: codes?,
        replay: replay?,
        buffer: buffer?,
        peek_wait: peek_wait?,
        confirm: confirm?,
        hold: (!hold.longest.is_zero()).then_some(hold),
        breaker: (breaker.refusals > 0).then_some(breaker),
    })
}

/// Only a status that says that nothing was done because of who asked for it. After 408 and 5xx
/// nobody knows, and 429 is about a pair that is accepted.
fn status(text: &str) -> Result<StatusCode, String> {
    match text.parse::<StatusCode>() {
        Ok(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
            Err("is a status that says nothing about the pair".to_owned())
        }
        Ok(status) if status.is_client_error() => Ok(status),
        _ => Err("must be a status from 400 to 499, and perhaps a path behind it, such as `403 \
                  /api/otp/**`"
            .to_owned()),
    }
}

/// Never one behind which messages may have been sent.
fn code(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = match text.parse() {
        Ok(number) if digits && text.len() <= 16 => number,
        _ => {
            return Err(
                "must be a code in digits, in quotes, and perhaps a path behind it, such as \
                        `101 /api/sms/**`"
                    .to_owned(),
            );
        }
    };
    match number {
        0 => Err("is the code of success: every message would be sent twice".to_owned()),
        110 | 131..=134 => Err("is about the balance or a cap on sending: a part of the list may \
                                have been sent already, and would be sent twice"
            .to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn bytes(text: &str, most: u64) -> Result<usize, String> {
    let size = value::size(text)?;
    usize::try_from(size)
        .ok()
        .filter(|_| size <= most)
        .ok_or_else(|| format!("must be at most {}MiB", most >> 20))
}

fn at_most(text: &str, longest: &str) -> Result<Duration, String> {
    let duration = value::duration(text)?;
    if duration > value::duration(longest)? {
        return Err(format!("must be at most {longest}: callers do not wait that long"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Raw};

    fn check(file: &str) -> Result<Refusal, String> {
        let mut raw = Raw::defaults();
        raw.file(format!("refusal: {{{file}}}").as_bytes());
        Config::from_raw(raw).map(|config| config.refusal).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_sign_counts_on_every_path_or_on_those_that_stand_behind_it() {
        let refusal = check("statuses: [401, 403 /api/otp/**], codes: ['101', '0114']").unwrap();
        let status = |code: u16, path| {
            let code = StatusCode::from_u16(code).unwrap();
            refusal.statuses.iter().any(|sign| *sign == (&code, path))
        };
        assert!(status(401, "/api/x") && status(403, "/api/otp/v3") && !status(403, "/api/x"));
        let code = |code: &str| refusal.codes.iter().any(|sign| *sign == (code, "/api/x"));
        assert!(code("101") && code("0114") && !code("114") && !code("1"));
    }

    #[test]
    fn what_may_stand_behind_a_sent_message_is_no_sign_of_a_refusal() {
        for code in ["110", "131", "132", "133", "134", "0", "000000", "0110", "0131"] {
            let problem = check(&format!("codes: ['{code}'], replay: true")).unwrap_err();
            assert!(problem.contains("sent twice"), "{code}: {problem}");
        }
        for status in ["200", "408", "429", "500", "503", "40", "x", "401 otp"] {
            assert!(check(&format!("statuses: ['{status}']")).is_err(), "{status}");
        }
        for code in ["", "x101", "+101", "101 api", "12345678901234567"] {
            assert!(check(&format!("codes: ['{code}']")).is_err(), "{code}");
        }
    }

    #[test]
    fn hold_and_breaker_are_off_at_zero() {
        let refusal = check("hold: 0s, breaker: {refusals: 0}").unwrap();
        assert!(refusal.hold.is_none() && refusal.breaker.is_none());
        let refusal = check("hold: 5s").unwrap();
        assert!(refusal.hold.is_some() && refusal.breaker.is_some_and(|b| b.refusals == 20));
        assert!(check("hold: 61s").is_err() && check("buffer: 2MiB").is_err());
    }
}
