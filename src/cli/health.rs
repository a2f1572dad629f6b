//! `health`: how a running proxy is, for images that hold nothing else that could ask.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::runtime::Builder;

use super::ask::ask;
use super::settings::{self, SettingsArgs};
use super::{EXIT_DONE, EXIT_FAILED};
use crate::app::hide;

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

/// What can be asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Probe {
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

/// Asks once, and prints the answer.
pub(super) fn health(arguments: &HealthArgs) -> u8 {
    let address = match find(&arguments.settings) {
        Ok(address) => address,
        Err(code) => return code,
    };
    match block_on(verdict(address, arguments.probe)) {
        Ok(words) => {
            let _ = io::stdout().write_all(words.as_bytes()); // the exit code is the answer
            EXIT_DONE
        }
        Err(reason) => failed("health", &reason),
    }
}

/// Where the proxy of these settings can be asked; or an exit code, if they cannot be used.
pub(super) fn find(settings: &SettingsArgs) -> Result<SocketAddr, u8> {
    // Probes and hooks run in the proxy's own container, where its files are within reach.
    if let Err(error) = hide() {
        say(&format!("warning: other processes of this user can look into this one: {error}"));
    }
    let loaded = settings.load().map_err(|problems| settings::report(&problems))?;
    let mut address = loaded.config.admin.address;
    // One that stands for all is not one to connect to.
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(address)
}

pub(super) fn block_on<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(future)
}

/// What the endpoint says; as an error, if it says no or nothing.
pub(super) async fn verdict(address: SocketAddr, probe: Probe) -> Result<String, String> {
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

pub(super) fn failed(command: &str, reason: &str) -> u8 {
    say(&format!("{command}: {reason}"));
    EXIT_FAILED
}

/// The exit code is the answer: it does not matter that nobody reads the words.
pub(super) fn say(words: &str) {
    let _ = writeln!(io::stderr(), "innopaas-proxy: {words}");
}
