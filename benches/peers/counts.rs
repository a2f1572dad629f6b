//! What does not depend on the machine's mood: instructions in user space and system calls of one
//! call, on one connection, one after the other; and, less exactly, system calls of one of many at
//! a time, which share their waits.
//!
//! Each is the difference between a process that served more calls and one that served fewer, so
//! that start, warm-up and end are not in it.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::contestants::{Contestant, Setup};
use crate::load::Caller;
use crate::upstream::Upstream;

/// What was counted, each with its name.
type Counts = Vec<(String, f64)>;

/// On how many connections calls are made, how many of them on each before, and how many are counted.
#[derive(Clone, Copy)]
struct Load {
    connections: usize,
    warm_up: usize,
    counted: usize,
}

const ONE: Load = Load { connections: 1, warm_up: 500, counted: 1_000 };
const MANY: Load = Load { connections: 64, warm_up: 20, counted: 100 };

/// Prints what each contestant takes, and holds the first one against what was recorded. Whether it
/// takes no more.
pub(crate) fn check(contestants: &[Contestant]) -> bool {
    let mut holds = true;
    for (number, contestant) in contestants.iter().enumerate() {
        println!("{contestant}");
        for (name, counted) in count(contestant) {
            let recorded = recorded(&name).filter(|_| number == 0);
            let verdict = match recorded.map(|recorded| counted / recorded - 1.0) {
                None => String::new(),
                Some(above) if above > ALLOWED => {
                    holds = false;
                    format!("  TOO MANY: {:+.1} % to what is recorded", above * 100.0)
                }
                Some(above) => format!("  {:+.1} % to what is recorded", above * 100.0),
            };
            println!("  {name}: {counted:.2}{verdict}");
        }
    }
    holds
}

/// Counts hardly vary, so little more is allowed.
const ALLOWED: f64 = 0.03;

fn recorded(name: &str) -> Option<f64> {
    let lines = include_str!("counts.txt").lines();
    lines.filter_map(|line| line.split_once(": ")).find(|(n, _)| *n == name)?.1.parse().ok()
}

fn count(contestant: &Contestant) -> Counts {
    let upstream = Upstream::start();
    let mut counts = Vec::new();
    let of_one = |total: Count, access_log, load: Load| {
        let few = total(contestant, &upstream, access_log, (load.connections, load.warm_up));
        let each = (load.connections, load.warm_up + load.counted);
        let many = total(contestant, &upstream, access_log, each);
        (many as f64 - few as f64) / (load.connections * load.counted) as f64
    };
    for (access_log, log) in [(false, "off"), (true, "on")] {
        let counted = of_one(instructions, access_log, ONE);
        counts.push((format!("instructions, access log {log}"), counted));
        let counted = of_one(system_calls, access_log, ONE);
        counts.push((format!("system calls, access log {log}"), counted));
    }
    let counted = of_one(system_calls, false, MANY);
    counts.push(("system calls, 64 connections".to_owned(), counted));
    if let Contestant::Ours(_, binary) = contestant {
        let size = fs::metadata(binary).unwrap().len();
        counts.push(("binary (bytes)".to_owned(), size as f64));
    }
    counts
}

/// Counts what a process takes for so many connections with so many calls each, all in all.
type Count = fn(&Contestant, &Upstream, bool, (usize, usize)) -> u64;

fn instructions(
    contestant: &Contestant,
    upstream: &Upstream,
    access_log: bool,
    calls: (usize, usize),
) -> u64 {
    let files = tempfile::tempdir().unwrap();
    let output = format!("--callgrind-out-file={}/%p", files.path().display());
    let under = ["valgrind", "-q", "--tool=callgrind", "--trace-children=yes", &output];
    run(contestant, upstream, access_log, calls, &under);
    // A file for each process.
    let totals = files.path().read_dir().unwrap().flatten().map(|file| {
        let text = fs::read_to_string(file.path()).unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        total.map_or(0, |total| total.trim().parse::<u64>().unwrap())
    });
    totals.sum()
}

fn system_calls(
    contestant: &Contestant,
    upstream: &Upstream,
    access_log: bool,
    calls: (usize, usize),
) -> u64 {
    let files = tempfile::tempdir().unwrap();
    let output = files.path().join("calls");
    // As a grandchild (-D), so that signals meet the contestant.
    let under = ["strace", "-D", "-f", "-c", "-o", &output.to_string_lossy()];
    run(contestant, upstream, access_log, calls, &under);
    total_of_strace(&output)
}

/// The last line: `100.00  seconds  usecs/call  calls  errors  total`.
fn total_of_strace(output: &Path) -> u64 {
    for _ in 0..100 {
        let text = fs::read_to_string(output).unwrap_or_default();
        if let Some(total) = text.lines().rfind(|line| line.ends_with(" total")) {
            // Without decimals are only the calls and, after them, the errors.
            let mut words = total.split_whitespace().skip(3);
            return words.next().unwrap().parse().unwrap();
        }
        sleep(Duration::from_millis(50)); // it writes after the contestant's end
    }
    panic!("strace has counted nothing")
}

/// Starts it under these words, has it serve so many calls, and ends it.
pub(crate) fn run(
    contestant: &Contestant,
    upstream: &Upstream,
    access_log: bool,
    (connections, calls): (usize, usize),
    under: &[&str],
) {
    let under = under.iter().map(|word| (*word).to_owned()).collect();
    let setup = Setup { access_log, under, processors: "", ..Setup::default() };
    let mut running = contestant.start(upstream, &setup);
    let served = upstream.served();
    Caller::of(running.address, 1_000).calls_on(connections, calls);
    let called = (connections * calls) as u64;
    assert_eq!(upstream.served() - served, called, "{}", running.output());
    running.process.end();
}
