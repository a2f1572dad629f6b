//! What a person wants to know first, as JSON.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::Admin;
use crate::credentials::{ConsoleReport, Store};

impl Admin {
    pub(super) fn status(&self) -> String {
        let now = SystemTime::now();
        let errors: Vec<Value> = self
            .recent
            .all()
            .into_iter()
            .map(|error| {
                json!({
                    "code": error.code.as_str(),
                    "cause": error.cause,
                    "count": error.count,
                    "seconds_ago": seconds(error.last, now),
                })
            })
            .collect();
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "phase": self.phases.now().as_str(),
            "uptime_seconds": seconds(self.started, now),
            "upstream": self.upstream,
            "workers": self.pulses.len(),
            "credentials": self.pair(self.keyring.primary(), now),
            "standby": self.keyring.standby().map(|standby| self.pair(standby, now)),
            "webhook": self.webhook.as_ref().map(|reports| json!({
                "verified": reports.is_some(),
                "credentials": reports.as_ref().map(|reports| console(reports.all())),
            })),
            "recent_errors": errors,
        });
        format!("{status:#}\n")
    }

    fn pair(&self, store: &Store, now: SystemTime) -> Value {
        let (report, pair) = (store.report(), store.pair());
        json!({
            "serving": self.keyring.serving() == pair,
            "refused": self.keyring.is_refused(pair),
            "generation": report.generation,
            "fingerprint": report.fingerprint.map(|fingerprint| fingerprint.to_string()),
            "expires": report.expiry.map_or(json!("unknown"), |expiry| json!({
                "at": expiry.to_string(),
                "seconds_left": expiry.left(unix_seconds(now)),
                "source": expiry.source.as_str(),
            })),
            "age_seconds": report.loaded_at.map(|at| seconds(at, now)),
            "last_reload": report.last_reload.map(|(at, result)| json!({
                "result": result.as_str(),
                "seconds_ago": seconds(at, now),
            })),
            "problem": report.problem.or(report.expiry_problem),
        })
    }
}

fn console(reports: Vec<ConsoleReport>) -> Vec<Value> {
    let report = |ConsoleReport { app, which, in_use, problem }| json!({ "app": &*app, "which": which, "in_use": in_use, "problem": problem });
    reports.into_iter().map(report).collect()
}

fn unix_seconds(time: SystemTime) -> i64 {
    i64::try_from(seconds(SystemTime::UNIX_EPOCH, time)).unwrap_or(i64::MAX)
}

fn seconds(then: SystemTime, now: SystemTime) -> u64 {
    now.duration_since(then).unwrap_or_default().as_secs()
}
