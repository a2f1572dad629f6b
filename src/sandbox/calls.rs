//! What the sandbox remembers of the calls it got.
//!
//! Invariant: no value of a credential is here, and no body; the memory is bounded. Calls to the
//! control endpoints are not remembered.

use std::collections::{BTreeMap, HashSet, VecDeque};

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts;
use ring::digest;
use serde::Serialize;

use super::check::Rule;

const RECORDS: usize = 64; // calls
const PATHS: usize = 64; // distinct ones; the rest is counted as OTHER_PATHS
const OTHER_PATHS: &str = "(others)";
const BODIES: usize = 1_000_000; // accepted ones that are known again: about 35 MB of hashes

/// Counts, and the last calls.
///
/// `total` counts a call when its head arrives, the outcomes when its answer begins: the
/// difference is being read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// All calls.
    pub total: u64,
    /// Calls that passed every check.
    pub accepted: u64,
    /// Calls with a wrong, expired or replaced pair, or to a forbidden path.
    pub refused: u64,
    /// Calls that broke a rule.
    pub malformed: u64,
    /// Calls whose body did not come to its end.
    pub cut: u64,
    /// Calls, among those that are not accepted, whose AppKey is of one pair that was valid once and
    /// whose Authorization is of another, and that together never were a valid pair. Counted when
    /// the head arrives; of the pairs, the latest 4096 are remembered.
    pub mixed: u64,
    /// Accepted calls with a body that was accepted on the same path before. Of the bodies, the
    /// first 1,000,000 are remembered; calls without one, or whose body was not read, do not count.
    pub duplicates: u64,
    /// `total`, by path without query.
    pub by_path: BTreeMap<String, u64>,
    /// The last 64 calls, oldest first, by the begin of their answers.
    pub records: Vec<Call>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Whether there was a query.
    pub query_present: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// The status that was answered; `None` if there was no answer.
    pub status: Option<u16>,
    /// `Content-Type`, the first one.
    pub content_type: Option<String>,
    /// `Content-Length`, if it is a number.
    pub content_length: Option<u64>,
    /// Whether `Transfer-Encoding` says `chunked`.
    pub chunked: bool,
    /// Bytes of the body that were read.
    pub body_bytes: u64,
    /// SHA-256 of these bytes, in hex.
    pub body_sha256: String,
    /// Names of all headers, lower case, in the order in which each name first came; a name that
    /// came twice stands there twice, side by side.
    pub header_names: Vec<String>,
    /// `X-Request-Id`, the first one.
    pub request_id: Option<String>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It passed every check; an act may still have answered it with an error.
    Accepted,
    /// Its pair was wrong, expired or replaced, or its path is forbidden.
    Refused,
    /// It broke a rule.
    Malformed {
        /// The first rule that it broke.
        rule: Rule,
    },
    /// Its body did not come to its end.
    Cut,
}

impl Call {
    /// A call of which only the head is here.
    pub(super) fn begun(head: &Parts) -> Self {
        let text = |name| first(&head.headers, name);
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query_present: head.uri.query().is_some(),
            outcome: Outcome::Cut, // until it is something better
            status: None,
            content_type: text(CONTENT_TYPE.as_str()),
            content_length: text(CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok()),
            chunked: text(TRANSFER_ENCODING.as_str())
                .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")),
            body_bytes: 0,
            body_sha256: String::new(),
            header_names: head.headers.iter().map(|(name, _)| name.as_str().to_owned()).collect(),
            request_id: text("x-request-id"),
        }
    }
}

fn first(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Counts as it goes.
#[derive(Default)]
pub(super) struct Tally {
    counts: Calls, // its `records` stay empty
    records: VecDeque<Call>,
    /// What was accepted: path and body, hashed together.
    bodies: HashSet<u128>,
}

impl Tally {
    pub(super) fn arrived(&mut self, path: &str) {
        self.counts.total += 1;
        let paths = &mut self.counts.by_path;
        let known = paths.len() < PATHS || paths.contains_key(path);
        let path = if known { path } else { OTHER_PATHS };
        *paths.entry(path.to_owned()).or_default() += 1;
    }

    pub(super) fn mixed(&mut self) {
        self.counts.mixed += 1;
    }

    pub(super) fn ended(&mut self, call: Call) {
        if call.outcome == Outcome::Accepted && call.body_bytes > 0 {
            self.accepted(hash(&call));
        }
        *match call.outcome {
            Outcome::Accepted => &mut self.counts.accepted,
            Outcome::Refused => &mut self.counts.refused,
            Outcome::Malformed { .. } => &mut self.counts.malformed,
            Outcome::Cut => &mut self.counts.cut,
        } += 1;
        if self.records.len() == RECORDS {
            self.records.pop_front();
        }
        self.records.push_back(call);
    }

    fn accepted(&mut self, body: u128) {
        if self.bodies.contains(&body) {
            self.counts.duplicates += 1;
        } else if self.bodies.len() < BODIES {
            self.bodies.insert(body);
        }
    }

    pub(super) fn calls(&self) -> Calls {
        Calls { records: self.records.iter().cloned().collect(), ..self.counts.clone() }
    }
}

/// Half of SHA-256, of path and body.
fn hash(call: &Call) -> u128 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(call.body_sha256.as_bytes()); // always as long: no path can begin in it
    context.update(call.path.as_bytes());
    let hash = context.finish();
    hash.as_ref().first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}
