//! Notices that the files changed, and decides when what they hold may be used.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use super::expiry::Warner;
use super::load::{Files, PAIR, Problem, Stamp};
use super::{Report, Store};
use crate::telemetry::metrics::{CredentialMetrics, Metrics, Reload};

/// Longer than this no file system may take.
const STUCK: Duration = Duration::from_secs(5);

/// Nobody pauses so long between the first file and the second, however seldom they are looked at.
const STILL: Duration = Duration::from_secs(1);

/// Keeps a [`Store`] up to date: has a thread look at the files, and looks after the thread.
pub struct Watcher {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    directory: PathBuf,
}

/// The thread's part, which may block for as long as the file system likes. One that does nothing
/// else wakes up once for each look, and that is what a proxy at rest costs.
struct Looker {
    /// The thread ends with the store.
    store: Weak<Store>,
    metrics: Arc<Metrics>,
    directory: PathBuf,
    poll: Duration,
    memory: Memory,
    warner: Warner,
}

/// What was seen before, for the decision when to read.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
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

impl Watcher {
    /// Watches a directory on behalf of a store: looks at every poll, and at once when the store
    /// is asked to. Returns after the first look.
    ///
    /// # Errors
    /// [`io::Error`], if there can be no thread.
    pub async fn start(
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        directory: PathBuf,
        poll: Duration,
    ) -> io::Result<Self> {
        metrics.credentials(store.pair()).configured();
        let looker = Looker {
            store: Arc::downgrade(&store),
            metrics: Arc::clone(&metrics),
            directory: directory.clone(),
            poll,
            memory: Memory::default(),
            warner: Warner::default(),
        };
        let first = store.looks().ask();
        thread::Builder::new().name("files".to_owned()).spawn(|| looker.run())?;
        let watcher = Self { store, metrics, directory };
        if !watcher.store.looks().wait_for(first, STUCK).await {
            watcher.note_if_stuck();
        }
        Ok(watcher)
    }

    /// Has the files read on SIGHUP, and says so when the file system does not answer; ends never.
    pub async fn run(self, mut hangup: Signal) -> Infallible {
        let mut tick = interval(STUCK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.note_if_stuck(),
                _ = hangup.recv() => self.store.looks().tell(),
            }
        }
    }

    fn note_if_stuck(&self) {
        if self.store.looks().under_way_for().is_some_and(|since| since >= STUCK) {
            let problem = Problem::Stuck(self.directory.clone());
            note(&self.store, &self.metrics, &problem, SystemTime::now());
        }
    }
}

impl Looker {
    fn run(mut self) {
        /// A path that is always refused asks with every call: no more often than this.
        const SPACING: Duration = Duration::from_millis(10);
        let mut told = false;
        while let Some(store) = self.store.upgrade() {
            let look = store.looks().begin();
            let began = Instant::now();
            self.look(&store, told || look.told);
            // What was said of the files meanwhile holds until they were read.
            told = began.elapsed() >= STUCK;
            store.looks().end(look);
            drop(store);
            let pause = if told { self.poll.min(STILL) } else { self.memory.pause(self.poll) };
            let looked = Instant::now();
            thread::park_timeout(pause);
            thread::sleep(SPACING.min(pause).saturating_sub(looked.elapsed()));
        }
    }

    /// Looks once.
    fn look(&mut self, store: &Store, told: bool) {
        tracing::trace!(told, "looking at the credentials' files");
        let now = SystemTime::now();
        let published =
            self.memory.look(&PAIR, &self.directory, self.poll, told).and_then(|found| {
                let result = found.map(|loaded| store.publish(loaded, now)).transpose();
                result.map_err(|name| Problem::CutOff(self.directory.join(name)))
            });
        match published {
            Ok(Some(result)) => {
                announce(result, store, self.metrics.credentials(store.pair()), now);
            }
            Ok(None) => {}
            Err(problem) => note(store, &self.metrics, &problem, now),
        }
        self.warn_of_expiry(store, now);
    }

    fn warn_of_expiry(&mut self, store: &Store, now: SystemTime) {
        let Some(expiry) = store.expiry() else { return };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let left = expiry.left(i64::try_from(now).unwrap_or(i64::MAX));
        if !self.warner.is_due(expiry.unix_seconds(), left) {
            return;
        }
        let pair = store.pair().as_str();
        if left > 0 {
            tracing::warn!(pair, expires_at = %expiry, seconds_left = left, "the token expires soon");
        } else {
            tracing::error!(pair, expired_at = %expiry, "the token has expired, by its own date");
        }
    }
}

