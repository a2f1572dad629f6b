//! Events that an application acknowledged a moment ago.
//!
//! Bounded in number and in time, and each of one size: what an event is told from others by is
//! hashed. The oldest go first.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use crate::config::Duplicates;

/// Acknowledged events.
#[derive(Debug)]
pub(super) struct Seen {
    window: Duration,
    entries: usize,
    at: HashMap<Key, Instant>,
    order: VecDeque<(Key, Instant)>,
}

/// What tells an event from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; SHA256_OUTPUT_LEN]);

impl Key {
    /// Of these parts, in this order.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(context.finish().as_ref().try_into().unwrap_or_default()) // it has that length
    }
}

impl Seen {
    /// Remembers as much as that.
    pub(super) fn new(Duplicates { window, entries }: Duplicates) -> Self {
        Self { window, entries, at: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether it was acknowledged within the window.
    pub(super) fn has(&mut self, key: &Key, now: Instant) -> bool {
        self.forget(now);
        self.at.contains_key(key)
    }

    /// It is acknowledged.
    pub(super) fn acknowledged(&mut self, key: Key, now: Instant) {
        self.forget(now);
        if self.at.contains_key(&key) {
            return; // two of it were under way at the same time
        }
        if self.order.len() >= self.entries
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.at.remove(&oldest);
        }
        self.at.insert(key, now);
        self.order.push_back((key, now));
    }

    fn forget(&mut self, now: Instant) {
        while let Some((key, at)) = self.order.front()
            && now.duration_since(*at) >= self.window
        {
            self.at.remove(key);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_remembered_for_the_window_and_only_so_many_are() {
        let window = Duration::from_secs(60);
        let mut seen = Seen::new(Duplicates { window, entries: 2 });
        let key = |id: &str| Key::of(&[b"app", id.as_bytes()]);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!seen.has(&key("a"), start));
        seen.acknowledged(key("a"), start);
        seen.acknowledged(key("a"), after(30));
        assert!(seen.has(&key("a"), after(59)) && !seen.has(&key("a"), after(60)));
        for id in ["a", "b", "c"] {
            seen.acknowledged(key(id), after(61));
        }
        assert!(!seen.has(&key("a"), after(62)) && seen.has(&key("c"), after(62)));
        assert_eq!((seen.at.len(), seen.order.len()), (2, 2));
        assert_ne!(Key::of(&[b"ab", b"c"]), Key::of(&[b"a", b"bc"]));
    }
}
