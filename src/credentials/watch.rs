//! Notices that the files changed, and decides when what they hold may be used.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval_at, sleep_until, timeout};

use super::expiry::Warner;
use super::load::{self, Loaded, Problem, Stamp};
use super::{Report, Store};
use crate::telemetry::metrics::{CredentialMetrics, Metrics, Reload};

/// Longer than this no file system may take.
const STUCK: Duration = Duration::from_secs(5);

/// Nobody pauses so long between the first file and the second, however seldom they are looked at.
const STILL: Duration = Duration::from_secs(1);

/// Keeps a [`Store`] up to date.
pub struct Watcher {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    directory: PathBuf,
    poll: Duration,
    memory: Memory,
    /// A look that the file system has not answered yet; there is never a second one.
    pending: Option<JoinHandle<Looked>>,
    warner: Warner,
    /// Whether the next look must read, whatever it sees: somebody said that the files are
    /// complete, or the last word on them was that they could not be looked at.
    told: bool,
}

/// What was seen before, for the decision when to read.
#[derive(Debug, Clone, Default)]
struct Memory {
    /// The state of the files when they were last read.
    read: Option<Stamp>,
    /// A newer state, and since when it has been there.
    seen: Option<(Stamp, Instant)>,
}

/// What a look at the files calls for.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing changed.
    Keep,
    /// Something changed and may go on changing.
    Wait,
    /// What is there is complete.
    Read,
}

/// The time of a look.
#[derive(Debug, Clone, Copy)]
struct Now {
    instant: Instant,
    /// For how long the files are unchanged, by their own word.
    still_for: Duration,
}

/// What came of one look.
struct Looked {
    memory: Memory,
    found: Result<Option<Loaded>, Problem>,
}

impl Watcher {
    /// Watches a directory on behalf of a store.
    pub fn new(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        directory: PathBuf,
        poll: Duration,
    ) -> Self {
        metrics.credentials(store.pair()).configured();
        Self {
            store,
            metrics,
            directory,
            poll,
            memory: Memory::default(),
            pending: None,
            warner: Warner::default(),
            told: false,
        }
    }

    /// Looks at every poll, and at once on SIGHUP and when the store is asked to; ends never.
    pub async fn run(mut self, mut hangup: Signal) -> Infallible {
        /// A path that is always refused asks with every call: no more often than this.
        const SPACING: Duration = Duration::from_millis(10);
        let mut tick = interval_at(tokio::time::Instant::now() + self.poll, self.poll);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut questions = self.store.questions();
        let mut not_before = tokio::time::Instant::now();
        loop {
            if self.memory.seen.is_some() {
                tick.reset_after(self.poll.min(STILL)); // what moved is looked at again soon
            }
            let asked = async {
                sleep_until(not_before).await;
                // The store, which holds the other end, is ours too.
                let _ = questions.changed().await;
            };
            tokio::select! {
                _ = tick.tick() => {}
                _ = hangup.recv() => self.told = true,
                () = asked => {}
            }
            let asked = *questions.borrow_and_update();
            self.look().await;
            self.store.answer(asked);
            not_before = tokio::time::Instant::now() + SPACING;
        }
    }

    /// Looks once.
    pub async fn look(&mut self) {
        let told = self.told;
        let looking = self.pending.get_or_insert_with(|| {
            let (directory, memory) = (self.directory.clone(), self.memory.clone());
            let poll = self.poll;
            self.told = false;
            tokio::task::spawn_blocking(move || look_now(&directory, memory, poll, told))
        });
        tracing::trace!(told, "looking at the credentials' files");
        let stuck = || Problem::Stuck(self.directory.clone());
        let now = SystemTime::now();
        let found = match timeout(STUCK, looking).await {
            Ok(ended) => {
                self.pending = None;
                ended.map_err(|_| stuck()).and_then(|looked| {
                    self.memory = looked.memory;
                    looked.found
                })
            }
            Err(_) => Err(stuck()),
        };
        let published = found.and_then(|found| {
            let result = found.map(|loaded| self.store.publish(loaded, now)).transpose();
            result.map_err(|name| Problem::CutOff(self.directory.join(name)))
        });
        match published {
            Ok(Some(result)) => self.announce(result, &self.store.report(), now),
            Ok(None) => {}
            Err(problem) => {
                self.told |= matches!(problem, Problem::Stuck(_));
                if self.store.note(&problem, now) {
                    self.metrics().reload(Reload::Failed);
                    let keeps = self.store.report().generation;
                    let pair = self.store.pair().as_str();
                    tracing::warn!(pair, %problem, generation_kept = keeps, "no new credentials");
                }
            }
        }
        self.warn_of_expiry(now);
    }

