//! Rotations under load: the pair is replaced at InnoPaaS again and again while 64 callers call,
//! and no caller may notice, no message may be sent twice, and no call may carry halves of two
//! pairs.
//!
//! The time that calls take is told, and not judged. `tests/drill/run` does the same with more
//! rotations and the release build: it sets `DRILL_ROTATIONS`. That the number comes from the
//! environment, and not from ignored tests beside these, keeps what is measured there and what
//! decides here one and the same.

use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use innopaas_proxy::sandbox::{Refusal, Sandbox};
use serde_json::Value;

use crate::support::load::{Load, Tally};
use crate::support::{LOADED, Mount, Proxy, Setup, canary, eventually};

const CONNECTIONS: usize = 64;
const ROTATIONS: u32 = 5; // unless the environment says otherwise
const BETWEEN: u64 = 200; // calls, from one step of a rotation to the next
/// How late the new pair comes to the files when nothing else is left; `refusal.hold` is longer.
const LATE: Duration = Duration::from_secs(2);
/// Records of failed calls, in a message.
const SHOWN: usize = 20;
/// More accepted calls than the sandbox can tell apart.
const TOO_MANY: u64 = 1_000_000;

const REFUSALS: [Refusal; 3] =
    [Refusal::Unauthorized401Json, Refusal::Forbidden403Json, Refusal::Ok200Code];

/// What the proxy has when its pair is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Situation {
    /// The pair of a second application; the new pair comes to the files later.
    Standby,
    /// The new pair, in files that it did not look at since.
    OnDisk,
    /// Nothing, until the new pair comes while the calls wait.
    Hold,
}

#[test]
fn no_caller_notices_a_rotation_when_there_is_a_standby_pair() {
    for refusal in REFUSALS {
        drill(Situation::Standby, refusal);
    }
}

#[test]
fn no_caller_notices_a_rotation_when_the_new_pair_is_in_the_files_before_the_old_one_dies() {
    for refusal in REFUSALS {
        drill(Situation::OnDisk, refusal);
    }
}

#[test]
fn callers_only_wait_when_the_new_pair_comes_late() {
    // These mostly wait, so they do it together.
    thread::scope(|scope| {
        for refusal in REFUSALS {
            scope.spawn(move || drill(Situation::Hold, refusal));
        }
    });
}

#[test]
fn a_pair_that_dies_without_another_is_seen_by_the_callers_of_a_drill() {
    let (proxy, sandbox) = Proxy::start();
    let load = Load::start(proxy.listen, 2);
    eventually("calls end", || load.ended() > 10);
    assert_eq!(load.failed(), 0);
    sandbox.expire_token();
    eventually("a call fails", || load.failed() > 0);
    let tally = load.stop();
    assert!(tally.failed > 0 && !tally.bad.is_empty());
    assert_eq!(tally.succeeded, sandbox.calls().accepted);
}

fn drill(situation: Situation, refusal: Refusal) {
    let _loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner);
    let standby = Mount::of(&canary::marked_pair("S"));
    let (proxy, sandbox) = start(situation, refusal, &standby);
    let load = Load::start(proxy.listen, CONNECTIONS);
    more_calls(&load);
    let rotations = rotations();
    for number in 1..=rotations {
        rotate(situation, number, &proxy, &sandbox, &load);
    }
    let tally = load.stop();
    let figures = figures(situation, refusal, rotations, &sandbox, &tally);
    println!("drill: {figures}");
    let calls = sandbox.calls();
    let told = |record: &Value| record["status"] != 200;
    let last: Vec<_> = proxy.records().into_iter().rev().filter(told).take(SHOWN).collect();
    assert_eq!(tally.failed, 0, "{figures}\n{:#?}\n{last:#?}", tally.bad);
    assert_eq!((calls.duplicates, calls.mixed, calls.malformed, calls.cut), (0, 0, 0, 0));
    assert_eq!(calls.accepted, tally.succeeded, "{figures}");
    assert!(calls.refused >= u64::from(rotations), "{figures}: nothing was rotated");
    assert!(calls.accepted < TOO_MANY, "{figures}: duplicates may have been missed");
}

