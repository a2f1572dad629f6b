//! Events at a rate, as many as go, and such as show no pair: what each takes of the proxy.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::application::Application;
use crate::receiver::{PAIR, Receiver};
use crate::sender::{Latencies, Sender};

/// As long as the right one, and of nobody.
const WRONG: [&str; 2] = ["shop-user", "t-0123456789abcdef0123456789abcdef0123456789ax"];

/// Prints a table, a line for each load.
pub(crate) fn measure(proxy: &Path, rate: u32, connections: u32, duration: Duration) {
    let application = Application::start();
    println!(
        "| {connections} connections | events | a second | p50 (µs) | p99 (µs) | p999 (µs) | \
         CPU per event (µs) | PSS before, after (KiB) | peak (KiB) |"
    );
    println!("| --- | --: | --: | --: | --: | --: | --: | --: | --: |");
    let right = |sender: &Sender| sender.paced(rate, connections, duration);
    line(proxy, &application, &format!("{rate} a second"), (PAIR, 200), right);
    let many = |sender: &Sender| sender.saturated(connections, duration);
    line(proxy, &application, "as many as go", (PAIR, 200), many);
    line(proxy, &application, "as many as go, refused", (WRONG, 401), many);
}

fn line(
    proxy: &Path,
    application: &Application,
    name: &str,
    (pair, status): ([&str; 2], u16),
    load: impl Fn(&Sender) -> Latencies,
) {
    let receiver = Receiver::start(proxy, application, &[]);
    let sender = Sender::of(receiver.address, pair, status);
    sender.in_turn(100); // first, so that what is made once is there
    let taken = application.taken();
    let (memory, cpu, began) = (receiver.process.memory(), receiver.process.cpu(), Instant::now());
    let latencies = load(&sender);
    let took = began.elapsed();
    let cpu = receiver.process.cpu().saturating_sub(cpu);
    let (events, after) = (latencies.events(), receiver.process.memory());
    let wanted = if status == 200 { events } else { 0 };
    assert_eq!(application.taken() - taken, wanted, "each event arrives once");
    println!(
        "| {name} | {events} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0}, {:.0} | {:.0} |",
        events as f64 / took.as_secs_f64(),
        latencies.permille(500),
        latencies.permille(990),
        latencies.permille(999),
        cpu.as_secs_f64() * 1e6 / events as f64,
        memory.pss,
        after.pss,
        after.peak,
    );
}

/// Prints the instructions in user space of one event on one connection: the difference between a
/// process that took more events and one that took fewer, so that start and end are not in it.
pub(crate) fn count(proxy: &Path) {
    const FEW: u32 = 500;
    const MANY: u32 = 1_500;
    for (name, pair, status) in [("delivered", PAIR, 200), ("refused", WRONG, 401)] {
        let total = |events| {
            let files = tempfile::tempdir().unwrap();
            let output = format!("--callgrind-out-file={}/out", files.path().display());
            let under = ["valgrind", "-q", "--tool=callgrind", &output];
            let mut receiver = Receiver::start(proxy, &Application::start(), &under);
            Sender::of(receiver.address, pair, status).in_turn(events);
            receiver.process.end();
            let text = fs::read_to_string(files.path().join("out")).unwrap();
            let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
            total.trim().parse::<u64>().unwrap()
        };
        let each = (total(MANY) - total(FEW)) / u64::from(MANY - FEW);
        println!("instructions of one event, {name}: {each}");
    }
}
