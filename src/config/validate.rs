//! Turns texts into a [`Config`], or into the list of everything that is wrong with them.

use std::net::IpAddr;
use std::path::PathBuf;

use super::error::Problems;
use super::judge::Judge;
use super::listen::{ListenAddress, listen};
use super::path::{PathPattern, Rule};
use super::raw::Raw;
use super::refusal::refusal;
use super::settings as s;
use super::value::{self, Origin};
use super::webhook::{Section, webhook};
use super::{
    Admin, Config, Credentials, Deadlines, Drain, Guard, Limits, Log, LogFormat, Mode, Policy,
    Upstream,
};

pub(super) fn validate(raw: Raw) -> Result<Config, Problems> {
    let mut judge = Judge { raw };
    // Every section is read before the first one that failed ends it all, and in the order of the
    // settings, so that the problems come complete and in that order.
    let listen = listen(&mut judge);
    let upstream = upstream(&mut judge);
    let credentials = credentials(&mut judge);
    let refusal = refusal(&mut judge);
    let policy = policy(&mut judge);
    let guard = guard(&mut judge);
    let limits = limits(&mut judge);
    let webhook = webhook(&mut judge);
    let admin = admin(&mut judge);
    let drain = drain(&mut judge);
    let log = log(&mut judge);
    if let (Some((listen, _)), Some(admin)) = (&listen, &admin)
        && listen.address == ListenAddress::Tcp(admin.address)
        && admin.address.port() != 0
    {
        judge.problem(&s::ADMIN_ADDRESS, "must not be the address of listen.address");
    }
    if let (Some((listen, _)), Some(Section::On(webhook)), Some(admin)) =
        (&listen, &webhook, &admin)
        && webhook.address.port() != 0
        && (listen.address == ListenAddress::Tcp(webhook.address)
            || admin.address == webhook.address)
    {
        judge.problem(&s::WEBHOOK_LISTEN, "must not be the address of another listener");
    }
    let config = (|| {
        let ((listen, mut allowed_hosts), upstream) = (listen?, upstream?);
        allowed_hosts.push(upstream.origin.host().to_ascii_lowercase());
        if let ListenAddress::Tcp(address) = listen.address {
            allowed_hosts.push(match address.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            });
        }
        let policy = Policy { allowed_hosts, ..policy? };
        let (credentials, limits, admin) = (credentials?, limits?, admin?);
        Some(Config {
            listen,
            upstream,
            credentials,
            refusal: refusal?,
            policy,
            guard: guard?,
            limits,
            webhook: webhook?.receiver(),
            admin,
            drain: drain?,
            log: log?,
        })
    })();
    match config {
        Some(config) if judge.raw.problems.is_empty() => Ok(config),
        _ => Err(Problems(judge.raw.problems)),
    }
}

fn upstream(judge: &mut Judge) -> Option<Upstream> {
    let origin = judge.one(&s::UPSTREAM_ORIGIN, Origin::parse);
    let ca_file = judge.one(&s::UPSTREAM_CA_FILE, value::optional_path);
    let forward_request_id = judge.one(&s::UPSTREAM_FORWARD_REQUEST_ID, value::switch);
    let allow_private = judge.many(&s::UPSTREAM_ALLOW_PRIVATE, value::network);
    let resolve = judge.one(&s::UPSTREAM_RESOLVE, value::deadline);
    let connect = judge.one(&s::UPSTREAM_CONNECT, value::deadline);
    let tls_handshake = judge.one(&s::UPSTREAM_TLS_HANDSHAKE, value::deadline);
    let response_head = judge.one(&s::UPSTREAM_RESPONSE_HEAD, value::deadline);
    let body_progress = judge.one(&s::UPSTREAM_BODY_PROGRESS, value::deadline);
    let pool_idle = judge.one(&s::UPSTREAM_POOL_IDLE, value::duration);
    let pool_max_idle = judge.one(&s::UPSTREAM_POOL_MAX_IDLE, |t| value::number(t, 0, 10_000));
    Some(Upstream {
        origin: origin?,
        ca_file: ca_file?,
        forward_request_id: forward_request_id?,
        allow_private: allow_private?,
        deadlines: Deadlines {
            resolve: resolve?,
            connect: connect?,
            tls_handshake: tls_handshake?,
            response_head: response_head?,
            body_progress: body_progress?,
        },
        pool_idle: pool_idle?,
        pool_max_idle: pool_max_idle?,
    })
}

