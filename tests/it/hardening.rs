//! What the process asks of the kernel.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;

use crate::support::proxy::{Process, binary};
use crate::support::{Proxy, eventually};

#[test]
fn a_crash_leaves_no_core_file() {
    let (proxy, _sandbox) = Proxy::start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let bounds: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(bounds, ["0", "0"]);
}

/// The kernel gives what is in `/proc` of such a process to root, whoever runs it.
#[test]
fn another_process_of_the_same_user_cannot_look_into_its_memory() {
    const NOBODY: u32 = 65534;
    let own = fs::metadata("/proc/self").unwrap().uid();
    let user = if own == 0 { NOBODY } else { own };
    let owner = |pid| fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    // `wait` and `health` run in the proxy's own container, so its files are behind theirs.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = silent.local_addr().unwrap().to_string();
    let serve = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for arguments in [&serve[..], &["wait", "--admin", &asked], &["health", "--admin", &asked]] {
        let mut command = binary();
        command.args(arguments);
        if own == 0 {
            command.uid(user);
        }
        let process = Process::start(command);
        eventually("it is closed", || owner(process.pid()) == 0);
    }
    let mut control = std::process::Command::new("sleep");
    if own == 0 {
        control.uid(user);
    }
    let mut control = control.arg("60").spawn().unwrap();
    eventually("an ordinary process is its user's", || owner(control.id()) == user);
    control.kill().unwrap();
    control.wait().unwrap();
}
