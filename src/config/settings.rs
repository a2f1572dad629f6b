//! Every setting there is: its path in the file, its default and one sentence.
//!
//! This table is the only place that knows them. The parser, the suggestions for a mistyped name,
//! the environment names, `check`, `proxy.yaml.example` and `docs/reference.md` follow from it,
//! the last two held to it by tests.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Where it stands in the file, from the top: `upstream.deadlines.connect`.
    pub path: &'static str,
    /// What holds if nobody sets it.
    pub default: Default,
    /// What it does, in one sentence.
    pub sentence: &'static str,
}

/// A default, as it would be written in the file.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// A single value: a duration, a size, a number, a name.
    One(&'static str),
    /// A list of values.
    Many(&'static [&'static str]),
    /// An empty list of entries, each of which may have these fields. As one text, an entry is
    /// `field=value field=value`.
    Entries(&'static [&'static str]),
}

impl Setting {
    /// The name that sets it from the environment.
    pub fn environment_name(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.path.replace('.', "__").to_uppercase())
    }
}

/// What every environment name of ours begins with.
pub const ENVIRONMENT_PREFIX: &str = "INNOPAAS_PROXY_";

macro_rules! settings {
    ($($name:ident $path:literal $default:expr, $sentence:literal;)*) => {
        $(
            #[doc = $sentence]
            pub static $name: Setting =
                Setting { path: $path, default: $default, sentence: $sentence };
        )*
        /// All of them, in the order of the file.
        pub static ALL: &[&Setting] = &[$(&$name),*];
    };
}

use self::Default::{Entries, Many, One};

