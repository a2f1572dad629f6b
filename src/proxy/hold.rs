//! Places for calls that wait for a newer pair: bounded in number, in bytes and in time, over all
//! workers together.
//!
//! A place is given back when the wait is dropped: because it ended, because the caller went away,
//! or because the drain did.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::time::timeout;

use crate::config;
use crate::telemetry::code::Held;
use crate::telemetry::metrics::{Open, WorkerMetrics};

/// Places for waiting calls, shared by all workers.
#[derive(Debug)]
pub struct Places {
    bounds: config::Hold,
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

/// One taken place.
struct Place {
    places: Arc<Places>,
    bytes: usize,
    metrics: Arc<WorkerMetrics>,
    ended: Held,
    _open: Open,
}

impl Places {
    /// As many as these bounds allow.
    pub fn new(bounds: config::Hold) -> Arc<Self> {
        Arc::new(Self { bounds, calls: AtomicUsize::new(0), bytes: AtomicUsize::new(0) })
    }

    /// Waits for what `news` brings, keeping so many bytes meanwhile; `None` if that does not come
    /// in time, or there is no place to wait, or why the wait ended otherwise.
    pub(super) async fn wait<T>(
        self: &Arc<Self>,
        bytes: usize,
        metrics: &Arc<WorkerMetrics>,
        news: impl Future<Output = Result<T, Held>>,
    ) -> Option<T> {
        let mut place = match self.take(bytes, metrics) {
            Ok(place) => place,
            Err(full) => {
                metrics.hold_ended(full);
                return None;
            }
        };
        let came = timeout(self.bounds.longest, news).await.unwrap_or(Err(Held::Expired));
        place.ended = came.as_ref().err().copied().unwrap_or(Held::Released);
        came.ok()
    }

    fn take(self: &Arc<Self>, bytes: usize, metrics: &Arc<WorkerMetrics>) -> Result<Place, Held> {
        if self.calls.fetch_add(1, Relaxed) >= self.bounds.calls {
            self.calls.fetch_sub(1, Relaxed);
            return Err(Held::NoPlace);
        }
        if self.bytes.fetch_add(bytes, Relaxed) + bytes > self.bounds.bytes {
            self.calls.fetch_sub(1, Relaxed);
            self.bytes.fetch_sub(bytes, Relaxed);
            return Err(Held::NoRoom);
        }
        Ok(Place {
            places: Arc::clone(self),
            bytes,
            metrics: Arc::clone(metrics),
            ended: Held::Gone, // until it is something better
            _open: metrics.held_call(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.calls.fetch_sub(1, Relaxed);
        self.places.bytes.fetch_sub(self.bytes, Relaxed);
        self.metrics.hold_ended(self.ended);
    }
}
