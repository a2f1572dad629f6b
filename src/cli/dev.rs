//! `dev`: everything on one machine, before anything is configured.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::Full;

use super::application::Application;
use super::ask::{Failure, ask};
use super::sandbox::write_pair;
use super::{exit_code, failed, settings};
use crate::app::App;
use crate::config::settings::{self as s, Setting};
use crate::config::{Config, ListenAddress, Place, Raw};
use crate::credentials::{APP_KEY_FILE, AUTHORIZATION_FILE, USER_NAME_FILE};
use crate::sandbox::{Event, Options, Sandbox, Webhook, WebhookPair};
use crate::telemetry::log;

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Port of the proxy, that of webhooks above it, then the admin endpoints; 0 picks free ones.
    #[arg(long, default_value_t = 7253, value_parser = clap::value_parser!(u16).range(..=65533))]
    port: u16,
}

pub(super) fn dev(arguments: &DevArgs) -> u8 {
    match prepare(arguments.port) {
        Ok((stage, raw)) => match Config::from_raw(raw) {
            Ok(config) => serve(config, &stage),
            Err(problems) => settings::report(&problems.into()),
        },
        Err(error) => failed(&error),
    }
}

/// What the proxy needs around it; gone when dropped.
struct Stage {
    sandbox: Sandbox,
    _application: Application,
    directory: tempfile::TempDir,
    /// What stands in the sandbox's console for webhooks.
    console: WebhookPair,
}

/// The name of the only application.
const APP: &str = "dev";

fn prepare(port: u16) -> io::Result<(Stage, Raw)> {
    let sandbox = Sandbox::start(Options::default())?;
    let directory = tempfile::Builder::new().prefix("innopaas-proxy-").tempdir()?;
    let credentials = directory.path().join("credentials");
    let ca_file = directory.path().join("ca.pem");
    fs::write(&ca_file, sandbox.ca_pem())?;
    mount_pair(&credentials, &sandbox)?;
    let application = Application::start()?;
    let webhook = directory.path().join("webhook");
    let console = write_console(&webhook, &sandbox)?;

    let mut raw = Raw::defaults();
    let mut set = |setting: &'static Setting, value: &str| {
        raw.text(setting, value, Place::Flag("dev".to_owned()));
    };
    let above = |steps| if port == 0 { 0 } else { port + steps };
    set(&s::LISTEN_ADDRESS, &format!("127.0.0.1:{port}"));
    set(&s::WEBHOOK_LISTEN, &format!("127.0.0.1:{}", above(1)));
    set(&s::WEBHOOK_CREDENTIALS, &format!("app={APP} current={}", webhook.display()));
    set(&s::WEBHOOK_DEFAULT, &format!("http://{}/webhooks", application.address()));
    set(&s::ADMIN_ADDRESS, &format!("127.0.0.1:{}", above(2)));
    set(&s::UPSTREAM_ORIGIN, &sandbox.origin());
    set(&s::UPSTREAM_ALLOW_PRIVATE, "127.0.0.0/8,::1/128");
    set(&s::UPSTREAM_CA_FILE, &ca_file.to_string_lossy());
    set(&s::CREDENTIALS_DIRECTORY, &credentials.to_string_lossy());
    set(&s::DRAIN_MINIMUM, "0s");
    set(&s::LOG_FORMAT, "text");
    Ok((Stage { sandbox, _application: application, directory, console }, raw))
}

/// Writes what the console would be given, and answers it. Values of the moment: a second pair of the
/// sandbox's, which it makes at random.
fn write_console(directory: &Path, sandbox: &Sandbox) -> io::Result<WebhookPair> {
    let random = sandbox.new_application();
    fs::create_dir_all(directory)?;
    fs::write(directory.join(USER_NAME_FILE), random.app_key())?;
    fs::write(directory.join(AUTHORIZATION_FILE), random.authorization())?;
    Ok(WebhookPair::new(random.app_key(), random.authorization()))
}

/// Lays the pair out as the kubelet mounts a Secret.
fn mount_pair(directory: &Path, sandbox: &Sandbox) -> io::Result<()> {
    let generation = directory.join("..generation_1");
    fs::create_dir_all(&generation)?;
    write_pair(&generation, &sandbox.pair())?;
    symlink("..generation_1", directory.join("..data"))?;
    for name in [APP_KEY_FILE, AUTHORIZATION_FILE] {
        symlink(Path::new("..data").join(name), directory.join(name))?;
    }
    Ok(())
}