fn credentials(judge: &mut Judge) -> Option<Credentials> {
    let directory = judge.one(&s::CREDENTIALS_DIRECTORY, path);
    let poll = judge.one(&s::CREDENTIALS_POLL, value::deadline);
    let standby = judge.one(&s::CREDENTIALS_STANDBY_DIRECTORY, value::optional_path);
    let key = judge.one(&s::CREDENTIALS_FINGERPRINT_KEY_FILE, value::optional_path);
    let (directory, standby) = (directory?, standby?);
    if standby.as_ref() == Some(&directory) {
        judge.problem(
            &s::CREDENTIALS_STANDBY_DIRECTORY,
            "must be another directory than credentials.directory, with the pair of another \
             InnoPaaS application: a new token kills the old one of the same application",
        );
    }
    Some(Credentials { directory, standby, poll: poll?, fingerprint_key_file: key? })
}

/// Without the hosts, which follow from other sections.
fn policy(judge: &mut Judge) -> Option<Policy> {
    let mode = judge.one(&s::POLICY_MODE, mode);
    let allow = judge.many(&s::POLICY_ALLOW, Rule::parse);
    let upload_paths = judge.many(&s::POLICY_UPLOAD_PATHS, PathPattern::parse);
    let rewrite = judge.many(&s::POLICY_CONTENT_TYPE_REWRITE, value::media_type);
    let keep_signature_headers = judge.one(&s::POLICY_KEEP_SIGNATURE_HEADERS, value::switch);
    Some(Policy {
        allowed_hosts: Vec::new(),
        mode: mode?,
        allow: allow?,
        upload_paths: upload_paths?,
        rewrite: rewrite?,
        keep_signature_headers: keep_signature_headers?,
    })
}

fn guard(judge: &mut Judge) -> Option<Guard> {
    Some(Guard { echo: judge.one(&s::GUARD_ECHO, value::switch)? })
}

fn limits(judge: &mut Judge) -> Option<Limits> {
    let workers = judge.one(&s::LIMITS_WORKERS, |t| value::number(t, 1, 64));
    let connections = judge.one(&s::LIMITS_CONNECTIONS, |t| value::number(t, 1, 1_000_000));
    let head_size = judge.one(&s::LIMITS_HEAD_SIZE, head_size);
    let header_count = judge.one(&s::LIMITS_HEADER_COUNT, |t| value::number(t, 16, 1000));
    let json_body = judge.one(&s::LIMITS_JSON_BODY, value::size);
    let upload_body = judge.one(&s::LIMITS_UPLOAD_BODY, value::size);
    let head_deadline = judge.one(&s::LIMITS_HEAD_DEADLINE, value::deadline);
    let body_progress = judge.one(&s::LIMITS_BODY_PROGRESS, value::deadline);
    let idle = judge.one(&s::LIMITS_IDLE, value::deadline);
    Some(Limits {
        workers: workers?,
        connections: connections?,
        head_size: head_size?,
        header_count: header_count?,
        json_body: json_body?,
        upload_body: upload_body?,
        head_deadline: head_deadline?,
        body_progress: body_progress?,
        idle: idle?,
    })
}

fn admin(judge: &mut Judge) -> Option<Admin> {
    let address = judge.one(&s::ADMIN_ADDRESS, value::socket_address);
    let ready_without_credentials = judge.one(&s::ADMIN_READY_WITHOUT_CREDENTIALS, value::switch);
    Some(Admin { address: address?, ready_without_credentials: ready_without_credentials? })
}

