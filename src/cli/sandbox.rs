//! `sandbox`: the stand-in for InnoPaaS as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;

use super::end::End;
use super::webhooks::WebhookArgs;
use super::{EXIT_DONE, EXIT_USAGE, failed};
use crate::credentials::{APP_KEY_FILE, AUTHORIZATION_FILE};
use crate::sandbox::{Act, Options, Pair, Refusal, Sandbox};

/// Where in the written directory the further application's pair is.
const STANDBY: &str = "standby";

#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    /// Port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 7256)]
    port: u16,
    /// Where to write the CA's certificate (`ca.pem`) and the valid pair, for `run` to use, and in
    /// `standby` another application's pair, valid as well.
    #[arg(long, value_name = "DIRECTORY")]
    write: Option<PathBuf>,
    /// How a wrong pair is refused: 401-json, 403-json, 200-code or 401-html.
    #[arg(long, default_value = "401-json", value_parser = clap::value_parser!(Refusal))]
    refusal: Refusal,
    /// What every call meets: normal, cut-body, reset, close-after, redirect, echo, … or JSON such
    /// as '{"slow-head":{"ms":500}}'; docs/reference.md lists them.
    #[arg(long, default_value = "normal", value_parser = act)]
    act: Act,
    #[command(flatten)]
    webhooks: WebhookArgs,
}

pub(super) fn sandbox(arguments: &SandboxArgs) -> u8 {
    match serve(arguments) {
        Ok(()) => EXIT_DONE,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            failed(&error);
            EXIT_USAGE
        }
        Err(error) => failed(&error),
    }
}

fn serve(arguments: &SandboxArgs) -> io::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], arguments.port));
    let options = Options { address, refusal: arguments.refusal, ..Options::default() };
    let sandbox = Sandbox::start(options)
        .map_err(|error| io::Error::new(error.kind(), format!("--port: {address}: {error}")))?;
    sandbox.act(arguments.act.clone(), None);
    if let Some(directory) = &arguments.write {
        write(directory, &sandbox).map_err(|error| {
            let text = format!("--write: {}: {error}", directory.display());
            io::Error::new(error.kind(), text)
        })?;
        println!("credentials and ca.pem are in {}", directory.display());
    }
    println!("sandbox: {}", sandbox.origin());
    let teller = arguments.webhooks.send(&sandbox)?;
    let ended = wait_for_the_end();
    drop(sandbox); // cuts what is still being sent, which ends the teller
    if let Some(teller) = teller {
        let _ = teller.join(); // a panic was told by the hook already
    }
    ended
}

fn write(directory: &Path, sandbox: &Sandbox) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("ca.pem"), sandbox.ca_pem())?;
    write_pair(directory, &sandbox.pair())?;
    let standby = directory.join(STANDBY);
    fs::create_dir_all(&standby)?;
    write_pair(&standby, &sandbox.new_application())
}

/// Writes a pair's files.
pub(super) fn write_pair(directory: &Path, pair: &Pair) -> io::Result<()> {
    fs::write(directory.join(APP_KEY_FILE), pair.app_key())?;
    fs::write(directory.join(AUTHORIZATION_FILE), pair.authorization())
}

fn wait_for_the_end() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        End::new()?.told().await;
        Ok(())
    })
}

fn act(text: &str) -> Result<Act, String> {
    if text.starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())
    } else {
        text.parse().map_err(|error: serde::de::value::Error| error.to_string())
    }
}
