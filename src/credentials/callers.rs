//! How callers are told apart: the tokens that they show and the TLS that they are met with, both
//! read from files and followed when those change.
//!
//! Invariant: what is in use was read whole, from files that held still, and is consistent; the
//! last good state stays in use whatever happens to the files. At start there must be one.
//!
//! Connections that are open when the files change stay as they are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use rustls::ServerConfig;
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::file::{self, FileStamp};
use super::named::{Named, Unusable};
use super::{identity, tokens};
use crate::config::settings as s;
use crate::config::{Listen, ListenTls};
use crate::secret::Secret;

/// The tokens of which a call must show one, as they are in use now.
#[derive(Debug, Clone)]
pub struct CallerTokens(Arc<ArcSwap<Vec<Secret>>>);

/// What callers are judged by, if they are.
pub struct Callers {
    tokens: Option<Source<Vec<Secret>>>,
    tls: Option<Source<ServerConfig>>,
    poll: Duration,
}

/// Files that make sense together, and what was made of them.
struct Source<T> {
    files: Vec<Named>,
    build: Build<T>,
    current: Arc<ArcSwap<T>>,
    /// The state of the files that `current` was made of.
    used: Vec<FileStamp>,
    /// A newer state, that is used once it has stood still from one look to the next.
    seen: Option<Vec<FileStamp>>,
    /// What is wrong with the files now.
    problem: Option<Unusable>,
}

type Build<T> = Box<dyn Fn() -> Result<T, Unusable> + Send>;

impl CallerTokens {
    /// Whether this is one of them. Takes a time that depends on lengths only: every token is
    /// compared, and each in constant time.
    pub fn admit(&self, shown: &HeaderValue) -> bool {
        let Ok(shown) = Secret::from_file_content(shown.as_bytes()) else { return false };
        self.0.load().iter().fold(false, |known, token| known | token.same_as(&shown))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.load().len()
    }
}

impl Callers {
    /// Reads the files that the configuration names; to be looked at again this often.
    ///
    /// # Errors
    /// [`Unusable`], for the first file that is missing or wrong.
    pub fn load(listen: &Listen, poll: Duration) -> Result<Self, Unusable> {
        let tokens = listen.caller_token_file.clone().map(|path| {
            let named = (&s::LISTEN_CALLER_TOKEN_FILE, path);
            Source::load(vec![named.clone()], Box::new(move || tokens::read(&named)))
        });
        Ok(Self { tokens: tokens.transpose()?, tls: tls(listen.tls.as_ref())?, poll })
    }

    /// The same for callers who are told apart in another way.
    ///
    /// # Errors
    /// [`Unusable`], for the first file that is missing or wrong.
    pub fn of_tls(files: Option<&ListenTls>, poll: Duration) -> Result<Self, Unusable> {
        Ok(Self { tokens: None, tls: tls(files)?, poll })
    }

    /// The tokens of which a call must show one, if it must.
    pub fn tokens(&self) -> Option<CallerTokens> {
        self.tokens.as_ref().map(|source| CallerTokens(Arc::clone(&source.current)))
    }

    /// The TLS that callers are met with, if they are.
    pub fn tls(&self) -> Option<Arc<ArcSwap<ServerConfig>>> {
        self.tls.as_ref().map(|source| Arc::clone(&source.current))
    }

    /// Follows the files: looks at every poll, and reads at once on SIGHUP. Ends only by a defect.
    pub async fn run(mut self, mut hangup: Signal) {
        if self.tokens.is_none() && self.tls.is_none() {
            return std::future::pending().await;
        }
        let mut tick = interval_at(Instant::now() + self.poll, self.poll);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                _ = tick.tick() => false,
                _ = hangup.recv() => true,
            };
            let looking = spawn_blocking(move || {
                self.look(told);
                self
            });
            match looking.await {
                Ok(looked) => self = looked,
                Err(_) => return,
            }
        }
    }

    fn look(&mut self, told: bool) {
        if let Some(tokens) = &mut self.tokens {
            tokens.look(told);
        }
        if let Some(tls) = &mut self.tls {
            tls.look(told);
        }
    }
}

fn tls(files: Option<&ListenTls>) -> Result<Option<Source<ServerConfig>>, Unusable> {
    let load = |tls: ListenTls| {
        Source::load(identity::files(&tls), Box::new(move || identity::server_config(&tls)))
    };
    files.cloned().map(load).transpose()
}

