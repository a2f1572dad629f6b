//! The pairs there are, and which of them a call is sent with.
//!
//! Calls go out with the primary pair. They go out with the standby while the primary's present
//! generation is refused beyond doubt and the standby is not; a newer generation of the primary
//! ends that at once. A single refused call may be sent with the other pair before that. While both
//! are refused beyond doubt, calls to paths that the standby was not refused on go out with it, all
//! others with either whose breaker lets them.
//!
//! While nothing is held against any pair, a call costs one atomic read here, and no lock.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::situation::Situation;
use super::standing::{Rules, Standing};
use super::{Credentials, Store};
use crate::config;
use crate::telemetry::code::{Pair, Repeat};
use crate::telemetry::metrics::Metrics;

/// The pairs there are, and which of them a call is sent with.
#[derive(Debug)]
pub struct Keyring {
    primary: Arc<Store>,
    standby: Option<Arc<Store>>,
    rules: Rules,
    /// Whether anything is held against a pair: only then the lock is taken.
    doubt: AtomicBool,
    standings: Mutex<Standings>,
    /// Paths are remembered as hashes that nobody can foresee.
    hasher: RandomState,
    /// That what is told of the standings changed.
    changes: watch::Sender<()>,
    metrics: Arc<Metrics>,
}

/// Why there is no pair to send a call with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The primary pair was never loaded.
    Missing,
    /// InnoPaaS refused the pair so often that it is not asked now.
    Refused {
        /// How often in a row.
        refusals: u32,
        /// How long until the next call is let through.
        wait: Duration,
    },
}

/// How the pairs stand, and what was last told of it.
#[derive(Debug, Default)]
struct Standings {
    primary: Standing,
    standby: Standing,
    told: Situation,
}

impl Keyring {
    /// Over the stores of this configuration.
    pub fn new(
        primary: Arc<Store>,
        standby: Option<Arc<Store>>,
        refusal: &config::Refusal,
        metrics: Arc<Metrics>,
    ) -> Self {
        let rules = Rules { confirm: refusal.confirm, breaker: refusal.breaker };
        metrics.credentials(Pair::Primary).stands(true, false);
        Self {
            primary,
            standby,
            rules,
            doubt: AtomicBool::new(false),
            standings: Mutex::default(),
            hasher: RandomState::new(),
            changes: watch::Sender::new(()),
            metrics,
        }
    }

    /// Where the primary pair is found.
    pub fn primary(&self) -> &Store {
        &self.primary
    }

    /// Where the standby pair is found, if there is one by configuration.
    pub fn standby(&self) -> Option<&Store> {
        self.standby.as_deref()
    }

