//! Compares innopaas-proxy with proxies that could stand in its place, on the same work.
//!
//! `benches/peers/run` finds them, builds this and runs it. A figure is a median of rounds that are
//! interleaved; processor time is what the kernel's scheduler counted, over requests that the
//! upstream counted; and the upstream answers 400 to what is not exactly right, which ends this.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench ends by panicking")]
#![expect(clippy::indexing_slicing, reason = "its own buffers")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use compare::{Plan, compare};
use contestants::Contestant;

mod compare;
mod contestants;
mod counts;
mod growth;
mod load;
mod order;
mod process;
mod report;
mod upstream;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Question {
    /// What each contestant takes for the same work.
    Compare,
    /// Instructions and system calls of one call, against what is recorded.
    Counts,
    /// How the cost grows with sizes, connections, workers and rules.
    Growth,
    /// Which functions run, as a script for the linker.
    Order,
}

#[derive(Parser)]
struct Arguments {
    /// What to find out.
    #[arg(value_enum, default_value_t = Question::Compare)]
    question: Question,
    /// The binary that is measured.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_innopaas-proxy"))]
    proxy: PathBuf,
    /// Another build of it, to be compared as well.
    #[arg(long = "also", value_name = "NAME=PATH")]
    also: Vec<String>,
    /// Peers to leave out.
    #[arg(long)]
    alone: bool,
    /// Envoy's binary; without it Envoy is left out.
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Rounds, of which medians are taken.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a load, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    load: u64,
    /// Groups of figures: calls, fresh, log, workers, bodies, many.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where a picture of the comparison goes, an SVG.
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Only to see that it works.
    #[arg(long)]
    test: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut plan = Plan {
        rounds: arguments.rounds,
        load: Duration::from_millis(arguments.load),
        body: 1_000,
        large: 20,
        many: 1_000,
        only: arguments.only,
    };
    if arguments.test {
        plan = Plan {
            rounds: 1,
            load: Duration::from_millis(50),
            large: 1,
            many: 10,
            only: ["calls", "fresh", "log", "workers", "bodies"].map(str::to_owned).to_vec(),
            ..plan
        };
    }
    let mut contestants = vec![Contestant::Ours("innopaas-proxy".to_owned(), arguments.proxy)];
    for also in &arguments.also {
        let (name, path) = also.split_once('=').unwrap_or((also, also));
        contestants.push(Contestant::Ours(name.to_owned(), path.into()));
    }
    if !arguments.alone && !arguments.test {
        contestants.extend([Contestant::HaProxy, Contestant::Nginx]);
        contestants.extend(arguments.envoy.map(Contestant::Envoy));
    }
    match arguments.question {
        Question::Counts => {
            let holds = counts::check(&contestants);
            return if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Question::Order => print!("{}", order::script(&contestants[0])),
        Question::Growth => print!("{}", growth::table(&contestants[0], &plan)),
        Question::Compare => {
            let figures = compare(&contestants, &plan);
            print!("{}", report::table(&figures, &contestants, &plan));
            if let Some(path) = arguments.picture {
                fs::write(path, report::picture(&figures, &contestants)).unwrap();
            }
        }
    }
    ExitCode::SUCCESS
}
