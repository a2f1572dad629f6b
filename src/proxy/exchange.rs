//! One call's exchange with InnoPaaS: sent once, and once more if the pair was refused.
//!
//! Invariants: a call is sent again only after an answer that was recognised as a refusal of the
//! pair, once, with another pair, and only if all that left of its body was kept. That a refused
//! call did nothing at InnoPaaS is an assumption (SECURITY.md); after the second begin it is
//! counted as sent, whatever becomes of it.

use std::sync::Arc;

use http::Response;

use super::headers::{Coding, Stripped};
use super::hold::Places;
use super::inject::Authenticated;
use super::peek::Peeked;
use super::refusal::{self, Verdict};
use super::reject::Reject;
use super::send::Upstream;
use crate::config::Refusal;
use crate::credentials::{Credentials, Keyring, Unavailable};
use crate::telemetry::access::AccessRecord;
use crate::telemetry::code::{Held, Repeat, Sent};
use crate::telemetry::metrics::WorkerMetrics;
use crate::upstream::{self, Kind, RequestBody, Spare, Unkept};

/// Said while nothing is wrong with the files and nothing was read either.
const NOT_READ_YET: &str = "files that were written one by one must stand still for a poll \
                            (credentials.poll), at most for a second, before they are used";

/// What a call's exchange with InnoPaaS takes.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) keyring: Arc<Keyring>,
    pub(super) upstream: Upstream,
    pub(super) refusal: Refusal,
    /// Where refused calls wait for a newer pair, if they do.
    pub(super) held: Option<Arc<Places>>,
    /// Whether all answers are read, and so asked for without compression.
    pub(super) plain_text: bool,
    pub(super) forward_request_id: bool,
    pub(super) metrics: Arc<WorkerMetrics>,
}

/// The pair to send a call with, and whether the call waited for it.
pub(super) struct Chosen {
    credentials: Arc<Credentials>,
    waited: bool,
}

/// An answer, and the pair that its call was sent with.
pub(super) type Answered = (Response<Peeked>, Arc<Credentials>);

impl Exchange {
    /// Whether it is worth while to take a call's body.
    pub(super) fn available(&self, path: &str) -> Result<(), Reject> {
        match self.keyring.available(path) {
            Err(Unavailable::Refused { .. }) if self.held.is_some() => Ok(()), // it may wait
            available => available.map_err(|why| self.unavailable(why)),
        }
    }

    /// What codings the answer to a call to this path may have.
    pub(super) fn coding(&self, path: &str) -> Coding {
        let read = self.plain_text || self.refusal.looks_into(path);
        if read { Coding::Identity } else { Coding::Any }
    }

    /// The pair to send a call to this path with, of whose body so many bytes are here already.
    pub(super) async fn choose(&self, path: &str, bytes: usize) -> Result<Chosen, Reject> {
        let (chosen, waited) = match (self.keyring.choose(path), &self.held) {
            (Err(Unavailable::Refused { .. }), Some(places)) => {
                let news = async { Ok(self.keyring.wait_until_available(path).await) };
                let came = Box::pin(places.wait(bytes, &self.metrics, news)).await;
                (came.map_or_else(|| self.keyring.choose(path), Ok), true)
            }
            (chosen, _) => (chosen, false),
        };
        match chosen {
            Ok(credentials) => Ok(Chosen { credentials, waited }),
            Err(why) => Err(self.unavailable(why)),
        }
    }

    fn unavailable(&self, why: Unavailable) -> Reject {
        match why {
            Unavailable::Missing => {
                let problem = self.keyring.primary().report().problem;
                Reject::CredentialsMissing(problem.unwrap_or_else(|| NOT_READ_YET.to_owned()))
            }
            Unavailable::Refused { refusals, wait } => Reject::CredentialRefused { refusals, wait },
        }
    }