fn drain(judge: &mut Judge) -> Option<Drain> {
    let minimum = judge.one(&s::DRAIN_MINIMUM, value::duration);
    let maximum = judge.one(&s::DRAIN_MAXIMUM, value::duration);
    let drain = Drain { minimum: minimum?, maximum: maximum? };
    if drain.minimum > drain.maximum {
        judge.problem(&s::DRAIN_MINIMUM, "must not be longer than drain.maximum");
    }
    Some(drain)
}

fn log(judge: &mut Judge) -> Option<Log> {
    let format = judge.one(&s::LOG_FORMAT, log_format);
    let level = judge.one(&s::LOG_LEVEL, log_level);
    let access = judge.one(&s::LOG_ACCESS, value::switch);
    Some(Log { format: format?, level: level?, access: access? })
}

fn head_size(text: &str) -> Result<usize, String> {
    const BOUNDS: std::ops::RangeInclusive<u64> = 8 * 1024..=1024 * 1024;
    let bytes = value::size(text)?;
    match usize::try_from(bytes) {
        Ok(size) if BOUNDS.contains(&bytes) => Ok(size),
        _ => Err("must be from 8KiB to 1MiB".to_owned()),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must be a path".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "enforce" => Ok(Mode::Enforce),
        "observe" => Ok(Mode::Observe),
        _ => Err("must be `enforce` or `observe`".to_owned()),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("must be `json` or `text`".to_owned()),
    }
}