impl<T> Source<T> {
    fn load(files: Vec<Named>, build: Build<T>) -> Result<Self, Unusable> {
        let (used, made) = read_still(&files, &build)?;
        let current = Arc::new(ArcSwap::from_pointee(made));
        Ok(Self { files, build, current, used, seen: None, problem: None })
    }

    /// Looks once. A file may be between its first line and its last: what changed must have
    /// stood still since the last look, unless somebody says that it is complete.
    fn look(&mut self, told: bool) {
        let stamps = match stamps(&self.files) {
            Ok(stamps) if stamps == self.used && !told => {
                (self.seen, self.problem) = (None, None);
                return;
            }
            Ok(stamps) => Ok(stamps),
            Err(problem) => Err(problem),
        };
        let read = stamps.and_then(|stamps| {
            if told || self.seen.as_ref() == Some(&stamps) {
                return read_still(&self.files, &self.build).map(Some);
            }
            self.seen = Some(stamps);
            Ok(None)
        });
        match read {
            Ok(None) => {}
            Ok(Some((used, made))) => {
                self.current.store(Arc::new(made));
                (self.used, self.seen, self.problem) = (used, None, None);
                let files = self.files.iter().map(|(setting, _)| setting.path).collect::<Vec<_>>();
                tracing::info!(?files, "read the files for callers");
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(%problem, "the last good files for callers stay in use");
                    self.problem = Some(problem);
                }
            }
        }
    }
}

fn stamps(files: &[Named]) -> Result<Vec<FileStamp>, Unusable> {
    files
        .iter()
        .map(|named| file::look(&named.1).map_err(|fault| Unusable::fault(named, fault)))
        .collect()
}

/// Makes sense of the files in one state, and tells which.
fn read_still<T>(files: &[Named], build: &Build<T>) -> Result<(Vec<FileStamp>, T), Unusable> {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let before = stamps(files)?;
        let made = build();
        // Whatever was found counts only if nothing moved while it was read.
        if stamps(files).is_ok_and(|after| after == before) {
            return Ok((before, made?));
        }
    }
    let moving = "changes faster than it can be read; let it stand still";
    Err(files.first().map_or_else(Unusable::nothing, |named| Unusable::new(named, moving)))
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers")
            .field("tokens", &self.tokens.is_some())
            .field("tls", &self.tls.is_some())
            .field("poll", &self.poll)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn source(path: &Path) -> Source<Vec<Secret>> {
        let named = (&s::LISTEN_CALLER_TOKEN_FILE, path.to_owned());
        Source::load(vec![named.clone()], Box::new(move || tokens::read(&named))).unwrap()
    }

    fn admits(source: &Source<Vec<Secret>>, token: &'static str) -> bool {
        CallerTokens(Arc::clone(&source.current)).admit(&HeaderValue::from_static(token))
    }

    #[test]
    fn a_changed_file_is_used_once_it_stood_still_and_a_broken_one_never() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("tokens");
        fs::write(&path, "one-of-enough-bytes\n").unwrap();
        let mut source = source(&path);
        assert!(
            admits(&source, "one-of-enough-bytes")
                && !admits(&source, "one-of-enough-byte")
                && !admits(&source, "one-of-enough-bytes1")
        );
        fs::write(&path, "one-of-enough-bytes\ntwo-of-enough-bytes\n").unwrap();
        source.look(false);
        assert!(!admits(&source, "two-of-enough-bytes"), "somebody may still be writing");
        source.look(false);
        assert!(admits(&source, "two-of-enough-bytes") && admits(&source, "one-of-enough-bytes"));
        fs::write(&path, "").unwrap();
        source.look(true);
        assert!(admits(&source, "two-of-enough-bytes") && source.problem.is_some());
        fs::remove_file(&path).unwrap();
        source.look(false);
        assert!(admits(&source, "one-of-enough-bytes") && source.problem.is_some());
        fs::write(&path, "three-of-enough-bytes").unwrap();
        source.look(true);
        assert!(
            admits(&source, "three-of-enough-bytes")
                && !admits(&source, "one-of-enough-bytes")
                && source.problem.is_none()
        );
    }
}
