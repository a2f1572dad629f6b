//! Tells pairs apart without showing them: a short keyed hash, for status and metrics.
//!
//! What it gives away: whoever has no key learns that two pairs are the same or are not, and
//! nothing else. Whoever has the key can rule out all but one in four thousand million guesses; a
//! token that InnoPaaS made is beyond guessing, one that a person thought up may not be. So the key
//! is random for each process, unless pods are to be compared, and then it is a secret too.

use std::fmt;
use std::io;
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::file;
use super::named::Unusable;
use crate::config::settings as s;
use crate::secret::Secret;

/// What the fingerprints of a process are made with.
pub struct FingerprintKey(hmac::Key);

/// Tells one pair from another: 32 bits, as 8 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u32);

/// The most bytes of a key file.
const LONGEST: usize = 4096;

/// The fewest bytes of a key that others do not guess.
const SHORTEST: usize = 16;

/// So that the same key used for something else gives other hashes.
const PURPOSE: &[u8] = b"innopaas-proxy credential fingerprint 1";

impl FingerprintKey {
    /// The key in this file, or one of this process alone.
    ///
    /// # Errors
    /// [`Unusable`], if the file is missing or too short.
    pub fn load(file: Option<&Path>) -> Result<Self, Unusable> {
        let named =
            (&s::CREDENTIALS_FINGERPRINT_KEY_FILE, file.unwrap_or(Path::new("")).to_owned());
        if file.is_none() {
            return Self::random().map_err(|error| Unusable::new(&named, error.to_string()));
        }
        match file::read(&named.1, LONGEST + 1) {
            Ok(content) if content.len() <= LONGEST => {
                Self::from_file_content(&content).map_err(|why| Unusable::new(&named, why))
            }
            Ok(_) => Err(Unusable::new(&named, "is longer than 4 KiB; it must be a key")),
            Err(fault) => Err(Unusable::fault(&named, fault)),
        }
    }

    /// A key of this process alone.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(super) fn random() -> io::Result<Self> {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *bytes)
            .map_err(|_| io::Error::other("the system gave no random bytes"))?;
        Ok(Self::new(&*bytes))
    }

    /// The content of a key file, but for one line end.
    ///
    /// # Errors
    /// If it is shorter than 16 bytes, in words.
    fn from_file_content(content: &[u8]) -> Result<Self, &'static str> {
        let bytes = content.strip_suffix(b"\n").unwrap_or(content);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.len() < SHORTEST {
            return Err("is shorter than 16 bytes; `openssl rand -hex 32` makes a good key");
        }
        Ok(Self::new(bytes))
    }

    /// Of a pair.
    pub fn fingerprint(&self, app_key: &Secret, authorization: &Secret) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(PURPOSE);
        app_key.mix_into(&mut context);
        authorization.mix_into(&mut context);
        let tag = context.sign();
        let first = tag.as_ref().first_chunk().copied().unwrap_or_default();
        Fingerprint(u32::from_be_bytes(first))
    }

    fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from_file_content(text.as_bytes()).unwrap()
    }

    #[test]
    fn fingerprints_are_the_same_for_the_same_key_and_pair_only() {
        let key = |text: &str| FingerprintKey::from_file_content(text.as_bytes()).unwrap();
        let of = |key: &FingerprintKey, app_key, token| {
            key.fingerprint(&secret(app_key), &secret(token)).to_string()
        };
        let one = key("0123456789abcdef");
        let fingerprint = of(&one, "key", "token");
        assert_eq!(fingerprint, of(&key("0123456789abcdef\n"), "key", "token"));
        assert!(fingerprint.len() == 8 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()));
        for other in [
            of(&key("0123456789abcdeF"), "key", "token"),
            of(&FingerprintKey::random().unwrap(), "key", "token"),
            of(&one, "key", "toker"),
            of(&one, "keyt", "oken"), // the border between them counts
        ] {
            assert_ne!(fingerprint, other);
        }
    }

    #[test]
    fn a_short_key_is_refused_and_none_is_shown() {
        assert!(FingerprintKey::from_file_content(b"0123456789abcde\r\n").is_err());
        assert_eq!(format!("{:?}", FingerprintKey::random().unwrap()), "FingerprintKey(..)");
    }
}
