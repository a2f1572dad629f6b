//! A sidecar that lets an application call InnoPaaS without holding a credential.
//!
//! The application sends plain HTTP to loopback; this process strips whatever credentials the
//! caller brought, adds the right ones and passes the call on over verified TLS. Floors, from the
//! ground; a module uses lower floors only (a test holds it to that):
//!
//! | floor | modules | |
//! | --- | --- | --- |
//! | 5 | `cli` | commands, exit codes |
//! | 4 | `app` | builds the parts, owns every task, orders start and shutdown |
//! | 3 | `proxy` `webhook` `admin` `sandbox` | what each listener does |
//! | 2 | `server` `upstream` `credentials` `problem` | sockets, TLS, files, refusals |
//! | 1 | `config` `telemetry` `lifecycle` | what everyone may know |
//! | 0 | `secret` `fields` | vocabulary without I/O |

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod fields;
pub mod lifecycle;
pub mod problem;
pub mod proxy;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod telemetry;
pub mod upstream;
pub mod webhook;