/// Says what was read.
fn announce(result: Reload, store: &Store, metrics: &CredentialMetrics, now: SystemTime) {
    let report: Report = store.report();
    let pair = store.pair().as_str();
    metrics.reload(result);
    if result == Reload::Loaded {
        let fingerprint = report.fingerprint.map(|fingerprint| fingerprint.to_string());
        metrics.loaded(report.generation, fingerprint.unwrap_or_default(), now);
    }
    metrics.expires(report.expiry.map(|expiry| expiry.unix_seconds()));
    if let Some(problem) = &report.expiry_problem {
        tracing::warn!(pair, %problem, "no date of expiry");
    }
    let (generation, result) = (report.generation, result.as_str());
    tracing::info!(pair, generation, result, "read the credentials");
}

/// Says what is wrong with the files, once.
fn note(store: &Store, metrics: &Metrics, problem: &Problem, now: SystemTime) {
    if store.note(problem, now) {
        let pair = store.pair();
        metrics.credentials(pair).reload(Reload::Failed);
        let generation_kept = store.report().generation;
        tracing::warn!(pair = pair.as_str(), %problem, generation_kept, "no new credentials");
    }
}

fn age(stamp: &Stamp, now: SystemTime) -> Duration {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let changed = Duration::from_secs(u64::try_from(stamp.changed_at()).unwrap_or_default());
    now.checked_sub(changed + Duration::from_secs(1)).unwrap_or_default()
}

impl Memory {
    /// Looks at the files, and reads them if that is due.
    pub(super) fn look<T>(
        &mut self,
        files: &Files<T>,
        directory: &Path,
        poll: Duration,
        told: bool,
    ) -> Result<Option<T>, Problem> {
        if !told && self.read.as_ref().is_some_and(|read| read.still_holds(directory)) {
            self.seen = None;
            return Ok(None);
        }
        let found = files.look(directory).and_then(|stamp| {
            let now = Now { instant: Instant::now(), still_for: age(&stamp, SystemTime::now()) };
            match self.decide(stamp, now, poll, told) {
                Decision::Keep | Decision::Wait => Ok(None),
                Decision::Read => files.read(directory).and_then(|(stamp, pair)| {
                    // What can be different next time although the files are the same is tried
                    // again.
                    let for_good = matches!(pair, Ok(_) | Err(Problem::Malformed(..)));
                    self.read = for_good.then_some(stamp);
                    pair.map(Some)
                }),
            }
        });
        if found.as_ref().is_err_and(|problem| !matches!(problem, Problem::Malformed(..))) {
            // When they come back they are new: the same files, seen again, end the problem.
            *self = Self::default();
        }
        found
    }

    /// How long until the next look.
    pub(super) fn pause(&self, poll: Duration) -> Duration {
        // What moved is looked at again soon.
        if self.seen.is_some() { poll.min(STILL) } else { poll }
    }

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

    use super::super::load;
    use super::*;

    const POLL: Duration = Duration::from_secs(1);

    fn write(directory: &Path, app_key: &str, authorization: &str) -> Stamp {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(load::APP_KEY_FILE), app_key).unwrap();
        fs::write(directory.join(load::AUTHORIZATION_FILE), authorization).unwrap();
        PAIR.look(directory).unwrap()
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
        let mut memory = Memory::default();
        let found = memory.look(&PAIR, temp.path(), POLL, true);
        assert!(matches!(found, Err(Problem::Malformed(..))) && memory.read.is_some());
        fs::remove_file(temp.path().join(load::APP_KEY_FILE)).unwrap();
        let found = memory.look(&PAIR, temp.path(), POLL, true);
        assert!(matches!(found, Err(Problem::Missing(_))) && memory.read.is_none());
    }

    #[test]
    fn files_that_come_back_as_they_were_are_read_again() {
        let temp = tempfile::tempdir().unwrap();
        write(temp.path(), "k", "t");
        let mut memory = Memory::default();
        let found = memory.look(&PAIR, temp.path(), POLL, true);
        assert!(matches!(found, Ok(Some(_))) && memory.read.is_some());
        let file = temp.path().join(load::APP_KEY_FILE);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let found = memory.look(&PAIR, temp.path(), POLL, false);
        assert!(matches!(found, Err(Problem::NotAFile(_))) && memory.read.is_none());
    }
}
