//! An order for webhooks as JSON, for those who direct the sandbox from outside its process.
//!
//! Invariant: what is wrong is told without the value of a credential.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::{BodyCheck, Form, Pace, Show, Webhook, WebhookPair};
use crate::sandbox::events::{Event, EventTime};

/// As it is written. Everything but `url` and `event` has the default of [`Webhook::to`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct JsonOrder {
    url: String,
    event: Event,
    ca_pem: Option<String>,
    user_name: Option<Hidden>,
    authorization: Option<Hidden>,
    receiver: Option<Hidden>,
    pswd: Option<Hidden>,
    show: Option<String>,
    event_time: Option<EventTime>,
    first: Option<u64>,
    form: Option<Form>,
    count: Option<u32>,
    /// Absent for all at once.
    per_second: Option<u32>,
    tries: Option<u32>,
    pause_ms: Option<u64>,
    patience_ms: Option<u64>,
    connections: Option<usize>,
}

/// A text that a problem with it must not quote.
struct Hidden(String);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)
            .map(Self)
            .map_err(|_| de::Error::custom("a value of the credentials is no text"))
    }
}

impl JsonOrder {
    /// # Errors
    /// What is wrong with it.
    pub(in crate::sandbox) fn parse(json: &[u8]) -> Result<Self, String> {
        // A value that stands alone would be quoted, and might be a secret's.
        let object: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| "the body is no object of JSON")?;
        serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
    }

    /// # Errors
    /// What is wrong with it.
    pub(in crate::sandbox) fn webhook(self) -> Result<Webhook, String> {
        let Self {
            url,
            event,
            ca_pem,
            user_name,
            authorization,
            receiver,
            pswd,
            show,
            event_time,
            first,
            form,
            count,
            per_second,
            tries,
            pause_ms,
            patience_ms,
            connections,
        } = self;
        let default = Webhook::to(url, event);
        Ok(Webhook {
            ca_pem,
            pair: both("user_name", user_name, "authorization", authorization)?
                .map(|(user_name, authorization)| WebhookPair::new(user_name, authorization)),
            body_check: both("receiver", receiver, "pswd", pswd)?
                .map_or(default.body_check, |(receiver, pswd)| BodyCheck::new(receiver, pswd)),
            show: match show {
                Some(name) => name.parse().map_err(|why| format!("show: {why}"))?,
                None => Show::default(),
            },
            event_time: event_time.unwrap_or(default.event_time),
            first,
            form: form.unwrap_or(default.form),
            count: count.unwrap_or(default.count),
            pace: per_second.map_or(default.pace, Pace::PerSecond),
            tries: tries.unwrap_or(default.tries),
            pause: pause_ms.map_or(default.pause, Duration::from_millis),
            patience: patience_ms.map_or(default.patience, Duration::from_millis),
            connections: connections.unwrap_or(default.connections),
            ..default
        })
    }
}

fn both(
    name: &str,
    value: Option<Hidden>,
    other_name: &str,
    other: Option<Hidden>,
) -> Result<Option<(String, String)>, String> {
    match (value, other) {
        (Some(Hidden(value)), Some(Hidden(other))) => Ok(Some((value, other))),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            Err(format!("`{name}` and `{other_name}` come together"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Webhook, String> {
        JsonOrder::parse(json.as_bytes()).and_then(JsonOrder::webhook)
    }

    #[test]
    fn an_address_and_an_event_are_enough_and_everything_can_be_chosen() {
        let webhook = parse(r#"{"url":"http://[::1]/","event":"sms_status"}"#).unwrap();
        assert_eq!((webhook.count, webhook.tries), (1, 3));
        assert_eq!(webhook.pause, Duration::from_secs(60));
        let webhook = parse(
            r#"{"url":"http://[::1]/","event":"whatsapp_mo_message_received:image","count":5,
                "user_name":"u","authorization":"a","show":"authorization-prefix","form":"get",
                "receiver":"r","pswd":"p","event_time":"plain","first":7,"per_second":9,
                "tries":2,"pause_ms":10,"patience_ms":20,"connections":4,"ca_pem":"x"}"#,
        )
        .unwrap();
        assert_eq!(webhook.show.to_string(), "authorization-prefix");
        assert_eq!((webhook.pace, webhook.first), (Pace::PerSecond(9), Some(7)));
        assert_eq!((webhook.form, webhook.event_time), (Form::Get, EventTime::Plain));
        assert_eq!(webhook.patience, Duration::from_millis(20));
    }

    #[test]
    fn what_is_wrong_is_told_without_a_secret() {
        for (json, words) in [
            (r#""SECRET""#, "no object"),
            (r#"{"url":"x","event":"sms","authorization":"SECRET"}"#, "must be one of"),
            (r#"{"url":"x","event":"sms_status","authorization":["SECRET"]}"#, "no text"),
            (r#"{"url":"x","event":"sms_status","authorization":4711}"#, "no text"),
            (r#"{"url":"x","event":"sms_status","authorization":"SECRET"}"#, "come together"),
            (r#"{"url":"x","event":"sms_status","pswd":"SECRET"}"#, "come together"),
            (r#"{"url":"x","event":"sms_status","show":"left"}"#, "must be right or"),
            (r#"{"url":"x","event":"sms_status","cuont":1}"#, "cuont"),
        ] {
            let problem = parse(json).expect_err("a problem");
            assert!(problem.contains(words), "{problem}");
            assert!(!problem.contains("SECRET") && !problem.contains("4711"), "{problem}");
        }
    }
}
