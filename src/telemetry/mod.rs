//! What the proxy tells of itself: log lines, metrics, one access record a call.
//!
//! Invariant: only what is on a list of allowed fields is written. Header values, bodies and
//! query strings never meet this module.

pub mod access;
pub mod code;
pub mod event;
mod line;
pub mod log;
pub mod metrics;
pub mod recent;
pub mod request_id;
pub mod sink;
