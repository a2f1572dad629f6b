//! Where orders for webhooks are taken, and what is remembered of them.
//!
//! Invariant: the memory is bounded, and so is the queue; an order that has no place is refused.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::report::{Progress, Sending, WebhookReport, WebhookState};
use super::{Plan, send};

const WAITING: usize = 8; // orders that are not begun
const REMEMBERED: usize = 8; // orders: at most some 80 MB, if each had as many events as it may
const TOLD: usize = 64; // events of a remembered order

/// Takes orders for the thread that sends.
pub(in crate::sandbox) struct Desk {
    orders: mpsc::Sender<Order>,
    last_order: u64,
    last_event: u64,
    remembered: VecDeque<Arc<Progress>>,
}

/// A plan to be sent. If it is dropped before its end, its report says so.
pub(in crate::sandbox) struct Order {
    pub(super) plan: Plan,
    /// The number of its first event.
    pub(super) first: u64,
    pub(super) progress: Arc<Progress>,
}

impl Desk {
    /// A desk, and what [`send::follow`] takes its orders from.
    pub(in crate::sandbox) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, queue) = mpsc::channel(WAITING);
        (Self { orders, last_order: 0, last_event: 0, remembered: VecDeque::new() }, queue)
    }

    /// # Errors
    /// If too many wait already, or the thread that sends has ended.
    pub(in crate::sandbox) fn take(&mut self, plan: Plan) -> io::Result<Sending> {
        let progress = Arc::new(Progress::new(self.last_order + 1, plan.event));
        let first = plan.first.unwrap_or(self.last_event.saturating_add(1));
        let last = first.saturating_add(u64::from(plan.count) - 1); // of one event at least
        let order = Order { plan, first, progress: Arc::clone(&progress) };
        self.orders.try_send(order).map_err(|_| {
            let text = format!("{} orders are sent and {WAITING} wait: later", send::AT_ONCE);
            io::Error::new(io::ErrorKind::ResourceBusy, text)
        })?;
        self.last_order += 1;
        self.last_event = self.last_event.max(last);
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(Arc::clone(&progress));
        Ok(Sending::of(progress))
    }

    /// The last orders, oldest first, each with its last 64 events.
    pub(in crate::sandbox) fn reports(&self) -> Vec<WebhookReport> {
        self.remembered.iter().map(|progress| progress.report(TOLD)).collect()
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.progress.end(WebhookState::Cut);
    }
}
