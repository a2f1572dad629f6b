//! The application's side: where it calls, and who may.
//!
//! Whoever reaches the listener can spend money. So only loopback and Unix sockets are open
//! without a word; any other address needs two: that it is meant, and how callers are told apart.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::judge::Judge;
use super::settings::{self as s, Setting};
use super::value::{self, optional_path, socket_address};

/// The application's side.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Where it calls.
    pub address: ListenAddress,
    /// Tokens of which a call must show one.
    pub caller_token_file: Option<PathBuf>,
    /// How TLS is spoken, if it is.
    pub tls: Option<ListenTls>,
}

/// Where applications call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address of this host, and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(UnixSocket),
}

/// A socket in the file system, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Users that may call; empty means all that its mode lets in.
    pub allowed_uids: Vec<u32>,
}

/// Files for TLS towards callers.
#[derive(Debug, Clone)]
pub struct ListenTls {
    /// Certificate and chain.
    pub certificate_file: PathBuf,
    /// The certificate's key.
    pub key_file: PathBuf,
    /// Authorities that callers' certificates must come from.
    pub client_ca_file: Option<PathBuf>,
    /// The settings that name these files, in the same order.
    pub settings: [&'static Setting; 3],
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(socket) => write!(f, "unix:{}", socket.path.display()),
        }
    }
}

pub(super) fn listen(judge: &mut Judge) -> Option<(Listen, Vec<String>)> {
    let address = judge.one(&s::LISTEN_ADDRESS, address);
    let allowed_hosts = judge.many(&s::LISTEN_ALLOWED_HOSTS, value::host_name);
    let exposed = judge.one(&s::LISTEN_EXPOSED, value::switch);
    let caller_token_file = judge.one(&s::LISTEN_CALLER_TOKEN_FILE, optional_path);
    let certificate_file = judge.one(&s::LISTEN_TLS_CERTIFICATE_FILE, optional_path);
    let key_file = judge.one(&s::LISTEN_TLS_KEY_FILE, optional_path);
    let client_ca_file = judge.one(&s::LISTEN_TLS_CLIENT_CA_FILE, optional_path);
    let mode = judge.one(&s::LISTEN_SOCKET_MODE, mode);
    let allowed_uids = judge.many(&s::LISTEN_ALLOWED_UIDS, uid);

    let (address, exposed, caller_token_file) = (address?, exposed?, caller_token_file?);
    let tls = match (certificate_file?, key_file?, client_ca_file?) {
        (Some(certificate_file), Some(key_file), client_ca_file) => {
            let settings = [
                &s::LISTEN_TLS_CERTIFICATE_FILE,
                &s::LISTEN_TLS_KEY_FILE,
                &s::LISTEN_TLS_CLIENT_CA_FILE,
            ];
            Some(ListenTls { certificate_file, key_file, client_ca_file, settings })
        }
        (None, None, None) => None,
        _ => {
            judge.problem(
                &s::LISTEN_TLS_CERTIFICATE_FILE,
                "is needed together with listen.tls.key_file; listen.tls.client_ca_file needs both",
            );
            return None;
        }
    };
    let address = match address {
        Written::Tcp(address) => {
            const NO_SOCKET: &str = "has a meaning only if listen.address is a Unix socket";
            if mode.is_some_and(|mode| mode != DEFAULT_MODE) {
                judge.problem(&s::LISTEN_SOCKET_MODE, NO_SOCKET);
            }
            if allowed_uids.is_some_and(|uids| !uids.is_empty()) {
                judge.problem(&s::LISTEN_ALLOWED_UIDS, NO_SOCKET);
            }
            let checked = caller_token_file.is_some()
                || tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
            let allowed = address.ip().is_loopback() || (exposed && checked);
            if !allowed {
                judge.problem(&s::LISTEN_ADDRESS, NOT_LOOPBACK);
            }
            ListenAddress::Tcp(address)
        }
        Written::Unix(path) => {
            if tls.is_some() {
                judge.problem(
                    &s::LISTEN_TLS_CERTIFICATE_FILE,
                    "has a meaning only if listen.address is an address and a port",
                );
            }
            ListenAddress::Unix(UnixSocket { path, mode: mode?, allowed_uids: allowed_uids? })
        }
    };
    Some((Listen { address, caller_token_file, tls }, allowed_hosts?))
}

const NOT_LOOPBACK: &str = "must be a loopback address or a Unix socket: whoever reaches the proxy \
                            can spend money. Another address needs listen.exposed: true and a check \
                            of the callers: listen.caller_token_file or listen.tls.client_ca_file";

/// As it stands in the table of settings.
const DEFAULT_MODE: u32 = 0o660;

/// An address as it is written.
enum Written {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

fn address(text: &str) -> Result<Written, String> {
    /// What the kernel has room for in an address, less the name that is used while it is made.
    const LONGEST: usize = 90;
    match text.strip_prefix("unix:") {
        None => socket_address(text).map(Written::Tcp),
        Some(path) if path.len() > LONGEST => Err(format!("is longer than {LONGEST} bytes")),
        Some(path) if path.starts_with('/') && !path.ends_with('/') => {
            Ok(Written::Unix(PathBuf::from(path)))
        }
        Some(_) => Err("must be `unix:` and an absolute path".to_owned()),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o777 == 0 && mode & 0o200 != 0 => Ok(mode),
        _ => {
            Err("must be a mode in octal such as `0660`, with which its owner can write".to_owned())
        }
    }
}

fn uid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "must be a number".to_owned())
}
