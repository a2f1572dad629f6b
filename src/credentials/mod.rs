//! The pairs of secrets that calls are sent with: read from files, swapped whole.
//!
//! Invariant: a [`Credentials`] holds two values that stood in the files at one and the same
//! time, both fit to be sent. What replaces it is again such a pair, never less; the last good
//! pair stays in use whatever happens to the files.
//!
//! A [`Keyring`] knows both pairs and what InnoPaaS's answers say of them. Beside it stands what
//! callers are told apart by ([`Callers`]), which is read from files as well.

use crate::secret::Secret;
use crate::telemetry::code::Pair;

pub use callers::{CallerTokens, Callers};
pub use console::{
    Console, ConsoleLooks, ConsolePair, ConsolePairs, ConsoleReport, ConsoleReports, USER_NAME_FILE,
};
pub use expiry::{EXPIRES_AT_FILE, Expiry, NoDate};
pub use fingerprint::{Fingerprint, FingerprintKey};
pub use keyring::{Keyring, Unavailable};
pub use load::{APP_KEY_FILE, AUTHORIZATION_FILE, Loaded, Problem, read_pair};
pub use named::Unusable;
pub use store::{Report, Store};
pub use watch::Watcher;

mod callers;
mod console;
mod expiry;
mod file;
mod fingerprint;
mod identity;
mod keyring;
mod load;
mod looks;
mod named;
mod situation;
mod standing;
mod store;
mod tokens;
mod watch;

/// One consistent pair.
#[derive(Debug)]
pub struct Credentials {
    /// What goes into `AppKey`.
    pub app_key: Secret,
    /// What goes into `Authorization`: the bare token (InnoPaaS guide).
    pub authorization: Secret,
    /// Counted from 1 in this process, for each of the pairs.
    pub generation: u64,
    /// Which of the pairs it is.
    pub pair: Pair,
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn no_debug_shows_a_secret() {
        let secret = |text: &str| Secret::from_file_content(text.as_bytes()).unwrap();
        let store = Store::new(Pair::Primary, FingerprintKey::random().unwrap().into());
        let (app_key, authorization) = (secret("canary-key"), secret("canary-token"));
        let loaded = Loaded { app_key, authorization, expiry: None, expiry_problem: None };
        store.publish(loaded, SystemTime::UNIX_EPOCH).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        std::fs::write(&file, "canary-caller-of-enough-bytes\n").unwrap();
        let problem = Problem::Malformed(file.clone(), crate::secret::Malformed::Empty);
        let mut raw = crate::config::Raw::defaults();
        raw.assignment("--set", &format!("listen.caller_token_file={}", file.display()));
        let listen = crate::config::Config::from_raw(raw).unwrap().listen;
        let tokens = Callers::load(&listen, std::time::Duration::ZERO).unwrap().tokens().unwrap();
        let shown =
            format!("{store:?} {:?} {:?} {problem:?} {tokens:?}", store.current(), store.report());
        assert!(shown.contains("generation: 1") && shown.contains("Secret(29 bytes)"), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
