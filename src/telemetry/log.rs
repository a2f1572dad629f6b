//! The log: JSON or text on standard error.

use std::io;
use std::sync::Arc;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter, fmt};

use super::access::AccessLog;
use super::sink::{Sink, SinkGuard};
use crate::config::{Log, LogFormat};

/// Keeps the log alive; what still waits is written when it is dropped.
#[derive(Debug)]
pub struct LogGuard {
    sink: Arc<Sink>,
    access: Option<AccessLog>,
    _guard: SinkGuard,
}

impl LogGuard {
    /// Where lines wait.
    pub fn sink(&self) -> Arc<Sink> {
        Arc::clone(&self.sink)
    }

    /// Where calls leave their records, if they leave any.
    pub fn access(&self) -> Option<AccessLog> {
        self.access.clone()
    }
}

/// Starts the log of this process. A second start in one process changes nothing.
///
/// # Errors
/// If the system gives no thread.
pub fn start(config: Log) -> io::Result<LogGuard> {
    let (sink, guard) = Sink::to(io::stderr())?;
    let lines = fmt::layer().with_writer(Lines(Arc::clone(&sink))).with_timer(SystemTime);
    let lines = lines.with_ansi(false);
    let lines = match config.format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
        LogFormat::Text => lines.boxed(),
    };
    let level = filter::LevelFilter::from_level(config.level);
    // An error here means that a log is running already, which is just as well.
    let _ = tracing_subscriber::registry().with(lines.with_filter(level)).try_init();
    let is_told = config.access && level >= filter::LevelFilter::INFO;
    let access = is_told.then(|| AccessLog::new(Arc::clone(&sink), config.format));
    Ok(LogGuard { sink, access, _guard: guard })
}

/// A line at a time.
struct Lines(Arc<Sink>);

impl<'l> MakeWriter<'l> for Lines {
    type Writer = &'l Self;

    fn make_writer(&'l self) -> Self::Writer {
        self
    }
}

impl io::Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
