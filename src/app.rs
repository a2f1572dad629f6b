//! Builds the parts, owns every task and thread, orders start and shutdown.
//!
//! The main thread holds what is not on the path of a call: signals, the watch over the
//! credentials, the admin endpoints. Each worker is a thread with a runtime of its own; nothing
//! is shared between workers but the pair of credentials and counters that a scrape adds up.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use hyper::service::service_fn;
use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use crate::admin::Admin;
use crate::config::{Config, Limits};
use crate::credentials::{Store, Watcher};
use crate::lifecycle::{Heart, Lifecycle, Phase, Phases, Pulse, heart};
use crate::proxy::{Parts, Proxy};
use crate::server::{self, Drained, Intake, Load, Peer};
use crate::telemetry::log::LogGuard;
use crate::telemetry::metrics::{Metrics, WorkerMetrics};
use crate::telemetry::recent::RecentErrors;
use crate::upstream::{self, Client, Roots, TlsError};

/// A process whose listeners are bound, and who serves nobody yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    runtime: Runtime,
    listener: TcpListener,
    admin_listener: TcpListener,
    tls: Arc<ClientConfig>,
    roots: Roots,
    metrics: Arc<Metrics>,
}

/// Where a process can be reached.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For applications.
    pub listen: SocketAddr,
    /// For probes and Prometheus.
    pub admin: SocketAddr,
}

