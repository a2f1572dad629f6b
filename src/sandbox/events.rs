//! What InnoPaaS tells an application about, and how each event looks on the wire.
//!
//! Invariant: pure and repeatable. An event follows from its number, also its times: the same
//! number gives the same bytes, another one another id. Who it goes to is not decided here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};
use time::format_description::BorrowedFormatItem;
use time::macros::{datetime, format_description};
use time::{Duration, OffsetDateTime};

use super::webhooks::BodyCheck;

/// An event, with the variant of its body.
///
/// As text: its type, and behind a colon the variant, if there are several
/// (`whatsapp_message_status_updated:read`); the type alone is the first of them. The two SMS
/// pushes have no type on the wire and are called `sms_status` and `sms_uplink`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `whatsapp_message_status_updated`.
    MessageStatus(MessageStatus),
    /// `whatsapp_mo_message_received`.
    Inbound(Inbound),
    /// `whatsapp_template_status_updated`.
    TemplateStatusUpdated,
    /// `whatsapp_template_status_update`: the same, spelt as on another page of the guide.
    TemplateStatusUpdate,
    /// `whatsapp_phone_number_quality_update`.
    PhoneQuality,
    /// `whatsapp_sandbox_event`: stands for the two types that were announced without a name.
    Unnamed,
    /// The status report of an SMS: flat, without the envelope.
    SmsStatus,
    /// An SMS that somebody sent to us: flat, without the envelope.
    SmsUplink,
}

/// What became of a WhatsApp message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageStatus {
    /// `delivered`.
    Delivered,
    /// `read`.
    Read,
    /// `failed`, with `errorData`.
    Failed,
    /// `SMECL:FAILED`, with `errorData`.
    SmeclFailed,
}

/// What somebody wrote to us on WhatsApp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// Text.
    Text,
    /// A picture with a caption.
    Image,
    /// A PDF.
    Document,
    /// A voice message.
    Audio,
    /// A film.
    Video,
    /// A place.
    Location,
    /// An emoji on a message of ours.
    Reaction,
    /// A button of a template of ours.
    Button,
}

/// How `eventTime` is written; the guide shows both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventTime {
    /// `2026-01-01T00:00:01.000Z`.
    #[default]
    Iso,
    /// `2026-01-01 00:00:01`.
    Plain,
}

impl Event {
    /// All of them; of each type, the one that its name alone stands for comes first.
    pub const ALL: [Self; 18] = [
        Self::MessageStatus(MessageStatus::Delivered),
        Self::MessageStatus(MessageStatus::Read),
        Self::MessageStatus(MessageStatus::Failed),
        Self::MessageStatus(MessageStatus::SmeclFailed),
        Self::Inbound(Inbound::Text),
        Self::Inbound(Inbound::Image),
        Self::Inbound(Inbound::Document),
        Self::Inbound(Inbound::Audio),
        Self::Inbound(Inbound::Video),
        Self::Inbound(Inbound::Location),
        Self::Inbound(Inbound::Reaction),
        Self::Inbound(Inbound::Button),
        Self::TemplateStatusUpdated,
        Self::TemplateStatusUpdate,
        Self::PhoneQuality,
        Self::Unnamed,
        Self::SmsStatus,
        Self::SmsUplink,
    ];

