//! What was typed into InnoPaaS's console for webhooks, and is what they are known by.
//!
//! For each application there may be two directories, and what either holds counts: so the value in
//! the console can be changed without a gap. They are read, followed and kept by the same rules as
//! the pair that calls are sent with, but for two: at start each `current` must hold something,
//! because a receiver that nothing can be verified with is of no use; and what is taken out of a
//! `previous` counts no more, because that is how such a change ends.
//!
//! Invariant: what [`ConsolePairs`] tells has at least one value for each of its entries.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::file::{self, Fault};
use super::load::{AUTHORIZATION_FILE, Files, Folder, Problem};
use super::looks::Looks;
use super::named::Unusable;
use super::watch::Memory;
use crate::config::Application;
use crate::config::settings as s;
use crate::secret::{Digest, DigestKey, Secret};
use crate::telemetry::metrics::{Reload, WebhookMetrics};

/// Name of the file with what stands in the header `UserName`.
pub const USER_NAME_FILE: &str = "user-name";
/// Name of the file with the value of `receiver` in an SMS push.
const RECEIVER_FILE: &str = "receiver";
/// Name of the file with the value of `pswd` in an SMS push.
const PSWD_FILE: &str = "pswd";

/// The directory with what is in the console.
const CURRENT: &str = "current";
/// The one with what was there before.
const PREVIOUS: &str = "previous";

/// What events may show now.
#[derive(Debug, Clone)]
pub struct ConsolePairs {
    pairs: Arc<ArcSwap<Vec<ConsolePair>>>,
    key: Arc<DigestKey>,
}

/// What the events of one application show.
#[derive(Debug, Clone)]
pub struct ConsolePair {
    /// The application's name here.
    pub app: Arc<str>,
    /// Of the header `UserName`; of nothing, if there is to be none.
    pub user_name: Digest,
    /// Of the header `Authorization`; of nothing, if there is to be none.
    pub authorization: Digest,
    /// Of `receiver` and `pswd` in the body of an SMS push, if they are checked.
    pub push: Option<[Digest; 2]>,
}

/// How one directory fares.
#[derive(Debug, Clone)]
pub struct ConsoleReport {
    /// The application's name here.
    pub app: Arc<str>,
    /// `current` or `previous`.
    pub which: &'static str,
    /// Whether what it held when it was last fit is in use.
    pub in_use: bool,
    /// What is wrong with it now.
    pub problem: Option<String>,
}

/// Reads the directories, and follows them.
pub struct Console {
    sources: Vec<Source>,
    pairs: ConsolePairs,
    reports: ConsoleReports,
    poll: Duration,
}

/// How the directories fare, for whoever asks.
#[derive(Debug, Clone, Default)]
pub struct ConsoleReports(Arc<Mutex<Vec<ConsoleReport>>>);

/// One directory.
struct Source {
    app: Arc<str>,
    which: &'static str,
    directory: PathBuf,
    files: Files<Held>,
    memory: Memory,
    held: Option<Held>,
    problem: Option<Problem>,
}

/// What a directory holds. Either of the first two is there.
struct Held {
    user_name: Option<Secret>,
    authorization: Option<Secret>,
    push: Option<[Secret; 2]>,
}

const HEADERS: Files<Held> = Files {
    required: &[],
    optional: &[USER_NAME_FILE, AUTHORIZATION_FILE],
    load: |folder| headers(folder, None),
};

const HEADERS_AND_BODY: Files<Held> = Files {
    required: &[RECEIVER_FILE, PSWD_FILE],
    optional: &[USER_NAME_FILE, AUTHORIZATION_FILE],
    load: |folder| {
        let push = [folder.of_header(RECEIVER_FILE)?, folder.of_header(PSWD_FILE)?];
        headers(folder, Some(push))
    },
};

fn headers(folder: &Folder<'_>, push: Option<[Secret; 2]>) -> Result<Held, Problem> {
    let user_name = folder.of_optional_header(USER_NAME_FILE)?;
    let authorization = folder.of_optional_header(AUTHORIZATION_FILE)?;
    if user_name.is_none() && authorization.is_none() {
        return Err(Problem::Missing(folder.shown(USER_NAME_FILE)));
    }
    Ok(Held { user_name, authorization, push })
}

impl ConsolePairs {
    /// What counts now.
    pub fn current(&self) -> Guard<Arc<Vec<ConsolePair>>> {
        self.pairs.load()
    }

    /// Of what an event shows.
    pub fn digest(&self, shown: &[u8]) -> Digest {
        self.key.digest(shown)
    }
}

