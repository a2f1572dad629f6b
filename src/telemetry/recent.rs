//! The last few errors, for a person who looks at the status.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::code::Code;

/// How many are remembered.
const REMEMBERED: usize = 16;

/// The last few errors; equal ones in a row are one entry.
#[derive(Debug, Default)]
pub struct RecentErrors(Mutex<VecDeque<RecentError>>);

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
    /// Remembers an error.
    pub fn note(&self, code: Code, cause: &str) {
        let last = SystemTime::now();
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_errors_in_a_row_are_one_entry_and_old_ones_go() {
        let errors = RecentErrors::default();
        for _ in 0..3 {
            errors.note(Code::TlsFailed, "same");
        }
        assert_eq!(errors.all().iter().map(|e| e.count).collect::<Vec<_>>(), [3]);
        for n in 0..100 {
            errors.note(Code::BodyBroken, &n.to_string());
        }
        assert_eq!(errors.all().len(), REMEMBERED);
        assert_eq!(errors.all().last().map(|e| e.cause.clone()), Some("99".to_owned()));
    }
}
