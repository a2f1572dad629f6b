//! Builds the parts, owns every task and thread, orders start and shutdown.
//!
//! The main thread holds what is not on the path of a call: signals, the watch over the
//! credentials, the admin endpoints. Each worker is a thread with a runtime of its own; nothing
//! is shared between workers but the pair of credentials and counters that a scrape adds up.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use hyper::service::service_fn;
use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};

use crate::admin::Admin;
use crate::config::{Config, Limits, ListenAddress, UnixSocket};
use crate::credentials::{Callers, FingerprintKey, Keyring, Store, Unusable, Watcher};
use crate::lifecycle::{Lifecycle, Phase, Phases};
use crate::server::{self, Admission, Intake, Listener, SocketFile};
use crate::telemetry::access::AccessLog;
use crate::telemetry::code::Pair;
use crate::telemetry::log::LogGuard;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::RecentErrors;
use crate::upstream::{self, Roots, TlsError};

pub use process::hide;

use drain::{Signals, drain};
use receiver::{Around, Bound, Running};
use worker::Shared;

mod drain;
mod process;
mod receiver;
mod worker;

/// A process whose listeners are bound, and who serves nobody yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    runtime: Runtime,
    listener: Listener,
    /// Gives the Unix socket's path back, whatever becomes of the process's start and run.
    socket_file: Option<SocketFile>,
    admin_listener: TcpListener,
    receiver: Option<Bound>,
    callers: Callers,
    fingerprints: Arc<FingerprintKey>,
    tls: Arc<ClientConfig>,
    roots: Roots,
    metrics: Arc<Metrics>,
    access_log: Option<AccessLog>,
}

/// Where a process can be reached.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// For applications.
    pub listen: ListenAddress,
    /// For probes and Prometheus.
    pub admin: SocketAddr,
    /// For InnoPaaS's webhooks, if they are received.
    pub webhook: Option<SocketAddr>,
}

/// Why a process could not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener cannot be bound: the setting, the address, the system's word.
    Bind(&'static str, ListenAddress, io::Error),
    /// The CA file is of no use.
    Tls(TlsError),
    /// A file that a setting names is of no use.
    File(Unusable),
    /// The system gives no thread, timer or signal.
    System(io::Error),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Told to, and everything in flight was finished.
    Drained,
    /// Told to, and this many calls were cut.
    Cut(usize),
    /// A thread or task that must not end did.
    Died,
}

