//! The comparison: every contestant does the same work in every round, in an order that turns.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use crate::contestants::{Contestant, Running, Setup};
use crate::load::{Caller, Ran};
use crate::process::Memory;
use crate::upstream::{LARGE, Upstream};

/// What was seen of each figure and contestant, a value a round.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<(&'static str, String), Vec<f64>>);

/// How long and how often.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Rounds; the medians are of so many.
    pub(crate) rounds: usize,
    /// Length of one load.
    pub(crate) load: Duration,
    /// Bytes of a usual body.
    pub(crate) body: usize,
    /// Large bodies in each direction.
    pub(crate) large: usize,
    /// Connections that are open and unused, or used all at once.
    pub(crate) many: usize,
    /// Groups of figures that are taken; all if empty.
    pub(crate) only: Vec<String>,
}

/// The name under which the upstream is called without a proxy.
pub(crate) const DIRECT: &str = "direct TLS";

const RATE: u32 = 2_000;

impl Figures {
    /// Of one figure and contestant.
    pub(crate) fn of(&self, figure: &str, contestant: &str) -> Option<&[f64]> {
        let mut all = self.0.iter();
        all.find(|((f, c), _)| *f == figure && c == contestant).map(|(_, values)| &**values)
    }

    fn note(&mut self, figure: &'static str, contestant: &str, value: f64) {
        self.0.entry((figure, contestant.to_owned())).or_default().push(value);
    }
}

/// What is taken together, of one process or two.
const GROUPS: [&str; 6] = ["calls", "fresh", "log", "workers", "bodies", "many"];

impl Plan {
    fn takes(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == group)
    }
}

/// Takes all figures.
pub(crate) fn compare(contestants: &[Contestant], plan: &Plan) -> Figures {
    let upstream = Upstream::start();
    let mut figures = Figures::default();
    for round in 0..plan.rounds {
        let mut order: Vec<_> = contestants.iter().collect();
        order.rotate_left(round % contestants.len());
        for contestant in order {
            let mut turn = Turn { contestant, upstream: &upstream, plan, figures: &mut figures };
            for group in GROUPS.iter().filter(|group| plan.takes(group)) {
                turn.take(group);
            }
            eprintln!("round {} of {}: {contestant}", round + 1, plan.rounds);
        }
        if plan.takes("calls") {
            direct(&upstream, plan, &mut figures);
        }
    }
    figures
}

fn direct(upstream: &Upstream, plan: &Plan, figures: &mut Figures) {
    let caller = Caller::direct(upstream, plan.body);
    for (connections, [p50, p99, p999]) in LATENCIES {
        let ran = caller.closed_loop(connections, plan.load / 2);
        note_latencies(figures, [p50, p99, p999], DIRECT, &ran);
    }
    let ran = caller.paced(RATE, PACED_CONNECTIONS, plan.load);
    note_latencies(figures, PACED, DIRECT, &ran);
}

const PACED_CONNECTIONS: u32 = 16;
const PACED: [&str; 3] = ["paced: p50", "paced: p99", "paced: p999"];
const LATENCIES: [(usize, [&str; 3]); 3] = [
    (1, ["1 connection: p50", "1 connection: p99", "1 connection: p999"]),
    (8, ["8 connections: p50", "8 connections: p99", "8 connections: p999"]),
    (64, ["64 connections: p50", "64 connections: p99", "64 connections: p999"]),
];

fn note_latencies(figures: &mut Figures, names: [&'static str; 3], who: &str, ran: &Ran) {
    for (name, permille) in names.into_iter().zip([500, 990, 999]) {
        figures.note(name, who, ran.permille(permille));
    }
}

/// One contestant in one round.
struct Turn<'t> {
    contestant: &'t Contestant,
    upstream: &'t Upstream,
    plan: &'t Plan,
    figures: &'t mut Figures,
}

