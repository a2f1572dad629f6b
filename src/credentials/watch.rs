//! Notices that the files changed, and decides when what they hold may be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::load::{self, Problem, Stamp};
use super::{Report, Store};
use crate::config;
use crate::secret::Secret;
use crate::telemetry::metrics::{CredentialMetrics, Metrics, Reload};

/// Longer than this no file system may take.
const STUCK: Duration = Duration::from_secs(5);

/// Keeps a [`Store`] up to date.
pub struct Watcher {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    directory: PathBuf,
    poll: Duration,
    memory: Memory,
    /// A look that the file system has not answered yet; there is never a second one.
    pending: Option<JoinHandle<Looked>>,
}

/// What was seen before, for the decision when to read.
#[derive(Debug, Clone, Default)]
struct Memory {
    /// The state of the files when they were last read.
    read: Option<Stamp>,
    /// A newer state, seen once.
    seen: Option<Stamp>,
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

/// What came of one look.
struct Looked {
    memory: Memory,
    found: Result<Option<(Secret, Secret)>, Problem>,
}

impl Watcher {
    /// Watches the directory of this configuration on behalf of a store.
    pub fn new(store: Arc<Store>, metrics: Arc<Metrics>, config: &config::Credentials) -> Self {
        Self {
            store,
            metrics,
            directory: config.directory.clone(),
            poll: config.poll,
            memory: Memory::default(),
            pending: None,
        }
    }

    /// Looks at every poll, and at once on SIGHUP; ends never.
    ///
    /// # Errors
    /// If the signal cannot be listened to.
    pub async fn run(mut self) -> std::io::Result<std::convert::Infallible> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut tick = tokio::time::interval(self.poll);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                _ = tick.tick() => false,
                _ = hangup.recv() => true,
            };
            self.look(told).await;
        }
    }

    /// Looks once. `told` means that somebody says that the files are complete.
    pub async fn look(&mut self, told: bool) {
        let looking = self.pending.get_or_insert_with(|| {
            let (directory, memory) = (self.directory.clone(), self.memory.clone());
            let poll = self.poll;
            tokio::task::spawn_blocking(move || look_now(&directory, memory, poll, told))
        });
        let now = SystemTime::now();
        let found = match timeout(STUCK, looking).await {
            Ok(Ok(looked)) => {
                self.pending = None;
                self.memory = looked.memory;
                looked.found
            }
            Ok(Err(_)) => {
                self.pending = None;
                Err(Problem::Stuck(self.directory.clone()))
            }
            Err(_) => Err(Problem::Stuck(self.directory.clone())),
        };
        tracing::trace!(told, "looked at the credentials' files");
        match found {
            Ok(Some(pair)) => {
                let result = self.store.publish(pair, now);
                announce(result, &self.store.report(), &self.metrics.credentials, now);
            }
            Ok(None) => {}
            Err(problem) => {
                if self.store.note(&problem, now) {
                    self.metrics.credentials.reload(Reload::Failed);
                    let keeps = self.store.report().generation;
                    tracing::warn!(%problem, generation_kept = keeps, "no new credentials");
                }
            }
        }
    }
}

fn announce(result: Reload, report: &Report, metrics: &CredentialMetrics, now: SystemTime) {
    metrics.reload(result);
    if result == Reload::Loaded {
        metrics.in_use(report.generation, now);
    }
    tracing::info!(
        generation = report.generation,
        result = result.as_str(),
        "read the credentials"
    );
}

/// The part that touches files; runs where blocking is allowed.
fn look_now(directory: &Path, mut memory: Memory, poll: Duration, told: bool) -> Looked {
    let found = load::look(directory).and_then(|stamp| {
        let still_for = age(&stamp, SystemTime::now());
        match memory.decide(stamp, still_for, poll, told) {
            Decision::Keep | Decision::Wait => Ok(None),
            Decision::Read => {
                let read = load::read(directory);
                memory.read = match &read {
                    Ok((_, stamp)) => Some(stamp.clone()),
                    Err(_) => load::look(directory).ok(), // not read again until it changes
                };
                read.map(|(pair, _)| Some(pair))
            }
        }
    });
    if found.is_err() && load::look(directory).is_err() {
        memory = Memory::default(); // gone; when it comes back it is new
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
    /// may be between the first file and the second: it must have stood still over two polls.
    fn decide(
        &mut self,
        stamp: Stamp,
        still_for: Duration,
        poll: Duration,
        told: bool,
    ) -> Decision {
        if self.read.as_ref() == Some(&stamp) && !told {
            self.seen = None;
            return Decision::Keep;
        }
        let swapped = match &self.read {
            Some(read) => read.directory != stamp.directory,
            None => stamp.swapped_whole || still_for >= poll,
        };
        if told || swapped || self.seen.as_ref() == Some(&stamp) {
            self.seen = None;
            Decision::Read
        } else {
            self.seen = Some(stamp);
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

    #[test]
    fn a_plain_directory_is_read_once_it_stood_still_over_two_polls() {
        let temp = tempfile::tempdir().unwrap();
        let first = write(temp.path(), "k", "t");
        let mut memory = Memory::default();
        let young = Duration::ZERO;
        assert_eq!(memory.decide(first.clone(), young, POLL, false), Decision::Wait);
        let second = write(temp.path(), "k", "longer");
        assert_eq!(memory.decide(second.clone(), young, POLL, false), Decision::Wait);
        assert_eq!(memory.decide(second.clone(), young, POLL, false), Decision::Read);
        memory.read = Some(second.clone());
        assert_eq!(memory.decide(second, young, POLL, false), Decision::Keep);
    }

    #[test]
    fn old_files_a_swapped_directory_and_a_signal_need_no_second_look() {
        let temp = tempfile::tempdir().unwrap();
        let plain = write(&temp.path().join("plain"), "k", "t");
        let other = write(&temp.path().join("other"), "k", "t");
        let decide = |memory: &Memory, stamp: &Stamp, still_for, told| {
            memory.clone().decide(stamp.clone(), still_for, POLL, told)
        };
        let fresh = Memory::default();
        assert_eq!(decide(&fresh, &plain, POLL, false), Decision::Read);
        assert_eq!(decide(&fresh, &plain, Duration::ZERO, true), Decision::Read);
        let read_other = Memory { read: Some(other), seen: None };
        assert_eq!(decide(&read_other, &plain, Duration::ZERO, false), Decision::Read);
    }
}
