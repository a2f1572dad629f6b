//! Between the socket and hyper: lets pass what is a request so far, and holds back the rest.
//!
//! hyper sees whole heads only. A head that comes slowly waits here, so that its deadline begins
//! with its first byte also if it came glued to the request before it, and one that is malformed
//! never reaches hyper at all: for hyper the connection has ended, and we answer in its place.

use super::Limits;
use super::grammar::Grammar;
use super::lines::Fault;

/// What came and has not passed.
#[derive(Debug)]
pub(super) struct Inlet {
    grammar: Grammar,
    /// Bytes that came; at most one head and what one read brings.
    held: Vec<u8>,
    /// How many of them may pass.
    fit: usize,
    fault: Option<Fault>,
    /// Whether hyper was told of an end that is none.
    ended_early: bool,
}

/// What hyper is to find when it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Bytes that were held.
    Held,
    /// What the socket brings.
    Read,
    /// The end of the connection.
    End,
    /// Nothing until the call in flight is over.
    Wait,
}

impl Inlet {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            grammar: Grammar::new(limits),
            held: Vec::new(),
            fit: 0,
            fault: None,
            ended_early: false,
        }
    }

    pub(super) fn next(&mut self, in_flight: bool) -> Next {
        match self.fault {
            _ if self.fit > 0 => Next::Held,
            None => Next::Read,
            // The call that it belongs to must learn of it.
            Some(Fault::Body) => Next::End,
            // The calls before it are whole, and are answered first.
            Some(_) if in_flight => Next::Wait,
            Some(_) => {
                self.ended_early = true;
                Next::End
            }
        }
    }

    /// Takes what the socket brought. How many of these bytes may pass at once; the others are held.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        if !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            let held = std::mem::take(&mut self.held);
            self.fit = self.judge(&held);
            self.held = held;
            self.forget_after_fault();
            return 0;
        }
        let fit = self.judge(bytes);
        self.held.extend_from_slice(bytes.get(fit..).unwrap_or_default());
        self.forget_after_fault();
        fit
    }

    /// Gives out bytes that were held and may pass.
    pub(super) fn give(&mut self, most: usize, to: impl FnOnce(&[u8])) {
        let length = self.fit.min(most);
        to(self.held.get(..length).unwrap_or_default());
        self.held.drain(..length);
        self.fit -= length;
    }

    /// Whether a request may begin, and nothing of one is here.
    pub(super) fn is_between_requests(&self) -> bool {
        self.held.is_empty() && self.fault.is_none() && self.grammar.expects_head()
    }

    /// Whether part of a head is held.
    pub(super) fn holds_head(&self) -> bool {
        self.held.len() > self.fit && self.grammar.expects_head()
    }

    /// What is wrong with the head at which hyper was told of an end.
    pub(super) fn refused(&self) -> Option<Fault> {
        self.fault.filter(|_| self.ended_early)
    }

    fn judge(&mut self, bytes: &[u8]) -> usize {
        match self.grammar.pass(bytes) {
            Ok(fit) => fit,
            Err((fit, fault)) => {
                self.fault = Some(fault);
                fit
            }
        }
    }

    fn forget_after_fault(&mut self) {
        if self.fault.is_some() {
            self.held.truncate(self.fit);
        }
    }
}
