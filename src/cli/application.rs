//! The smallest application that takes webhooks: it prints what it gets and answers 200. For `dev`,
//! to see one arrive.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::config::{Config, Raw};
use crate::lifecycle::Lifecycle;
use crate::server::{self, Abort, Admission, Intake, Limits};

/// An application that serves until this is dropped.
pub(super) struct Application {
    address: SocketAddr,
    /// Its server ends with it.
    _life: Lifecycle,
}

impl Application {
    /// Listens on a free port of 127.0.0.1, and serves on a thread of its own.
    pub(super) fn start() -> io::Result<Self> {
        const CONNECTIONS: usize = 64;
        let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        let (life, phases) = Lifecycle::starting();
        let options =
            server::Options { limits: limits()?, admission: Admission::Anyone, metrics: None };
        thread::Builder::new().name("application".to_owned()).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, async {
                let intake = Intake::alone(listener, CONNECTIONS)?;
                let service = service_fn(answer);
                server::serve(intake, service, server::bare_refusal, options, phases).await;
                io::Result::Ok(())
            })
        })?;
        Ok(Self { address, _life: life })
    }

    /// Where it is reached.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// As an application's server would have them.
fn limits() -> io::Result<Limits> {
    let config = Config::from_raw(Raw::defaults()).map_err(io::Error::other)?;
    let limits = config.limits;
    Ok(Limits {
        head_size: limits.head_size,
        header_count: limits.header_count,
        head_deadline: limits.head_deadline,
        write_progress: limits.body_progress,
        idle: limits.idle,
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Abort> {
    const LARGEST: usize = 64 * 1024;
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map_err(|_| Abort)?.to_bytes();
    // Whoever closed our output does not want to read it.
    let _ = io::stdout().write_all(shown(&head.headers, &body).as_bytes());
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

/// The verified event, as the application has it.
fn shown(headers: &HeaderMap, body: &[u8]) -> String {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
    format!(
        "The application got a webhook: app {}, type {}, id {}\n  {}\n\n",
        header("x-innopaas-app"),
        header("x-innopaas-event-type"),
        header("x-innopaas-event-id"),
        String::from_utf8_lossy(body)
    )
}
