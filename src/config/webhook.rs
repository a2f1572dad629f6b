//! InnoPaaS's webhooks: who may send them, and which application they go to.
//!
//! An open receiver cannot come about by mistake: without a pair to verify with there is none, but
//! for one that is asked for by name.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Method};

use super::judge::Judge;
use super::listen::ListenTls;
use super::path::PathPattern;
use super::raw::Entry;
use super::settings as s;
use super::value;

/// The receiver of webhooks.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where they arrive.
    pub address: SocketAddr,
    /// Files for TLS, if it is spoken; no certificates are asked for.
    pub tls: Option<ListenTls>,
    /// Who may send.
    pub verify: Verify,
    /// Methods that events may come with.
    pub methods: Vec<Method>,
    /// Where events go; the first that fits.
    pub routes: Vec<Route>,
    /// Where those go that no route fits.
    pub default: Option<Target>,
    /// How long an event may take, all in all.
    pub deadline: Duration,
    /// Size of an event's body, in bytes.
    pub largest_body: u64,
    /// Connections at a time.
    pub connections: usize,
    /// How long acknowledged events are remembered, if they are.
    pub duplicates: Option<Duplicates>,
}

/// Who may send events.
#[derive(Debug, Clone)]
pub enum Verify {
    /// Whoever shows a pair of one of these applications.
    Pairs {
        /// Where the pairs are; at least one.
        applications: Vec<Application>,
        /// Whether SMS pushes must show more in their bodies.
        body_check: bool,
    },
    /// Everybody.
    Everybody,
}

/// An application of InnoPaaS, and where what it was given in the console is found.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its name here.
    pub name: String,
    /// What counts.
    pub current: PathBuf,
    /// What counts as well, until the console's change has come through.
    pub previous: Option<PathBuf>,
}

/// Where some events go.
#[derive(Debug, Clone)]
pub struct Route {
    /// Only those of this application.
    pub app: Option<String>,
    /// Only those of this type.
    pub kind: Option<String>,
    /// Only those that arrive on such a path.
    pub path: Option<PathPattern>,
    /// Where they go.
    pub to: Target,
}

/// An application's address: a server and a path on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who is connected to.
    pub server: Server,
    /// What stands in `Host`.
    pub host: HeaderValue,
    /// What is asked for.
    pub path: PathAndQuery,
}

/// Who is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Server {
    /// A host, an IPv6 address without brackets, and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// How acknowledged events are remembered.
#[derive(Debug, Clone, Copy)]
pub struct Duplicates {
    /// For how long.
    pub window: Duration,
    /// How many.
    pub entries: usize,
}

/// What the section comes to.
pub(super) enum Section {
    /// There is no receiver.
    Off,
    On(Box<Webhook>),
}

impl Section {
    pub(super) fn receiver(self) -> Option<Webhook> {
        match self {
            Self::Off => None,
            Self::On(webhook) => Some(*webhook),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Server::Tcp(..) => {
                let host = self.host.to_str().unwrap_or_default(); // it was made of a text
                write!(f, "http://{host}{}", self.path.path())
            }
            Server::Unix(socket) => write!(f, "unix:{}:{}", socket.display(), self.path.path()),
        }
    }
}

