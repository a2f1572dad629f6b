//! Looks into a pair's files: who asks for one, who waits for it, and whether one hangs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

/// Between those who ask and the thread that looks.
#[derive(Debug)]
pub(super) struct Looks {
    /// How many looks were asked for.
    asked: AtomicU64,
    /// Whether the next look must read, whatever it sees: somebody said that the files are
    /// complete.
    told: AtomicBool,
    /// How many of those who asked have been answered.
    answered: watch::Sender<u64>,
    /// Since when the file system has been asked.
    under_way: Mutex<Option<Instant>>,
    /// The one that looks.
    thread: OnceLock<Thread>,
}

/// A look that began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// How many had asked when it began.
    asked: u64,
    pub(super) told: bool,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self {
            asked: AtomicU64::new(0),
            told: AtomicBool::new(false),
            answered: watch::Sender::new(0),
            under_way: Mutex::new(None),
            thread: OnceLock::new(),
        }
    }

    /// Asks for a look that begins now or later. However many ask, there is one at a time.
    pub(super) fn ask(&self) -> u64 {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        ticket
    }

    /// Asks for a look that reads the files in any case.
    pub(super) fn tell(&self) {
        self.told.store(true, Ordering::Release);
        self.ask();
    }

    /// Waits until the look that was asked for is over. Whether it was in time.
    pub(super) async fn wait_for(&self, ticket: u64, patience: Duration) -> bool {
        let mut answered = self.answered.subscribe();
        timeout(patience, answered.wait_for(|answered| *answered >= ticket)).await.is_ok()
    }

    /// A look begins, and whoever asks from now on wakes this thread.
    pub(super) fn begin(&self) -> Look {
        self.thread.get_or_init(thread::current);
        *self.under_way() = Some(Instant::now());
        let asked = self.asked.load(Ordering::Acquire);
        Look { asked, told: self.told.swap(false, Ordering::AcqRel) }
    }

    /// That look is over.
    pub(super) fn end(&self, look: Look) {
        *self.under_way() = None;
        self.answered
            .send_if_modified(|answered| std::mem::replace(answered, look.asked) != look.asked);
    }

    /// For how long the file system has been asked without an answer.
    pub(super) fn under_way_for(&self) -> Option<Duration> {
        self.under_way().map(|began| began.elapsed())
    }

    fn under_way(&self) -> MutexGuard<'_, Option<Instant>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
