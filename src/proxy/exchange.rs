//! One call's exchange with InnoPaaS: sent once, and once more if the pair was refused.
//!
//! Invariants: a call is sent again only after an answer that was recognised as a refusal of the
//! pair, once, with another pair, and only if all that left of its body was kept. That a refused
//! call did nothing at InnoPaaS is an assumption (SECURITY.md); after the second begin it is
//! counted as sent, whatever becomes of it.

use std::sync::Arc;

use http::Response;

use super::Proxy;
use super::headers::Stripped;
use super::inject::Authenticated;
use super::peek::Peeked;
use super::refusal::{self, Verdict};
use super::reject::Reject;
use crate::credentials::{Credentials, Unavailable};
use crate::telemetry::access::AccessRecord;
use crate::telemetry::code::{Repeat, Sent};
use crate::upstream::{self, RequestBody, Spare};

/// An answer, and the pair that its call was sent with.
pub(super) struct Answered {
    pub(super) answer: Response<Peeked>,
    pub(super) credentials: Arc<Credentials>,
}

impl Proxy {
    /// The pair to send a call with, of whose body so many bytes are here already.
    pub(super) async fn choose(&self, bytes: usize) -> Result<Arc<Credentials>, Reject> {
        match (self.keyring.choose(), &self.held) {
            (Ok(credentials), _) => Ok(credentials),
            (Err(Unavailable::Refused { .. }), Some(places)) => {
                let news = self.keyring.wait_until_available();
                match places.wait(bytes, &self.metrics, news).await {
                    Some(credentials) => Ok(credentials),
                    None => self.keyring.choose().map_err(|why| self.unavailable(why)),
                }
            }
            (Err(why), _) => Err(self.unavailable(why)),
        }
    }

    pub(super) async fn exchange(
        &self,
        stripped: Stripped,
        first: Arc<Credentials>,
        body: RequestBody,
        record: &mut AccessRecord,
    ) -> Result<Answered, Reject> {
        let (again, spare) = (stripped.clone(), body.spare(self.refusal.buffer));
        let request = self.authenticate(stripped, &first, record);
        let (mut answer, verdict) =
            self.attempt(again.path(), &first, request, body, &mut record.sent).await?;
        let Verdict::Refused { replay } = verdict else {
            return Ok(Answered { answer, credentials: first });
        };
        record.refused = true;
        let spare = Some(spare).filter(|spare| replay && spare.is_there());
        let next = self.after_refusal(again.path(), &first, &mut answer, spare).await;
        let Some((credentials, with, body)) = next else {
            return Ok(Answered { answer, credentials: first });
        };
        drop(answer);
        record.repeat = Some(with);
        self.metrics.refusal_repeated(with);
        self.once_more(again, credentials, body, record).await
    }

    async fn once_more(
        &self,
        stripped: Stripped,
        credentials: Arc<Credentials>,
        body: RequestBody,
        record: &mut AccessRecord,
    ) -> Result<Answered, Reject> {
        let path = stripped.path().to_owned();
        // It was sent, whatever is known of this second time.
        let mut sent = Sent::Maybe;
        let request = self.authenticate(stripped, &credentials, record);
        let result = self.attempt(&path, &credentials, request, body, &mut sent).await;
        let (answer, verdict) =
            result.map_err(|error| upstream::Error { sent: Sent::Maybe, ..error })?;
        if let Verdict::Refused { .. } = verdict {
            self.keyring.refused(&credentials, &path);
        }
        Ok(Answered { answer, credentials })
    }

    /// Sends a call and takes note of what the answer says of the pair.
    async fn attempt(
        &self,
        path: &str,
        credentials: &Credentials,
        request: Authenticated,
        body: RequestBody,
        sent: &mut Sent,
    ) -> Result<(Response<Peeked>, Verdict), upstream::Error> {
        let answer = self.upstream.send(request, body, sent).await?;
        let mut answer = answer.map(Peeked::unread);
        let verdict = refusal::judge(&mut answer, path, &self.refusal, &self.metrics).await;
        match verdict {
            Verdict::Accepted => self.keyring.accepted(credentials),
            Verdict::Refused { .. } => self.metrics.credential_refused(credentials.pair),
            Verdict::Silent => {}
        }
        Ok((answer, verdict))
    }

    fn authenticate(
        &self,
        stripped: Stripped,
        credentials: &Credentials,
        record: &mut AccessRecord,
    ) -> Authenticated {
        record.pair = Some((credentials.pair, credentials.generation));
        let id = self.forward_request_id.then_some(&record.request_id);
        let plain = self.guard.echo || self.refusal.looks_into(stripped.path());
        let request = stripped.inject(credentials, self.upstream.host(), id);
        if plain { request.asking_for_plain_text() } else { request }
    }

    /// What to send the refused call with once more: a newer pair from the files, else the
    /// standby, else a newer pair that comes while the call waits; nothing, if there is none or
    /// the call cannot be repeated.
    async fn after_refusal(
        &self,
        path: &str,
        first: &Credentials,
        answer: &mut Response<Peeked>,
        spare: Option<Spare>,
    ) -> Option<(Arc<Credentials>, Repeat, RequestBody)> {
        self.keyring.look_again(first).await;
        if self.keyring.newer_than(first).is_none() {
            self.keyring.refused(first, path);
        }
        let spare = spare?;
        let (credentials, with) = match self.keyring.other_than(first) {
            Some(other) => other,
            None => (self.wait_for_newer(first, answer, &spare).await?, Repeat::Held),
        };
        // A small answer that was read to its end gives its connection back.
        let _ = answer.body_mut().read(self.refusal.peek_wait).await;
        Some((credentials, with, spare.begin_again()?))
    }

    async fn wait_for_newer(
        &self,
        first: &Credentials,
        answer: &mut Response<Peeked>,
        spare: &Spare,
    ) -> Option<Arc<Credentials>> {
        let places = self.held.as_ref()?;
        // So that no connection to InnoPaaS waits with it.
        let _ = answer.body_mut().read(self.refusal.peek_wait).await;
        let bytes = spare.held() + answer.body().held();
        places.wait(bytes, &self.metrics, self.keyring.wait_for_newer(first)).await
    }
}
