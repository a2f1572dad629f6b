//! From file, environment and flags to a configuration, for every command that needs one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::EXIT_USAGE;
use crate::config::settings::{self as s, Setting};
use crate::config::{Config, Place, Problem, Problems, Raw, Written};

/// Names the file, if `--config` does not.
pub(super) const CONFIG_VARIABLE: &str = "INNOPAAS_PROXY_CONFIG";

/// Where settings come from: flags beat the environment, the environment beats the file.
#[derive(Debug, Args, Default)]
pub(super) struct SettingsArgs {
    /// YAML file with settings; none is needed [env: `INNOPAAS_PROXY_CONFIG`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where applications send their calls (`listen.address`).
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where health and metrics are (`admin.address`).
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Where calls go (`upstream.origin`).
    #[arg(long, value_name = "ORIGIN")]
    upstream: Option<String>,
    /// PEM file with the only authorities to trust (`upstream.ca_file`).
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Directory with the secrets (`credentials.directory`).
    #[arg(long, value_name = "DIRECTORY")]
    credentials: Option<String>,
    /// What is worth a log line (`log.level`).
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any setting, as often as needed.
    #[arg(long, value_name = "SETTING=VALUE")]
    set: Vec<String>,
}

/// A configuration and what was noticed on the way.
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) warnings: Vec<String>,
    /// What was written, for `check`.
    pub(super) written: Vec<(&'static Setting, Written)>,
}

/// Problems, and the file they are about.
pub(super) struct Unusable {
    file: Option<PathBuf>,
    problems: Problems,
}

impl From<Problems> for Unusable {
    fn from(problems: Problems) -> Self {
        Self { file: None, problems }
    }
}

impl SettingsArgs {
    pub(super) fn load(&self) -> Result<Loaded, Unusable> {
        let mut raw = Raw::defaults();
        let file = self
            .config
            .clone()
            .or_else(|| std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from))
            .filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = &file {
            match read(path) {
                Ok(content) => raw.file(&content),
                Err(error) => raw.problems.push(Problem {
                    place: Place::File(None),
                    path: String::new(),
                    text: format!("cannot be read: {error}"),
                }),
            }
        }
        raw.environment(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string()))),
        );
        self.flags(&mut raw);

        let warnings = std::mem::take(&mut raw.warnings);
        let written = s::ALL.iter().map(|&setting| (setting, raw.written(setting))).collect();
        match Config::from_raw(raw) {
            Ok(config) => Ok(Loaded { config, warnings, written }),
            Err(problems) => Err(Unusable { file, problems }),
        }
    }

    fn flags(&self, raw: &mut Raw) {
        let Self { config: _, listen, admin, upstream, ca_file, credentials, log_level, set } =
            self;
        for assignment in set {
            raw.assignment("--set", assignment);
        }
        for (flag, setting, value) in [
            ("--listen", &s::LISTEN_ADDRESS, listen),
            ("--admin", &s::ADMIN_ADDRESS, admin),
            ("--upstream", &s::UPSTREAM_ORIGIN, upstream),
            ("--ca-file", &s::UPSTREAM_CA_FILE, ca_file),
            ("--credentials", &s::CREDENTIALS_DIRECTORY, credentials),
            ("--log-level", &s::LOG_LEVEL, log_level),
        ] {
            if let Some(value) = value {
                raw.text(setting, value, Place::Flag(flag.to_owned()));
            }
        }
    }
}

/// Reads no more than is needed to see that a file is too large.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    const ENOUGH: u64 = 256 * 1024 + 1;
    let mut content = Vec::new();
    File::open(path)?.take(ENOUGH).read_to_end(&mut content)?;
    Ok(content)
}

/// Prints every problem, with its place.
pub(super) fn report(unusable: &Unusable) -> u8 {
    let Unusable { file, problems: Problems(problems) } = unusable;
    let file = file.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default();
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        several => format!("{several} problems"),
    };
    eprintln!("innopaas-proxy: {count} with the configuration{file}:");
    for problem in problems {
        eprintln!("  {problem}");
    }
    EXIT_USAGE
}
