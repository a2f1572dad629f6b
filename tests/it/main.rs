//! The behaviour of the real binary, through the doors that users have: its sockets, signals,
//! files, flags and exit codes. Every process here runs at trace level with canary credentials,
//! and everything that it writes or answers is searched for them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]

mod support;

mod admin;
mod allocations;
mod answers;
mod calls;
mod canary;
mod cli;
mod content_types;
mod credentials;
mod documents;
mod drill;
mod expiry;
mod failures;
mod files;
mod greedy;
mod hardening;
mod health;
mod hold;
mod hostile;
mod hostile_upstream;
mod identity;
mod life;
mod listen;
mod peers;
mod policy;
mod repeat;
mod rotation;
mod streaming;
mod structure;
mod webhook;
mod webhook_streams;
