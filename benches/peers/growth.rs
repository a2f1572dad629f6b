//! How the cost of a call grows with what there is of everything.

use std::thread::sleep;
use std::time::Duration;

use crate::compare::Plan;
use crate::contestants::{Contestant, Running, Setup};
use crate::load::{Caller, Connection, Ran};
use crate::upstream::Upstream;

/// Tables in Markdown. Each figure is the least of the rounds: what disturbs only adds.
pub(crate) fn table(contestant: &Contestant, plan: &Plan) -> String {
    let upstream = Upstream::start();
    let growth = Growth { contestant, upstream: &upstream, plan };
    [growth.bodies(), growth.connections(), growth.workers(), growth.rules()].join("\n")
}

struct Growth<'g> {
    contestant: &'g Contestant,
    upstream: &'g Upstream,
    plan: &'g Plan,
}

impl Growth<'_> {
    fn bodies(&self) -> String {
        let mut text = head(&["body", "CPU per call (µs)", "CPU per KiB (µs)"]);
        for size in [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
            let running = self.contestant.start(self.upstream, &Setup::default());
            let caller = Caller::uploading(running.address, size);
            let calls = (20_000_000 / size).clamp(20, 2_000);
            let cost = self.least(&running, || caller.calls(calls));
            let each = cost / (size as f64 / 1024.0);
            text += &format!("| {size} B | {cost:.1} | {each:.2} |\n");
        }
        text
    }

    fn connections(&self) -> String {
        let mut text = head(&["connections", "CPU per call (µs)", "PSS in use (KiB)"]);
        for count in [1_usize, 10, 100, 1_000, 4_000] {
            let running = self.contestant.start(self.upstream, &Setup::default());
            let caller = Caller::of(running.address, self.plan.body);
            let mut connections: Vec<Connection> =
                (0..count).map(|_| caller.connect().unwrap()).collect();
            // As many calls on each that there are thousands in all, 64 at the same time at most.
            let turns = (20_000 / count).max(2);
            let calls = u64::try_from(turns * count).unwrap();
            let cost = self.least(&running, || {
                let began = std::time::Instant::now();
                for _ in 0..turns {
                    connections.chunks_mut(64).for_each(|some| caller.at_once(some));
                }
                Ran::of(calls, began.elapsed())
            });
            let pss = running.process.memory().pss;
            text += &format!("| {count} | {cost:.1} | {pss:.0} |\n");
        }
        text
    }

    fn workers(&self) -> String {
        let mut text = head(&["workers", "CPU per call (µs)", "calls per second"]);
        for workers in [1, 2] {
            let setup = Setup { workers, processors: "", ..Setup::default() };
            let running = self.contestant.start(self.upstream, &setup);
            let caller = Caller::of(running.address, self.plan.body);
            let mut rate = 0.0_f64;
            let cost = self.least(&running, || {
                let ran = caller.closed_loop(64, self.plan.load);
                rate = rate.max(ran.calls as f64 / ran.took.as_secs_f64());
                ran
            });
            text += &format!("| {workers} | {cost:.1} | {rate:.0} |\n");
        }
        text
    }

    fn rules(&self) -> String {
        let mut text = head(&["rules in `policy.allow`", "CPU per call (µs)"]);
        for rules in [1, 10, 100, 1_000] {
            let running =
                self.contestant.start(self.upstream, &Setup { rules, ..Setup::default() });
            let caller = Caller::of(running.address, self.plan.body);
            let cost = self.least(&running, || caller.closed_loop(64, self.plan.load));
            text += &format!("| {rules} | {cost:.1} |\n");
        }
        text
    }

    /// Processor time per call, in microseconds.
    fn least(&self, running: &Running, mut load: impl FnMut() -> Ran) -> f64 {
        load(); // to warm up
        sleep(Duration::from_millis(50));
        let mut least = f64::INFINITY;
        for _ in 0..self.plan.rounds {
            let (cpu, served) = (running.process.cpu(), self.upstream.served());
            let ran = load();
            let cpu = running.process.cpu().saturating_sub(cpu);
            let served = self.upstream.served() - served;
            assert_eq!(served, ran.calls, "{}", running.output());
            least = least.min(cpu.as_secs_f64() * 1e6 / served as f64);
        }
        least
    }
}

fn head(columns: &[&str]) -> String {
    format!("| {} |\n|{}\n", columns.join(" | "), " --: |".repeat(columns.len()))
}
