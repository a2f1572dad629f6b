//! Does this event come from InnoPaaS? Decides on the two headers alone.
//!
//! Both are compared as keyed hashes, with every pair there is, and nothing ends early: how long it
//! takes depends on the lengths of what is shown, which its sender knows anyway. Invariant:
//! [`Verified`] is made here and nowhere else, and nothing reaches an application without one.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};
use subtle::Choice;

use crate::credentials::{ConsolePair, ConsolePairs};
use crate::secret::Digest;
use crate::telemetry::code::Unverified;

/// The header beside `Authorization` (InnoPaaS guide).
const USER_NAME: HeaderName = HeaderName::from_static("username");

/// Judges events.
#[derive(Debug)]
pub enum Verifier {
    /// By the pairs of the console.
    Pairs(ConsolePairs),
    /// Not at all: somebody asked for that.
    Open,
}

/// An event that may go on.
#[derive(Debug)]
pub struct Verified {
    /// Whose pair it shows; nobody's, if everybody is let in.
    pub app: Option<Arc<str>>,
    /// What an SMS push must show in its body. Several, if the headers do not tell apart who.
    push: Vec<[Digest; 2]>,
    checks_push: bool,
}

impl Verifier {
    /// Judges the headers of an event.
    ///
    /// # Errors
    /// [`Unverified`], for nobody but the operator: whoever sent it is told nothing.
    pub fn verify(&self, headers: &HeaderMap) -> Result<Verified, Unverified> {
        let pairs = match self {
            Self::Pairs(pairs) => pairs,
            Self::Open => return Ok(Verified { app: None, push: Vec::new(), checks_push: false }),
        };
        let (user_name, authorization) =
            (Shown::of(headers, &USER_NAME), Shown::of(headers, &header::AUTHORIZATION));
        let digests = [user_name.value, authorization.value].map(|value| pairs.digest(value));
        let current = pairs.current();
        let (mut known_user, mut known_token) = (Choice::from(0), Choice::from(0));
        // Every pair is compared, also behind the one that fits.
        let fit = current.iter().map(|pair| {
            let ConsolePair { user_name, authorization, .. } = pair;
            let (user, token) =
                (user_name.same_as(&digests[0]), authorization.same_as(&digests[1]));
            known_user |= user;
            known_token |= token;
            bool::from(user & token)
        });
        let fit: Vec<bool> = fit.collect();
        let mut fit = current.iter().zip(fit).filter_map(|(pair, fits)| fits.then_some(pair));
        let first = fit.next();
        match (first, user_name.several || authorization.several) {
            (_, true) => Err(Unverified::Several),
            (Some(pair), false) => Ok(Verified {
                app: Some(Arc::clone(&pair.app)),
                push: std::iter::once(pair).chain(fit).filter_map(|pair| pair.push).collect(),
                checks_push: pair.push.is_some(),
            }),
            (None, false) if user_name.is_missing() && authorization.is_missing() => {
                Err(Unverified::Missing)
            }
            (None, false) => Err(match (known_user.into(), known_token.into()) {
                (true, _) => Unverified::Authorization,
                (false, true) => Unverified::UserName,
                (false, false) => Unverified::Unknown,
            }),
        }
    }

    /// Judges what an SMS push shows in its body, if that is to be judged.
    ///
    /// # Errors
    /// [`Unverified::Body`].
    pub fn verify_push(
        &self,
        verified: &Verified,
        receiver: &[u8],
        pswd: &[u8],
    ) -> Result<(), Unverified> {
        let Self::Pairs(pairs) = self else { return Ok(()) };
        let shown = [receiver, pswd].map(|value| pairs.digest(value));
        let fits = verified.push.iter().fold(Choice::from(0), |fits, [receiver, pswd]| {
            fits | (receiver.same_as(&shown[0]) & pswd.same_as(&shown[1]))
        });
        if !verified.checks_push || fits.into() { Ok(()) } else { Err(Unverified::Body) }
    }
}

impl Verified {
    /// Whether an SMS push must show more in its body.
    pub fn checks_push(&self) -> bool {
        self.checks_push
    }
}

/// What a head has of a header.
struct Shown<'h> {
    /// The first value; empty, if there is none.
    value: &'h [u8],
    several: bool,
}

impl<'h> Shown<'h> {
    fn of(headers: &'h HeaderMap, name: &HeaderName) -> Self {
        let mut values = headers.get_all(name).iter();
        let value = values.next().map_or(&[][..], |value| value.as_bytes());
        Self { value, several: values.next().is_some() }
    }

    fn is_missing(&self) -> bool {
        self.value.is_empty()
    }
}
