//! `health` and `wait`: how a running proxy is, for images that hold nothing else that could ask.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::ask::ask;
use super::settings::{self, SettingsArgs, Unusable};
use super::{EXIT_DONE, EXIT_FAILED};
use crate::app::hide;
use crate::config::duration;

/// How long one question may take: a second more than the endpoint itself waits for a worker.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// What to ask for.
    #[arg(value_enum, default_value_t = Probe::Livez)]
    probe: Probe,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Probe {
    /// Whether its threads answer.
    Livez,
    /// Whether it can take calls.
    Readyz,
    /// Whether it listens.
    Startupz,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Startupz => "/startupz",
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// What to wait for.
    #[arg(long = "for", value_enum, value_name = "PROBE", default_value_t = Probe::Readyz)]
    probe: Probe,
    /// How long to wait at most.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    timeout: Duration,
    /// What to run then, in place of this process.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Asks once, and prints the answer.
pub(super) fn health(arguments: &HealthArgs) -> u8 {
    hide_beside_the_proxy();
    let address = match admin(&arguments.settings) {
        Ok(address) => address,
        Err(problems) => return settings::report(&problems),
    };
    match block_on(verdict(address, arguments.probe)) {
        Ok(words) => {
            let _ = io::stdout().write_all(words.as_bytes()); // the exit code is the answer
            EXIT_DONE
        }
        Err(reason) => failed("health", &reason),
    }
}

/// Asks until the answer is yes, and becomes the command.
pub(super) fn wait(arguments: &WaitArgs) -> u8 {
    hide_beside_the_proxy();
    let address = match admin(&arguments.settings) {
        Ok(address) => address,
        Err(problems) => return settings::report(&problems),
    };
    let waited = block_on(until(address, arguments.probe, arguments.timeout));
    match waited.and_then(|()| become_command(&arguments.command)) {
        Ok(()) => EXIT_DONE,
        Err(reason) => failed("wait", &reason),
    }
}

/// Probes and hooks run in the proxy's own container, where its files are within reach.
fn hide_beside_the_proxy() {
    if let Err(error) = hide() {
        say(&format!("warning: other processes of this user can look into this one: {error}"));
    }
}

/// Where the proxy of these settings can be asked. An address that stands for all is not one to
/// connect to.
fn admin(settings: &SettingsArgs) -> Result<SocketAddr, Unusable> {
    let mut address = settings.load()?.config.admin.address;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(address)
}

fn block_on<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(future)
}

/// What the endpoint says; as an error, if it says no or nothing.
async fn verdict(address: SocketAddr, probe: Probe) -> Result<String, String> {
    let path = probe.path();
    let asked = async { ask(address, Request::get(path).body(Full::default())?, PATIENCE).await };
    match asked.await {
        Ok((StatusCode::OK, words)) => Ok(words),
        Ok((status, words)) => {
            Err(format!("http://{address}{path}: {status}\n{}", words.trim_end()))
        }
        Err(error) => Err(format!("http://{address}{path}: {error}")),
    }
}

/// Asks again and again, and tells why it still waits.
async fn until(address: SocketAddr, probe: Probe, limit: Duration) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_millis(50);
    // As the first process of a container it would not be ended by a signal that it does not take.
    let mut end = End::new().map_err(|error| error.to_string())?;
    let mut reasons = Reasons::new();
    let asking = async {
        while let Err(reason) = verdict(address, probe).await {
            reasons.add(reason);
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        biased; // told to end while the good answer comes is told to end
        () = end.told() => Err("told to end before the proxy was ready".to_owned()),
        asked = timeout(limit, asking) => {
            asked.map_err(|_| format!("not ready after {limit:?}: {}", reasons.last))
        }
    }
}

/// Why there is still nothing but waiting.
struct Reasons {
    last: String,
    told: String,
    at: Instant,
}

impl Reasons {
    /// Nothing is told in the first second, in which a pod's containers find each other.
    fn new() -> Self {
        Self { last: String::new(), told: String::new(), at: Instant::now() }
    }

    /// Tells a reason that is another one than the last told, but not more than one in a second: who
    /// holds the port may say something else each time.
    fn add(&mut self, reason: String) {
        const QUIET: Duration = Duration::from_secs(1);
        if self.at.elapsed() >= QUIET && self.told != reason {
            say(&format!("wait: not ready yet: {reason}"));
            self.told.clone_from(&reason);
            self.at = Instant::now();
        }
        self.last = reason;
    }
}

/// The signals that ask a process to end.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Does not come back, if there is a command and it can be executed.
fn become_command(command: &[OsString]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let error = Command::new(program).args(arguments).exec();
    Err(format!("cannot execute {}: {error}", program.to_string_lossy()))
}

fn failed(command: &str, reason: &str) -> u8 {
    say(&format!("{command}: {reason}"));
    EXIT_FAILED
}

/// The exit code is the answer: it does not matter that nobody reads the words.
fn say(words: &str) {
    let _ = writeln!(io::stderr(), "innopaas-proxy: {words}");
}
