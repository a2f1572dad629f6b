//! Writes what the upstream wants to see: the only place that writes `AppKey` or `Authorization`.

use http::HeaderValue;

use super::content_type::{Content, JSON};
use super::headers::Stripped;
use crate::credentials::Credentials;
use crate::secret::Secret;
use crate::telemetry::request_id::X_REQUEST_ID;
use crate::upstream::RequestHead;

/// The access key's header, as the guide spells it. Names are case-insensitive (RFC 9110, section
/// 5.1), but not everybody knows.
const APP_KEY: &str = "AppKey";
const AUTHORIZATION: &str = "Authorization";

/// A request that InnoPaaS will accept as ours. Made here and nowhere else.
pub struct Authenticated(RequestHead);

impl Stripped {
    /// Adds one consistent pair, `Host` and the content type, exactly once each, and the request id
    /// if it is to be sent.
    pub fn inject(
        &self,
        credentials: &Credentials,
        host: &HeaderValue,
        request_id: Option<&HeaderValue>,
    ) -> Authenticated {
        let Self { method, target, fields, content } = self;
        let pair = [&credentials.app_key, &credentials.authorization];
        let content_type = match content {
            Content::Json => Some(&JSON),
            Content::Multipart(value) => Some(value),
            Content::AsItCame { value, .. } => value.as_ref(),
        };
        let values = pair.map(Secret::len).iter().sum::<usize>()
            + host.len()
            + content_type.map_or(0, HeaderValue::len)
            + request_id.map_or(0, HeaderValue::len);
        let room = fields.size() + values + NAMES + RequestHead::FRAMING;
        let mut head = RequestHead::new(method, target, room);
        head.add("Host", host);
        head.extend(fields);
        head.add(APP_KEY, credentials.app_key.expose());
        head.add(AUTHORIZATION, credentials.authorization.expose());
        if let Some(content_type) = content_type {
            head.add("Content-Type", content_type);
        }
        if let Some(id) = request_id {
            head.add(X_REQUEST_ID.as_str(), id);
        }
        Authenticated(head)
    }
}

/// Room for all names that are added here, and what stands around their values: in bytes.
const NAMES: usize = 128;

impl Authenticated {
    pub(super) fn into_head(self) -> RequestHead {
        self.0
    }
}

#[cfg(any(test, fuzzing))]
impl Authenticated {
    /// What would be sent before an empty body. For tests alone: elsewhere, whoever reads a head
    /// that holds the pair could print it.
    pub fn bytes(self) -> bytes::Bytes {
        self.0.bytes(Some(0))
    }
}
