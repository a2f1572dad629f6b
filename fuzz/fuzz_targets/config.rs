//! Configuration files, environment and flags as somebody might write them, against `config`.
//!
//! Invariant: nothing panics; no problem and no warning repeats a written value; an accepted
//! configuration keeps the promises that the rest of the program relies on.
//!
//! The input is a file, and behind the lines `#environment` and `#set` one `NAME=value` and one
//! `path=value` a line. `$` stands for a secret in the wrong place: it is replaced by `CANARY`,
//! no part of which may be told.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use http::Method;
use innopaas_proxy::config::settings::{ENVIRONMENT_PREFIX, LISTEN_EXPOSED};
use innopaas_proxy::config::{Config, Listen, ListenAddress, Origin, Policy, Raw};
use libfuzzer_sys::fuzz_target;

/// Looks like InnoPaaS's keys: upper case and digits. A name in lower case may be shown.
const CANARY: &str = "Q7ZK4XJW9VHR2MTB8";

/// So many characters of it in a row are a leak.
const TELLING: usize = 6;

fuzz_target!(|input: &[u8]| {
    if has_part_of_canary(&String::from_utf8_lossy(input)) {
        return; // the fuzzer sees what is compared and puts it where it may be shown
    }
    let (file, rest) = split(input, b"#environment\n");
    let (environment, flags) = split(rest, b"#set\n");

    let mut raw = Raw::defaults();
    raw.file(&with_canary(file));
    raw.environment(lines(environment).filter_map(variable));
    for flag in lines(flags) {
        raw.assignment("--set", &String::from_utf8_lossy(&with_canary(flag)));
    }

    raw.warnings.iter().for_each(|warning| tells_nothing(warning));
    let exposed = raw.written(&LISTEN_EXPOSED).values == ["true"];
    match Config::from_raw(raw) {
        Ok(config) => keeps_its_promises(&config, exposed),
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a reason");
            tells_nothing(&problems.to_string());
            tells_nothing(&format!("{problems:?}"));
        }
    }
});

fn split<'i>(input: &'i [u8], mark: &[u8]) -> (&'i [u8], &'i [u8]) {
    match input.windows(mark.len()).position(|window| window == mark) {
        Some(at) => (&input[..at], &input[at + mark.len()..]),
        None => (input, b""),
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn with_canary(text: &[u8]) -> Vec<u8> {
    text.split(|byte| *byte == b'$').collect::<Vec<_>>().join(CANARY.as_bytes())
}

/// A name of ours, without secrets: a process's names are no place for them.
fn variable(line: &[u8]) -> Option<(String, Result<String, OsString>)> {
    let (name, value) = std::str::from_utf8(line)
        .map(|line| line.split_once('='))
        .unwrap_or_else(|_| Some(("LOG__LEVEL", "\u{fffd}")))?;
    let value = match std::str::from_utf8(line) {
        Ok(_) => Ok(value.replace('$', CANARY)),
        Err(_) => Err(OsString::from_vec(with_canary(line))),
    };
    Some((format!("{ENVIRONMENT_PREFIX}{name}"), value))
}

fn tells_nothing(text: &str) {
    assert!(!has_part_of_canary(text), "a message repeats a value: {text}");
}

fn has_part_of_canary(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    (0..=CANARY.len() - TELLING).any(|at| text.contains(&CANARY[at..at + TELLING]))
}

fn keeps_its_promises(config: &Config, exposed: bool) {
    listens_safely(&config.listen, exposed);
    if let ListenAddress::Tcp(address) = config.listen.address {
        assert!(address.port() == 0 || address != config.admin.address, "one address for two");
    }
    goes_to_one_https_origin(&config.upstream.origin);
    admits_what_can_be_meant(&config.policy, &config.upstream.origin);

    let upstream = &config.upstream.deadlines;
    for deadline in [
        upstream.resolve,
        upstream.connect,
        upstream.tls_handshake,
        upstream.response_head,
        upstream.body_progress,
        config.credentials.poll,
        config.limits.head_deadline,
        config.limits.body_progress,
        config.limits.idle,
    ] {
        assert!((Duration::from_millis(10)..=DAY).contains(&deadline), "{deadline:?}");
    }
    assert!(config.upstream.pool_idle <= DAY && config.upstream.pool_max_idle <= 10_000);
    assert!(config.drain.minimum <= config.drain.maximum && config.drain.maximum <= DAY);
    assert!((1..=64).contains(&config.limits.workers));
    assert!((1..=1_000_000).contains(&config.limits.connections));
    assert!((8 * 1024..=1024 * 1024).contains(&config.limits.head_size));
    assert!((16..=1000).contains(&config.limits.header_count));
    assert_ne!(config.credentials.directory, Path::new(""));
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whoever reaches the listener can spend money.
fn listens_safely(listen: &Listen, exposed: bool) {
    let Listen { address, caller_token_file, tls } = listen;
    match address {
        ListenAddress::Tcp(address) => {
            let client_ca = tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref());
            let checked = caller_token_file.is_some() || client_ca.is_some();
            assert!(address.ip().is_loopback() || (exposed && checked), "open to others");
        }
        ListenAddress::Unix(socket) => {
            assert!(socket.path.is_absolute() && tls.is_none());
            assert!(socket.mode & !0o777 == 0 && socket.mode & 0o200 != 0);
        }
    }
}

fn goes_to_one_https_origin(origin: &Origin) {
    let text = origin.to_string();
    let authority = text.strip_prefix("https://").expect("the scheme is https");
    assert!(!authority.contains(['@', '/', '?', '#', ' ', '\\']), "more than host and port");
    assert!(authority.starts_with(origin.host()) && !origin.host().is_empty());
    assert!(!origin.bare_host().contains(['[', ']']));
    let host_header = origin.host_header().to_str().expect("Host is ASCII");
    let default = origin.port() == 443;
    assert_eq!(host_header, if default { origin.host() } else { authority });
}

fn admits_what_can_be_meant(policy: &Policy, origin: &Origin) {
    assert!(policy.allowed_hosts.contains(&origin.host().to_ascii_lowercase()));
    for host in &policy.allowed_hosts {
        assert!(!host.is_empty() && !host.contains(['/', ' ', '@']) && lower_case(host));
    }
    for media_type in &policy.rewrite {
        assert!(media_type.contains('/') && !media_type.contains(';') && lower_case(media_type));
    }
    for odd in ["", "/", "api", "*"] {
        assert!(!policy.upload_paths.iter().any(|path| path.matches(odd)), "{odd:?} matches");
        assert!(!policy.allow.iter().any(|rule| rule.allows(&Method::GET, odd)), "{odd:?} passes");
    }
}

fn lower_case(text: &str) -> bool {
    text == text.to_ascii_lowercase()
}
