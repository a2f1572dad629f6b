//! `wait`: an application's entry point, which becomes the application when the proxy is there.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::EXIT_DONE;
use super::end::End;
use super::health::{self, Probe, say};
use super::settings::SettingsArgs;
use crate::config::duration;

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

/// Asks until the answer is yes, and becomes the command.
pub(super) fn wait(arguments: &WaitArgs) -> u8 {
    let address = match health::find(&arguments.settings) {
        Ok(address) => address,
        Err(code) => return code,
    };
    let waited = health::block_on(until(address, arguments.probe, arguments.timeout));
    match waited.and_then(|()| become_command(&arguments.command)) {
        Ok(()) => EXIT_DONE,
        Err(reason) => health::failed("wait", &reason),
    }
}

/// Asks again and again, and tells why it still waits.
async fn until(address: SocketAddr, probe: Probe, limit: Duration) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_millis(50);
    // As the first process of a container it would not be ended by a signal that it does not take.
    let mut end = End::new().map_err(|error| error.to_string())?;
    let mut reasons = Reasons::new();
    let asking = async {
        while let Err(reason) = health::verdict(address, probe).await {
            reasons.add(reason);
            sleep(PAUSE).await;
        }
        yield_now().await; // a signal that came meanwhile is only seen at the runtime's next turn
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
        Self { last: "nobody answered yet".to_owned(), told: String::new(), at: Instant::now() }
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

/// Does not come back, if there is a command and it can be executed.
fn become_command(command: &[OsString]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let error = Command::new(program).args(arguments).exec();
    Err(format!("cannot execute {}: {error}", program.to_string_lossy()))
}