    fn announce(&self, result: Reload, report: &Report, now: SystemTime) {
        self.metrics().reload(result);
        if result == Reload::Loaded {
            let fingerprint = report.fingerprint.map(|fingerprint| fingerprint.to_string());
            self.metrics().loaded(report.generation, fingerprint.unwrap_or_default(), now);
        }
        self.metrics().expires(report.expiry.map(|expiry| expiry.unix_seconds()));
        if let Some(problem) = &report.expiry_problem {
            tracing::warn!(pair = self.store.pair().as_str(), %problem, "no date of expiry");
        }
        tracing::info!(
            pair = self.store.pair().as_str(),
            generation = report.generation,
            result = result.as_str(),
            "read the credentials"
        );
    }

    fn warn_of_expiry(&mut self, now: SystemTime) {
        let Some(expiry) = self.store.report().expiry else { return };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let left = expiry.left(i64::try_from(now).unwrap_or(i64::MAX));
        if !self.warner.is_due(expiry.unix_seconds(), left) {
            return;
        }
        let pair = self.store.pair().as_str();
        if left > 0 {
            tracing::warn!(pair, expires_at = %expiry, seconds_left = left, "the token expires soon");
        } else {
            tracing::error!(pair, expired_at = %expiry, "the token has expired, by its own date");
        }
    }

    fn metrics(&self) -> &CredentialMetrics {
        self.metrics.credentials(self.store.pair())
    }
}

/// The part that touches files; runs where blocking is allowed.
fn look_now(directory: &Path, mut memory: Memory, poll: Duration, told: bool) -> Looked {
    let found = load::look(directory).and_then(|stamp| {
        let now = Now { instant: Instant::now(), still_for: age(&stamp, SystemTime::now()) };
        match memory.decide(stamp, now, poll, told) {
            Decision::Keep | Decision::Wait => Ok(None),
            Decision::Read => load::read(directory).and_then(|(stamp, pair)| {
                // What can be different next time although the files are the same is tried again.
                let for_good = matches!(pair, Ok(_) | Err(Problem::Malformed(..)));
                memory.read = for_good.then_some(stamp);
                pair.map(Some)
            }),
        }
    });
    if found.as_ref().is_err_and(|problem| !matches!(problem, Problem::Malformed(..))) {
        // When they come back they are new: the same files, seen again, end the problem.
        memory = Memory::default();
    }
    Looked { memory, found }
}

fn age(stamp: &Stamp, now: SystemTime) -> Duration {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let changed = Duration::from_secs(u64::try_from(stamp.changed_at()).unwrap_or_default());
    now.checked_sub(changed + Duration::from_secs(1)).unwrap_or_default()
}