impl ConsoleReports {
    /// How they fare now.
    pub fn all(&self) -> Vec<ConsoleReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Console {
    /// Reads the directories of these applications; to be looked at again this often.
    ///
    /// # Errors
    /// [`Unusable`], for the first `current` that holds nothing.
    pub fn load(
        applications: &[Application],
        body_check: bool,
        poll: Duration,
    ) -> Result<Self, Unusable> {
        let mut sources = Vec::new();
        for Application { name, current, previous } in applications {
            let app: Arc<str> = name.as_str().into();
            let source = |which, directory: &PathBuf| Source {
                app: Arc::clone(&app),
                which,
                directory: directory.clone(),
                files: if body_check { HEADERS_AND_BODY } else { HEADERS },
                memory: Memory::default(),
                held: None,
                problem: None,
            };
            let mut current = source(CURRENT, current);
            current.begin(poll);
            if let Some(problem) = &current.problem {
                let named = (&s::WEBHOOK_CREDENTIALS, current.directory.clone());
                return Err(Unusable::new(&named, problem.to_string()));
            }
            sources.push(current);
            if let Some(previous) = previous {
                let mut previous = source(PREVIOUS, previous);
                previous.begin(poll);
                sources.push(previous);
            }
        }
        let mut random = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *random).map_err(|_| {
            let named = (&s::WEBHOOK_CREDENTIALS, PathBuf::new());
            Unusable::new(&named, "the system gives no random bytes")
        })?;
        let key = DigestKey::new(&random);
        let pairs = ConsolePairs { pairs: Arc::default(), key: Arc::new(key) };
        let console = Self { sources, pairs, reports: ConsoleReports::default(), poll };
        console.publish();
        Ok(console)
    }

    /// What events may show, now and from then on.
    pub fn pairs(&self) -> ConsolePairs {
        self.pairs.clone()
    }

    /// How the directories fare, now and from then on.
    pub fn reports(&self) -> ConsoleReports {
        self.reports.clone()
    }

    /// Follows the directories from a thread of its own, for as long as somebody holds the looks:
    /// at every poll, and at once when one is asked for.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn follow(mut self, metrics: Arc<WebhookMetrics>) -> std::io::Result<ConsoleLooks> {
        let looks = Arc::new(Looks::new());
        let asked = Arc::downgrade(&looks);
        for source in &self.sources {
            source.tell_start(&metrics);
        }
        thread::Builder::new().name("console-files".to_owned()).spawn(move || {
            while let Some(looks) = asked.upgrade() {
                let look = looks.begin();
                self.look(look.told, &metrics);
                looks.end(look);
                drop(looks);
                let pauses = self.sources.iter().map(|source| source.memory.pause(self.poll));
                thread::park_timeout(pauses.min().unwrap_or(self.poll));
            }
        })?;
        Ok(ConsoleLooks(looks))
    }

    fn look(&mut self, told: bool, metrics: &WebhookMetrics) {
        let mut changed = false;
        for source in &mut self.sources {
            changed |= source.look(self.poll, told, metrics);
        }
        if changed {
            self.publish();
        }
    }

    fn publish(&self) {
        let key = &self.pairs.key;
        let of = |secret: &Option<Secret>| match secret {
            Some(secret) => secret.digest(key),
            None => key.digest(b""),
        };
        let pair = |source: &Source| {
            let Held { user_name, authorization, push } = source.held.as_ref()?;
            Some(ConsolePair {
                app: Arc::clone(&source.app),
                user_name: of(user_name),
                authorization: of(authorization),
                push: push.as_ref().map(|push| push.each_ref().map(|secret| secret.digest(key))),
            })
        };
        self.pairs.pairs.store(Arc::new(self.sources.iter().filter_map(pair).collect()));
        let reports = self.sources.iter().map(|source| ConsoleReport {
            app: Arc::clone(&source.app),
            which: source.which,
            in_use: source.held.is_some(),
            problem: source.problem.as_ref().map(ToString::to_string),
        });
        *self.reports.0.lock().unwrap_or_else(PoisonError::into_inner) = reports.collect();
    }
}

/// Asks for looks at the directories. They are followed for as long as this is there.
#[derive(Debug)]
pub struct ConsoleLooks(Arc<Looks>);

impl ConsoleLooks {
    /// Somebody says that the files are complete: they are read at once.
    pub fn tell(&self) {
        self.0.tell();
    }
}