    /// What stands in `type`; for the flat pushes, which have none, what they are called here.
    pub fn kind(self) -> &'static str {
        match self {
            Self::MessageStatus(_) => "whatsapp_message_status_updated",
            Self::Inbound(_) => "whatsapp_mo_message_received",
            Self::TemplateStatusUpdated => "whatsapp_template_status_updated",
            Self::TemplateStatusUpdate => "whatsapp_template_status_update",
            Self::PhoneQuality => "whatsapp_phone_number_quality_update",
            Self::Unnamed => "whatsapp_sandbox_event",
            Self::SmsStatus => "sms_status",
            Self::SmsUplink => "sms_uplink",
        }
    }

    /// Whether it comes without the envelope.
    pub fn is_flat(self) -> bool {
        match self {
            Self::SmsStatus | Self::SmsUplink => true,
            Self::MessageStatus(_)
            | Self::Inbound(_)
            | Self::TemplateStatusUpdated
            | Self::TemplateStatusUpdate
            | Self::PhoneQuality
            | Self::Unnamed => false,
        }
    }

    fn variant(self) -> Option<&'static str> {
        match self {
            Self::MessageStatus(status) => Some(status.as_str()),
            Self::Inbound(message) => Some(message.as_str()),
            Self::TemplateStatusUpdated
            | Self::TemplateStatusUpdate
            | Self::PhoneQuality
            | Self::Unnamed
            | Self::SmsStatus
            | Self::SmsUplink => None,
        }
    }

    /// What tells one event from another: `id` of the envelope, `msgid` of a status report, and a
    /// part of the text of an uplink.
    pub fn id(self, number: u64) -> String {
        if self == Self::SmsStatus { message_id(number) } else { format!("event{number:012}") }
    }

    /// The event of this number.
    pub(super) fn payload(self, number: u64, time: EventTime, check: &BodyCheck) -> Payload {
        let moment = moment(number);
        let body = match self {
            Self::SmsStatus => return Payload::Flat(sms_status(number, check)),
            Self::SmsUplink => return Payload::Flat(sms_uplink(&self.id(number), number, check)),
            Self::MessageStatus(status) => message_status(status, number),
            Self::Inbound(message) => inbound(message, number),
            Self::TemplateStatusUpdated | Self::TemplateStatusUpdate => template_status(number),
            Self::PhoneQuality => phone_quality(),
            Self::Unnamed => json!({ "accountName": ACCOUNT, "wabaId": WABA }),
        };
        let format = match time {
            EventTime::Iso => ISO,
            EventTime::Plain => PLAIN,
        };
        Payload::Enveloped(json!({
            "id": self.id(number),
            "type": self.kind(),
            "eventTime": written(moment, format),
            "body": body,
        }))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variant() {
            Some(variant) => write!(f, "{}:{variant}", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}

impl FromStr for Event {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let is_named = |event: &&Self| event.kind() == name || event.to_string() == name;
        Self::ALL.iter().find(is_named).copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("must be one of {}", names.join(", "))
        })
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(|why| de::Error::custom(format_args!("event: {why}")))
    }
}

impl MessageStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::SmeclFailed => "SMECL:FAILED",
        }
    }
}

impl Inbound {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Document => "document",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Location => "location",
            Self::Reaction => "reaction",
            Self::Button => "button",
        }
    }
}