impl Memory {
    /// A directory that is swapped whole is complete when it appears. In a plain one, somebody
    /// may be between the first file and the second: it must have stood still, by the files' own
    /// word or from one look to another, for the length of a poll or a second. The second is for
    /// long polls: files are looked at between two of them as well, when a pair is refused.
    fn decide(&mut self, stamp: Stamp, now: Now, poll: Duration, told: bool) -> Decision {
        if self.read.as_ref() == Some(&stamp) && !told {
            self.seen = None;
            return Decision::Keep;
        }
        let swapped = match &self.read {
            Some(read) => read.directory != stamp.directory,
            None => stamp.swapped_whole,
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == stamp => *since,
            Some(_) | None => now.instant,
        };
        let still_for = now.still_for.max(now.instant.duration_since(since));
        if told || swapped || still_for >= poll.min(STILL) {
            self.seen = None;
            Decision::Read
        } else {
            self.seen = Some((stamp, since));
            Decision::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const POLL: Duration = Duration::from_secs(1);

    fn write(directory: &Path, app_key: &str, authorization: &str) -> Stamp {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(load::APP_KEY_FILE), app_key).unwrap();
        fs::write(directory.join(load::AUTHORIZATION_FILE), authorization).unwrap();
        load::look(directory).unwrap()
    }

    /// So long after `start`, with files that changed just before.
    fn after(start: Instant, milliseconds: u64) -> Now {
        let instant = start + Duration::from_millis(milliseconds);
        Now { instant, still_for: Duration::ZERO }
    }

    #[test]
    fn a_plain_directory_is_read_once_it_stood_still_from_one_poll_to_the_next() {
        let temp = tempfile::tempdir().unwrap();
        let (mut memory, start) = (Memory::default(), Instant::now());
        let first = write(temp.path(), "k", "t");
        assert_eq!(memory.decide(first.clone(), after(start, 0), POLL, false), Decision::Wait);
        assert_eq!(memory.decide(first, after(start, 5), POLL, false), Decision::Wait);
        let second = write(temp.path(), "k", "longer");
        assert_eq!(memory.decide(second.clone(), after(start, 900), POLL, false), Decision::Wait);
        assert_eq!(memory.decide(second.clone(), after(start, 1800), POLL, false), Decision::Wait);
        assert_eq!(memory.decide(second.clone(), after(start, 1900), POLL, false), Decision::Read);
        memory.read = Some(second.clone());
        assert_eq!(memory.decide(second, after(start, 9000), POLL, false), Decision::Keep);
    }

    #[test]
    fn old_files_a_swapped_directory_and_a_signal_need_no_second_look() {
        let temp = tempfile::tempdir().unwrap();
        let plain = write(&temp.path().join("plain"), "k", "t");
        let other = write(&temp.path().join("other"), "k", "t");
        let (young, old) =
            (after(Instant::now(), 0), Now { still_for: POLL, ..after(Instant::now(), 0) });
        let decide =
            |memory: &Memory, now, told| memory.clone().decide(plain.clone(), now, POLL, told);
        let fresh = Memory::default();
        assert_eq!(decide(&fresh, old, false), Decision::Read);
        assert_eq!(decide(&fresh, young, true), Decision::Read);
        let read_other = Memory { read: Some(other), seen: None };
        assert_eq!(decide(&read_other, young, false), Decision::Read);
        let before = Memory { read: Some(plain.clone()), seen: None };
        let changed = write(&temp.path().join("plain"), "k", "longer");
        let decide = |now, poll| before.clone().decide(changed.clone(), now, poll, false);
        for poll in [POLL, Duration::from_millis(10), Duration::from_secs(3600)] {
            assert_eq!(decide(old, poll), Decision::Read, "{poll:?}");
            assert_eq!(decide(young, poll), Decision::Wait, "{poll:?}");
        }
    }

    #[test]
    fn between_long_polls_a_second_is_long_enough() {
        const HOUR: Duration = Duration::from_secs(3600);
        let temp = tempfile::tempdir().unwrap();
        let (mut memory, start) = (Memory::default(), Instant::now());
        let stamp = write(temp.path(), "k", "t");
        assert_eq!(memory.decide(stamp.clone(), after(start, 0), HOUR, false), Decision::Wait);
        assert_eq!(memory.decide(stamp.clone(), after(start, 999), HOUR, false), Decision::Wait);
        assert_eq!(memory.decide(stamp, after(start, 1000), HOUR, false), Decision::Read);
    }

    #[test]
    fn only_what_the_content_is_to_blame_for_is_not_read_again() {
        let temp = tempfile::tempdir().unwrap();
        write(temp.path(), "k", "not a token");
        let looked = look_now(temp.path(), Memory::default(), POLL, true);
        assert!(
            matches!(looked.found, Err(Problem::Malformed(..))) && looked.memory.read.is_some()
        );
        fs::remove_file(temp.path().join(load::APP_KEY_FILE)).unwrap();
        let looked = look_now(temp.path(), looked.memory, POLL, true);
        assert!(matches!(looked.found, Err(Problem::Missing(_))) && looked.memory.read.is_none());
    }

    #[test]
    fn files_that_come_back_as_they_were_are_read_again() {
        let temp = tempfile::tempdir().unwrap();
        write(temp.path(), "k", "t");
        let looked = look_now(temp.path(), Memory::default(), POLL, true);
        assert!(matches!(looked.found, Ok(Some(_))) && looked.memory.read.is_some());
        let file = temp.path().join(load::APP_KEY_FILE);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let looked = look_now(temp.path(), looked.memory, POLL, false);
        assert!(matches!(looked.found, Err(Problem::NotAFile(_))) && looked.memory.read.is_none());
    }
}