impl Source {
    /// The first look, which waits for files that were written a moment ago to stand still.
    fn begin(&mut self, poll: Duration) {
        /// Who writes for longer is not waited for.
        const PATIENCE: Duration = Duration::from_secs(5);
        let began = Instant::now();
        loop {
            match self.memory.look(&self.files, &self.directory, poll, false) {
                Ok(Some(held)) => {
                    self.held = Some(held);
                    return;
                }
                Ok(None) if began.elapsed() < PATIENCE => thread::sleep(self.memory.pause(poll)),
                Ok(None) => {
                    self.problem = Some(Problem::Moving(self.directory.clone()));
                    return;
                }
                Err(problem) => {
                    self.problem = Some(problem).filter(|problem| !self.is_emptied(problem));
                    return;
                }
            }
        }
    }

    fn tell_start(&self, metrics: &WebhookMetrics) {
        let (app, which) = (&*self.app, self.which);
        match &self.problem {
            None if self.held.is_none() => {}
            None => {
                metrics.reload(Reload::Loaded);
                tracing::info!(app, which, "read what webhooks are verified with");
            }
            Some(problem) => {
                metrics.reload(Reload::Failed);
                tracing::warn!(app, which, %problem, "nothing to verify webhooks with there");
            }
        }
    }

    /// Looks once; whether anything is to be told.
    fn look(&mut self, poll: Duration, told: bool, metrics: &WebhookMetrics) -> bool {
        let found = self.memory.look(&self.files, &self.directory, poll, told);
        let found = found.and_then(|held| held.map(|held| self.not_cut_off(held)).transpose());
        let (app, which) = (&*self.app, self.which);
        match found {
            Ok(None) => false,
            Ok(Some(held)) => {
                self.held = Some(held);
                self.problem = None;
                metrics.reload(Reload::Loaded);
                tracing::info!(app, which, "read what webhooks are verified with");
                true
            }
            Err(problem) if self.is_emptied(&problem) => {
                let changed = self.held.take().is_some();
                if changed {
                    metrics.reload(Reload::Loaded);
                    tracing::info!(app, which, "no webhooks are verified with that any more");
                }
                self.problem.take().is_some() || changed
            }
            Err(problem) if self.problem.as_ref() == Some(&problem) => false,
            Err(problem) => {
                metrics.reload(Reload::Failed);
                tracing::warn!(app, which, %problem, "what webhooks are verified with stays");
                self.problem = Some(problem);
                true
            }
        }
    }

    /// Whether all that is wrong is that a `previous` holds nothing: so it is between two changes of
    /// the console, and so a change ends; what was there counts no more. A directory that is gone may
    /// be a mishap, and so may be an empty `current`.
    fn is_emptied(&self, problem: &Problem) -> bool {
        if self.which != PREVIOUS || !matches!(problem, Problem::Missing(_)) {
            return false;
        }
        let mut names = self.files.required.iter().chain(self.files.optional);
        let is_missing =
            |name| matches!(file::look(&self.directory.join(name)), Err(Fault::Missing));
        names.all(is_missing)
    }

    /// What is the beginning of what is in use is a file that was not written to its end.
    fn not_cut_off(&self, held: Held) -> Result<Held, Problem> {
        let is_cut = |new: &Option<Secret>, used: &Option<Secret>| {
            new.as_ref().zip(used.as_ref()).is_some_and(|(new, used)| new.is_cut_from(used))
        };
        let Some(used) = &self.held else { return Ok(held) };
        let name = if is_cut(&held.user_name, &used.user_name) {
            USER_NAME_FILE
        } else if is_cut(&held.authorization, &used.authorization) {
            AUTHORIZATION_FILE
        } else {
            return Ok(held);
        };
        Err(Problem::CutOff(self.directory.join(name)))
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const POLL: Duration = Duration::from_millis(10);

    fn application(directory: &Path) -> Application {
        let current = directory.join("current");
        fs::create_dir_all(&current).unwrap();
        Application { name: "shop".into(), current, previous: Some(directory.join("previous")) }
    }

    fn load(application: &Application, body_check: bool) -> Result<Console, String> {
        let applications = std::slice::from_ref(application);
        Console::load(applications, body_check, POLL).map_err(|unusable| unusable.to_string())
    }

    fn knows(console: &Console, user_name: &str, authorization: &str) -> bool {
        let pairs = console.pairs();
        let shown = [user_name, authorization].map(|shown| pairs.digest(shown.as_bytes()));
        let current = pairs.current();
        current.iter().any(|pair| {
            bool::from(pair.user_name.same_as(&shown[0]) & pair.authorization.same_as(&shown[1]))
        })
    }

    #[test]
    fn either_value_is_enough_and_none_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let application = application(temp.path());
        let problem = load(&application, false).unwrap_err();
        assert!(problem.contains("user-name: there is no such file"), "{problem}");
        fs::write(application.current.join("authorization"), "the-token\n").unwrap();
        let console = load(&application, false).unwrap();
        assert!(knows(&console, "", "the-token") && !knows(&console, "x", "the-token"));
        fs::write(application.current.join("user-name"), "me").unwrap();
        let console = load(&application, false).unwrap();
        assert!(knows(&console, "me", "the-token") && !knows(&console, "", "the-token"));
        let problem = load(&application, true).unwrap_err();
        assert!(problem.contains("receiver: there is no such file"), "{problem}");
    }

