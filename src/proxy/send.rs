//! The one door to the upstream: nothing passes but what `inject` made.

use std::rc::Rc;

use http::{HeaderValue, Response};

use super::inject::Authenticated;
use crate::telemetry::code::Sent;
use crate::upstream::{Client, Error, RequestBody, ResponseBody};

/// The way to InnoPaaS, for authenticated requests.
#[derive(Debug)]
pub(super) struct Upstream(Rc<Client>);

impl Upstream {
    pub(super) fn new(client: Rc<Client>) -> Self {
        Self(client)
    }

    pub(super) fn host(&self) -> &HeaderValue {
        self.0.host()
    }

    pub(super) async fn send(
        &self,
        request: Authenticated,
        body: RequestBody,
        sent: &mut Sent,
    ) -> Result<Response<ResponseBody>, Error> {
        self.0.send(request.into_head(), body, sent).await
    }
}