fn serve(config: Config, stage: &Stage) -> u8 {
    let log = match log::start(config.log) {
        Ok(log) => log,
        Err(error) => return failed(&error),
    };
    let app = match App::bind(config, &log) {
        Ok(app) => app,
        Err(error) => return failed(&error),
    };
    let addresses = match app.addresses() {
        Ok(addresses) => addresses,
        Err(error) => return failed(&error),
    };
    let ListenAddress::Tcp(listen) = addresses.listen else {
        return failed(&io::Error::other("listens on no port")); // `prepare` writes one
    };
    let Some(webhook) = addresses.webhook else {
        return failed(&io::Error::other("receives no webhooks")); // `prepare` says so
    };
    let words = explain((listen, webhook, addresses.admin), stage);
    // The listeners are bound, so the first call and the first webhook wait in their queues until
    // the proxy serves.
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            show(&words, listen);
            send(webhook, stage);
        });
        app.run()
    });
    match ended {
        Ok(ended) => exit_code(ended),
        Err(error) => failed(&error),
    }
}

/// What the first call sends, and what the first line to paste does.
const SMS: &str = r#"{"mobile":"8613800000000","msg":"Your code is 4711"}"#;
const SMS_PATH: &str = "/api/sms/v3/msg/send";

fn explain(
    (listen, webhook, admin): (SocketAddr, SocketAddr, SocketAddr),
    stage: &Stage,
) -> String {
    format!(
        "\n\
         sandbox      {origin} (stands in for InnoPaaS, over TLS)\n\
         proxy        http://{listen} (the base URL for your application)\n\
         webhooks     http://{webhook} (verified, and handed to a small application here)\n\
         credentials  {credentials} (your application never sees them)\n\
         metrics      http://{admin}/metrics, status http://{admin}/status\n\
         \n\
         Paste one of these into another terminal; Ctrl-C here ends it all.\n\
         \n\
         curl -H 'Content-Type: application/json' -d '{SMS}' http://{listen}{SMS_PATH}\n\
         \n\
         curl -H 'Content-Type: application/json' -d '{{\"wabaId\":\"1\",\"messageType\":\"text\",\
         \"recipientNumber\":\"8613800000000\",\"text\":{{\"body\":\"Hello\"}}}}' \
         http://{listen}/api/whatsapp/v3/msg/submit\n\
         \n\
         printf '%%PDF-1.4 hello' | curl -F 'file=@-;type=application/pdf;filename=menu.pdf' \
         http://{listen}/api/whatsapp/v3/uploadFile\n\
         \n\
         innopaas-proxy sandbox --port 0 --webhook http://{webhook}/ --webhook-event \
         whatsapp_mo_message_received --webhook-credentials {console}\n\n",
        origin = stage.sandbox.origin(),
        credentials = stage.directory.path().join("credentials").display(),
        console = stage.directory.path().join("webhook").display(),
    )
}

/// One webhook, as InnoPaaS sends them; the application prints it.
fn send(receiver: SocketAddr, stage: &Stage) {
    const PATIENCE: Duration = Duration::from_secs(10);
    let webhook = Webhook {
        pair: Some(stage.console.clone()),
        ..Webhook::to(format!("http://{receiver}/"), Event::SmsStatus)
    };
    let failed = match stage.sandbox.send_webhooks(webhook) {
        Ok(sending) => sending.wait(PATIENCE).delivered == 0,
        Err(_) => true,
    };
    if failed {
        let _ = writeln!(io::stdout(), "A webhook, sent just now, was not delivered\n");
    }
}

fn show(words: &str, proxy: SocketAddr) {
    let answer = first_call(proxy)
        .map_or_else(|error| format!("failed: {error}"), |answer| format!("was answered {answer}"));
    // Whoever closed our output does not want to read it.
    let _ = write!(io::stdout(), "{words}A first call, made just now, {answer}\n\n");
}

/// Calls as an application would: plain HTTP, no credential.
fn first_call(proxy: SocketAddr) -> Result<String, Failure> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let request = Request::post(SMS_PATH).body(Full::new(Bytes::from_static(SMS.as_bytes())))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(ask(proxy, request, PATIENCE))?;
    Ok(format!("{status}: {body}"))
}
