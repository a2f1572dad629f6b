//! What the proxy itself does to a call's head, step by step, without sockets.
//!
//! `cargo bench` measures; `cargo bench -- --test` runs each once, to see that it works.

#![expect(clippy::unwrap_used, reason = "a bench ends by panicking")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use innopaas_proxy::config::{Config, Policy, Raw};
use innopaas_proxy::credentials::Credentials;
use innopaas_proxy::proxy::admit::admit;
use innopaas_proxy::proxy::headers::Coding;
use innopaas_proxy::secret::Secret;
use innopaas_proxy::telemetry::access::AccessRecord;
use innopaas_proxy::telemetry::code::Pair;
use innopaas_proxy::telemetry::metrics::WorkerMetrics;

/// What a typical client sends.
fn head() -> Parts {
    let request = Request::post("/api/sms/v3/msg/send")
        .header("host", "127.0.0.1:7253")
        .header("user-agent", "python-requests/2.32.3")
        .header("accept-encoding", "gzip, deflate")
        .header("accept", "*/*")
        .header("connection", "keep-alive")
        .header("content-type", "application/json")
        .header("authorization", "stale")
        .header("content-length", "1000");
    request.body(()).unwrap().into_parts().0
}

fn body() -> Full<Bytes> {
    Full::new(Bytes::from_static(&[b'x'; 1000]))
}

fn policy() -> Policy {
    Config::from_raw(Raw::defaults()).unwrap().policy
}

fn credentials() -> Credentials {
    let secret = |text: &[u8]| Secret::from_file_content(text).unwrap();
    Credentials {
        app_key: secret(&[b'k'; 17]),
        authorization: secret(&[b't'; 56]),
        generation: 1,
        pair: Pair::Primary,
    }
}

fn record(metrics: &Arc<WorkerMetrics>) -> Box<AccessRecord> {
    AccessRecord::start(
        Method::POST,
        Uri::from_static("/api/sms/v3/msg/send"),
        HeaderValue::from_static("id"),
        Arc::clone(metrics),
        None,
    )
}

fn steps(criterion: &mut Criterion) {
    let (policy, credentials) = (policy(), credentials());
    let host = HeaderValue::from_static("api.innopaas.com");
    let metrics = Arc::new(WorkerMetrics::default());

    criterion.bench_function("admit", |bencher| {
        bencher.iter_batched(
            head,
            |head| admit(black_box(head), &body(), &policy).unwrap(),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("strip", |bencher| {
        bencher.iter_batched(
            || admit(head(), &body(), &policy).unwrap(),
            |admitted| admitted.strip(&policy, Coding::Any),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("inject", |bencher| {
        bencher.iter_batched(
            || admit(head(), &body(), &policy).unwrap().strip(&policy, Coding::Any),
            |stripped| stripped.inject(&credentials, &host, None),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("record", |bencher| bencher.iter(|| record(black_box(&metrics))));
}

criterion_group!(benches, steps);
criterion_main!(benches);