pub(super) fn webhook(judge: &mut Judge) -> Option<Section> {
    let address = judge.one(&s::WEBHOOK_LISTEN, value::socket_address);
    let verified = judge.one(&s::WEBHOOK_VERIFY, verified);
    let applications = judge.entries(&s::WEBHOOK_CREDENTIALS, application);
    let body_check = judge.one(&s::WEBHOOK_BODY_CHECK, value::switch);
    let certificate_file = judge.one(&s::WEBHOOK_TLS_CERTIFICATE_FILE, value::optional_path);
    let key_file = judge.one(&s::WEBHOOK_TLS_KEY_FILE, value::optional_path);
    let methods = judge.many(&s::WEBHOOK_METHODS, method);
    let routes = judge.entries(&s::WEBHOOK_ROUTES, route);
    let default = judge.one(&s::WEBHOOK_DEFAULT, optional_target);
    let deadline = judge.one(&s::WEBHOOK_DEADLINE, value::deadline);
    let largest_body = judge.one(&s::WEBHOOK_BODY, value::size);
    let connections = judge.one(&s::WEBHOOK_CONNECTIONS, |t| value::number(t, 1, 100_000));
    let window = judge.one(&s::WEBHOOK_DUPLICATES_WINDOW, value::duration);
    let entries = judge.one(&s::WEBHOOK_DUPLICATES_ENTRIES, |t| value::number(t, 1, 1_000_000));

    let (verified, applications, routes, default) = (verified?, applications?, routes?, default?);
    for (index, application) in applications.iter().enumerate() {
        if applications.iter().take(index).any(|other| other.name == application.name) {
            judge.problem(
                &s::WEBHOOK_CREDENTIALS,
                "names an app twice; its other pair is `previous`",
            );
        }
    }
    if verified && applications.is_empty() {
        if !routes.is_empty() || default.is_some() {
            judge.problem(&s::WEBHOOK_CREDENTIALS, NO_PAIR);
        }
        return Some(Section::Off);
    }
    if !verified && !applications.is_empty() {
        judge.problem(&s::WEBHOOK_VERIFY, "must be `headers` where webhook.credentials has pairs");
    }
    for route in &routes {
        let known = |app: &String| applications.iter().any(|known| known.name == *app);
        if route.app.as_ref().is_some_and(|app| !known(app)) {
            judge.problem(&s::WEBHOOK_ROUTES, "names an app that webhook.credentials does not");
        }
    }
    if routes.is_empty() && default.is_none() {
        judge
            .problem(&s::WEBHOOK_DEFAULT, "is needed, or webhook.routes: events must go somewhere");
    }
    let methods = methods?;
    if methods.is_empty() {
        judge.problem(&s::WEBHOOK_METHODS, "must name one at least");
    }
    let tls = match (certificate_file?, key_file?) {
        (Some(certificate_file), Some(key_file)) => {
            // No certificates are asked for, so there is no setting for them.
            let certificate = &s::WEBHOOK_TLS_CERTIFICATE_FILE;
            let settings = [certificate, &s::WEBHOOK_TLS_KEY_FILE, certificate];
            Some(ListenTls { certificate_file, key_file, client_ca_file: None, settings })
        }
        (None, None) => None,
        _ => {
            judge.problem(&s::WEBHOOK_TLS_CERTIFICATE_FILE, "is needed together with its key_file");
            return None;
        }
    };
    let duplicates = Duplicates { window: window?, entries: entries? };
    Some(Section::On(Box::new(Webhook {
        address: address?,
        tls,
        verify: if verified {
            Verify::Pairs { applications, body_check: body_check? }
        } else {
            Verify::Everybody
        },
        methods,
        routes,
        default,
        deadline: deadline?,
        largest_body: largest_body?,
        connections: connections?,
        duplicates: (!duplicates.window.is_zero()).then_some(duplicates),
    })))
}

const NO_PAIR: &str = "is needed: without a pair to verify events with there is no receiver; one \
                       that lets everybody in must be asked for by `webhook.verify: none`";

fn verified(text: &str) -> Result<bool, String> {
    match text {
        "headers" => Ok(true),
        "none" => Ok(false),
        _ => Err("must be `headers` or `none`".to_owned()),
    }
}

fn method(text: &str) -> Result<Method, String> {
    match text {
        "POST" => Ok(Method::POST),
        "GET" => Ok(Method::GET),
        _ => Err("must be `POST` or `GET`".to_owned()),
    }
}

fn application(entry: &Entry) -> Result<Application, String> {
    let directory = |field| match entry.get(field).map(String::as_str) {
        None | Some("") => None,
        Some(directory) => Some(PathBuf::from(directory)),
    };
    let name = entry.get("app").filter(|name| is_name(name));
    let name = name.ok_or("needs an `app`: a name of letters, digits and `-._`")?.clone();
    let current = directory("current").ok_or("needs a `current`: a directory")?;
    let previous = directory("previous");
    if previous.as_ref() == Some(&current) {
        return Err("must have another directory as `previous` than as `current`".to_owned());
    }
    Ok(Application { name, current, previous })
}

fn route(entry: &Entry) -> Result<Route, String> {
    let written = |field| entry.get(field).filter(|text: &&String| !text.is_empty());
    let name = |field| match written(field) {
        Some(text) if !is_name(text) => {
            Err(format!("`{field}` must be of letters, digits and `-._`"))
        }
        text => Ok(text.cloned()),
    };
    let to = written("to").ok_or("needs a `to`: where its events go")?;
    Ok(Route {
        app: name("app")?,
        kind: name("type")?,
        path: written("path").map(|path| PathPattern::parse(path)).transpose()?,
        to: target(to)?,
    })
}

/// A word that can stand in a log, a label and a header.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn optional_target(text: &str) -> Result<Option<Target>, String> {
    if text.is_empty() { Ok(None) } else { target(text).map(Some) }
}

fn target(text: &str) -> Result<Target, String> {
    const FORM: &str = "must go to an address such as `http://127.0.0.1:8080/innopaas`, or \
                        `unix:/run/app.sock:/innopaas`, without user and fragment";
    if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
        let path: PathAndQuery = path.parse().map_err(|_| FORM)?;
        if !socket.starts_with('/') || !path.as_str().starts_with('/') {
            return Err(FORM.to_owned());
        }
        let host = HeaderValue::from_static("localhost");
        return Ok(Target { server: Server::Unix(PathBuf::from(socket)), host, path });
    }
    let parts = text.parse::<Uri>().map_err(|_| FORM)?.into_parts();
    let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
        return Err(FORM.to_owned());
    };
    if scheme == Scheme::HTTPS {
        return Err("must be http: applications in the pod are reached in clear".to_owned());
    }
    let plain = scheme == Scheme::HTTP && !text.contains('#') && !authority.as_str().contains('@');
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| FORM)?;
    match server(&authority) {
        Some(server) if plain => Ok(Target {
            server,
            host,
            path: parts.path_and_query.unwrap_or(PathAndQuery::from_static("/")),
        }),
        Some(_) | None => Err(FORM.to_owned()),
    }
}