/// Why a process could not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener cannot be bound: the setting, the address, the system's word.
    Bind(&'static str, SocketAddr, io::Error),
    /// The CA file is of no use.
    Tls(TlsError),
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
    /// Takes what can fail at start: sockets, the CA file, a runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(config: Config, log: &LogGuard) -> Result<Self, StartError> {
        let (tls, roots) = upstream::client_config(config.upstream.ca_file.as_deref())?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2) // one look at the credentials at a time
            .build()?;
        let bind = |setting, address| {
            server::bind(address).map_err(|error| StartError::Bind(setting, address, error))
        };
        let listener = bind("listen.address", config.listen.address)?;
        let admin_listener = bind("admin.address", config.admin.address)?;
        let metrics = Metrics::new(config.limits.workers, log.dropped_lines());
        Ok(Self { config, runtime, listener, admin_listener, tls, roots, metrics })
    }

    /// Where it will be reached; real ports, also where the configuration says 0.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            listen: self.listener.local_addr()?,
            admin: self.admin_listener.local_addr()?,
        })
    }

    /// Serves until SIGTERM or SIGINT, then drains; a second signal cuts what is in flight.
    ///
    /// # Errors
    /// [`StartError`], if a thread or a signal cannot be had.
    pub fn run(self) -> Result<Ended, StartError> {
        let addresses = self.addresses()?;
        let Self { config, runtime, listener, admin_listener, tls, roots, metrics } = self;
        let ended = LocalSet::new().block_on(&runtime, async move {
            let mut signals = Signals::new()?;
            let credentials = Arc::new(Store::default());
            let recent = Arc::new(RecentErrors::default());
            let (life, phases) = Lifecycle::starting();
            let (admin_life, admin_phases) = Lifecycle::starting();

            // Before anybody is served, so that the first call finds a pair.
            let mut watcher =
                Watcher::new(Arc::clone(&credentials), Arc::clone(&metrics), &config.credentials);
            watcher.look(false).await;

            let shared =
                Shared { config: &config, tls, credentials: &credentials, recent: &recent };
            let (mut workers, pulses) = start_workers(&shared, listener, &metrics, &phases)?;
            let admin = Arc::new(Admin {
                phases: phases.clone(),
                pulses,
                credentials,
                ready_without_credentials: config.admin.ready_without_credentials,
                metrics: Arc::clone(&metrics),
                recent,
                upstream: config.upstream.origin.to_string(),
                started: SystemTime::now(),
            });
            let mut tasks = JoinSet::new();
            tasks.spawn_local(serve_admin(admin_listener, admin, config.limits, admin_phases)?);
            tasks.spawn_local(async move { drop(watcher.run().await) });

            life.advance(Phase::Serving);
            tracing::info!(
                version = env!("CARGO_PKG_VERSION"),
                listen = %addresses.listen,
                admin = %addresses.admin,
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
        ended
    }
}

fn died(what: &'static str) -> Ended {
    tracing::error!(what, "ended although it must not");
    Ended::Died
}

/// Waits for the workers, first with the door open, then with it shut.
async fn drain(
    life: &Lifecycle,
    config: &Config,
    metrics: &Metrics,
    signals: &mut Signals,
    workers: &mut Workers,
) -> Ended {
    /// For workers to notice that they must stop at once.
    const ABORT: Duration = Duration::from_secs(1);
    let (minimum, maximum) = (config.drain.minimum, config.drain.maximum);
    tracing::info!(?minimum, ?maximum, "draining");
    life.advance(Phase::Draining);
    let finished = async {
        sleep(minimum).await;
        life.advance(Phase::Closing);
        join_all(workers).await
    };
    let finished = tokio::select! {
        finished = timeout(maximum, finished) => finished.ok(),
        () = signals.next() => None,
    };
    let finished = if finished.is_some() {
        finished
    } else {
        metrics.cutting();
        life.advance(Phase::Aborting);
        timeout(ABORT, join_all(workers)).await.ok()
    };
    match finished {
        Some(Some(Drained { cut: 0 })) => {
            tracing::info!("drained");
            Ended::Drained
        }
        Some(Some(Drained { cut })) => {
            tracing::warn!(cut, "calls were cut at the end of the drain");
            Ended::Cut(cut)
        }
        Some(None) => died("a worker"),
        None => {
            tracing::error!("a worker hangs; what it had in flight is cut");
            Ended::Cut(1)
        }
    }
}

/// What became of all workers; `None` if one died.
async fn join_all(workers: &mut Workers) -> Option<Drained> {
    let mut sum = Some(Drained::default());
    while let Some(ended) = workers.join_next().await {
        sum = match (sum, ended) {
            (Some(sum), Ok(Ok(drained))) => Some(Drained { cut: sum.cut + drained.cut }),
            (_, _) => None,
        };
    }
    sum
}

fn serve_admin(
    listener: TcpListener,
    admin: Arc<Admin>,
    limits: Limits,
    phases: Phases,
) -> io::Result<impl Future<Output = ()>> {
    /// Probes and a few scrapes; of its own, so that applications cannot use them up.
    const CONNECTIONS: usize = 64;
    let intake = Intake::alone(listener, CONNECTIONS)?;
    let options = server::Options { limits: limits_of(&limits), tls: None, metrics: None };
    let service = service_fn(move |request| Arc::clone(&admin).handle(request));
    Ok(async move {
        let _cut = server::serve(intake, service, options, phases).await;
    })
}

fn limits_of(limits: &Limits) -> server::Limits {
    server::Limits {
        head_size: limits.head_size,
        header_count: limits.header_count,
        head_deadline: limits.head_deadline,
        write_progress: limits.body_progress,
        idle: limits.idle,
    }
}

/// The workers' ends; an error means that the worker's thread died.
type Workers = JoinSet<Result<Drained, oneshot::error::RecvError>>;

/// What every worker gets.
struct Shared<'a> {
    config: &'a Config,
    tls: Arc<ClientConfig>,
    credentials: &'a Arc<Store>,
    recent: &'a Arc<RecentErrors>,
}

/// Starts the threads: the first accepts, and hands on what the others have less of.
fn start_workers(
    shared: &Shared<'_>,
    listener: TcpListener,
    metrics: &Metrics,
    phases: &Phases,
) -> io::Result<(Workers, Vec<Pulse>)> {
    let (mut workers, mut pulses, mut peers) = (JoinSet::new(), Vec::new(), Vec::new());
    let mut listener = Some(listener);
    // The last one first, so that the accepting worker knows its peers.
    for (index, metrics) in metrics.workers().iter().enumerate().rev() {
        let entrance = if index == 0 {
            Entrance::Listener(listener.take(), std::mem::take(&mut peers))
        } else {
            let (intake, peer) = Intake::handed();
            peers.push(peer);
            Entrance::Handed(intake)
        };
        let (heart, pulse) = heart();
        pulses.push(pulse);
        let (report, ended) = oneshot::channel();
        let worker = Worker {
            config: shared.config.clone(),
            tls: Arc::clone(&shared.tls),
            credentials: Arc::clone(shared.credentials),
            recent: Arc::clone(shared.recent),
            metrics: Arc::clone(metrics),
            heart,
            phases: phases.clone(),
        };
        // Its end is told through `report`, also when it panics: then nobody sends.
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            match worker.run(entrance) {
                Ok(drained) => drop(report.send(drained)),
                Err(error) => tracing::error!(%error, "a worker could not start"),
            }
        })?;
        workers.spawn_local(ended);
    }
    pulses.reverse();
    Ok((workers, pulses))
}

