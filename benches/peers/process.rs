//! What the kernel tells of a process and its children.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A child process with what it started. Ended when dropped.
pub(crate) struct Process(Child);

/// Memory, in KiB.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// Pages shared with others count by their share.
    pub(crate) pss: f64,
    /// The most that was resident.
    pub(crate) peak: f64,
}

impl Process {
    /// Starts it, with what it says going to a file.
    pub(crate) fn start(mut command: Command, output: &Path) -> Self {
        let output = fs::File::options().create(true).append(true).open(output).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// The processor time that it took so far, to the nanosecond. What threads took that have
    /// ended is not in it.
    pub(crate) fn cpu(&self) -> Duration {
        let nanos = self.tree().into_iter().flat_map(|pid| entries(&format!("/proc/{pid}/task")));
        let nanos = nanos.filter_map(|task| {
            let text = fs::read_to_string(Path::new(&task).join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// What it has resident now, and had at most.
    pub(crate) fn memory(&self) -> Memory {
        let sum = |file: &str, field: &str| -> f64 {
            let of = |pid: &u32| {
                let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
                let line = text.lines().find_map(|line| line.strip_prefix(field))?;
                line.split_whitespace().next()?.parse::<f64>().ok()
            };
            self.tree().iter().filter_map(of).sum()
        };
        Memory { pss: sum("smaps_rollup", "Pss:"), peak: sum("status", "VmHWM:") }
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn end(&mut self) {
        if self.has_ended() {
            return;
        }
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.0.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                self.0.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn tree(&self) -> Vec<u32> {
        let mut tree = vec![self.0.id()];
        let mut next = 0;
        while let Some(pid) = tree.get(next) {
            let children = entries(&format!("/proc/{pid}/task")).into_iter().flat_map(|task| {
                let text = fs::read_to_string(Path::new(&task).join("children"));
                text.unwrap_or_default()
                    .split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<u32>>()
            });
            let children: Vec<_> = children.collect();
            tree.extend(children);
            next += 1;
        }
        tree
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn entries(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}
