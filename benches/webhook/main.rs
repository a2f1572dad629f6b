//! What webhooks cost, and whether the time of a refusal tells how near a guess was.
//!
//! `taskset -c 1 cargo bench --bench webhook` measures: the proxy has the first processor, who sends
//! and the application have the other one. `-- --test` runs everything once, to see that it works.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench ends by panicking")]
#![expect(clippy::indexing_slicing, reason = "its own buffers")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

mod application;
mod load;
#[path = "../peers/process.rs"]
mod process;
mod receiver;
mod sender;
mod timing;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Question {
    /// Latency, processor time and memory under load.
    Load,
    /// Whether the time of a refusal depends on what was shown.
    Timing,
    /// Instructions in user space of one event; needs valgrind.
    Counts,
}

#[derive(Parser)]
struct Arguments {
    /// What to find out.
    #[arg(value_enum, default_values_t = [Question::Load, Question::Timing])]
    questions: Vec<Question>,
    /// The binary that is measured.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_innopaas-proxy"))]
    proxy: PathBuf,
    /// Length of a load, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Events a second, when they are paced.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Connections to the proxy.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Refusals of each kind.
    #[arg(long, default_value_t = 10_000)]
    refusals: usize,
    /// Only to see that it works.
    #[arg(long)]
    test: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Arguments { questions, proxy, seconds, rate, connections, refusals, test, bench: _ } =
        Arguments::parse();
    let load = Duration::from_secs(seconds);
    let (load, refusals) = if test { (Duration::from_millis(100), 100) } else { (load, refusals) };
    for question in questions {
        match question {
            Question::Load => load::measure(&proxy, rate, connections, load),
            Question::Timing => timing::measure(refusals),
            Question::Counts => load::count(&proxy),
        }
    }
}
