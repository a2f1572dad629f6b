//! One call to the API, from its head to its answer.
//!
//! Invariant: what the head does wrong is answered before any act, and does not use one up.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::request::Parts;
use hyper::body::Incoming;
use tokio::time::sleep;

use super::act::Act;
use super::answer::{self, Answer};
use super::calls::Outcome;
use super::check::{self, Content, Rule};
use super::content::{self, Read};
use super::routes::{self, Endpoint};
use super::state::{Open, State};
use crate::server::Abort;

/// Answers a call, or wishes its connection cut.
pub(super) async fn answer(
    request: Request<Incoming>,
    state: &Arc<State>,
    port: u16,
) -> Result<Answer, Abort> {
    let (head, body) = request.into_parts();
    let mut open = state.open(&head);
    let (verdict, content) = judge(&head, state, port);
    let act = match verdict {
        Ok(()) => state.next_act(),
        Err(_) => Act::Normal,
    };
    if act == Act::EarlyAnswer {
        open.read(0, content::sha256_of_nothing());
        return Ok(ended(open, Outcome::Accepted, answer::too_large()));
    }
    let read = content::read(body, content).await.map_err(|_| Abort)?;
    open.read(read.bytes, read.sha256.clone());
    let verdict = verdict.and(read.verdict.map_err(Fault::Rule));
    match verdict {
        Err(Fault::Refused) => {
            let answer = answer::refused(state.refusal());
            Ok(ended(open, Outcome::Refused, lingering(answer, &read)))
        }
        Err(Fault::Rule(rule)) => {
            let answer = answer::broken(rule, &head);
            let outcome = Outcome::Malformed { rule };
            Ok(ended(open, outcome, lingering(answer, &read)))
        }
        Ok(()) => play(act, open, &head, &read, state).await,
    }
}

/// What is wrong with a call.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The pair is not valid, or the path is forbidden.
    Refused,
    Rule(Rule),
}

/// Judges the head; its content is told only if the body is worth a look.
fn judge(head: &Parts, state: &State, port: u16) -> (Result<(), Fault>, Option<Content>) {
    match check::head(head, port) {
        Err(rule) => (Err(Fault::Rule(rule)), None),
        Ok(claim) if !state.accepts(head.uri.path(), &claim) => (Err(Fault::Refused), None),
        Ok(claim) => (Ok(()), Some(claim.content)),
    }
}

/// Plays an act. Those that need no endpoint work on every path.
async fn play(
    act: Act,
    open: Open,
    head: &Parts,
    read: &Read,
    state: &State,
) -> Result<Answer, Abort> {
    let instead = match &act {
        Act::Reset => {
            open.end(Outcome::Accepted, None);
            return Err(Abort);
        }
        Act::Status429 { retry_after } => Some(answer::too_many(*retry_after)),
        Act::Code { code } => Some(answer::code(code)),
        Act::Redirect => Some(answer::redirect()),
        Act::Echo => Some(answer::echo(head, read)),
        Act::EarlyAnswer => Some(answer::too_large()),
        Act::Normal
        | Act::SlowHead { .. }
        | Act::SlowBody { .. }
        | Act::CutBody
        | Act::CloseAfter
        | Act::HopHeaders => None,
    };
    if let Some(answer) = instead {
        return Ok(ended(open, Outcome::Accepted, answer));
    }
    let answer = match routes::route(head) {
        Ok(endpoint) => ended(open, Outcome::Accepted, ordinary(endpoint, state)),
        Err(rule) => ended(open, Outcome::Malformed { rule }, answer::broken(rule, head)),
    };
    Ok(match act {
        Act::SlowHead { ms } => {
            sleep(Duration::from_millis(ms)).await;
            answer
        }
        Act::SlowBody { ms } => answer::slow(answer, Duration::from_millis(ms)),
        Act::CutBody => answer::cut(answer),
        Act::CloseAfter => answer::closing(answer),
        Act::HopHeaders => answer::with_hop_headers(answer),
        Act::Normal
        | Act::Status429 { .. }
        | Act::Code { .. }
        | Act::Reset
        | Act::Redirect
        | Act::Echo
        | Act::EarlyAnswer => answer,
    })
}

fn ordinary(endpoint: Endpoint, state: &State) -> Answer {
    answer::success(endpoint, state.next_id())
}

fn lingering(answer: Answer, read: &Read) -> Answer {
    if read.whole { answer } else { answer::unread(answer) }
}

fn ended(open: Open, outcome: Outcome, answer: Answer) -> Answer {
    open.end(outcome, Some(answer.status().as_u16()));
    answer
}