fn log_level(text: &str) -> Result<tracing::Level, String> {
    match text {
        "error" => Ok(tracing::Level::ERROR),
        "warn" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err("must be `error`, `warn`, `info`, `debug` or `trace`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(file: &str) -> Result<Config, Vec<String>> {
        let mut raw = Raw::defaults();
        raw.file(file.as_bytes());
        Config::from_raw(raw)
            .map_err(|Problems(list)| list.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_defaults_are_a_valid_configuration() {
        let config = check("").unwrap();
        assert_eq!(config.listen.address.to_string(), "127.0.0.1:7253");
        assert_eq!(config.upstream.origin.to_string(), "https://api.innopaas.com");
        assert!(config.policy.allowed_hosts.contains(&"api.innopaas.com".to_owned()));
    }

    #[test]
    fn all_problems_are_reported_at_once_with_line_and_path() {
        let problems = check(
            "listen:\n  address: 0.0.0.0:80\nupstream:\n  orign: https://x\n  deadlines:\n    \
             connect: soon\nlog: loud\nwebhooks: {}\n",
        )
        .unwrap_err();
        let text = problems.join("\n");
        assert_eq!(problems.len(), 5, "{text}");
        assert!(text.contains("line 2: listen.address: must be a loopback address"), "{text}");
        assert!(
            text.contains(
                "line 4: upstream.orign: there is no such setting; is it upstream.origin?"
            )
        );
        assert!(text.contains("line 6: upstream.deadlines.connect: must be a duration"), "{text}");
        assert!(text.contains("line 7: log: is a section"), "{text}");
        assert!(text.contains("line 8: webhooks: there is no such setting"), "{text}");
    }

    #[test]
    fn no_problem_repeats_what_was_written() {
        let secret = "YUIYIUIAIIASUDIAOSIDUOIWUOQ";
        for file in [
            format!("authorization: {secret}"),
            format!("{secret}: x"),
            format!("upstream: {{origin: {secret}}}"),
            format!("upstream: {secret}"),
            format!("listen: {{address: [{secret}]}}"),
            format!("policy: {{upload_paths: [{secret}]}}"),
            format!("listen: \"{secret}"),
            format!("{secret}: 1\n{secret}: 2"),
            format!("log: {{level: !{secret} x}}"),
            format!("- {secret}"),
        ] {
            let problems = check(&file).unwrap_err().join("\n");
            assert!(!problems.is_empty() && !problems.contains(secret), "{problems}");
        }
    }

    #[test]
    fn a_path_as_a_name_and_a_flood_of_names_are_refused() {
        let problems = check("log.level: warn").unwrap_err().join("\n");
        assert!(problems.contains("line 1: log.level: there is no such setting"), "{problems}");
        let flood = (0..5_000).fold(String::new(), |file, n| format!("{file}x{n}: 1\n"));
        assert_eq!(check(&flood).unwrap_err().len(), 50);
    }

    #[test]
    fn environment_beats_the_file_and_a_flag_beats_both() {
        let mut raw = Raw::defaults();
        raw.file(b"log: {level: warn, format: text}\ndrain: {minimum: 3s}");
        raw.environment(
            [
                ("INNOPAAS_PROXY_LOG__LEVEL", "debug"),
                ("INNOPAAS_PROXY_LOG__FORMAT", "json"),
                ("INNOPAAS_PROXY_PORT_7253_TCP", "tcp://10.0.0.1:7253"),
                ("INNOPAAS_PROXY_SERVICE_HOST", "10.0.0.1"),
                ("INNOPAAS_PROXY_LOG__LEVL", "debug"),
                ("HOME", "/"),
            ]
            .map(|(name, value)| (name.to_owned(), Ok(value.to_owned())))
            .into_iter(),
        );
        raw.assignment("--set", "log.level=error");
        assert_eq!(
            raw.warnings,
            ["unknown environment name INNOPAAS_PROXY_LOG__LEVL; is it INNOPAAS_PROXY_LOG__LEVEL?"]
        );
        let config = Config::from_raw(raw).unwrap();
        assert_eq!(config.log.level, tracing::Level::ERROR);
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.drain.minimum, Duration::from_secs(3));
    }

    #[test]
    fn a_file_too_large_or_not_text_is_refused() {
        for (content, wanted) in [
            (vec![b'#'; 256 * 1024 + 1], "larger than 256 kB"),
            (vec![0xff], "not UTF-8"),
            (b"- a list".to_vec(), "must be sections"),
        ] {
            let mut raw = Raw::defaults();
            raw.file(&content);
            let problems = Config::from_raw(raw).unwrap_err().to_string();
            assert!(problems.contains(wanted), "{problems}");
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_two_words() {
        let listen = |rest: &str| check(&format!("listen: {{address: '0.0.0.0:80', {rest}}}"));
        let (token, tls) = (
            "caller_token_file: /t",
            "tls: {certificate_file: /c, key_file: /k, client_ca_file: /a}",
        );
        assert!(listen(&format!("exposed: true, {token}")).is_ok());
        assert!(listen(&format!("exposed: true, {tls}")).is_ok());
        for rest in ["exposed: true", token, tls, "exposed: true, tls: {client_ca_file: /a}"] {
            assert!(listen(rest).is_err(), "{rest}");
        }
    }

    #[test]
    fn a_unix_socket_has_a_mode_and_users_and_tcp_has_not() {
        let config = check("listen: {address: 'unix:/run/p.sock', socket_mode: 0600}").unwrap();
        let ListenAddress::Unix(socket) = config.listen.address else { panic!("not a socket") };
        assert_eq!((socket.mode, socket.allowed_uids.len()), (0o600, 0));
        for rest in [
            "address: 'unix:p.sock'",
            "address: 'unix:/run/'",
            "address: 'unix:/p', socket_mode: 0999",
            "address: 'unix:/p', socket_mode: 0400",
            "address: 'unix:/p', socket_mode: 04755",
            "address: 'unix:/p', allowed_uids: [root]",
            "address: 'unix:/p', tls: {certificate_file: /c, key_file: /k}",
            "allowed_uids: [1000]",
            "socket_mode: 0600",
        ] {
            assert!(check(&format!("listen: {{{rest}}}")).is_err(), "{rest}");
        }
    }
}