/// Where a worker's connections come from.
enum Entrance {
    Listener(Option<TcpListener>, Vec<Peer>),
    Handed(Intake),
}

/// One thread that serves calls.
struct Worker {
    config: Config,
    tls: Arc<ClientConfig>,
    credentials: Arc<Store>,
    recent: Arc<RecentErrors>,
    metrics: Arc<WorkerMetrics>,
    heart: Heart,
    phases: Phases,
}

impl Worker {
    fn run(self, entrance: Entrance) -> io::Result<Drained> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4) // name lookups
            .build()?;
        let drained = LocalSet::new().block_on(&runtime, async move {
            let intake = entrance.open(self.config.limits.connections)?;
            let client = Client::new(&self.config.upstream, self.tls, Arc::clone(&self.metrics));
            let proxy = Rc::new(Proxy::new(Parts {
                credentials: self.credentials,
                client: Rc::clone(&client),
                policy: self.config.policy,
                body_progress: self.config.limits.body_progress,
                metrics: Arc::clone(&self.metrics),
                recent: self.recent,
                log_access: self.config.log.access,
            }));
            let service = service_fn(move |request| {
                let proxy = Rc::clone(&proxy);
                async move { proxy.handle(request).await }
            });
            let options = server::Options {
                limits: limits_of(&self.config.limits),
                tls: None,
                metrics: Some(self.metrics),
            };
            let serving = server::serve(intake, service, options, self.phases);
            let beside = async { tokio::join!(self.heart.beat(), client.keep_trimmed()) };
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                drained = &mut serving => Ok(drained),
                _ = beside => Ok(serving.await),
            }
        });
        runtime.shutdown_background();
        drained
    }
}

impl Entrance {
    fn open(self, connections: usize) -> io::Result<Intake> {
        match self {
            Self::Handed(intake) => Ok(intake),
            Self::Listener(None, _) => Err(io::Error::other("the listener is taken")),
            Self::Listener(Some(listener), peers) => Ok(Intake::Listener {
                listener: tokio::net::TcpListener::from_std(listener)?,
                slots: Arc::new(Semaphore::new(connections)),
                load: Load::default(),
                peers,
            }),
        }
    }
}

/// SIGTERM and SIGINT, which mean the same.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl StartError {
    /// Whether the configuration is at fault, and not the machine.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Tls(_) => true,
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

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(setting, address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{setting}: {address} is in use: another process listens there; stop it, or \
                     choose another port with --set {setting}=127.0.0.1:PORT (dev: --port)"
                )
            }
            Self::Bind(setting, address, error) => {
                write!(f, "{setting}: cannot listen on {address}: {error}")
            }
            Self::Tls(error) => write!(f, "{error}"),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}