    /// Sends a call with this pair, and once more with another one if this one is refused.
    pub(super) async fn run(
        &self,
        stripped: Stripped,
        Chosen { credentials: first, waited }: Chosen,
        body: RequestBody,
        record: &mut AccessRecord,
    ) -> Result<Answered, Reject> {
        let path = stripped.path();
        let spare = body.spare(self.refusal.buffer);
        let request = self.authenticate(&stripped, &first, record);
        let (mut answer, verdict) =
            self.attempt(path, &first, request, body, &mut record.sent).await?;
        let Verdict::Refused { replay } = verdict else {
            return Ok((answer, first));
        };
        record.refused = true;
        let spare = Some(spare).filter(|spare| replay && spare.is_there());
        // In boxes, what is rare: every call in flight would have room for it otherwise.
        Box::pin(self.look_for_newer(&first, path)).await;
        let other = match &spare {
            Some(spare) => {
                Box::pin(self.other_than(&first, waited, path, &mut answer, spare)).await?
            }
            None => None,
        };
        let Some(((credentials, with), body)) = other.zip(spare.and_then(Spare::begin_again))
        else {
            return Ok((answer, first));
        };
        // What refuses may close the connection without a word, and the next call on it would be lost.
        answer.body_mut().close();
        drop(answer);
        record.repeat = Some(with);
        self.metrics.refusal_repeated(with);
        Box::pin(self.once_more(&stripped, credentials, body, record)).await
    }

    async fn once_more(
        &self,
        stripped: &Stripped,
        credentials: Arc<Credentials>,
        body: RequestBody,
        record: &mut AccessRecord,
    ) -> Result<Answered, Reject> {
        let path = stripped.path();
        // It was sent, whatever is known of this second time.
        let mut sent = Sent::Maybe;
        let request = self.authenticate(stripped, &credentials, record);
        let result = self.attempt(path, &credentials, request, body, &mut sent).await;
        let (answer, verdict) =
            result.map_err(|error| upstream::Error { sent: Sent::Maybe, ..error })?;
        if let Verdict::Refused { .. } = verdict {
            self.keyring.refused(&credentials, path);
        }
        Ok((answer, credentials))
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
        stripped: &Stripped,
        credentials: &Credentials,
        record: &mut AccessRecord,
    ) -> Authenticated {
        record.pair = Some((credentials.pair, credentials.generation));
        let id = self.forward_request_id.then_some(&record.request_id);
        stripped.inject(credentials, self.upstream.host(), id)
    }

    async fn look_for_newer(&self, refused: &Credentials, path: &str) {
        self.keyring.look_again(refused).await;
        if self.keyring.newer_than(refused).is_none() {
            self.keyring.refused(refused, path);
        }
    }

    /// What to send a refused call with once more: a newer pair, else the standby, else what comes
    /// of either while the call waits, if it did not wait before.
    async fn other_than(
        &self,
        refused: &Credentials,
        waited: bool,
        path: &str,
        answer: &mut Response<Peeked>,
        spare: &Spare,
    ) -> Result<Option<(Arc<Credentials>, Repeat)>, upstream::Error> {
        let places = self.held.as_ref().filter(|_| !waited);
        if let Some(other) = self.keyring.other_than(refused, path, places.is_some()) {
            return Ok(Some(other));
        }
        let Some(places) = places else { return Ok(None) };
        // So that no connection to InnoPaaS waits with it.
        let whole = answer.body_mut().read(self.refusal.peek_wait).await.is_ok();
        if whole {
            answer.body_mut().close();
        }
        let bytes = spare.most() + answer.body().held();
        let news = self.keyring.wait_for_other(refused, path);
        let other = places.wait(bytes, &self.metrics, async {
            tokio::select! {
                other = news => Ok((other, Repeat::Held)),
                // As long as the answer is under way, so is the body: it is not ours to read.
                unkept = spare.read_on(), if whole => Err(match unkept {
                    Unkept::Failed => Held::Gone,
                    Unkept::TooMuch => Held::NoRoom,
                }),
            }
        });
        let other = other.await;
        match spare.fault().filter(|_| whole) {
            Some(fault) => Err(upstream::Error {
                kind: Kind::Body(fault),
                sent: Sent::Maybe,
                cause: "while the call was held".to_owned(),
            }),
            None => Ok(other),
        }
    }
}
