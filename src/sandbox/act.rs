//! What the sandbox can be told to do: the acts of a bad day, and the shapes of a refusal.
//!
//! Only names and numbers; `answer` plays them.

use std::str::FromStr;

use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use serde::{Deserialize, Serialize};

/// What a call whose head passed the check meets.
///
/// As JSON: `"reset"`, `{"slow-head": {"ms": 500}}`. As text ([`FromStr`]): the names of those
/// that need no number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// The ordinary answer.
    #[default]
    Normal,
    /// 429 with an envelope.
    #[serde(rename = "status-429")]
    Status429 {
        /// `Retry-After`, in seconds, if there is to be one.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// 200 with an envelope of this code, such as `114` for a wrong source address.
    Code {
        /// The envelope's code.
        code: String,
    },
    /// The ordinary answer, late.
    SlowHead {
        /// Milliseconds between the end of the request and the answer's head.
        ms: u64,
    },
    /// The ordinary answer, its body in about four pieces.
    SlowBody {
        /// Milliseconds between two pieces.
        ms: u64,
    },
    /// The ordinary answer's head, half its body, and the end of the connection.
    CutBody,
    /// No answer but a TCP reset, after the request was read.
    Reset,
    /// The ordinary answer with `Connection: close`.
    CloseAfter,
    /// 302 to another host.
    Redirect,
    /// 200 and what came in, as JSON: method, path, query, names of headers, hash of the body.
    Echo,
    /// 413 before any of the body was read.
    EarlyAnswer,
    /// The ordinary answer with headers that belong to the connection or claim to be a proxy's.
    HopHeaders,
}

/// How a wrong, expired or replaced pair is refused. Which of these InnoPaaS does is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Refusal {
    /// `401-json`: status 401 with an envelope.
    #[default]
    #[serde(rename = "401-json")]
    Unauthorized401Json,
    /// `403-json`: status 403 with an envelope.
    #[serde(rename = "403-json")]
    Forbidden403Json,
    /// `200-code`: status 200 with an envelope of code [`REFUSAL_CODE`].
    #[serde(rename = "200-code")]
    Ok200Code,
    /// `401-html`: status 401 with a page of HTML, as from a gateway in front of the API.
    #[serde(rename = "401-html")]
    Unauthorized401Html,
}

/// The envelope's code in every refusal that has an envelope: account.
pub const REFUSAL_CODE: &str = "101";

impl FromStr for Act {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        Self::deserialize(name)
    }
}

impl FromStr for Refusal {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        Self::deserialize(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_others_are_answered_with_the_list() {
        assert_eq!("early-answer".parse(), Ok(Act::EarlyAnswer));
        assert_eq!("403-json".parse(), Ok(Refusal::Forbidden403Json));
        let error = "404-json".parse::<Refusal>().unwrap_err().to_string();
        assert!(error.contains("401-html"), "{error}");
        assert!("slow-head".parse::<Act>().is_err());
    }

    #[test]
    fn acts_with_numbers_are_read_from_json() {
        let act = |json| serde_json::from_str::<Act>(json).unwrap();
        assert_eq!(act(r#"{"slow-head":{"ms":5}}"#), Act::SlowHead { ms: 5 });
        assert_eq!(act(r#"{"status-429":{}}"#), Act::Status429 { retry_after: None });
        assert_eq!(act(r#""reset""#), Act::Reset);
    }
}
