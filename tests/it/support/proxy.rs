//! The real binary as a child process, with everything it writes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use innopaas_proxy::sandbox::{Options, Sandbox};
use serde_json::Value;

use super::mount::set_mode;
use super::{Answer, Call, Mount, PATIENCE, RawUpstream, canary, eventually};

/// Upstreams of tests are on loopback, where none may be unless somebody says so.
pub(crate) const ALLOW_LOOPBACK: &str = "upstream.allow_private=127.0.0.0/8,::1/128";

const BINARY: &str = env!("CARGO_BIN_EXE_innopaas-proxy");

/// A proxy to be started.
pub(crate) struct Setup {
    settings: Vec<String>,
    mount: Option<Mount>,
    by_nobody: bool,
    binary: PathBuf,
}

/// A proxy that runs, with the upstream it calls and the secrets it holds.
pub(crate) struct Proxy {
    /// Port 0 if it listens on a Unix socket.
    pub(crate) listen: SocketAddr,
    /// The Unix socket, if it listens on one.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) admin: SocketAddr,
    /// Where it receives webhooks, if it does.
    pub(crate) webhook: Option<SocketAddr>,
    pub(crate) mount: Mount,
    process: Process,
    /// Whether a leak is what the test wants.
    leaks: bool,
    _files: tempfile::TempDir,
}

