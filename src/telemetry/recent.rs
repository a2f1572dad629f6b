//! The last few errors, for a person who looks at the status.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::code::Code;

/// How many of each kind are remembered.
const REMEMBERED: usize = 8;

/// The last few errors; equal ones in a row are one entry. Those of InnoPaaS and the network are
/// kept apart from the others, so that no caller can push them out.
#[derive(Debug, Default)]
pub struct RecentErrors {
    failed: Mutex<VecDeque<RecentError>>,
    rejected: Mutex<VecDeque<RecentError>>,
}

/// One kind of error, as often as it came in a row.
#[derive(Debug, Clone)]
pub struct RecentError {
    /// The stable word.
    pub code: Code,
    /// Of the last one: the cause in words that hold nothing of a message.
    pub cause: String,
    /// When the last one came.
    pub last: SystemTime,
    /// How many came in a row.
    pub count: u64,
}

impl RecentErrors {
    /// Remembers an error; `failed` if InnoPaaS gave no answer.
    pub fn note(&self, code: Code, cause: &str, failed: bool) {
        let last = SystemTime::now();
        let errors = if failed { &self.failed } else { &self.rejected };
        let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
        match errors.back_mut() {
            Some(error) if error.code == code && error.cause == cause => {
                error.last = last;
                error.count += 1;
            }
            Some(_) | None => {
                if errors.len() == REMEMBERED {
                    errors.pop_front();
                }
                errors.push_back(RecentError { code, cause: cause.to_owned(), last, count: 1 });
            }
        }
    }

    /// What is remembered, the oldest first.
    pub fn all(&self) -> Vec<RecentError> {
        let of = |errors: &Mutex<VecDeque<RecentError>>| {
            errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        let mut all: Vec<_> = of(&self.failed).into_iter().chain(of(&self.rejected)).collect();
        all.sort_by_key(|error| error.last);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_errors_in_a_row_are_one_entry_and_callers_push_out_only_their_own() {
        let errors = RecentErrors::default();
        for _ in 0..3 {
            errors.note(Code::TlsFailed, "same", true);
        }
        for n in 0..100 {
            errors.note(Code::BodyBroken, &n.to_string(), false);
        }
        let all = errors.all();
        assert_eq!(all.len(), 1 + REMEMBERED);
        assert_eq!((all[0].code, all[0].count), (Code::TlsFailed, 3));
        assert_eq!(all.last().map(|error| error.cause.as_str()), Some("99"));
    }
}
