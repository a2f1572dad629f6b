//! What does not depend on the machine's mood: instructions in user space and system calls of one
//! call, on one connection, one after the other.
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

/// Of one call.
pub(crate) struct Counts {
    /// Under valgrind.
    pub(crate) instructions: f64,
    /// Under strace.
    pub(crate) system_calls: f64,
}

/// Calls before and those that are counted.
const WARM_UP: usize = 500;
const COUNTED: usize = 1_000;

/// Counts of this contestant, with an access log or without.
pub(crate) fn count(contestant: &Contestant, access_log: bool) -> Counts {
    let upstream = Upstream::start();
    let of_one = |total: fn(&Contestant, &Upstream, bool, usize) -> u64| {
        let few = total(contestant, &upstream, access_log, WARM_UP);
        let many = total(contestant, &upstream, access_log, WARM_UP + COUNTED);
        (many as f64 - few as f64) / COUNTED as f64
    };
    Counts { instructions: of_one(instructions), system_calls: of_one(system_calls) }
}

fn instructions(
    contestant: &Contestant,
    upstream: &Upstream,
    access_log: bool,
    calls: usize,
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
    calls: usize,
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

fn run(
    contestant: &Contestant,
    upstream: &Upstream,
    access_log: bool,
    calls: usize,
    under: &[&str],
) {
    let under = under.iter().map(|word| (*word).to_owned()).collect();
    let setup = Setup { access_log, under, processors: "", ..Setup::default() };
    let mut running = contestant.start(upstream, &setup);
    let served = upstream.served();
    Caller::of(running.address, 1_000).calls(calls);
    assert_eq!(upstream.served() - served, calls as u64, "{}", running.output());
    running.process.end();
}
