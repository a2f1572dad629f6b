//! What the proxy itself does to a call's head, step by step, without sockets.
//!
//! `cargo bench` measures; `cargo bench -- --test` runs each once, to see that it works.

#![expect(clippy::unwrap_used, reason = "a bench ends by panicking")]

use std::hint::black_box;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use innopaas_proxy::config::{Config, LogFormat, Policy, Raw};
use innopaas_proxy::credentials::{Credentials, FingerprintKey, Keyring, Store, Watcher};
use innopaas_proxy::proxy::admit::admit;
use innopaas_proxy::proxy::headers::Coding;
use innopaas_proxy::proxy::read_code;
use innopaas_proxy::secret::Secret;
use innopaas_proxy::telemetry::access::{AccessLog, AccessRecord};
use innopaas_proxy::telemetry::code::Pair;
use innopaas_proxy::telemetry::metrics::{Metrics, WorkerMetrics};
use innopaas_proxy::telemetry::sink::Sink;

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

fn record(metrics: &Arc<WorkerMetrics>, log: Option<AccessLog>) -> Box<AccessRecord> {
    AccessRecord::start(
        Method::POST,
        Uri::from_static("/api/sms/v3/msg/send"),
        HeaderValue::from_static("id"),
        Arc::clone(metrics),
        log,
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
    let keyring = keyring();
    criterion.bench_function("credentials", |bencher| {
        bencher.iter(|| keyring.choose(black_box("/api/sms/v3/msg/send")).unwrap());
    });
    criterion.bench_function("envelope", |bencher| {
        let envelope = br#"{"code":"0","success":true,"message":"Success","data":"10000000001"}"#;
        bencher.iter(|| read_code(black_box(envelope)).unwrap());
    });
    criterion.bench_function("record, log off", |bencher| {
        bencher.iter(|| record(black_box(&metrics), None));
    });
    let (sink, _guard) = Sink::to(std::io::sink()).unwrap();
    let log = AccessLog::new(sink, LogFormat::Json);
    criterion.bench_function("record, log on", |bencher| {
        bencher.iter(|| record(black_box(&metrics), Some(log.clone())));
    });
}

/// With one pair, loaded as a mounted Secret is.
fn keyring() -> Keyring {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [("app-key", "kkkkkkkkkkkkkkkkk"), ("authorization", "tttttttttttttttt")]
    {
        let generation = directory.path().join("..1");
        std::fs::create_dir_all(&generation).unwrap();
        std::fs::write(generation.join(name), content).unwrap();
        symlink(format!("..data/{name}"), directory.path().join(name)).unwrap();
    }
    symlink("..1", directory.path().join("..data")).unwrap();
    let (sink, _guard) = Sink::to(std::io::sink()).unwrap();
    let metrics = Metrics::new(1, sink);
    let store = Arc::new(Store::new(Pair::Primary, Arc::new(FingerprintKey::load(None).unwrap())));
    let (filled, path) = (Arc::clone(&store), directory.path().to_owned());
    let watcher = Watcher::start(filled, Arc::clone(&metrics), path, Duration::from_secs(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(watcher).unwrap();
    let refusal = Config::from_raw(Raw::defaults()).unwrap().refusal;
    Keyring::new(store, None, &refusal, metrics)
}

criterion_group!(benches, steps);
criterion_main!(benches);
