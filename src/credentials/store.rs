//! Where one pair is found: what the files held when they were last fit to be used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::Credentials;
use super::expiry::Expiry;
use super::fingerprint::{Fingerprint, FingerprintKey};
use super::load::{APP_KEY_FILE, AUTHORIZATION_FILE, Loaded, Problem};
use super::looks::Looks;
use crate::telemetry::code::Pair;
use crate::telemetry::metrics::Reload;

/// Where the current generation of a pair is found.
#[derive(Debug)]
pub struct Store {
    pair: Pair,
    fingerprints: Arc<FingerprintKey>,
    current: ArcSwapOption<Credentials>,
    report: Mutex<Report>,
    /// Tells whoever waits that there is a newer generation.
    generation: watch::Sender<u64>,
    looks: Looks,
}

/// What can be said about a pair without saying what it is.
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
    /// Tells the pair from others.
    pub fingerprint: Option<Fingerprint>,
    /// When the token expires, if that is known.
    pub expiry: Option<Expiry>,
    /// What is wrong with the file that should tell.
    pub expiry_problem: Option<String>,
}

impl Store {
    /// Empty, for this one of the pairs, whose fingerprints are made with this key.
    pub fn new(pair: Pair, fingerprints: Arc<FingerprintKey>) -> Self {
        Self {
            pair,
            fingerprints,
            current: ArcSwapOption::empty(),
            report: Mutex::default(),
            generation: watch::Sender::new(0),
            looks: Looks::new(),
        }
    }

    /// Which of the pairs is found here.
    pub fn pair(&self) -> Pair {
        self.pair
    }

    /// The generation to send a call with; `None` until one was loaded.
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.current.load_full()
    }

    /// How the pair fares.
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the token expires, if that is known; asked for at every look.
    pub(super) fn expiry(&self) -> Option<Expiry> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).expiry
    }

    /// Tells of newer generations from now on.
    pub(super) fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Has the files looked at now, and waits until that is done. However many ask, there is one
    /// look at a time.
    pub async fn look_again(&self) {
        /// Longer than this no call waits for a file system.
        const PATIENCE: Duration = Duration::from_secs(1);
        self.looks.wait_for(self.looks.ask(), PATIENCE).await;
    }

    /// Who asks for a look, and who looks.
    pub(super) fn looks(&self) -> &Looks {
        &self.looks
    }

    /// Puts a pair into use, unless it is the one that is in use already.
    ///
    /// # Errors
    /// The name of the file whose content was cut off: an unfinished write looks like that, and
    /// there is no other way to know it.
    pub(super) fn publish(&self, loaded: Loaded, now: SystemTime) -> Result<Reload, &'static str> {
        let Loaded { app_key, authorization, expiry, expiry_problem } = loaded;
        let current = self.current.load();
        if let Some(current) = current.as_ref() {
            if app_key.is_cut_from(&current.app_key) {
                return Err(APP_KEY_FILE);
            }
            if authorization.is_cut_from(&current.authorization) {
                return Err(AUTHORIZATION_FILE);
            }
        }
        let same = current.as_ref().is_some_and(|current| {
            current.app_key.same_as(&app_key) & current.authorization.same_as(&authorization)
        });
        let result = if same { Reload::Unchanged } else { Reload::Loaded };
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if !same {
            report.fingerprint = Some(self.fingerprints.fingerprint(&app_key, &authorization));
            let generation = current.as_ref().map_or(0, |current| current.generation) + 1;
            let pair = self.pair;
            let next = Credentials { app_key, authorization, generation, pair };
            self.current.store(Some(Arc::new(next)));
            self.generation.send_replace(generation);
            report.generation = generation;
            report.loaded_at = Some(now);
        }
        report.last_reload = Some((now, result));
        report.problem = None;
        (report.expiry, report.expiry_problem) = (expiry, expiry_problem);
        Ok(result)
    }

    /// Notes what is wrong with the files; the pair in use stays. Whether that is news.
    pub(super) fn note(&self, problem: &Problem, now: SystemTime) -> bool {
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