/// A child process whose output is kept.
pub(crate) struct Process {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self { settings: Vec::new(), mount: None, by_nobody: false, binary: PathBuf::from(BINARY) }
    }

    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    pub(crate) fn mount(mut self, mount: Mount) -> Self {
        self.mount = Some(mount);
        self
    }

    /// As a user whom a file's mode keeps out, whoever runs the tests: root would read everything.
    pub(crate) fn by_nobody(mut self) -> Self {
        self.by_nobody = true;
        self
    }

    /// By another binary that is the proxy.
    pub(crate) fn by_another(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// With a receiver of webhooks, verified by the pairs in these directories, each of which is
    /// that of one application of InnoPaaS.
    pub(crate) fn receiving(self, pairs: &[(&str, &Mount)]) -> Self {
        let entry =
            |(app, mount): &(&str, &Mount)| format!("app={app} current={}", mount.path().display());
        let entries: Vec<_> = pairs.iter().map(entry).collect();
        self.set("webhook.listen=127.0.0.1:0")
            .set(&format!("webhook.credentials={}", entries.join(", ")))
    }

    /// In front of a sandbox of its own.
    pub(crate) fn start(self) -> (Proxy, Sandbox) {
        let options = Options { pair: Some(canary::pair()), ..Options::default() };
        let sandbox = Sandbox::start(options).unwrap();
        (self.start_before(&sandbox.origin(), sandbox.ca_pem()), sandbox)
    }

    pub(crate) fn start_before_raw(self, upstream: &RawUpstream) -> Proxy {
        self.start_before(&upstream.origin(), upstream.ca_pem())
    }

    pub(crate) fn start_before(self, origin: &str, ca_pem: &str) -> Proxy {
        let mount = self.mount.unwrap_or_else(|| Mount::of(&canary::pair()));
        let files = tempfile::tempdir().unwrap();
        let ca_file = files.path().join("ca.pem");
        fs::write(&ca_file, ca_pem).unwrap();
        let by_root = rustix::process::geteuid().is_root();
        let mut command = if self.by_nobody && by_root {
            nobodys_binary(files.path())
        } else {
            command(&self.binary)
        };
        command
            .args(["run", "--admin", "127.0.0.1:0"])
            .args(["--upstream", origin])
            .args([Path::new("--ca-file"), &ca_file])
            .args([Path::new("--credentials"), mount.path()])
            .args(["--set", "drain.minimum=0s"]);
        // A flag would beat the test's own word.
        if !self.settings.iter().any(|setting| setting.starts_with("log.level=")) {
            command.args(["--log-level", "trace"]);
        }
        if !self.settings.iter().any(|setting| setting.starts_with("listen.address=")) {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !self.settings.iter().any(|setting| setting.starts_with("upstream.allow_private=")) {
            command.args(["--set", ALLOW_LOOPBACK]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        let process = Process::start(command);
        let serving = process.log_line("serving");
        let address = |name: &str| serving[name].as_str().unwrap().to_owned();
        let (listen, admin) = (address("listen"), address("admin").parse().unwrap());
        let webhook = serving["webhook"].as_str().map(|address| address.parse().unwrap());
        let socket = listen.strip_prefix("unix:").map(PathBuf::from);
        let listen = match socket {
            Some(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
            None => listen.parse().unwrap(),
        };
        Proxy { listen, socket, admin, webhook, mount, process, leaks: false, _files: files }
    }
}

/// The binary, with nothing of our own environment that it would read.
pub(crate) fn binary() -> Command {
    command(Path::new(BINARY))
}

/// The binary, run by a user who is allowed nothing, from a folder that is opened to him: the one
/// where it was built may be closed.
fn nobodys_binary(folder: &Path) -> Command {
    const NOBODY: u32 = 65534;
    for entry in fs::read_dir(folder).unwrap() {
        set_mode(&entry.unwrap().path(), 0o644);
    }
    set_mode(folder, 0o755);
    let path = folder.join("innopaas-proxy");
    // Linked where that will do: a hundred megabytes a test are slow to copy.
    let for_all = fs::metadata(BINARY).unwrap().mode() & 0o005 == 0o005;
    if !for_all || fs::hard_link(BINARY, &path).is_err() {
        fs::copy(BINARY, &path).unwrap();
        set_mode(&path, 0o755);
    }
    let mut command = command(&path);
    command.uid(NOBODY).gid(NOBODY);
    command
}

fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("INNOPAAS_PROXY_") {
            command.env_remove(name);
        }
    }
    command
}

impl Proxy {
    /// A proxy with its defaults in front of a sandbox.
    pub(crate) fn start() -> (Self, Sandbox) {
        Setup::new().start()
    }

    pub(crate) fn call(&self, call: Call) -> Answer {
        call.to(self.listen)
    }

    pub(crate) fn admin(&self, path: &str) -> Answer {
        Call::get(path).to(self.admin)
    }

    /// The value of a metric, by its name with labels as it is exposed.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").text();
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A figure from the kernel's `/proc/PID/status` in kB: `VmRSS:` is resident memory, `VmHWM:`
    /// the most that ever was.
    pub(crate) fn status_kb(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Everything written so far.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// The access records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.process.log().into_iter().filter(|line| line["target"] == "access").collect()
    }

    /// The first access record, once it is written.
    pub(crate) fn record(&self) -> Value {
        eventually("an access record", || !self.records().is_empty());
        self.records().swap_remove(0)
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        self.process.log()
    }

    /// Waits for the process to end by itself; its exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        self.process.wait()
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// This test plants a leak; the proof that it is found is the test's.
    pub(crate) fn expect_leak(&mut self) {
        self.leaks = true;
    }
}

impl Drop for Proxy {
    /// Every test ends with the search for what it must not have leaked.
    fn drop(&mut self) {
        let told = ["/metrics", "/status", "/readyz"].map(|path| look(self.admin, path));
        self.process.end();
        if !self.leaks && !std::thread::panicking() {
            canary::assert_absent("the admin endpoints", &told.concat());
            canary::assert_absent("the output of the process", self.output().as_bytes());
        }
    }
}

/// What an endpoint says, if it still says anything.
fn look(address: SocketAddr, path: &str) -> Vec<u8> {
    let mut said = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let _ = stream.read_to_end(&mut said);
    }
    said
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
        let output = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            keep(child.stdout.take().unwrap(), Arc::clone(&output)),
            keep(child.stderr.take().unwrap(), Arc::clone(&output)),
        ];
        Self { child, output, readers }
    }

    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        self.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a log line with this message.
    pub(crate) fn log_line(&self, message: &str) -> Value {
        let mut found = None;
        eventually(&format!("the log line {message:?} in\n{}", self.output()), || {
            found = self.log().into_iter().find(|line| line["message"] == message);
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn wait(&mut self) -> i32 {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status.unwrap().code().expect("an exit code, not a signal")
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn keep(stream: impl Read + Send + 'static, output: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            output.lock().unwrap().append(&mut line);
        }
    })
}
