//! What kind of event a body holds, and which one: read from its beginning, without judging it.
//!
//! InnoPaaS sends an envelope `{id, type, eventTime, body}`, and for SMS two flat shapes without one
//! (guide). Nothing here refuses an event: what is not recognised has no type and no id, and goes
//! where such events go. Invariant: a name that is told twice tells nothing.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The type of a status report that is pushed by SMS.
pub const SMS_STATUS: &str = "sms_status";
/// The type of a message that came in by SMS.
pub const SMS_UPLINK: &str = "sms_uplink";

/// What is known of an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type, as it is told or after its shape.
    pub kind: Option<String>,
    /// What tells it from others, if it tells.
    pub id: Option<String>,
    /// Whether it is a push without an envelope, or says so; what it shows then.
    pub push: Option<Push>,
    /// Whether all of its text was read, so that nothing is in it that was not seen.
    pub understood: bool,
}

/// The check values of an SMS push, and where they stand in its text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Push {
    receiver: Option<Check>,
    pswd: Option<Check>,
}

/// One check value.
#[derive(PartialEq, Eq)]
struct Check {
    value: Vec<u8>,
    /// What is to be masked.
    place: Range<usize>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({} bytes)", self.value.len())
    }
}

impl Event {
    /// From the beginning of a body.
    pub fn in_body(body: &[u8]) -> Self {
        let mut met = Met::default();
        let mut text = serde_json::Deserializer::from_slice(body);
        // What was met before an error counts: the rest of a large body is not here yet.
        let understood = (&mut text).deserialize_map(&mut met).and_then(|()| text.end()).is_ok();
        let check = |value: Option<&RawValue>| {
            let raw = value?.get();
            let value = serde_json::from_str::<Cow<'_, str>>(raw).ok()?;
            let start = raw.as_ptr().addr().saturating_sub(body.as_ptr().addr()) + 1;
            let place = start..start + raw.len().saturating_sub(2); // between its quotes
            Some(Check { value: value.as_bytes().to_vec(), place })
        };
        let (receiver, pswd) = (check(met.only(Name::Receiver)), check(met.only(Name::Pswd)));
        Self { understood, ..Self::of(&mut met, as_text, Push { receiver, pswd }) }
    }

    /// From a query: the other form that the flat shapes may have.
    pub fn in_query(query: &str) -> Self {
        let mut met = Met::default();
        let mut start = 0;
        for part in query.split('&') {
            let place = start + part.find('=').map_or(part.len(), |at| at + 1)..start + part.len();
            start += part.len() + 1;
            if let Some((name, value)) = form_urlencoded::parse(part.as_bytes()).next()
                && let Some(name) = Name::of(&name)
            {
                met.meet(name, (value.into_owned(), place));
            }
        }
        let check = |(value, place): (String, _)| Check { value: value.into_bytes(), place };
        let (receiver, pswd) = (met.only(Name::Receiver), met.only(Name::Pswd));
        let push = Push { receiver: receiver.map(check), pswd: pswd.map(check) };
        Self { understood: true, ..Self::of(&mut met, |(value, _)| Some(value), push) }
    }

    fn of<V>(met: &mut Met<V>, text: impl Fn(V) -> Option<String>, push: Push) -> Self {
        let is_uplink = met.has(Name::Time) || met.has(Name::Code);
        let is_status = met.has(Name::MessageId) && met.has(Name::Status);
        let mut word = |name| met.only(name).and_then(&text).filter(|text| is_word(text));
        let shape = match (is_uplink, is_status) {
            (true, _) => SMS_UPLINK,
            (false, true) => SMS_STATUS,
            (false, false) => "",
        };
        let (kind, id) = match word(Name::Type) {
            None if !shape.is_empty() => (Some(shape.to_owned()), word(Name::MessageId)),
            kind => (kind, word(Name::Id)),
        };
        // A word in it that tells another type does not make it another thing.
        let is_push = !shape.is_empty() || matches!(kind.as_deref(), Some(SMS_STATUS | SMS_UPLINK));
        Self { kind, id, push: is_push.then_some(push), understood: false }
    }
}

impl Push {
    /// The values of `receiver` and `pswd`; empty, if they are not told once each.
    pub fn values(&self) -> [&[u8]; 2] {
        [&self.receiver, &self.pswd].map(|check| check.as_ref().map_or(&[][..], |c| &c.value))
    }

    /// The same text with as many `*` in place of both.
    pub fn mask(&self, text: Bytes) -> Bytes {
        let mut text = BytesMut::from(text);
        for Check { place, .. } in self.receiver.iter().chain(&self.pswd) {
            if let Some(value) = text.get_mut(place.clone()) {
                value.fill(b'*');
            }
        }
        text.freeze()
    }
}

/// Whether two types are the same: InnoPaaS spells some with a `d` at their end and without.
pub fn same_kind(one: &str, other: &str) -> bool {
    let plain = |kind: &str| match kind.strip_suffix("_updated") {
        Some(start) => format!("{start}_update"),
        None => kind.to_owned(),
    };
    one == other || plain(one) == plain(other)
}

/// The names that are looked for on the first level of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Type,
    Id,
    Receiver,
    Pswd,
    MessageId,
    Status,
    Time,
    Code,
}

impl Name {
    const ALL: [(&'static str, Self); 8] = [
        ("type", Self::Type),
        ("id", Self::Id),
        ("receiver", Self::Receiver),
        ("pswd", Self::Pswd),
        ("msgid", Self::MessageId),
        ("status", Self::Status),
        ("moTime", Self::Time),
        ("destcode", Self::Code),
    ];

    /// In any case: that is how many applications read names.
    fn of(name: &str) -> Option<Self> {
        let known = Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, name)| *name)
    }
}