impl App {
    /// Takes what can fail at start: sockets, the files for TLS and callers, a runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(config: Config, log: &LogGuard) -> Result<Self, StartError> {
        process::forbid_dumps();
        process::raise_descriptor_limit(config.limits.connections);
        let (tls, roots) = upstream::client_config(config.upstream.ca_file.as_deref())?;
        let callers = Callers::load(&config.listen, config.credentials.poll)?;
        let key_file = config.credentials.fingerprint_key_file.as_deref();
        let fingerprints = Arc::new(FingerprintKey::load(key_file)?);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(3) // one look at a time: at each pair, and at callers' files
            .build()?;
        let (listener, socket_file) = listen(&config.listen.address)
            .map_err(|e| StartError::Bind("listen.address", config.listen.address.clone(), e))?;
        let admin = config.admin.address;
        let admin_listener = server::bind(admin)
            .map_err(|e| StartError::Bind("admin.address", ListenAddress::Tcp(admin), e))?;
        let receiver = Bound::bind(&config)?;
        let metrics = Metrics::new(config.limits.workers, log.sink());
        Ok(Self {
            config,
            runtime,
            listener,
            socket_file,
            admin_listener,
            receiver,
            callers,
            fingerprints,
            tls,
            roots,
            metrics,
            access_log: log.access(),
        })
    }

    /// Where it will be reached; real ports, also where the configuration says 0.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            listen: match &self.listener {
                Listener::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
                Listener::Unix(_) => self.config.listen.address.clone(),
            },
            admin: self.admin_listener.local_addr()?,
            webhook: self.receiver.as_ref().map(Bound::address).transpose()?,
        })
    }

    /// Serves until SIGTERM or SIGINT, then drains; a second signal cuts what is in flight.
    ///
    /// # Errors
    /// [`StartError`], if a thread or a signal cannot be had.
    pub fn run(self) -> Result<Ended, StartError> {
        let addresses = self.addresses()?;
        let Self {
            config,
            runtime,
            listener,
            socket_file,
            admin_listener,
            receiver,
            callers,
            fingerprints,
            tls,
            roots,
            metrics,
            access_log,
        } = self;
        let ended = LocalSet::new().block_on(&runtime, async move {
            let mut signals = Signals::new()?;
            let hangup = signal(SignalKind::hangup())?;
            let recent = Arc::new(RecentErrors::default());
            let (life, phases) = Lifecycle::starting();
            let (admin_life, admin_phases) = Lifecycle::starting();

            // Before anybody is served, so that the first call finds a pair.
            let (keyring, watchers) = credentials(&config, &fingerprints, &metrics).await?;

            let shared = Shared {
                config: &config,
                tls,
                keyring: &keyring,
                recent: &recent,
                admission: admission(&config.listen.address, &callers),
                callers: callers.tokens(),
                access_log: access_log.clone(),
            };
            let (mut workers, pulses) = worker::start(&shared, listener, &metrics, &phases)?;
            let webhook = receiver.as_ref().map(Bound::reports);
            let around = Around {
                metrics: Arc::clone(metrics.webhook()),
                recent: Arc::clone(&recent),
                log: access_log,
                phases: phases.clone(),
            };
            let receiver = receiver.map(|bound| bound.start(&config, around, &mut workers));
            let receiver = receiver.transpose()?;
            let (receiver_pulse, receiver) =
                receiver.map(|Running { tls, looks, pulse }| (pulse, (tls, looks))).unzip();
            let admin = Arc::new(Admin {
                phases: phases.clone(),
                pulses,
                receiver_pulse,
                keyring: Arc::clone(&keyring),
                webhook,
                ready_without_credentials: config.admin.ready_without_credentials,
                metrics: Arc::clone(&metrics),
                recent,
                upstream: config.upstream.origin.to_string(),
                started: SystemTime::now(),
            });
            let mut tasks = JoinSet::new();
            tasks.spawn_local(serve_admin(admin_listener, admin, config.limits, admin_phases)?);
            for watcher in watchers {
                let hangup = signal(SignalKind::hangup())?;
                tasks.spawn_local(async move { match watcher.run(hangup).await {} });
            }
            let forgetting = signal(SignalKind::hangup())?;
            tasks.spawn_local(async move { match keyring.follow(forgetting).await {} });
            tasks.spawn_local(callers.run(hangup));
            if let Some((tls, looks)) = receiver {
                tasks.spawn_local(tls.run(signal(SignalKind::hangup())?));
                tasks.spawn_local(receiver::follow(looks, signal(SignalKind::hangup())?));
            }

            life.advance(Phase::Serving);
            tracing::info!(
                version = env!("CARGO_PKG_VERSION"),
                listen = %addresses.listen,
                admin = %addresses.admin,
                webhook = addresses.webhook.map(tracing::field::display),
                upstream = %config.upstream.origin,
                %roots,
                workers = config.limits.workers,
                "serving"
            );
            tokio::select! {
                () = signals.next() => {}
                _ = workers.join_next() => return Ok(died("a worker")),
                _ = tasks.join_next() => return Ok(died("a task of the main thread")),
            }
            let ended = drain(&life, &config, &metrics, &mut signals, &mut workers).await;
            admin_life.advance(Phase::Aborting);
            Ok(ended)
        });
        // A lookup or a read that the system never answers must not hold up the end.
        runtime.shutdown_background();
        drop(socket_file);
        ended
    }
}

/// The pairs, and who keeps each of them up to date.
async fn credentials(
    config: &Config,
    fingerprints: &Arc<FingerprintKey>,
    metrics: &Arc<Metrics>,
) -> io::Result<(Arc<Keyring>, Vec<Watcher>)> {
    let mut watchers = Vec::new();
    let mut watched = async |pair, directory: &PathBuf| {
        let store = Arc::new(Store::new(pair, Arc::clone(fingerprints)));
        let (metrics, poll) = (Arc::clone(metrics), config.credentials.poll);
        let watcher = Watcher::start(Arc::clone(&store), metrics, directory.clone(), poll);
        watchers.push(watcher.await?);
        io::Result::Ok(store)
    };
    let primary = watched(Pair::Primary, &config.credentials.directory).await?;
    let standby = match &config.credentials.standby {
        Some(directory) => Some(watched(Pair::Standby, directory).await?),
        None => None,
    };
    let keyring = Keyring::new(primary, standby, &config.refusal, Arc::clone(metrics));
    Ok((Arc::new(keyring), watchers))
}

