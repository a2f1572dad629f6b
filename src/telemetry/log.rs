//! The log: JSON or text on standard error, through a bounded queue and a thread of its own, so
//! that a log collector that stands still never holds up a call.

use std::io::{self, BufWriter};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter, fmt};

use crate::config::{Log, LogFormat};

/// Lines that may wait for the collector; more are dropped and counted.
const QUEUE_LINES: usize = 16_384;

/// Bytes that are written together while lines come faster than they are taken.
const BATCH: usize = 64 * 1024;

/// Keeps the log alive; what is still queued is written when it is dropped.
#[derive(Debug)]
pub struct LogGuard {
    dropped: ErrorCounter,
    _worker: WorkerGuard,
}

impl LogGuard {
    /// Counts the lines that found the queue full.
    pub fn dropped_lines(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Starts the log of this process. A second start in one process changes nothing.
pub fn start(config: Log) -> LogGuard {
    let (writer, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE_LINES)
        .thread_name("log")
        .finish(BufWriter::with_capacity(BATCH, io::stderr()));
    let dropped = writer.error_counter();
    let lines = fmt::layer().with_writer(writer).with_timer(SystemTime).with_ansi(false);
    let lines = match config.format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
        LogFormat::Text => lines.boxed(),
    };
    let level = filter::LevelFilter::from_level(config.level);
    // An error here means that a log is running already, which is just as well.
    let _ = tracing_subscriber::registry().with(lines.with_filter(level)).try_init();
    LogGuard { dropped, _worker: worker }
}