/// An event as it is sent. It has no `Debug`: the flat ones hold `pswd`.
pub(super) enum Payload {
    Enveloped(Value),
    Flat(Vec<(&'static str, String)>),
}

impl Payload {
    pub(super) fn json(&self) -> String {
        match self {
            Self::Enveloped(value) => value.to_string(),
            Self::Flat(fields) => {
                let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
                Value::Object(fields.collect()).to_string()
            }
        }
    }

    /// As the query of a GET, percent-encoded; `None` if it is not flat.
    pub(super) fn query(&self) -> Option<String> {
        match self {
            Self::Enveloped(_) => None,
            Self::Flat(fields) => {
                let fields = fields.iter().map(|(name, value)| format!("{name}={}", encode(value)));
                Some(fields.collect::<Vec<_>>().join("&"))
            }
        }
    }
}

/// Everything but the unreserved characters of RFC 3986, section 2.3.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

const ACCOUNT: &str = "sandbox";
const WABA: &str = "100200300";
const BUSINESS: &str = "10000000000"; // our number, as the sandbox's phoneInfo tells it
const CUSTOMER: &str = "8613800000000";

const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const PLAIN: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// As the send call answered it.
fn message_id(number: u64) -> String {
    format!("sandbox{number:012}")
}

fn wamid(number: u64) -> String {
    format!("wamid.HBgN{number:020}")
}

/// A second for each number, within three years.
fn moment(number: u64) -> OffsetDateTime {
    const ROUND: u64 = 94_608_000; // seconds
    let seconds = i64::try_from(number % ROUND).unwrap_or_default();
    datetime!(2026-01-01 00:00:00 UTC) + Duration::seconds(seconds)
}

fn written(moment: OffsetDateTime, format: &[BorrowedFormatItem<'_>]) -> String {
    moment.format(format).unwrap_or_default() // these formats ask for nothing that it has not
}

fn message_status(status: MessageStatus, number: u64) -> Value {
    let mut body = json!({
        "id": message_id(number),
        "accountName": ACCOUNT,
        "wabaId": WABA,
        "wamid": wamid(number),
        "status": status.as_str(),
        "sendPhone": BUSINESS,
        "uid": format!("batch-{number}"),
    });
    let (name, more) = match status {
        MessageStatus::Delivered | MessageStatus::Read => (
            "conversation",
            json!({ "id": format!("conversation{number:012}"), "origin": { "type": "marketing" } }),
        ),
        MessageStatus::Failed => {
            ("errorData", json!({ "errorCode": "131026", "errorMessage": "Message undeliverable" }))
        }
        MessageStatus::SmeclFailed => (
            "errorData",
            json!({ "errorCode": "110", "errorMessage": "账户余额不足" }), // balance
        ),
    };
    insert(&mut body, name, more);
    body
}

fn inbound(message: Inbound, number: u64) -> Value {
    let media = |mime: &str| json!({ "id": format!("media{number:012}"), "mimeType": mime });
    let mut content = match message {
        Inbound::Text => json!({ "body": "Where is my order? 😀" }),
        Inbound::Image => media("image/jpeg"),
        Inbound::Document => media("application/pdf"),
        Inbound::Audio => media("audio/ogg; codecs=opus"),
        Inbound::Video => media("video/mp4"),
        Inbound::Location => json!({ "latitude": 1.2903, "longitude": 103.8519, "name": "Office" }),
        Inbound::Reaction => json!({ "messageId": wamid(number), "emoji": "👍" }),
        Inbound::Button => json!({ "payload": "YES", "text": "Yes, please" }),
    };
    match message {
        Inbound::Image | Inbound::Video => insert(&mut content, "caption", json!("看这个")),
        Inbound::Document => insert(&mut content, "filename", json!("menu.pdf")),
        Inbound::Text
        | Inbound::Audio
        | Inbound::Location
        | Inbound::Reaction
        | Inbound::Button => {}
    }
    let mut body = json!({
        "id": message_id(number),
        "accountName": ACCOUNT,
        "wabaId": WABA,
        "wamid": wamid(number),
        "from": CUSTOMER,
        "to": BUSINESS,
        "sendTime": written(moment(number), ISO),
        "customerProfile": { "name": "王小明" },
        "type": message.as_str(),
        "context": { "from": BUSINESS, "id": wamid(number.saturating_sub(1)) },
    });
    insert(&mut body, message.as_str(), content);
    body
}

fn template_status(number: u64) -> Value {
    json!({
        "id": message_id(number),
        "accountName": ACCOUNT,
        "wabaId": WABA,
        "templateId": "1001",
        "name": "order_update",
        "language": "en",
        "category": "UTILITY",
        "status": "REJECTED",
        "reason": "INVALID_FORMAT",
    })
}

fn phone_quality() -> Value {
    json!({
        "accountName": ACCOUNT,
        "wabaId": WABA,
        "phone": BUSINESS,
        "qualityRating": "YELLOW",
        "previousQualityRating": "GREEN",
        "messagingLimit": "TIER_10K",
    })
}

fn sms_status(number: u64, check: &BodyCheck) -> Vec<(&'static str, String)> {
    let text = ToOwned::to_owned;
    vec![
        ("receiver", check.receiver().to_owned()),
        ("pswd", check.pswd().to_owned()),
        ("msgid", message_id(number)),
        ("mobile", text(CUSTOMER)),
        ("status", text("DELIVRD")),
        ("statusDesc", text("短信发送成功")),
        ("reportTime", written(moment(number), PLAIN)),
        ("notifyTime", written(moment(number.saturating_add(1)), PLAIN)),
        ("uid", format!("batch {number}/a&b=c+d")), // a label of the caller's: anything
        ("smsNum", text("1")),
        ("fee", text("0.0450")),
        ("currency", text("USD")),
    ]
}

fn sms_uplink(id: &str, number: u64, check: &BodyCheck) -> Vec<(&'static str, String)> {
    vec![
        ("receiver", check.receiver().to_owned()),
        ("pswd", check.pswd().to_owned()),
        ("moTime", written(moment(number), PLAIN)),
        ("mobile", CUSTOMER.to_owned()),
        ("msg", format!("退订 STOP & thanks {id}")),
        ("destcode", "10690000".to_owned()),
    ]
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check() -> BodyCheck {
        BodyCheck::new("us", "p&s wd")
    }

    fn json(event: Event, time: EventTime) -> Value {
        serde_json::from_str(&event.payload(7, time, &check()).json()).unwrap()
    }

    #[test]
    fn events_have_names_that_are_read_back_and_a_type_alone_is_its_first_variant() {
        for event in Event::ALL {
            assert_eq!(event.to_string().parse(), Ok(event));
        }
        let delivered = Event::MessageStatus(MessageStatus::Delivered);
        assert_eq!("whatsapp_message_status_updated".parse(), Ok(delivered));
        let name = "whatsapp_message_status_updated:SMECL:FAILED";
        assert_eq!(name.parse(), Ok(Event::MessageStatus(MessageStatus::SmeclFailed)));
        let error = "whatsapp".parse::<Event>().unwrap_err();
        assert!(error.contains("whatsapp_template_status_update,"), "{error}");
    }

    #[test]
    fn envelopes_have_the_documented_fields_and_both_formats_of_time() {
        for event in Event::ALL.into_iter().filter(|event| !event.is_flat()) {
            let (iso, plain) = (json(event, EventTime::Iso), json(event, EventTime::Plain));
            assert_eq!(
                (&iso["id"], &iso["type"]),
                (&json!("event000000000007"), &json!(event.kind()))
            );
            assert_eq!(iso["eventTime"], "2026-01-01T00:00:07.000Z");
            assert_eq!(plain["eventTime"], "2026-01-01 00:00:07");
            assert!(iso["body"].is_object() && iso["body"] == plain["body"]);
            assert!(event.payload(7, EventTime::Iso, &check()).query().is_none());
        }
    }

    #[test]
    fn bodies_have_the_documented_fields() {
        for event in Event::ALL {
            let body = &json(event, EventTime::Iso)["body"];
            let has = |names: &[&str]| {
                for name in names {
                    assert!(!body[*name].is_null(), "{event}: {name}");
                }
            };
            match event {
                Event::MessageStatus(status) => {
                    has(&["id", "accountName", "wabaId", "wamid", "sendPhone", "uid"]);
                    assert_eq!(body["status"], status.as_str());
                    let failed =
                        matches!(status, MessageStatus::Failed | MessageStatus::SmeclFailed);
                    assert_eq!(body["errorData"]["errorCode"].is_string(), failed);
                    assert_eq!(body["errorData"]["errorMessage"].is_string(), failed);
                }
                Event::Inbound(message) => {
                    has(&["id", "accountName", "wabaId", "wamid", "from", "to", "sendTime"]);
                    assert_eq!(body["type"], message.as_str());
                    assert!(body[message.as_str()].is_object());
                    assert!(body["customerProfile"]["name"].is_string());
                    assert!(
                        body["context"]["from"].is_string() && body["context"]["id"].is_string()
                    );
                }
                Event::TemplateStatusUpdated | Event::TemplateStatusUpdate => {
                    has(&["templateId", "status"]);
                }
                Event::PhoneQuality => has(&["phone", "qualityRating"]),
                Event::Unnamed => has(&["wabaId"]),
                Event::SmsStatus | Event::SmsUplink => assert!(body.is_null(), "flat"),
            }
        }
    }

    #[test]
    fn sms_pushes_are_flat_texts_with_the_check_values() {
        let status = [
            "receiver",
            "pswd",
            "msgid",
            "mobile",
            "status",
            "reportTime",
            "notifyTime",
            "uid",
            "smsNum",
            "fee",
            "currency",
        ];
        let uplink = ["receiver", "pswd", "moTime", "mobile", "msg", "destcode"];
        for (event, names) in [(Event::SmsStatus, &status[..]), (Event::SmsUplink, &uplink)] {
            let body = json(event, EventTime::Iso);
            assert!(body.as_object().unwrap().values().all(Value::is_string));
            assert!(names.iter().all(|name| body[*name].is_string()));
            assert_eq!((&body["receiver"], &body["pswd"]), (&json!("us"), &json!("p&s wd")));
            assert!(body.to_string().contains(&event.id(7)));
        }
    }

    #[test]
    fn the_query_of_a_flat_push_has_the_same_fields_percent_encoded() {
        let query = Event::SmsUplink.payload(7, EventTime::Iso, &check()).query().unwrap();
        assert!(query.starts_with("receiver=us&pswd=p%26s%20wd&moTime=2026-01-01%2000%3A00%3A07&"));
        assert!(
            query.contains("&msg=%E9%80%80%E8%AE%A2%20STOP%20%26%20thanks%20event000000000007")
        );
        assert!(query.bytes().all(|byte| byte.is_ascii_graphic()));
    }

    #[test]
    fn numbers_make_ids_and_the_same_number_the_same_bytes() {
        for event in Event::ALL {
            let bytes = |number| event.payload(number, EventTime::Iso, &check()).json();
            let all: BTreeSet<_> = (1..100).map(bytes).collect();
            assert_eq!(all.len(), 99, "{event}");
            assert_eq!(bytes(u64::MAX - 1), bytes(u64::MAX - 1));
        }
    }
}
