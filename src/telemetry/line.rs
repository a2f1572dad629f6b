//! A log line, written field by field in the form that the rest of the log has.
//!
//! By hand, and not by way of `tracing`, because every call leaves one: that would take a tenth of
//! what the whole call takes.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::config::LogFormat;

/// A line that begins, and its fields.
#[derive(Debug)]
pub(super) struct Line {
    text: Vec<u8>,
    format: LogFormat,
}

/// Most are shorter, in bytes.
const USUAL: usize = 384;

impl Line {
    /// Of level `INFO`.
    pub(super) fn begin(format: LogFormat, now: SystemTime, target: &str, message: &str) -> Self {
        let mut line = Self { text: Vec::with_capacity(USUAL), format };
        match format {
            LogFormat::Json => {
                line.raw(b"{\"timestamp\":\"");
                line.timestamp(now);
                line.raw(b"\",\"level\":\"INFO\"");
                line.word("message", message);
                line.word("target", target);
            }
            LogFormat::Text => {
                line.timestamp(now);
                line.raw(b"  INFO ");
                line.raw(target.as_bytes());
                line.raw(b": ");
                line.raw(message.as_bytes());
            }
        }
        line
    }

    /// A text from outside.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        // Quotes, backslashes and control characters are escaped. A buffer takes everything.
        let _ = serde_json::to_writer(&mut self.text, value);
    }

    /// A word that holds nothing that would have to be escaped: one of ours, or a method, which is a
    /// token (RFC 9110, section 9.1).
    pub(super) fn word(&mut self, name: &str, value: &str) {
        self.name(name);
        self.raw(b"\"");
        self.raw(value.as_bytes());
        self.raw(b"\"");
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.raw(itoa::Buffer::new().format(value).as_bytes());
    }

    /// What is true.
    pub(super) fn truth(&mut self, name: &str) {
        self.name(name);
        self.raw(b"true");
    }

    /// The whole line.
    pub(super) fn end(&mut self) -> &[u8] {
        let end: &[u8] = match self.format {
            LogFormat::Json => b"}\n",
            LogFormat::Text => b"\n",
        };
        self.raw(end);
        &self.text
    }

    fn name(&mut self, name: &str) {
        let [before, after]: [&[u8]; 2] = match self.format {
            LogFormat::Json => [b",\"", b"\":"],
            LogFormat::Text => [b" ", b"="],
        };
        self.raw(before);
        self.raw(name.as_bytes());
        self.raw(after);
    }

    /// `2026-11-24T08:42:20.018798Z` (RFC 3339).
    fn timestamp(&mut self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.raw(&second(since.as_secs()));
        let mut fraction = *b".000000Z";
        let mut rest = since.subsec_micros();
        for digit in fraction.iter_mut().skip(1).take(6).rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        self.raw(&fraction);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }
}

type Second = [u8; "2026-11-24T08:42:20".len()];

/// Written anew only when it is another one than the last time.
fn second(seconds: u64) -> Second {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    thread_local! {
        static LAST: Cell<(u64, Second)> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
    }
    let (last, text) = LAST.get();
    if last == seconds {
        return text;
    }
    let time = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let written = time.format(&FORMAT).ok().and_then(|text| text.into_bytes().try_into().ok());
    let text = written.unwrap_or(text);
    LAST.set((seconds, text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_795_509_740, 18_798_999);
        let mut line = Line::begin(format, now, "access", "call");
        line.text("path", "/a\"b\\\n\u{1b}ü");
        line.word("sent", "no");
        line.number("status", 200);
        line.truth("refused");
        String::from_utf8(line.end().to_vec()).unwrap()
    }

    #[test]
    fn a_line_of_json_is_an_object_with_every_field() {
        let object: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        let wanted = serde_json::json!({
            "timestamp": "2026-11-24T08:42:20.018798Z", "level": "INFO", "target": "access",
            "message": "call", "path": "/a\"b\\\n\u{1b}ü", "sent": "no", "status": 200,
            "refused": true,
        });
        assert_eq!(object, wanted);
    }

    #[test]
    fn a_line_of_text_is_one_line_whatever_is_in_it() {
        assert_eq!(
            line(LogFormat::Text),
            "2026-11-24T08:42:20.018798Z  INFO access: call path=\"/a\\\"b\\\\\\n\\u001bü\" \
             sent=\"no\" status=200 refused=true\n"
        );
    }
}