fn start(situation: Situation, refusal: Refusal, standby: &Mount) -> (Proxy, Sandbox) {
    let setup = match situation {
        Situation::Standby => {
            let setting = format!("credentials.standby.directory={}", standby.path().display());
            Setup::new().set(&setting).set("credentials.poll=50ms")
        }
        Situation::OnDisk => Setup::new().set("credentials.poll=1h"),
        Situation::Hold => Setup::new().set("credentials.poll=50ms").set("refusal.hold=5s"),
    };
    let (proxy, sandbox) = settings(refusal).iter().fold(setup, |s, text| s.set(text)).start();
    sandbox.set_refusal(refusal);
    if situation == Situation::Standby {
        sandbox.add_application(canary::marked_pair("S"));
    }
    (proxy, sandbox)
}

/// What must be set to know a refusal of this shape, and to repeat a call after it.
fn settings(refusal: Refusal) -> &'static [&'static str] {
    match refusal {
        Refusal::Unauthorized401Json | Refusal::Unauthorized401Html => &[],
        Refusal::Forbidden403Json => &["refusal.statuses=403", "refusal.replay=true"],
        Refusal::Ok200Code => &["refusal.codes=101", "refusal.replay=true"],
    }
}

fn rotations() -> u32 {
    match std::env::var("DRILL_ROTATIONS") {
        Ok(text) => text.parse().expect("DRILL_ROTATIONS: a number"),
        Err(_) => ROTATIONS,
    }
}

/// Kills the pair in use and brings another, AppKey and token.
fn rotate(situation: Situation, number: u32, proxy: &Proxy, sandbox: &Sandbox, load: &Load) {
    let new = canary::marked_pair(number);
    match situation {
        Situation::Standby => {
            sandbox.set_pair(new.clone());
            more_calls(load);
            let before = generation(proxy);
            proxy.mount.swap_in(&new);
            eventually("the new pair is in use", || generation(proxy) > before);
        }
        Situation::OnDisk => {
            // A look for a straggler of the rotation before may find it before the old one dies:
            // InnoPaaS knows a token before anybody can write it into a file.
            sandbox.add_application(new.clone());
            proxy.mount.swap_in(&new);
            sandbox.set_pair(new);
            sandbox.kill_applications();
        }
        Situation::Hold => {
            sandbox.set_pair(new.clone());
            thread::sleep(LATE); // waits for no result: that it is late is what is tried
            proxy.mount.swap_in(&new);
        }
    }
    more_calls(load);
}

/// So many, and every one that was in flight: a call is sent once more at most, so it may live
/// through one rotation and not through two.
fn more_calls(load: &Load) {
    let enough = load.ended() + BETWEEN;
    eventually("more calls end", || load.ended() >= enough);
    load.settle();
}

fn generation(proxy: &Proxy) -> u64 {
    proxy.admin("/status").json()["credentials"]["generation"].as_u64().unwrap()
}

/// A line of the table in `tests/drill/run`, which has the heads of the columns.
fn figures(
    situation: Situation,
    refusal: Refusal,
    rotations: u32,
    sandbox: &Sandbox,
    tally: &Tally,
) -> String {
    let situation = match situation {
        Situation::Standby => "standby",
        Situation::OnDisk => "on-disk",
        Situation::Hold => "hold",
    };
    let refusal = serde_json::to_value(refusal).unwrap();
    let calls = sandbox.calls();
    format!(
        "{situation:<9} {refusal:<8} {rotations:>9} {all:>8} {failed:>6} {duplicates:>10} \
         {mixed:>5} {refused:>7} {p99:>8.1} {max:>8.1}",
        refusal = refusal.as_str().unwrap(),
        all = tally.calls(),
        failed = tally.failed,
        duplicates = calls.duplicates,
        mixed = calls.mixed,
        refused = calls.refused,
        p99 = tally.latency(990).as_secs_f64() * 1000.0,
        max = tally.latency(1000).as_secs_f64() * 1000.0,
    )
}
