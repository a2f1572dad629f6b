//! The webhooks of `sandbox`: what its flags ask for, and a line for each event.
//!
//! Secrets come from files alone: arguments are seen by everybody on the machine.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Args;

use crate::config;
use crate::credentials::AUTHORIZATION_FILE;
use crate::sandbox::{
    BodyCheck, Event, Form, Pace, Sandbox, Sending, Show, Webhook, WebhookPair, WebhookState,
};

const USER_NAME_FILE: &str = "user-name";
const RECEIVER_FILE: &str = "receiver";
const PSWD_FILE: &str = "pswd";

#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    /// Where on this machine to send webhooks, once started; docs/reference.md says more.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Which: `sms_status`, `sms_uplink`, `whatsapp_message_status_updated:read`, …
    #[arg(
        long,
        value_name = "EVENT",
        requires = "webhook",
        default_value = "whatsapp_message_status_updated"
    )]
    webhook_event: Event,
    /// Where the files `user-name` and `authorization` are, perhaps `receiver` and `pswd`.
    #[arg(long, value_name = "DIRECTORY", requires = "webhook")]
    webhook_credentials: Option<PathBuf>,
    /// What the headers show of the pair: right, neither, swapped, authorization-prefix, …
    #[arg(long, value_name = "SHOW", requires = "webhook", default_value = "right")]
    webhook_show: Show,
    /// How SMS pushes are sent: post or get.
    #[arg(long, value_name = "FORM", requires = "webhook", default_value = "post")]
    webhook_form: Form,
    /// How many events.
    #[arg(long, value_name = "N", requires = "webhook", default_value_t = 1)]
    webhook_count: u32,
    /// So many a second, instead of all at once.
    #[arg(long, value_name = "N", requires = "webhook")]
    webhook_rate: Option<u32>,
    /// Between two tries of an event.
    #[arg(long, value_name = "DURATION", requires = "webhook", default_value = "1m",
          value_parser = config::duration)]
    webhook_pause: Duration,
    /// PEM file with the CA to trust; https needs it.
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_ca_file: Option<PathBuf>,
}

impl WebhookArgs {
    /// Begins to send, if that was asked for; the thread tells what becomes of it.
    pub(super) fn send(&self, sandbox: &Sandbox) -> io::Result<Option<JoinHandle<()>>> {
        let Some(url) = &self.webhook else { return Ok(None) };
        let sending = sandbox.send_webhooks(self.order(url)?)?;
        let tell = move || {
            // Whoever closed our output does not want to read it.
            let _ = tell(sending);
        };
        thread::Builder::new().name("webhooks".to_owned()).spawn(tell).map(Some)
    }

    fn order(&self, url: &str) -> io::Result<Webhook> {
        let ca_pem = match &self.webhook_ca_file {
            Some(path) => Some(read("--webhook-ca-file", path)?),
            None => None,
        };
        let mut webhook = Webhook {
            ca_pem,
            show: self.webhook_show,
            form: self.webhook_form,
            count: self.webhook_count,
            pace: self.webhook_rate.map_or(Pace::Burst, Pace::PerSecond),
            pause: self.webhook_pause,
            ..Webhook::to(url, self.webhook_event)
        };
        if let Some(directory) = &self.webhook_credentials {
            let value = |name| secret(&directory.join(name));
            webhook.pair =
                Some(WebhookPair::new(value(USER_NAME_FILE)?, value(AUTHORIZATION_FILE)?));
            if directory.join(RECEIVER_FILE).exists() {
                webhook.body_check = BodyCheck::new(value(RECEIVER_FILE)?, value(PSWD_FILE)?);
            }
        }
        Ok(webhook)
    }
}

/// The content of a file, of which one line end is not a part.
fn secret(path: &Path) -> io::Result<String> {
    let mut content = read("--webhook-credentials", path)?;
    if content.ends_with('\n') {
        content.pop();
        if content.ends_with('\r') {
            content.pop();
        }
    }
    Ok(content)
}

/// The content of a file, which is never quoted in what is said about it.
fn read(flag: &str, path: &Path) -> io::Result<String> {
    const LARGEST: u64 = 1 << 20; // bytes; none of these files is near it
    let mut content = String::new();
    File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut content)).map_err(
        |error| {
            io::Error::new(error.kind(), format!("{flag}: {}: {}", path.display(), error.kind()))
        },
    )?;
    Ok(content)
}

fn tell(mut sending: Sending) -> io::Result<()> {
    /// How long news are waited for at a time.
    const AT_MOST: Duration = Duration::from_secs(60);
    loop {
        let is_over = sending.is_over(); // asked first: what comes between would be lost
        for event in sending.news(AT_MOST) {
            writeln!(io::stdout(), "webhook {event}")?;
        }
        if is_over {
            break;
        }
    }
    let report = sending.report();
    let end = match report.state {
        WebhookState::Running | WebhookState::Done => "",
        WebhookState::Cut => ", the others were cut",
    };
    let (delivered, lost, tries) = (report.delivered, report.lost, report.tries);
    writeln!(io::stdout(), "webhooks: {delivered} delivered, {lost} lost, {tries} tries{end}")
}