/// What was met under each name; `Err` if it was met more than once.
struct Met<V>(Vec<(Name, Result<V, ()>)>);

impl<V> Default for Met<V> {
    fn default() -> Self {
        Self(Vec::with_capacity(Name::ALL.len()))
    }
}

impl<V> Met<V> {
    fn meet(&mut self, name: Name, value: V) {
        match self.0.iter_mut().find(|(met, _)| *met == name) {
            Some((_, before)) => *before = Err(()),
            None => self.0.push((name, Ok(value))),
        }
    }

    fn has(&self, name: Name) -> bool {
        self.0.iter().any(|(met, _)| *met == name)
    }

    /// The value that was met once, which is taken out.
    fn only(&mut self, name: Name) -> Option<V> {
        let (_, value) = self.0.iter_mut().find(|(met, _)| *met == name)?;
        std::mem::replace(value, Err(())).ok()
    }
}

impl<'b> Visitor<'b> for &mut Met<&'b RawValue> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'b, str>>()? {
            match Name::of(&name) {
                Some(name) => self.meet(name, map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A text or a whole number, as a text.
fn as_text(raw: &RawValue) -> Option<String> {
    let raw = raw.get();
    let is_number = raw.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { Some(raw.to_owned()) } else { serde_json::from_str(raw).ok() }
}

/// What can stand in a header and in a log, and tells nothing of a message.
fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:=+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(event: &Event) -> (Option<&str>, Option<&str>, bool) {
        (event.kind.as_deref(), event.id.as_deref(), event.push.is_some())
    }

    #[test]
    fn an_envelope_tells_its_type_and_id_in_any_order_and_before_its_end() {
        let kind = Some("whatsapp_mo_message_received");
        for body in [
            r#"{"id":"e-1","type":"whatsapp_mo_message_received","body":{"id":"x","type":"text"}}"#,
            r#"{"body":{"type":"text","n":[1,{"id":2}]},"type":"whatsapp_mo_message_received","id":"e-1"}"#,
            r#" {"id" : "e-1", "\u0074ype":"whatsapp_mo_message_received","body":{"text":"cut of"#,
        ] {
            assert_eq!(
                seen(&Event::in_body(body.as_bytes())),
                (kind, Some("e-1"), false),
                "{body}"
            );
        }
        let number = Event::in_body(br#"{"id":4711,"type":"x"}"#);
        assert_eq!(seen(&number), (Some("x"), Some("4711"), false));
    }

    #[test]
    fn the_flat_shapes_are_recognised_in_a_body_and_in_a_query() {
        let status =
            r#"{"receiver":"me","pswd":"p","msgid":"m1","mobile":"86138","status":"DELIVRD"}"#;
        assert_eq!(seen(&Event::in_body(status.as_bytes())), (Some(SMS_STATUS), Some("m1"), true));
        let uplink = r#"{"receiver":"me","pswd":"p","moTime":"1","mobile":"86138","msg":"hi"}"#;
        assert_eq!(seen(&Event::in_body(uplink.as_bytes())), (Some(SMS_UPLINK), None, true));
        let query = "receiver=me&pswd=p%20q&msgid=m1&status=DELIVRD";
        let event = Event::in_query(query);
        assert_eq!(seen(&event), (Some(SMS_STATUS), Some("m1"), true));
        assert_eq!(event.push.unwrap().values(), [b"me".as_slice(), b"p q"]);
        assert_eq!(seen(&Event::in_query("moTime=1&destcode=2")), (Some(SMS_UPLINK), None, true));
    }

    #[test]
    fn what_is_told_twice_oddly_or_not_at_all_tells_nothing() {
        for body in [
            r#"{"type":"a","type":"b","id":"1","id":"2"}"#,
            r#"{"type":["a"],"id":{"a":1}}"#,
            r#"{"type":"a b","id":"a\nb"}"#,
            r#"["type","a"]"#,
            "type=a",
            "",
            "{",
            "\u{feff}{}",
        ] {
            let event = Event::in_body(body.as_bytes());
            assert_eq!(seen(&event), (None, None, false), "{body}");
            assert_eq!(event.understood, body.starts_with("{\"type\""));
        }
        let twice = Event::in_body(br#"{"msgid":"1","status":"x","pswd":"a","pswd":"b"}"#);
        assert_eq!(twice.push.unwrap().values(), [b"".as_slice(), b""]);
        let twice = Event::in_query("msgid=1&status=x&pswd=a&pswd=a&receiver=b");
        assert_eq!(twice.push.unwrap().values(), [b"b".as_slice(), b""]);
    }

    #[test]
    fn check_values_are_masked_where_they_stand_and_nothing_else_is() {
        let body =
            r#"{"msg":"pa\u0073s","receiver":"me","pswd" : "p\"w","msgid":"1","status":"p"}"#;
        let push = Event::in_body(body.as_bytes()).push.unwrap();
        assert_eq!(push.values(), [b"me".as_slice(), b"p\"w"]);
        let masked = push.mask(Bytes::copy_from_slice(body.as_bytes()));
        let wanted = body.replace("\"me\"", "\"**\"").replace("p\\\"w", "****");
        assert_eq!(masked, wanted);
        let query = "a=1&receiver=me&pswd=p%20q&msgid=1&status=x";
        let masked = Event::in_query(query).push.unwrap().mask(Bytes::from(query));
        assert_eq!(masked, "a=1&receiver=**&pswd=*****&msgid=1&status=x");
    }

    #[test]
    fn a_type_is_the_same_with_and_without_its_last_letter() {
        let long = "whatsapp_template_status_updated";
        assert!(same_kind(long, "whatsapp_template_status_update") && same_kind(long, long));
        assert!(!same_kind("sms_status", "sms_uplink") && !same_kind("updated", "update"));
    }
}
