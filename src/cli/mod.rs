//! Commands and exit codes.
//!
//! Results are printed on standard output, problems and logs on standard error.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::app::{App, Ended};
use crate::telemetry::log;

use settings::{Loaded, SettingsArgs};

mod application;
mod ask;
mod check;
mod dev;
mod end;
mod health;
mod sandbox;
mod settings;
mod wait;
mod webhooks;

/// Done, or told to end and everything in flight was finished.
pub const EXIT_DONE: u8 = 0;
/// Could not start, or a task that must not end did; what was asked for health is not well.
pub const EXIT_FAILED: u8 = 1;
/// Told to end, and something in flight was cut.
pub const EXIT_CUT: u8 = 3;
/// Wrong usage or configuration.
pub const EXIT_USAGE: u8 = 64;

/// A sidecar that lets an application call InnoPaaS without holding a credential.
#[derive(Debug, Parser)]
#[command(name = "innopaas-proxy", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve calls until SIGTERM.
    Run(SettingsArgs),
    /// Print what is wrong with a configuration, or what holds.
    Check(SettingsArgs),
    /// Ask a running proxy how it is: exit code 0 if well.
    Health(health::HealthArgs),
    /// Wait until a running proxy takes calls, then run a command in place of this process.
    Wait(wait::WaitArgs),
    /// Try it out: a sandbox, the proxy in front of it, and a first call.
    Dev(dev::DevArgs),
    /// Serve a stand-in for InnoPaaS.
    Sandbox(sandbox::SandboxArgs),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    hide_panic_messages();
    ExitCode::from(dispatch(std::env::args_os()))
}

fn dispatch(arguments: impl Iterator<Item = OsString>) -> u8 {
    match Cli::try_parse_from(arguments) {
        Ok(Cli { command }) => match command {
            Command::Run(arguments) => run(&arguments),
            Command::Check(arguments) => check::check(&arguments),
            Command::Health(arguments) => health::health(&arguments),
            Command::Wait(arguments) => wait::wait(&arguments),
            Command::Dev(arguments) => dev::dev(&arguments),
            Command::Sandbox(arguments) => sandbox::sandbox(&arguments),
        },
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if asked { EXIT_DONE } else { EXIT_USAGE }
        }
    }
}

fn run(arguments: &SettingsArgs) -> u8 {
    let Loaded { config, warnings, .. } = match arguments.load() {
        Ok(loaded) => loaded,
        Err(problems) => return settings::report(&problems),
    };
    let log = match log::start(config.log) {
        Ok(log) => log,
        Err(error) => return failed(&error),
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match App::bind(config, &log).and_then(App::run) {
        Ok(ended) => exit_code(ended),
        Err(error) if error.is_configuration() => {
            failed(&error);
            EXIT_USAGE
        }
        Err(error) => failed(&error),
    }
}

fn exit_code(ended: Ended) -> u8 {
    match ended {
        Ended::Drained => EXIT_DONE,
        Ended::Cut(_) => EXIT_CUT,
        Ended::Died => EXIT_FAILED,
    }
}

fn failed(error: &dyn std::error::Error) -> u8 {
    eprintln!("innopaas-proxy: cannot start: {error}");
    EXIT_FAILED
}

/// Tells where something panicked and not what it said: a panic's message can hold whatever was
/// being worked on.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, thread, "panicked; the message is withheld");
        } else {
            // `eprintln!` would panic again if nobody can read it.
            let _ = writeln!(io::stderr(), "innopaas-proxy: {thread} panicked at {place}");
        }
    }));
}