    /// Whether [`choose`](Self::choose) would find a pair now.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn available(&self, path: &str) -> Result<(), Unavailable> {
        self.first(path, |standing, path| standing.may_try(path, Instant::now())).map(drop)
    }

    /// The pair to send a call to this path with.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn choose(&self, path: &str) -> Result<Arc<Credentials>, Unavailable> {
        self.first(path, |standing, path| standing.admit(path, Instant::now(), &self.rules))
    }

    /// The first of the pairs in question that may be sent.
    fn first(
        &self,
        path: &str,
        mut may: impl FnMut(&mut Standing, u64) -> Result<(), Duration>,
    ) -> Result<Arc<Credentials>, Unavailable> {
        let Some(primary) = self.primary.current() else { return Err(Unavailable::Missing) };
        if !self.doubt.load(Relaxed) {
            return Ok(primary);
        }
        let path = self.hasher.hash_one(path);
        let mut standings = self.settle();
        let Standings { primary: own, standby: other, .. } = &mut *standings;
        let standby = self.present_standby().filter(|_| own.is_refused());
        let Some(standby) = standby else {
            return may(own, path).map(|()| primary).map_err(|wait| own.spared(wait));
        };
        if !other.is_refused_on(path) {
            return Ok(standby);
        }
        let Err(wait) = may(own, path) else { return Ok(primary) };
        may(other, path).map(|()| standby).map_err(|longer| own.spared(wait.min(longer)))
    }

    /// A call with this pair was a success.
    pub fn accepted(&self, credentials: &Credentials) {
        if !self.doubt.load(Relaxed) {
            return;
        }
        let mut standings = self.lock();
        standings.of(credentials.pair).accepted(credentials.generation);
        self.conclude(&mut standings);
    }

    /// A call with this pair was refused on this path, and the files hold no newer one.
    pub fn refused(&self, credentials: &Credentials, path: &str) {
        let path = self.hasher.hash_one(path);
        let mut standings = self.settle();
        if credentials.pair == Pair::Standby && !standings.primary.is_refused() {
            // The primary was refused on that path before: the path may be to blame.
            return;
        }
        let standing = standings.of(credentials.pair);
        standing.refused(credentials.generation, path, Instant::now(), &self.rules);
        self.conclude(&mut standings);
    }

    /// Has the files looked at now; done as soon as a newer pair than this one is there.
    pub async fn look_again(&self, refused: &Credentials) {
        let looked = async {
            match (&self.standby, refused.pair) {
                (Some(standby), Pair::Standby) => {
                    tokio::join!(self.primary.look_again(), standby.look_again());
                }
                (_, Pair::Primary | Pair::Standby) => self.primary.look_again().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.wait_for_newer(refused) => {}
            () = looked => {}
        }
    }

    /// A pair that came after this one was refused: the same of a newer generation or, when this
    /// one stood in for it, the primary.
    pub fn newer_than(&self, refused: &Credentials) -> Option<Arc<Credentials>> {
        let primary = self.primary.current()?;
        let standby = self.present_standby();
        let own = match refused.pair {
            Pair::Primary => Some(Arc::clone(&primary)),
            Pair::Standby => standby,
        };
        if let Some(newer) = own.filter(|own| own.generation > refused.generation) {
            return Some(newer);
        }
        let replaced = refused.pair == Pair::Standby && !self.settle().primary.is_refused();
        replaced.then_some(primary)
    }

    /// Another pair to send a refused call with. One that may as well wait does not take a standby
    /// that is refused beyond doubt on its path.
    pub fn other_than(
        &self,
        refused: &Credentials,
        path: &str,
        may_wait: bool,
    ) -> Option<(Arc<Credentials>, Repeat)> {
        if let Some(newer) = self.newer_than(refused) {
            return Some((newer, Repeat::Newer));
        }
        let standby = self.present_standby().filter(|_| refused.pair == Pair::Primary)?;
        let path = self.hasher.hash_one(path);
        let mut standings = self.settle();
        let standing = &mut standings.standby;
        if may_wait && standing.is_refused_on(path) {
            return None;
        }
        // Sparing InnoPaaS goes for the standby as well.
        standing.admit(path, Instant::now(), &self.rules).ok()?;
        Some((standby, Repeat::Standby))
    }

    /// Waits until there is a newer pair than this one.
    async fn wait_for_newer(&self, refused: &Credentials) -> Arc<Credentials> {
        self.news().until(|| self.newer_than(refused)).await
    }

    /// Waits until there is another pair to send a refused call with.
    pub async fn wait_for_other(&self, refused: &Credentials, path: &str) -> Arc<Credentials> {
        let other = || self.other_than(refused, path, true).map(|(other, _)| other);
        self.news().until(other).await
    }

    /// Waits until a call to this path may be sent.
    pub async fn wait_until_available(&self, path: &str) -> Arc<Credentials> {
        self.news().until(|| self.choose(path).ok()).await
    }

    /// Draws the conclusions from newer pairs also while no call asks, and forgets all doubts on
    /// SIGHUP: then the primary pair is tried again, also if it is the same. Ends never.
    pub async fn follow(&self, mut hangup: Signal) -> Infallible {
        let mut news = self.news();
        loop {
            drop(self.settle());
            self.warn_of_one_application();
            tokio::select! {
                () = news.next() => {}
                _ = hangup.recv() => self.forget(),
            }
        }
    }

    /// Which pair new calls are sent with.
    pub fn serving(&self) -> Pair {
        self.settle().told.serving()
    }

    /// Whether this pair's present generation is refused beyond doubt.
    pub fn is_refused(&self, pair: Pair) -> bool {
        self.settle().of(pair).is_refused()
    }

    fn warn_of_one_application(&self) {
        let standby = self.present_standby();
        if let (Some(primary), Some(standby)) = (self.primary.current(), standby)
            && primary.app_key.same_as(&standby.app_key)
        {
            tracing::warn!(
                "the standby's app-key is the primary's: a new token kills both, so it is no standby"
            );
        }
    }

    fn forget(&self) {
        let mut standings = self.lock();
        (standings.primary, standings.standby) = (Standing::default(), Standing::default());
        self.conclude(&mut standings);
    }

    fn news(&self) -> News {
        News {
            primary: self.primary.generations(),
            standby: self.standby.as_ref().map(|standby| standby.generations()),
            changes: self.changes.subscribe(),
        }
    }

    fn present_standby(&self) -> Option<Arc<Credentials>> {
        self.standby.as_ref()?.current()
    }

    /// The standings, with what newer generations made void taken out.
    fn settle(&self) -> MutexGuard<'_, Standings> {
        let mut standings = self.lock();
        self.conclude(&mut standings);
        standings
    }

    fn conclude(&self, standings: &mut Standings) {
        standings.primary.is_about(generation(&self.primary));
        standings.standby.is_about(self.standby.as_deref().map_or(0, generation));
        let doubt = standings.primary.is_doubted() || standings.standby.is_doubted();
        self.doubt.store(doubt, Relaxed);
        let standby = self.present_standby().map(|_| &standings.standby);
        let situation = Situation::of(&standings.primary, standby);
        let before = std::mem::replace(&mut standings.told, situation);
        if before != situation {
            situation.tell(before, &self.metrics);
            self.changes.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standings> {
        // Every change is whole before anything can panic.
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn generation(store: &Store) -> u64 {
    store.current().map_or(0, |current| current.generation)
}

impl Standings {
    fn of(&mut self, pair: Pair) -> &mut Standing {
        match pair {
            Pair::Primary => &mut self.primary,
            Pair::Standby => &mut self.standby,
        }
    }
}

impl Standing {
    fn spared(&self, wait: Duration) -> Unavailable {
        Unavailable::Refused { refusals: self.refusals(), wait }
    }
}

/// Newer generations of either pair, and how they stand.
struct News {
    primary: watch::Receiver<u64>,
    standby: Option<watch::Receiver<u64>>,
    changes: watch::Receiver<()>,
}

impl News {
    async fn next(&mut self) {
        // None of them ends: the keyring holds those that send.
        let standby = async {
            match &mut self.standby {
                Some(standby) => drop(standby.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.primary.changed() => {}
            () = standby => {}
            _ = self.changes.changed() => {}
        }
    }

    async fn until<T>(mut self, mut there: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(there) = there() {
                return there;
            }
            self.next().await;
        }
    }
}
