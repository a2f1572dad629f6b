//! Writes what the upstream wants to see: the only place that writes `AppKey` or `Authorization`.

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri};

use super::admit::Length;
use super::content_type::{Content, JSON};
use super::headers::Stripped;
use super::request_id::X_REQUEST_ID;
use crate::credentials::Credentials;

/// The access key's header (InnoPaaS guide). Names are case-insensitive (RFC 9110, section 5.1).
pub const APP_KEY: HeaderName = HeaderName::from_static("appkey");

/// A request that InnoPaaS will accept as ours. Made here and nowhere else.
pub struct Authenticated(Parts);

impl Stripped {
    /// Adds one consistent pair, `Host`, the content type and the framing, exactly once each, and
    /// the request id if it is to be sent.
    pub fn inject(
        self,
        credentials: &Credentials,
        host: &HeaderValue,
        request_id: Option<&HeaderValue>,
    ) -> Authenticated {
        let Self { method, target, mut headers, content, length } = self;
        headers.insert(header::HOST, host.clone());
        headers.insert(APP_KEY, credentials.app_key.expose().clone());
        headers.insert(header::AUTHORIZATION, credentials.authorization.expose().clone());
        match content {
            Content::Json => drop(headers.insert(header::CONTENT_TYPE, JSON)),
            Content::Multipart(value) | Content::AsItCame { value: Some(value), .. } => {
                headers.insert(header::CONTENT_TYPE, value);
            }
            Content::AsItCame { value: None, .. } => {}
        }
        match length {
            Length::Known(0) if !expects_a_body(&method) => {}
            Length::Known(length) => drop(headers.insert(header::CONTENT_LENGTH, length.into())),
            Length::Chunked => {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        if let Some(id) = request_id {
            headers.insert(X_REQUEST_ID, id.clone());
        }
        let mut head = Request::new(()).into_parts().0;
        head.method = method;
        head.uri = Uri::from(target);
        head.headers = headers;
        Authenticated(head)
    }
}

impl Authenticated {
    /// Asks for an answer without compression, whatever the caller can take.
    pub(super) fn asking_for_plain_text(mut self) -> Self {
        self.0.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        self
    }

    pub(super) fn with_body<B>(self, body: B) -> Request<B> {
        Request::from_parts(self.0, body)
    }
}

#[cfg(fuzzing)]
impl Authenticated {
    /// What would be sent. For the fuzz targets alone: elsewhere, whoever reads a head that holds
    /// the pair could print it.
    pub fn head(&self) -> &Parts {
        &self.0
    }
}

/// RFC 9110, section 8.6: without a body these still say so.
fn expects_a_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}