fn listen(address: &ListenAddress) -> io::Result<(Listener, Option<SocketFile>)> {
    match address {
        ListenAddress::Tcp(address) => Ok((Listener::Tcp(server::bind(*address)?), None)),
        ListenAddress::Unix(UnixSocket { path, mode, allowed_uids: _ }) => {
            let (listener, file) = server::bind_unix(path, *mode)?;
            Ok((Listener::Unix(listener), Some(file)))
        }
    }
}

fn admission(address: &ListenAddress, callers: &Callers) -> Admission {
    match (address, callers.tls()) {
        (_, Some(tls)) => Admission::Tls(tls),
        (ListenAddress::Unix(UnixSocket { allowed_uids, .. }), None)
            if !allowed_uids.is_empty() =>
        {
            Admission::Users(allowed_uids.clone())
        }
        (ListenAddress::Unix(_) | ListenAddress::Tcp(_), None) => Admission::Anyone,
    }
}

/// Says what ended that must not.
fn died(what: &'static str) -> Ended {
    tracing::error!(what, "ended although it must not");
    Ended::Died
}

fn serve_admin(
    listener: TcpListener,
    admin: Arc<Admin>,
    limits: Limits,
    phases: Phases,
) -> io::Result<impl Future<Output = ()>> {
    /// Probes and scrapes; of its own, so that applications cannot use them up.
    const CONNECTIONS: usize = 256;
    /// Whoever reaches the pod's address can take up these connections, but not for long.
    const SHORT: Duration = Duration::from_secs(3);
    let intake = Intake::alone(listener, CONNECTIONS)?;
    let limits = server::Limits {
        head_deadline: SHORT,
        write_progress: SHORT,
        idle: SHORT,
        ..worker::limits_of(&limits)
    };
    let options = server::Options { limits, admission: Admission::Anyone, metrics: None };
    let service = service_fn(move |request| Arc::clone(&admin).handle(request));
    Ok(async move {
        let _cut = server::serve(intake, service, server::bare_refusal, options, phases).await;
    })
}

impl StartError {
    /// Whether the configuration is at fault, and not the machine.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Tls(_) | Self::File(_) => true,
            Self::Bind(..) | Self::System(_) => false,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<Unusable> for StartError {
    fn from(error: Unusable) -> Self {
        Self::File(error)
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(setting, address, error) => cannot_bind(f, setting, address, error),
            Self::Tls(error) => write!(f, "{error}"),
            Self::File(error) => write!(f, "{error}"),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

fn cannot_bind(
    f: &mut fmt::Formatter<'_>,
    setting: &str,
    address: &ListenAddress,
    error: &io::Error,
) -> fmt::Result {
    match (address, error.kind()) {
        (ListenAddress::Tcp(_), io::ErrorKind::AddrInUse) => write!(
            f,
            "{setting}: {address} is in use: another process listens there; stop it, or choose \
             another port with --set {setting}=127.0.0.1:PORT (dev: --port)"
        ),
        (ListenAddress::Unix(_), io::ErrorKind::AddrInUse) => write!(
            f,
            "{setting}: {address} is in use: another process serves that socket; stop it, or \
             choose another path with --set {setting}=unix:/PATH"
        ),
        (ListenAddress::Unix(_), io::ErrorKind::AlreadyExists) => write!(
            f,
            "{setting}: {address} is taken by something that is not a socket and is left as it is; \
             move it away, or choose another path"
        ),
        (ListenAddress::Unix(_), _) => write!(
            f,
            "{setting}: cannot listen on {address}: {error}; its directory must exist and be \
             writable for the proxy's user"
        ),
        (ListenAddress::Tcp(_), _) => write!(f, "{setting}: cannot listen on {address}: {error}"),
    }
}