    #[test]
    fn the_last_good_values_stay_and_previous_ones_count_as_well() {
        let temp = tempfile::tempdir().unwrap();
        let application = application(temp.path());
        fs::write(application.current.join("authorization"), "first-token").unwrap();
        let mut console = load(&application, false).unwrap();
        let metrics = WebhookMetrics::default();
        let previous = application.previous.clone().unwrap();
        fs::create_dir(&previous).unwrap();
        fs::write(previous.join("authorization"), "first-token").unwrap();
        fs::write(application.current.join("authorization"), "second-token").unwrap();
        console.look(true, &metrics);
        assert!(knows(&console, "", "first-token") && knows(&console, "", "second-token"));
        for torn in ["second", "to\0ken", ""] {
            fs::write(application.current.join("authorization"), torn).unwrap();
            console.look(true, &metrics);
            assert!(knows(&console, "", "second-token") && !knows(&console, "", "second"));
            assert!(console.reports().all()[0].problem.is_some(), "{torn}");
        }
        fs::remove_dir_all(&previous).unwrap();
        console.look(true, &metrics);
        assert!(knows(&console, "", "first-token"), "the last good one stays");
        assert!(!format!("{:?} {console:?}", console.pairs().current()).contains("token"));
    }

    /// As it is between two changes of the console. One that is not there at all is a mistyped path.
    #[test]
    fn an_empty_previous_is_no_problem_and_none_at_all_is_one() {
        let temp = tempfile::tempdir().unwrap();
        let application = application(temp.path());
        fs::write(application.current.join("authorization"), "the-token").unwrap();
        let problem = |console: &Console| console.reports().all()[1].problem.clone();
        let mut console = load(&application, false).unwrap();
        assert!(problem(&console).is_some());
        fs::create_dir(application.previous.as_ref().unwrap()).unwrap();
        console.look(true, &WebhookMetrics::default());
        assert_eq!(problem(&console), None);
        assert_eq!(problem(&load(&application, false).unwrap()), None);
    }

    #[test]
    fn what_is_taken_out_of_previous_counts_no_more_and_an_empty_current_is_a_mishap() {
        for body_check in [false, true] {
            let temp = tempfile::tempdir().unwrap();
            let application = application(temp.path());
            let (current, previous) =
                (&application.current, application.previous.as_ref().unwrap());
            fs::create_dir(previous).unwrap();
            let files = ["authorization", "receiver", "pswd"];
            for name in files {
                fs::write(current.join(name), "new-token").unwrap();
                fs::write(previous.join(name), "old-token").unwrap();
            }
            let mut console = load(&application, body_check).unwrap();
            let metrics = WebhookMetrics::default();
            assert!(knows(&console, "", "old-token"));
            // With one of them gone it is broken, and not empty.
            fs::remove_file(previous.join(files[1])).unwrap();
            console.look(true, &metrics);
            assert!(knows(&console, "", "old-token"));
            for path in [current, previous].map(|directory| directory.join("authorization")) {
                fs::remove_file(path).unwrap();
            }
            for name in &files[1..] {
                fs::remove_file(current.join(name)).unwrap();
                let _ = fs::remove_file(previous.join(name)); // one is gone already
            }
            console.look(true, &metrics);
            assert!(knows(&console, "", "new-token") && !knows(&console, "", "old-token"));
            let reports = console.reports().all();
            assert_eq!((reports[0].in_use, reports[1].in_use), (true, false));
            let problems = (reports[0].problem.is_some(), reports[1].problem.is_some());
            assert_eq!(problems, (true, false), "{reports:?}");
            assert!(!console.sources[1].look(POLL, true, &metrics), "told once");
        }
    }
}