impl Turn<'_> {
    fn take(&mut self, group: &str) {
        match group {
            "calls" => self.calls(),
            "fresh" => self.fresh(),
            "log" => self.log(),
            "workers" => self.workers(),
            "bodies" => self.bodies(),
            _ => self.many(),
        }
    }

    fn note(&mut self, figure: &'static str, value: f64) {
        self.figures.note(figure, &self.contestant.to_string(), value);
    }

    fn start(&self, setup: &Setup) -> Running {
        self.contestant.start(self.upstream, setup)
    }

    /// Runs a load; the processor time per request that the upstream counted, in microseconds.
    fn cost(&self, running: &Running, load: impl FnOnce() -> Ran) -> (f64, Ran) {
        let (cpu, served) = (running.process.cpu(), self.upstream.served());
        let ran = load();
        let (cpu, served) =
            (running.process.cpu().saturating_sub(cpu), self.upstream.served() - served);
        assert_eq!(served, ran.calls, "{}: {}", self.contestant, running.output());
        (cpu.as_secs_f64() * 1e6 / served as f64, ran)
    }

    fn warm_up(&self, caller: &Caller) {
        caller.closed_loop(64, self.plan.load / 4);
    }

    /// Kept connections: start, idle, saturated, paced.
    fn calls(&mut self) {
        let running = self.start(&Setup::default());
        let caller = Caller::of(running.address, self.plan.body);
        self.note("start", running.took.as_secs_f64() * 1e3);
        sleep(Duration::from_millis(300));
        self.note("PSS idle", running.process.memory().pss);
        let before = running.process.cpu();
        sleep(self.plan.load);
        let idle = running.process.cpu().saturating_sub(before);
        self.note("idle CPU", idle.as_secs_f64() * 1e3 / self.plan.load.as_secs_f64());

        self.warm_up(&caller);
        let mut saturated = None;
        for (connections, names) in LATENCIES {
            let length = if connections == 64 { self.plan.load } else { self.plan.load / 2 };
            let (cpu, ran) = self.cost(&running, || caller.closed_loop(connections, length));
            note_latencies(self.figures, names, &self.contestant.to_string(), &ran);
            match connections {
                1 => self.note("CPU, 1 connection", cpu),
                8 => self.note("CPU, 8 connections", cpu),
                _ => saturated = Some((cpu, ran)),
            }
        }
        if let Some((cpu, ran)) = saturated {
            self.note("CPU, 64 connections", cpu);
            self.note("requests per second", ran.calls as f64 / ran.took.as_secs_f64());
        }
        sleep(Duration::from_millis(300));
        self.note("PSS after load", running.process.memory().pss);
        let (cpu, ran) =
            self.cost(&running, || caller.paced(RATE, PACED_CONNECTIONS, self.plan.load));
        self.note("CPU, paced", cpu);
        note_latencies(self.figures, PACED, &self.contestant.to_string(), &ran);
    }

    fn fresh(&mut self) {
        let running = self.start(&Setup::default());
        let caller = Caller::of(running.address, self.plan.body);
        caller.fresh(16, self.plan.load / 4);
        let (cpu, _) = self.cost(&running, || caller.fresh(16, self.plan.load));
        self.note("CPU, new connections", cpu);
    }

    fn log(&mut self) {
        let running = self.start(&Setup { access_log: true, ..Setup::default() });
        let caller = Caller::of(running.address, self.plan.body);
        self.warm_up(&caller);
        let (cpu, _) = self.cost(&running, || caller.closed_loop(64, self.plan.load));
        self.note("CPU, 64 connections, log on", cpu);
        let (cpu, _) =
            self.cost(&running, || caller.paced(RATE, PACED_CONNECTIONS, self.plan.load));
        self.note("CPU, paced, log on", cpu);
    }

    fn workers(&mut self) {
        let running = self.start(&Setup { workers: 2, processors: "", ..Setup::default() });
        let caller = Caller::of(running.address, self.plan.body);
        self.warm_up(&caller);
        let (cpu, _) = self.cost(&running, || caller.closed_loop(64, self.plan.load));
        self.note("CPU, two workers", cpu);
    }

    fn bodies(&mut self) {
        let mebibytes = (LARGE / (1024 * 1024)) as f64;
        for (name, peak, up) in [
            ("CPU, 10 MB up", "peak, 10 MB up", true),
            ("CPU, 10 MB down", "peak, 10 MB down", false),
        ] {
            let running = self.start(&Setup::default());
            let caller = if up {
                Caller::uploading(running.address, LARGE)
            } else {
                Caller::downloading(running.address)
            };
            let (cpu, _) = self.cost(&running, || caller.calls(self.plan.large));
            self.note(name, cpu / 1e3 / mebibytes);
            self.note(peak, running.process.memory().peak);
        }
    }

    fn many(&mut self) {
        let running = self.start(&Setup::default());
        let caller = Caller::of(running.address, self.plan.body);
        let mut connections: Vec<_> =
            (0..self.plan.many).map(|_| caller.connect().unwrap()).collect();
        // Each was used, one after the other, as by an application with a large pool.
        for connection in &mut connections {
            caller.at_once(std::slice::from_mut(connection));
        }
        sleep(UNUSED);
        let Memory { pss, .. } = running.process.memory();
        self.note("PSS, 1,000 unused connections", pss);
        caller.at_once(&mut connections);
        sleep(Duration::from_millis(300));
        self.note("PSS after 1,000 at once", running.process.memory().pss);
        drop(connections);
        sleep(GIVEN_BACK);
        self.note("PSS later", running.process.memory().pss);
    }
}

/// How long connections are left alone before their memory is looked at.
const UNUSED: Duration = Duration::from_secs(12);
/// Longer than unused connections to the upstream are kept.
const GIVEN_BACK: Duration = Duration::from_secs(18);
