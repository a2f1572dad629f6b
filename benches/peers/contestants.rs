//! Who is compared, and how each is set up and started.

use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::load::Caller;
use crate::process::Process;
use crate::upstream::{APP_KEY, AUTHORIZATION, Upstream};

/// A proxy that adds the credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    /// A build of innopaas-proxy: its name in the tables, and its binary.
    Ours(String, PathBuf),
    /// nginx, from the path or Debian's place.
    Nginx,
    /// `HAProxy`.
    HaProxy,
    /// Envoy: its binary.
    Envoy(PathBuf),
}

/// How a contestant is set up.
#[derive(Clone)]
pub(crate) struct Setup {
    /// Threads, or processes, that serve calls.
    pub(crate) workers: usize,
    /// Whether each call leaves a line in a file.
    pub(crate) access_log: bool,
    /// Processors to run on; all if empty.
    pub(crate) processors: &'static str,
    /// What is put before the command.
    pub(crate) under: Vec<String>,
    /// Rules in the list of what may be called; the last one is the one that matters.
    pub(crate) rules: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { workers: 1, access_log: false, processors: "0", under: Vec::new(), rules: 4 }
    }
}

/// A contestant that answers.
pub(crate) struct Running {
    /// Its processes.
    pub(crate) process: Process,
    /// Where it is called.
    pub(crate) address: SocketAddr,
    /// From the start of the process to the first answer.
    pub(crate) took: Duration,
    directory: TempDir,
}

impl Contestant {
    /// Starts it before this upstream, and waits for its first answer.
    pub(crate) fn start(&self, upstream: &Upstream, setup: &Setup) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let files = self.write_files(directory.path(), address, upstream, setup);
        let mut words = setup.under.clone();
        // Ours would be inherited otherwise, and that is the callers' processor alone.
        let all = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
        let processors = if setup.processors.is_empty() { all.trim() } else { setup.processors };
        words.splice(..0, ["taskset", "-c", processors].map(str::to_owned));
        words.extend(self.command(&files, setup));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);

        let caller = Caller::of(address, 2);
        let began = Instant::now();
        let mut process = Process::start(command, &directory.path().join("output"));
        while let Err(error) = caller.once() {
            assert!(
                !process.has_ended() && began.elapsed() < Duration::from_secs(20),
                "{self} does not answer: {error}\n{}",
                fs::read_to_string(directory.path().join("output")).unwrap_or_default()
            );
            thread::sleep(Duration::from_micros(200));
        }
        Running { process, address, took: began.elapsed(), directory }
    }

    /// What it says of its version.
    pub(crate) fn version(&self) -> String {
        let (binary, flag) = match self {
            Self::Ours(_, binary) | Self::Envoy(binary) => (binary.clone(), "--version"),
            Self::Nginx => ("nginx".into(), "-v"),
            Self::HaProxy => ("haproxy".into(), "-v"),
        };
        let output = Command::new(binary).arg(flag).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().lines().next().unwrap_or_default().trim().to_owned()
    }

    fn write_files(
        &self,
        directory: &Path,
        address: SocketAddr,
        upstream: &Upstream,
        setup: &Setup,
    ) -> PathBuf {
        let ca_file = directory.join("ca.pem");
        fs::write(&ca_file, &upstream.ca_pem).unwrap();
        let credentials = directory.join("credentials");
        mount(&credentials);
        let rule = |number| match number {
            1 => "    - POST /api/**\n".to_owned(), // the last one
            number => format!("    - POST /other/number/{number}/*\n"),
        };
        let log_file = directory.join("access.log").to_string_lossy().into_owned();
        let logged = |on: String, off: &str| if setup.access_log { on } else { off.to_owned() };
        let (template, access_log) = match self {
            Self::Ours(..) => {
                (include_str!("conf/innopaas-proxy.yaml"), setup.access_log.to_string())
            }
            Self::Nginx => {
                let on = format!("{log_file} record buffer=64k flush=1s");
                (include_str!("conf/nginx.conf"), logged(on, "off"))
            }
            Self::HaProxy => {
                let on = "option httplog\n    log stdout format raw local0".to_owned();
                (include_str!("conf/haproxy.cfg"), logged(on, ""))
            }
            Self::Envoy(_) => {
                let on = ENVOY_LOG.replace("@PATH@", &log_file);
                (include_str!("conf/envoy.yaml"), logged(on, "[]"))
            }
        };
        let mut text = template.to_owned();
        for (name, value) in [
            ("DIR", directory.to_string_lossy().into_owned()),
            ("LISTEN", address.port().to_string()),
            ("UPSTREAM", upstream.address.port().to_string()),
            ("WORKERS", setup.workers.to_string()),
            ("CA_FILE", ca_file.to_string_lossy().into_owned()),
            ("CREDENTIALS", credentials.to_string_lossy().into_owned()),
            ("APP_KEY", APP_KEY.to_owned()),
            ("AUTHORIZATION", AUTHORIZATION.to_owned()),
            ("RULES", (1..=setup.rules).rev().map(rule).collect()),
            ("ACCESS_LOG", access_log),
        ] {
            text = text.replace(&format!("@{name}@"), &value);
        }
        let file = directory.join(match self {
            Self::Envoy(_) | Self::Ours(..) => "proxy.yaml",
            Self::Nginx | Self::HaProxy => "proxy.conf",
        });
        fs::write(&file, text).unwrap();
        file
    }

    fn command(&self, file: &Path, setup: &Setup) -> Vec<String> {
        let file = file.to_string_lossy().into_owned();
        let words: &[&str] = match self {
            Self::Ours(_, binary) => &[&binary.to_string_lossy(), "run", "--config", &file],
            Self::Nginx => &["nginx", "-c", &file],
            Self::HaProxy => &["haproxy", "-db", "-f", &file],
            Self::Envoy(binary) => {
                let workers = setup.workers.to_string();
                return [&*binary.to_string_lossy(), "-c", &file, "--concurrency", &workers]
                    .into_iter()
                    .chain(["--disable-hot-restart", "-l", "error"])
                    .map(str::to_owned)
                    .collect();
            }
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

const ENVOY_LOG: &str = r#"[{ name: envoy.access_loggers.file, typed_config: { "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: "@PATH@", log_format: { json_format: { time: "%START_TIME%", method: "%REQ(:METHOD)%", path: "%REQ(:PATH)%", status: "%RESPONSE_CODE%", bytes: "%BYTES_SENT%", duration: "%DURATION%" } } } }]"#;

impl Running {
    /// What it wrote on its own, for who has to find out what went wrong.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("output")).unwrap_or_default()
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours(name, _) => name,
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
            Self::Envoy(_) => "Envoy",
        })
    }
}

/// As the kubelet lays a Secret out.
fn mount(directory: &Path) {
    let generation = directory.join("..2026_11_23_00_00_00.1");
    fs::create_dir_all(&generation).unwrap();
    symlink("..2026_11_23_00_00_00.1", directory.join("..data")).unwrap();
    for (name, content) in [("app-key", APP_KEY), ("authorization", AUTHORIZATION)] {
        fs::write(generation.join(name), content).unwrap();
        symlink(Path::new("..data").join(name), directory.join(name)).unwrap();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
