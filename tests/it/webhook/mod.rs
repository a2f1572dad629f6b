//! The receiver of webhooks: who gets past it, what an application is given, and what its sender is
//! told. Senders write raw bytes; the application keeps every byte that it gets.

use innopaas_proxy::sandbox::Sandbox;

use crate::support::canary::{HOOK_TOKEN, PHONE, PSWD, RECEIVER, TEXT, USER_NAME};
use crate::support::{Application, Mount, Proxy, Setup};

use sender::{Line, request};

mod body_check;
mod duplicates;
mod failures;
mod flood;
mod hand_over;
mod property;
mod record;
mod routing;
mod sender;
mod start;
mod verification;

/// A receiver, what its events are verified by, and the application that they go to by default.
struct Bench {
    proxy: Proxy,
    application: Application,
    /// Of the app `shop`.
    shop: Mount,
    /// Of the app `club`.
    club: Mount,
    _sandbox: Sandbox,
}

/// Where events go that no route fits.
const DEFAULT: &str = "/in";

impl Bench {
    fn start() -> Self {
        Self::set(&[])
    }

    fn set(settings: &[&str]) -> Self {
        Self::before(Application::start(), settings)
    }

    fn before(application: Application, settings: &[&str]) -> Self {
        let to = format!("webhook.default={}", application.at(DEFAULT));
        let settings: Vec<_> = [to.as_str()].into_iter().chain(settings.iter().copied()).collect();
        Self::without_default(application, &settings)
    }

    fn without_default(application: Application, settings: &[&str]) -> Self {
        let [shop, club] = ["", "Club"].map(console);
        let setup = Setup::new().receiving(&[("shop", &shop), ("club", &club)]);
        let setup = settings.iter().fold(setup, |setup, setting| setup.set(setting));
        let (proxy, sandbox) = setup.start();
        Self { proxy, application, shop, club, _sandbox: sandbox }
    }

    fn line(&self) -> Line {
        Line::open(self.proxy.webhook.unwrap())
    }

    /// Posts an event of the app `shop` on a connection of its own.
    fn post(&self, body: impl AsRef<[u8]>) -> sender::Answer {
        self.line().call(&request("POST /hooks", right(), body.as_ref()))
    }

    fn events(&self, outcome: &str) -> u64 {
        let labels = format!(r#"{{outcome="{outcome}",status_class=""}}"#);
        self.proxy.metric(&format!("innopaas_proxy_webhook_events_total{labels}"))
    }

    fn delivered(&self, class: &str) -> u64 {
        let labels = format!(r#"{{outcome="delivered",status_class="{class}"}}"#);
        self.proxy.metric(&format!("innopaas_proxy_webhook_events_total{labels}"))
    }

    fn refused(&self, reason: &str) -> u64 {
        refused(&self.proxy, reason)
    }

    /// The records of events so far.
    fn records(&self) -> Vec<serde_json::Value> {
        let is_record =
            |line: &serde_json::Value| line["target"] == "webhook" && line["message"] == "event";
        self.proxy.log().into_iter().filter(is_record).collect()
    }
}

fn refused(proxy: &Proxy, reason: &str) -> u64 {
    proxy.metric(&format!(r#"innopaas_proxy_webhook_refusals_total{{reason="{reason}"}}"#))
}

/// What was typed into the console for an application of this mark.
fn console(mark: &str) -> Mount {
    let mount = Mount::empty();
    mount.swap_in_files(&[
        ("user-name", format!("{USER_NAME}{mark}")),
        ("authorization", format!("{HOOK_TOKEN}{mark}")),
        ("receiver", format!("{RECEIVER}{mark}")),
        ("pswd", format!("{PSWD}{mark}")),
    ]);
    mount
}

/// The lines that verify an event of the app `shop`.
fn right() -> String {
    shown(USER_NAME, HOOK_TOKEN)
}

/// The lines that verify an event of the app `club`.
fn right_of_club() -> String {
    shown(&format!("{USER_NAME}Club"), &format!("{HOOK_TOKEN}Club"))
}

fn shown(user_name: &str, authorization: &str) -> String {
    format!("UserName: {user_name}\r\nAuthorization: {authorization}\r\n")
}

/// A message that came in by WhatsApp.
fn message(id: &str) -> String {
    typed("whatsapp_mo_message_received", id)
}

/// An event of this type.
fn typed(kind: &str, id: &str) -> String {
    format!(
        r#"{{"id":"{id}","type":"{kind}","eventTime":"2026-11-25T08:00:00.000Z","body":{{"from":"{PHONE}","text":{{"body":"{TEXT}"}},"receiver":"x"}}}}"#
    )
}

/// A status report of an SMS, which shows these.
fn status(receiver: &str, pswd: &str) -> String {
    format!(
        r#"{{"receiver":"{receiver}","pswd":"{pswd}","msgid":"m-1","mobile":"{PHONE}","status":"DELIVRD"}}"#
    )
}

/// A message that came in by SMS, which shows these.
fn uplink(receiver: &str, pswd: &str) -> String {
    format!(
        r#"{{"receiver": "{receiver}", "pswd": "{pswd}", "moTime": "2611250800", "mobile": "{PHONE}", "msg": "{TEXT}", "destcode": "1"}}"#
    )
}
