//! The credentials that the sandbox accepts, and where new ones come from.
//!
//! Invariant: no value is ever printed by `Debug`. They protect nothing, but logs of a rehearsal
//! should look like those of the real thing.

use std::fmt;
use std::io;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

const APP_KEY_LENGTH: usize = 17; // as in InnoPaaS's samples
const TOKEN_LENGTH: usize = 56;
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// An AppKey and the token that goes with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    app_key: String,
    authorization: String,
}

impl Pair {
    /// A pair of these values.
    pub fn new(app_key: impl Into<String>, authorization: impl Into<String>) -> Self {
        Self { app_key: app_key.into(), authorization: authorization.into() }
    }

    /// The value of `AppKey`.
    pub fn app_key(&self) -> &str {
        &self.app_key
    }

    /// The value of `Authorization`: the bare token.
    pub fn authorization(&self) -> &str {
        &self.authorization
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(..)")
    }
}

/// Makes credentials: random at its start, and therefore unable to fail later.
pub(super) struct Mint {
    seed: [u8; 32],
    minted: u64,
}

impl Mint {
    pub(super) fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| io::Error::other("the system gave no random bytes"))?;
        Ok(Self { seed, minted: 0 })
    }

    pub(super) fn pair(&mut self) -> Pair {
        Pair { app_key: self.text(APP_KEY_LENGTH, ALPHANUMERIC), authorization: self.token() }
    }

    pub(super) fn token(&mut self) -> String {
        self.text(TOKEN_LENGTH, UPPER)
    }

    /// At most 64 characters, the size of the digest.
    fn text(&mut self, length: usize, alphabet: &[u8]) -> String {
        self.minted += 1;
        let mut context = digest::Context::new(&digest::SHA512);
        context.update(&self.seed);
        context.update(&self.minted.to_be_bytes());
        context
            .finish()
            .as_ref()
            .iter()
            // Some letters come up more often than others, which matters to nobody here.
            .filter_map(|byte| alphabet.get(usize::from(*byte) % alphabet.len()))
            .take(length)
            .map(|byte| char::from(*byte))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_look_like_the_samples_and_differ() {
        let mut mint = Mint::new().unwrap();
        let (first, second) = (mint.pair(), mint.pair());
        assert_eq!(first.app_key().len(), 17);
        assert_eq!(first.authorization().len(), 56);
        assert!(first.authorization().chars().all(|c| c.is_ascii_uppercase()));
        assert_ne!(first, second);
        assert_eq!(format!("{first:?}"), "Pair(..)");
    }
}
