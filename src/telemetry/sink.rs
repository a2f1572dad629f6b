//! Where log lines wait for standard error: a bounded buffer, and a thread that empties it, so that
//! a log collector that stands still never holds up a call.
//!
//! Invariants: whoever adds a line never waits for the collector; a line is whole or not there. A
//! record of a call may wait for a second, so that many are written together: to wake the thread for
//! each would cost more than the record does. Anything else is written at once.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that may wait for the collector; lines that find no room are dropped and counted.
const ROOM: usize = 4 * 1024 * 1024;
/// Bytes that are not left waiting for more.
const BATCH: usize = 64 * 1024;
/// How long a line waits for others at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes log lines.
#[derive(Debug, Default)]
pub struct Sink {
    queue: Mutex<Queue>,
    /// Told when the thread has something to do, or has done it.
    changed: Condvar,
    dropped: AtomicU64,
}

/// Writes what still waits when it is dropped, unless the collector stands still.
#[derive(Debug)]
pub struct SinkGuard(Arc<Sink>);

/// What waits.
#[derive(Debug, Default)]
struct Queue {
    lines: Vec<u8>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// Whether they are to be written now.
    urgent: bool,
    ending: bool,
    ended: bool,
}

impl Sink {
    /// One that writes to this, on a thread of its own.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn to(output: impl Write + Send + 'static) -> io::Result<(Arc<Self>, SinkGuard)> {
        let sink = Arc::new(Self::default());
        let emptied = Arc::clone(&sink);
        thread::Builder::new().name("log".to_owned()).spawn(move || emptied.empty_into(output))?;
        Ok((Arc::clone(&sink), SinkGuard(sink)))
    }

    /// Adds a line that is written at once.
    pub(super) fn add(&self, line: &[u8]) {
        self.push(line, true);
    }

    /// Adds a line that may wait for others.
    pub(super) fn add_later(&self, line: &[u8]) {
        self.push(line, false);
    }

    /// How many lines found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn push(&self, line: &[u8], urgent: bool) {
        let mut queue = self.lock();
        if queue.lines.len() + line.len() > ROOM {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        let was = queue.lines.len();
        queue.lines.extend_from_slice(line);
        let now_urgent = urgent || queue.lines.len() >= BATCH;
        if was == 0 {
            queue.since = Some(Instant::now());
        }
        // The thread sleeps, but for the first line's second.
        if was == 0 || (now_urgent && !queue.urgent) {
            self.changed.notify_all();
        }
        queue.urgent |= now_urgent;
    }

    fn empty_into(&self, mut output: impl Write) {
        let mut lines = Vec::new();
        while self.take(&mut lines) {
            // Nobody is left to be told of an error here.
            let _ = output.write_all(&lines).and_then(|()| output.flush());
            // After a flood it need not stay as large as it was.
            lines = if lines.capacity() > 2 * BATCH { Vec::new() } else { lines };
            lines.clear();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for lines and takes them all; `false` at the end.
    fn take(&self, into: &mut Vec<u8>) -> bool {
        let mut queue = self.lock();
        loop {
            let waited = queue.since.map(|since| since.elapsed());
            match waited {
                None if queue.ending => return false,
                None => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(waited) if queue.urgent || queue.ending || waited >= PATIENCE => break,
                Some(waited) => {
                    let timeout = PATIENCE.saturating_sub(waited);
                    let woken = self.changed.wait_timeout(queue, timeout);
                    queue = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        std::mem::swap(&mut queue.lines, into);
        (queue.since, queue.urgent) = (None, false);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change is whole before anything can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SinkGuard {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.ending = true;
        self.0.changed.notify_all();
        let ended = self.0.changed.wait_timeout_while(queue, PATIENCE, |queue| !queue.ended);
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes nothing before it is let, and says what it takes.
    struct Collector {
        let_take: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Collector {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.let_take.recv();
            self.taken.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sink() -> (Arc<Sink>, SinkGuard, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
        let (let_it, let_take) = mpsc::channel();
        let (taken, lines) = mpsc::channel();
        let (sink, guard) = Sink::to(Collector { let_take, taken }).unwrap();
        (sink, guard, let_it, lines)
    }

    #[test]
    fn records_wait_for_others_and_anything_else_takes_them_along() {
        let (sink, _guard, let_it, takes) = sink();
        drop(let_it);
        sink.add_later(b"one\n");
        assert!(takes.recv_timeout(PATIENCE / 4).is_err());
        sink.add_later(b"two\n");
        sink.add(b"three\n");
        assert_eq!(takes.recv().unwrap(), b"one\ntwo\nthree\n");
        sink.add_later(b"four\n");
        assert_eq!(takes.recv().unwrap(), b"four\n", "after a while");
    }

    #[test]
    fn what_still_waits_is_written_at_the_end() {
        let (sink, guard, let_it, takes) = sink();
        drop(let_it);
        sink.add_later(b"last\n");
        drop(guard);
        assert_eq!(takes.recv().unwrap(), b"last\n");
    }

    #[test]
    fn a_collector_that_stands_still_costs_lines_and_no_more_memory_than_the_room() {
        let (sink, _guard, let_it, written) = sink();
        let line = [b'x'; 1024];
        sink.add(&line); // is being written, for ever
        while !sink.lock().lines.is_empty() {
            thread::yield_now();
        }
        for _ in 0..ROOM / line.len() + 10 {
            sink.add(&line);
        }
        assert_eq!(sink.dropped(), 10);
        drop(let_it);
        assert_eq!(
            written.iter().take(2).map(|lines| lines.len()).sum::<usize>(),
            line.len() + ROOM
        );
    }
}