fn server(authority: &Authority) -> Option<Server> {
    let host = authority.host();
    // What stands behind the host and is no number is no port.
    let has_port = authority.as_str().len() > host.len();
    if host.is_empty() || authority.port().is_some() != has_port {
        return None;
    }
    let port = match authority.port() {
        Some(_) => authority.port_u16()?,
        None => 80,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    Some(Server::Tcp(bare.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Raw};

    fn check(file: &str) -> Result<Option<Webhook>, String> {
        let mut raw = Raw::defaults();
        raw.file(format!("webhook: {{{file}}}").as_bytes());
        Config::from_raw(raw).map(|config| config.webhook).map_err(|problems| problems.to_string())
    }

    const PAIR: &str = "credentials: [{app: shop, current: /secrets/webhook}]";
    const DEFAULT: &str = "default: 'http://127.0.0.1:8080/innopaas?a=b'";

    #[test]
    fn without_a_pair_there_is_no_receiver_unless_it_is_asked_for_by_name() {
        assert!(check("listen: 0.0.0.0:7254").unwrap().is_none());
        let problem = check(DEFAULT).unwrap_err();
        assert!(problem.contains("webhook.verify: none"), "{problem}");
        let open = check(&format!("verify: none, {DEFAULT}")).unwrap().unwrap();
        assert!(matches!(open.verify, Verify::Everybody));
        assert!(check(&format!("verify: none, {PAIR}, {DEFAULT}")).is_err());
    }

    #[test]
    fn applications_and_routes_are_entries() {
        let webhook = check(&format!(
            "credentials: [{{app: shop, current: /a, previous: /b}}, {{app: club, current: /c}}], \
             routes: [{{app: club, to: 'http://club:81'}}, {{type: sms_status, path: /x/*, \
             to: 'unix:/run/app.sock:/sms'}}], {DEFAULT}"
        ));
        let Webhook { verify, routes, default, .. } = webhook.unwrap().unwrap();
        let Verify::Pairs { applications, .. } = verify else { panic!("open") };
        assert_eq!(applications[0].previous.as_deref(), Some("/b".as_ref()));
        assert_eq!(applications[1].name, "club");
        assert_eq!(routes[0].to.server, Server::Tcp("club".to_owned(), 81));
        assert_eq!(
            (routes[0].to.path.as_str(), &routes[0].to.host),
            ("/", &"club:81".parse().unwrap())
        );
        assert_eq!(routes[1].to.to_string(), "unix:/run/app.sock:/sms");
        assert_eq!(default.unwrap().path, "/innopaas?a=b");
        let mut raw = Raw::defaults();
        raw.assignment("--set", "webhook.credentials=app=shop current=/a, app=club current=/b");
        raw.assignment("--set", "webhook.default=http://localhost/");
        let webhook = Config::from_raw(raw).unwrap().webhook.unwrap();
        let Verify::Pairs { applications, .. } = webhook.verify else { panic!("open") };
        assert_eq!(applications.len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_remedy() {
        for (file, words) in [
            ("credentials: shop", "must be a list of entries"),
            ("credentials: [{app: shop}]", "needs a `current`"),
            ("credentials: [{current: /a}]", "needs an `app`"),
            ("credentials: [{app: 'a b', current: /a}]", "needs an `app`"),
            ("credentials: [{app: a, current: /a, previous: /a}]", "another directory"),
            ("credentials: [{app: a, curent: /a}]", "must be a list of entries"),
            ("credentials: [{app: a, current: /a}, {app: a, current: /b}]", "names an app twice"),
            ("credentials: [{app: a, current: /a}]", "events must go somewhere"),
        ] {
            let problem = check(file).unwrap_err();
            assert!(problem.contains(words), "{file}: {problem}");
        }
        for (more, words) in [
            ("default: 'https://app/'", "must be http"),
            ("default: 'http://user@app/'", "must go to an address"),
            ("default: 'http://app:x/'", "must go to an address"),
            ("default: 'http://app:99999/'", "must go to an address"),
            ("default: 'http://app/#x'", "must go to an address"),
            ("default: app", "must go to an address"),
            ("default: 'unix:app.sock'", "must go to an address"),
            ("routes: [{app: club, to: 'http://app/'}]", "does not"),
            ("routes: [{app: shop}]", "needs a `to`"),
            ("default: 'http://app/', methods: [PUT]", "must be `POST` or `GET`"),
            ("default: 'http://app/', methods: []", "must name one"),
            ("default: 'http://app/', tls: {key_file: /k}", "together with"),
        ] {
            let problem = check(&format!("{PAIR}, {more}")).unwrap_err();
            assert!(problem.contains(words), "{more}: {problem}");
        }
    }
}
