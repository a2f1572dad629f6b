//! The proxy as a receiver of webhooks, in front of an application.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::application::Application;
use crate::process::Process;

/// What the console has.
pub(crate) const PAIR: [&str; 2] = ["shop-user", "t-0123456789abcdef0123456789abcdef0123456789ab"];

/// A proxy that answers.
pub(crate) struct Receiver {
    /// Its process.
    pub(crate) process: Process,
    /// Where events are sent.
    pub(crate) address: SocketAddr,
    _files: TempDir,
}

impl Receiver {
    /// Starts it with its defaults, under these words, and waits for it to listen.
    pub(crate) fn start(proxy: &Path, application: &Application, under: &[&str]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (credentials, console) = (files.path().join("pair"), files.path().join("console"));
        for directory in [&credentials, &console] {
            fs::create_dir(directory).unwrap();
        }
        for (file, content) in [
            (credentials.join("app-key"), "k-0123456789abcd"),
            (credentials.join("authorization"), "t-0123456789abcdef"),
            (console.join("user-name"), PAIR[0]),
            (console.join("authorization"), PAIR[1]),
        ] {
            fs::write(file, content).unwrap();
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).args(under).arg(proxy).args(["run", "--admin", "127.0.0.1:0"]);
        command.args(["--listen", "127.0.0.1:0", "--credentials"]).arg(credentials);
        for setting in [
            format!("webhook.listen={address}"),
            format!("webhook.credentials=app=shop current={}", console.display()),
            format!("webhook.default=http://{}/innopaas", application.address),
            "drain.minimum=0s".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        let output = files.path().join("output");
        let mut process = Process::start(command, &output);
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            let is_there = !process.has_ended() && began.elapsed() < Duration::from_secs(60);
            assert!(is_there, "no receiver:\n{}", fs::read_to_string(&output).unwrap());
            thread::sleep(Duration::from_millis(1));
        }
        Self { process, address, _files: files }
    }
}
