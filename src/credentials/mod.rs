//! The pair of secrets that calls are sent with: read from files, swapped whole.
//!
//! Invariant: a [`Credentials`] holds two values that stood in the files at one and the same
//! time, both fit to be sent. What replaces it is again such a pair, never less; the last good
//! pair stays in use whatever happens to the files.
//!
//! Beside it stands what callers are told apart by ([`Callers`]), which is read from files as well.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;

use crate::secret::Secret;
use crate::telemetry::metrics::Reload;

pub use callers::{CallerTokens, Callers};
pub use load::{APP_KEY_FILE, AUTHORIZATION_FILE, Problem, read_pair};
pub use named::Unusable;
pub use watch::Watcher;

mod callers;
mod file;
mod identity;
mod load;
mod named;
mod tokens;
mod watch;

/// One consistent pair.
#[derive(Debug)]
pub struct Credentials {
    /// What goes into `AppKey`.
    pub app_key: Secret,
    /// What goes into `Authorization`: the bare token (InnoPaaS guide).
    pub authorization: Secret,
    /// Counted from 1 in this process.
    pub generation: u64,
}

/// Where the current pair is found.
#[derive(Debug, Default)]
pub struct Store {
    current: ArcSwapOption<Credentials>,
    report: Mutex<Report>,
}

/// What can be said about the pair without saying what it is.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Generation in use; 0 if there is none.
    pub generation: u64,
    /// Since when it has been in use.
    pub loaded_at: Option<SystemTime>,
    /// When the files were last read, and how that ended.
    pub last_reload: Option<(SystemTime, Reload)>,
    /// What is wrong with the files now.
    pub problem: Option<String>,
}

impl Store {
    /// The pair to send a call with; `None` until one was loaded.
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.current.load_full()
    }

    /// How the pair fares.
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a pair into use, unless it is the one that is in use already.
    fn publish(&self, (app_key, authorization): (Secret, Secret), now: SystemTime) -> Reload {
        let current = self.current.load();
        let same = current.as_ref().is_some_and(|current| {
            current.app_key.same_as(&app_key) & current.authorization.same_as(&authorization)
        });
        let result = if same { Reload::Unchanged } else { Reload::Loaded };
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if !same {
            let generation = current.as_ref().map_or(0, |current| current.generation) + 1;
            self.current.store(Some(Arc::new(Credentials { app_key, authorization, generation })));
            report.generation = generation;
            report.loaded_at = Some(now);
        }
        report.last_reload = Some((now, result));
        report.problem = None;
        result
    }

    /// Notes what is wrong with the files; the pair in use stays. Whether that is news.
    fn note(&self, problem: &Problem, now: SystemTime) -> bool {
        let text = problem.to_string();
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let news = report.problem.as_ref() != Some(&text);
        if news {
            report.last_reload = Some((now, Reload::Failed));
            report.problem = Some(text);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_shows_a_secret() {
        let secret = |text: &str| Secret::from_file_content(text.as_bytes()).unwrap();
        let store = Store::default();
        store.publish((secret("canary-key"), secret("canary-token")), SystemTime::UNIX_EPOCH);
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
