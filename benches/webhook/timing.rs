//! Whether the time of a refusal tells how much of the right value a guess has.
//!
//! What is measured is the processor time of `Verifier::verify` alone. A sample is ten refusals in a
//! row, because reading the clock takes as long as one of them. Kinds take turns in an order that
//! changes, each time with headers made anew, so that neither the place in memory nor the neighbour
//! is one kind's own. Samples above the 90th percentile of all kinds together met an interrupt or
//! something like it and are left out: the limit is the same for all, so it hides no difference
//! between them (Reparaz and others, "Dude, is my code constant time?", 2017). Welch's t of the rest
//! compares each kind with the first; beyond 3.29 less than one in a thousand would be by chance.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use innopaas_proxy::config::Application;
use innopaas_proxy::credentials::Console;
use innopaas_proxy::webhook::Verifier;
use rustix::time::{ClockId, clock_gettime};

const RIGHT: &str = "t-0123456789abcdef0123456789abcdef0123456789ab";
const USER_NAME: &str = "shop-user";
const BATCH: usize = 10;
const SIGNIFICANT: f64 = 3.29;

/// Prints means, and how sure it is that they differ.
pub(crate) fn measure(refusals: usize) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("user-name"), USER_NAME).unwrap();
    fs::write(directory.path().join("authorization"), RIGHT).unwrap();
    let application = Application {
        name: "shop".to_owned(),
        current: directory.path().to_owned(),
        previous: None,
    };
    let console = Console::load(&[application], false, Duration::from_secs(1)).unwrap();
    let verifier = Verifier::Pairs(console.pairs());

    let kinds = [
        ("nothing of it", guess(0)),
        ("nothing of it, again", guess(0)),
        ("half of it", guess(RIGHT.len() / 2)),
        ("all but the last byte", guess(RIGHT.len() - 1)),
        ("four times the length, to see that a difference shows", guess(0).repeat(4)),
    ];
    let mut samples = kinds.each_ref().map(|_| Vec::new());
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut order = [0, 1, 2, 3, 4];
    for round in 0..(refusals / BATCH + WARM_UP) {
        shuffle(&mut order, &mut random);
        for kind in order {
            let sample = sample(&verifier, &kinds[kind].1);
            if round >= WARM_UP {
                samples[kind].push(sample);
            }
        }
    }
    tell(&kinds.map(|(name, _)| name), &samples);
}

const WARM_UP: usize = 100; // rounds

/// As long as the right value, with so much of its beginning.
fn guess(shared: usize) -> String {
    let rest = RIGHT.bytes().skip(shared).map(|byte| if byte == b'z' { 'y' } else { 'z' });
    RIGHT[..shared].chars().chain(rest).collect()
}

/// Nanoseconds for one refusal.
fn sample(verifier: &Verifier, value: &str) -> f64 {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("username", HeaderValue::from_static(USER_NAME));
    headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    let began = processor_time();
    for _ in 0..BATCH {
        assert!(black_box(verifier.verify(black_box(&headers))).is_err());
    }
    let took = processor_time().saturating_sub(began);
    took.as_nanos() as f64 / BATCH as f64
}

/// Of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Fisher and Yates, by xorshift.
fn shuffle(order: &mut [usize], random: &mut u64) {
    for last in (1..order.len()).rev() {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let other = usize::try_from(*random % (last as u64 + 1)).unwrap();
        order.swap(last, other);
    }
}

/// The last one is the control, so much slower that it must not have a part in the limit.
fn tell(names: &[&str], samples: &[Vec<f64>]) {
    let control = samples.len() - 1;
    let mut compared = samples[..control].concat();
    compared.sort_unstable_by(f64::total_cmp);
    let limit = compared[compared.len() * 9 / 10];
    let summary = |kind: usize| {
        let limit = if kind == control { f64::INFINITY } else { limit };
        Summary::of(samples[kind].iter().copied().filter(|sample| *sample <= limit))
    };
    let first = summary(0);
    println!("| a refusal that shows | kept | mean (ns) | Welch's t to the first | |");
    println!("| --- | --: | --: | --: | --- |");
    for (kind, name) in names.iter().enumerate() {
        let this = summary(kind);
        let t = this.welch(&first);
        let verdict = if t.abs() < SIGNIFICANT { "no difference" } else { "a difference" };
        println!(
            "| {name} | {} of {} | {:.1} | {t:+.2} | {verdict} |",
            this.number * BATCH,
            samples[kind].len() * BATCH,
            this.mean
        );
    }
}

struct Summary {
    number: usize,
    mean: f64,
    /// Of the mean.
    variance: f64,
}

impl Summary {
    fn of(samples: impl Iterator<Item = f64>) -> Self {
        let samples: Vec<_> = samples.collect();
        let number = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / number;
        let squares = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>();
        Self { number: samples.len(), mean, variance: squares / (number - 1.0) / number }
    }

    fn welch(&self, other: &Self) -> f64 {
        (self.mean - other.mean) / (self.variance + other.variance).sqrt()
    }
}