settings! {
    LISTEN_ADDRESS "listen.address" One("127.0.0.1:7253"),
        "Where the application sends its calls: a loopback address and a port, or `unix:` and the absolute path of a socket.";
    LISTEN_ALLOWED_HOSTS "listen.allowed_hosts" Many(&["localhost", "127.0.0.1", "[::1]"]),
        "Host names a caller may use for the proxy, with any port; the upstream's own host and the address that is listened on are always among them.";
    LISTEN_EXPOSED "listen.exposed" One("false"),
        "Whether another address than a loopback one may be listened on; a check of the callers is needed then, because whoever reaches the proxy can spend money.";
    LISTEN_CALLER_TOKEN_FILE "listen.caller_token_file" One(""),
        "File with the tokens, one a line, of which every call must show one in the header `Innopaas-Proxy-Token`; empty asks for none.";
    LISTEN_TLS_CERTIFICATE_FILE "listen.tls.certificate_file" One(""),
        "PEM file with the certificate, and the chain behind it, that callers are shown; empty means plain HTTP.";
    LISTEN_TLS_KEY_FILE "listen.tls.key_file" One(""),
        "PEM file with that certificate's private key.";
    LISTEN_TLS_CLIENT_CA_FILE "listen.tls.client_ca_file" One(""),
        "PEM file with the authorities of which every caller must show a certificate; empty asks for none.";
    LISTEN_SOCKET_MODE "listen.socket_mode" One("0660"),
        "Mode of the Unix socket, in octal: who may write to it may send.";
    LISTEN_ALLOWED_UIDS "listen.allowed_uids" Many(&[]),
        "User ids that may call through the Unix socket; empty leaves it to the socket's mode.";

    UPSTREAM_ORIGIN "upstream.origin" One("https://api.innopaas.com"),
        "Where calls go: https, a host and perhaps a port, and nothing else.";
    UPSTREAM_CA_FILE "upstream.ca_file" One(""),
        "PEM file with the only certificate authorities to trust; empty means those of the platform, or the compiled-in ones where it has none.";
    UPSTREAM_FORWARD_REQUEST_ID "upstream.forward_request_id" One("false"),
        "Whether X-Request-Id is sent upstream as well.";
    UPSTREAM_ALLOW_PRIVATE "upstream.allow_private" Many(&[]),
        "Networks (CIDR) within the private address ranges that the upstream may be in; a cloud's metadata address only if it is listed by itself.";
    UPSTREAM_RESOLVE "upstream.deadlines.resolve" One("2s"),
        "How long looking up the upstream's name may take.";
    UPSTREAM_CONNECT "upstream.deadlines.connect" One("3s"),
        "How long opening the TCP connection may take, all addresses together.";
    UPSTREAM_TLS_HANDSHAKE "upstream.deadlines.tls_handshake" One("3s"),
        "How long the TLS handshake may take.";
    UPSTREAM_RESPONSE_HEAD "upstream.deadlines.response_head" One("9s"),
        "How long the head of the answer may take once the request is sent; InnoPaaS's clients give up at 10 s.";
    UPSTREAM_BODY_PROGRESS "upstream.deadlines.body_progress" One("30s"),
        "How long a body, in either direction, may stand still at the upstream.";
    UPSTREAM_POOL_IDLE "upstream.pool.idle" One("15s"),
        "How long an unused upstream connection is kept.";
    UPSTREAM_POOL_MAX_IDLE "upstream.pool.max_idle" One("128"),
        "How many unused upstream connections each worker keeps at most.";

    CREDENTIALS_DIRECTORY "credentials.directory" One("/var/run/secrets/innopaas"),
        "Directory with the files `app-key` and `authorization`, and perhaps `expires-at`.";
    CREDENTIALS_POLL "credentials.poll" One("1s"),
        "How often the directory is looked at; SIGHUP and a refusal look at once.";
    CREDENTIALS_STANDBY_DIRECTORY "credentials.standby.directory" One(""),
        "Directory with the pair of a second InnoPaaS application, to send with while the first one's is refused; empty means none.";
    CREDENTIALS_FINGERPRINT_KEY_FILE "credentials.fingerprint_key_file" One(""),
        "File with the key of the fingerprints in status and metrics, the same for all that are to be compared; empty means a random one for each process.";

    REFUSAL_STATUSES "refusal.statuses" Many(&["401"]),
        "Statuses from 400 to 499 that say that InnoPaaS does not accept the pair; a path behind one (`403 /api/otp/**`) is where it counts.";
    REFUSAL_CODES "refusal.codes" Many(&[]),
        "Codes in the envelope of an answer that say so, in quotes, perhaps with a path; answers in JSON are looked into for them and asked for without compression.";
    REFUSAL_REPLAY "refusal.replay" One("false"),
        "Whether a call is sent once more, with another pair, after another refusal than a 401; only right if InnoPaaS does nothing before it refuses in that way.";
    REFUSAL_BUFFER "refusal.buffer" One("64KiB"),
        "How much of a request's body is kept to send it once more; a call of which more has left is not repeated.";
    REFUSAL_PEEK_WAIT "refusal.peek_wait" One("200ms"),
        "How long the first 16 KiB of an answer may take to be looked into for a code.";
    REFUSAL_CONFIRM "refusal.confirm" One("5s"),
        "A refusal is confirmed by another one on a second path, or after so long without a success; only then do other calls go to the standby.";
    REFUSAL_HOLD "refusal.hold" One("0s"),
        "How long a refused call waits for a newer pair if no standby takes it; 0s is off.";
    REFUSAL_HELD_CALLS "refusal.held_calls" One("256"),
        "How many calls wait in this way at a time.";
    REFUSAL_HELD_BYTES "refusal.held_bytes" One("4MiB"),
        "How many bytes of bodies the waiting calls keep together.";
    REFUSAL_BREAKER_REFUSALS "refusal.breaker.refusals" One("20"),
        "After so many confirmed refusals in a row calls are answered 503 without asking InnoPaaS; 0 is off.";
    REFUSAL_BREAKER_INTERVAL "refusal.breaker.interval" One("10s"),
        "How often one call is let through then, to see whether the pair is accepted again.";

    POLICY_MODE "policy.mode" One("enforce"),
        "`enforce` refuses what this section does not allow; `observe` lets it pass and reports it.";
    POLICY_ALLOW "policy.allow" Many(&["* /api/**"]),
        "What may be called: a method or `*`, and a path, in which `*` stands for one segment and a last `**` for one or more.";
    POLICY_UPLOAD_PATHS "policy.upload_paths" Many(&["/api/whatsapp/*/uploadFile"]),
        "Paths that take `multipart/form-data` and nothing else; `*` stands for one segment.";
    POLICY_CONTENT_TYPE_REWRITE "policy.content_type.rewrite" Many(&[]),
        "Media types to replace with the JSON type instead of refusing them with 415.";
    POLICY_KEEP_SIGNATURE_HEADERS "policy.keep_signature_headers" One("false"),
        "Whether the headers of InnoPaaS's older scheme (x-appKey, x-nonce, x-timestamp, x-signature) pass.";

    GUARD_ECHO "guard.echo" One("false"),
        "Whether the bodies of answers are searched for the pair, which is then masked; asks InnoPaaS for answers without compression.";

    LIMITS_WORKERS "limits.workers" One("1"),
        "Threads that serve calls, each with upstream connections of its own.";
    LIMITS_CONNECTIONS "limits.connections" One("2048"),
        "Connections from applications at a time; those without a call make room for others, more wait in the kernel's queue.";
    LIMITS_HEAD_SIZE "limits.head_size" One("16KiB"),
        "Size of a request's head, and of an answer's.";
    LIMITS_HEADER_COUNT "limits.header_count" One("100"),
        "Header lines in a request, and in an answer.";
    LIMITS_JSON_BODY "limits.json_body" One("1MiB"),
        "Size of a request's body.";
    LIMITS_UPLOAD_BODY "limits.upload_body" One("100MiB"),
        "Size of a request's body on an upload path.";
    LIMITS_HEAD_DEADLINE "limits.head_deadline" One("10s"),
        "How long the head of a request may take from its first byte.";
    LIMITS_BODY_PROGRESS "limits.body_progress" One("30s"),
        "How long an application may take for each 16 KiB of a body that it sends, and may leave an answer unread.";
    LIMITS_IDLE "limits.idle" One("30m"),
        "How long an application's unused connection is kept: longer than its pool keeps it, so that the proxy closes first only when somebody waits for a place.";

    WEBHOOK_LISTEN "webhook.listen" One("127.0.0.1:7254"),
        "Where InnoPaaS's webhooks arrive, once `webhook.credentials` or `webhook.verify` says how they are verified; behind an Ingress it is `0.0.0.0:7254`.";
    WEBHOOK_VERIFY "webhook.verify" One("headers"),
        "`headers` lets in what shows a pair of `webhook.credentials`; `none` lets everybody in, and warns for as long as it does.";
    WEBHOOK_CREDENTIALS "webhook.credentials" Entries(&["app", "current", "previous"]),
        "For each InnoPaaS application its name here, the directory with the files `user-name` and `authorization` as typed into the console, and perhaps one with those from before, which count as well.";
    WEBHOOK_BODY_CHECK "webhook.body_check" One("false"),
        "Whether an SMS push must also show, in its body or query, the values of the files `receiver` and `pswd` in the same directory, which are then masked; what cannot be read is refused then.";
    WEBHOOK_TLS_CERTIFICATE_FILE "webhook.tls.certificate_file" One(""),
        "PEM file with the certificate, and the chain behind it, that InnoPaaS is shown; empty means plain HTTP, behind an Ingress.";
    WEBHOOK_TLS_KEY_FILE "webhook.tls.key_file" One(""),
        "PEM file with that certificate's private key.";
    WEBHOOK_METHODS "webhook.methods" Many(&["POST"]),
        "Methods that events may come with: `POST`, `GET` where the console says so, or both.";
    WEBHOOK_ROUTES "webhook.routes" Entries(&["app", "type", "path", "to"]),
        "Where events go: the first entry whose app, event type and path (each only if written) fit; `to` is `http://host:port/path`, or `unix:/socket:/path`.";
    WEBHOOK_DEFAULT "webhook.default" One(""),
        "Where events go that no route fits, written as `to` is; empty refuses them with 404.";
    WEBHOOK_DEADLINE "webhook.deadline" One("2500ms"),
        "How long an event may take from its head to the application's whole answer; InnoPaaS is thought to wait about 3 s.";
    WEBHOOK_BODY "webhook.body" One("1MiB"),
        "Size of an event's body.";
    WEBHOOK_CONNECTIONS "webhook.connections" One("256"),
        "Connections to the receiver at a time; those without an event make room for others.";
    WEBHOOK_DUPLICATES_WINDOW "webhook.duplicates.window" One("0s"),
        "How long an event that an application acknowledged is answered 200 without asking it again; 0s is off.";
    WEBHOOK_DUPLICATES_ENTRIES "webhook.duplicates.entries" One("10000"),
        "How many acknowledged events are remembered for that.";

    ADMIN_ADDRESS "admin.address" One("127.0.0.1:7255"),
        "Where health, status and metrics are; read-only and without secrets, so that it may be the pod's address.";
    ADMIN_READY_WITHOUT_CREDENTIALS "admin.ready_without_credentials" One("false"),
        "Whether `/readyz` answers 200 before a pair was loaded.";

    DRAIN_MINIMUM "drain.minimum" One("2s"),
        "How long new calls are still taken after SIGTERM.";
    DRAIN_MAXIMUM "drain.maximum" One("25s"),
        "How long after SIGTERM calls in flight are cut; must fit into the pod's grace period.";

    LOG_FORMAT "log.format" One("json"),
        "`json` or `text`.";
    LOG_LEVEL "log.level" One("info"),
        "`error`, `warn`, `info`, `debug` or `trace`.";
    LOG_ACCESS "log.access" One("true"),
        "Whether every call leaves one record in the log, at level info.";
}
