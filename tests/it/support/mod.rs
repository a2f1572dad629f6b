//! What the tests are written in: a proxy with its sandbox, callers, and a raw upstream.

pub(crate) mod call;
pub(crate) mod canary;
pub(crate) mod load;
pub(crate) mod mount;
pub(crate) mod proxy;
pub(crate) mod raw_upstream;
pub(crate) mod stage;
pub(crate) mod strict_answer;
pub(crate) mod strict_request;

pub(crate) use call::{Answer, Call, raw};
pub(crate) use mount::Mount;
pub(crate) use proxy::{Proxy, Setup};
pub(crate) use raw_upstream::RawUpstream;

use std::sync::RwLock;
use std::time::{Duration, Instant};

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SMS: &str = "/api/sms/v3/msg/send";
pub(crate) const UPLOAD: &str = "/api/whatsapp/v3/uploadFile";

/// Held shared by who loads the machine for seconds, and alone by who measures time: the two would
/// spoil each other.
pub(crate) static LOADED: RwLock<()> = RwLock::new(());

/// Waits until something holds; panics if it never does.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
