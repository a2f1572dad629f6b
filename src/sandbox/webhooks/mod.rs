//! Webhooks as InnoPaaS sends them: many events to one address, with what the console was given.
//!
//! What is documented for SMS pushes holds for all here: an event is tried three times, a minute
//! apart, and is lost then. What is not documented (the deadline, a second spelling, GET) can be
//! chosen, and the headers can be wrong in every way that a receiver must refuse ([`Show`]).
//!
//! Invariants: nothing leaves the machine, for addresses that are not loopback's are refused; no
//! value of a credential is in a report or printed by `Debug`. Answers are judged by their status
//! alone, as a 2xx or not; bodies are read and forgotten.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::events::{Event, EventTime};

pub(super) use desk::{Desk, Order};
pub(super) use order::JsonOrder;
pub(super) use plan::Plan;
pub(super) use send::follow;

pub use report::{EventOutcome, Sending, SentEvent, Try, TryResult, WebhookReport, WebhookState};
pub use show::{Fault, Header, Show};

mod desk;
mod order;
mod plan;
mod report;
mod send;
mod show;

/// How often SMS pushes are tried (the guide).
const TRIES: u32 = 3;
/// Between two tries of an SMS push (the guide).
const PAUSE: Duration = Duration::from_secs(60);
/// How long InnoPaaS is thought to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 32;

/// Events of one kind for one address.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// `http` or `https`, to `localhost`, `127.0.0.0/8` or `::1`, with path and query.
    pub url: String,
    /// Whom to trust; `https` needs it.
    pub ca_pem: Option<String>,
    /// What was typed into the console, if anything was.
    pub pair: Option<WebhookPair>,
    /// What the headers show of the pair.
    pub show: Show,
    /// What SMS pushes carry in their bodies.
    pub body_check: BodyCheck,
    /// The kind of event.
    pub event: Event,
    /// How `eventTime` is written.
    pub event_time: EventTime,
    /// Number of the first event; `None` goes on from the last one of this sandbox. A number that
    /// came before sends the same event again, byte by byte.
    pub first: Option<u64>,
    /// How events travel.
    pub form: Form,
    /// How many events; 1 to 100,000, which takes some 10 MB to report.
    pub count: u32,
    /// When events are tried first.
    pub pace: Pace,
    /// How often an event is tried before it is lost; 1 to 100.
    pub tries: u32,
    /// Between the end of a try and the next one; at most a day.
    pub pause: Duration,
    /// For connection, request and the head of the answer together; at most a day.
    pub patience: Duration,
    /// How many connections there are at most; 1 to 256. One takes one event at a time.
    pub connections: usize,
}

/// How events travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// POST with JSON.
    #[default]
    Post,
    /// GET with a query; only the flat SMS pushes have this form.
    Get,
}

/// When events are tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// All at once, as far as there are connections.
    #[default]
    Burst,
    /// Evenly spaced, so many a second, at least 1; late if there is no connection for them.
    PerSecond(u32),
}

/// What was typed into the console: the values of `UserName` and `Authorization`.
#[derive(Clone)]
pub struct WebhookPair {
    user_name: String,
    authorization: String,
}

/// The check values in the bodies of SMS pushes.
#[derive(Clone)]
pub struct BodyCheck {
    receiver: String,
    pswd: String,
}

impl Webhook {
    /// One event, tried as InnoPaaS does it, without credentials.
    pub fn to(url: impl Into<String>, event: Event) -> Self {
        Self {
            url: url.into(),
            ca_pem: None,
            pair: None,
            show: Show::Right,
            body_check: BodyCheck::default(),
            event,
            event_time: EventTime::default(),
            first: None,
            form: Form::default(),
            count: 1,
            pace: Pace::default(),
            tries: TRIES,
            pause: PAUSE,
            patience: PATIENCE,
            connections: CONNECTIONS,
        }
    }
}

impl FromStr for Form {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        Self::deserialize(name)
    }
}

impl WebhookPair {
    /// A pair of these values.
    pub fn new(user_name: impl Into<String>, authorization: impl Into<String>) -> Self {
        Self { user_name: user_name.into(), authorization: authorization.into() }
    }
}

impl BodyCheck {
    /// These check values.
    pub fn new(receiver: impl Into<String>, pswd: impl Into<String>) -> Self {
        Self { receiver: receiver.into(), pswd: pswd.into() }
    }

    pub(super) fn receiver(&self) -> &str {
        &self.receiver
    }

    pub(super) fn pswd(&self) -> &str {
        &self.pswd
    }
}

impl Default for BodyCheck {
    /// Values of no worth.
    fn default() -> Self {
        Self::new("sandbox", "sandbox")
    }
}

impl fmt::Debug for WebhookPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookPair(..)")
    }
}

impl fmt::Debug for BodyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyCheck(..)")
    }
}

#[cfg(test)]
mod tests;
