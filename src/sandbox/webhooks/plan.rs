//! A webhook that was checked: where it goes, and the requests that are made of it.
//!
//! Invariant: its addresses are loopback's, and were not looked up: a resolver might say otherwise.
//! No input or output is done here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::{BodyCheck, Form, Pace, Webhook};
use crate::sandbox::events::{Event, EventTime, Payload};

/// What a report of it takes some 100 bytes for.
const MOST_EVENTS: u32 = 100_000;
const MOST_TRIES: u32 = 100;
const MOST_CONNECTIONS: usize = 256;
const FASTEST: u32 = 100_000; // events a second
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60); // pause or patience

/// A webhook that can be sent.
pub(in crate::sandbox) struct Plan {
    pub(super) destination: Destination,
    credentials: Vec<(HeaderName, HeaderValue)>,
    body_check: BodyCheck,
    pub(super) event: Event,
    event_time: EventTime,
    form: Form,
    pub(super) first: Option<u64>,
    pub(super) count: u32,
    pub(super) pace: Pace,
    pub(super) tries: u32,
    pub(super) pause: Duration,
    pub(super) patience: Duration,
    pub(super) connections: usize,
}

/// A server on this machine, and a path on it.
pub(super) struct Destination {
    /// To be tried in turn.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    host: HeaderValue,
    path: PathAndQuery,
}

impl Plan {
    /// # Errors
    /// What is wrong, and a remedy; never a value of a credential.
    pub(in crate::sandbox) fn new(webhook: Webhook) -> Result<Self, String> {
        let Webhook {
            url,
            ca_pem,
            pair,
            show,
            body_check,
            event,
            event_time,
            first,
            form,
            count,
            pace,
            tries,
            pause,
            patience,
            connections,
        } = webhook;
        within("count", count, MOST_EVENTS)?;
        within("tries", tries, MOST_TRIES)?;
        if let Pace::PerSecond(rate) = pace {
            within("per_second", rate, FASTEST)?;
        }
        if pause > LONGEST || patience > LONGEST || patience.is_zero() {
            return Err(
                "the pause and the patience must not be longer than 24h, and there must be \
                        some patience"
                    .to_owned(),
            );
        }
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            return Err(format!("`connections` must be from 1 to {MOST_CONNECTIONS}"));
        }
        if form == Form::Get && !event.is_flat() {
            return Err("only `sms_status` and `sms_uplink` can be sent by GET".to_owned());
        }
        Ok(Self {
            destination: Destination::parse(&url, ca_pem.as_deref())?,
            credentials: show.lines(pair.as_ref())?,
            body_check,
            event,
            event_time,
            form,
            first,
            count,
            pace,
            tries,
            pause,
            patience,
            connections,
        })
    }

    /// The request for the event of this number; always the same.
    ///
    /// # Errors
    /// If http does not take what was checked in [`Self::new`]; a defect of ours.
    pub(super) fn request(&self, number: u64) -> http::Result<Request<Full<Bytes>>> {
        let payload = self.event.payload(number, self.event_time, &self.body_check);
        let mut request = match self.form {
            Form::Post => Request::builder()
                .method(Method::POST)
                .uri(self.destination.path.as_str())
                .header(CONTENT_TYPE, "application/json;charset=utf-8")
                .body(Full::from(payload.json()))?,
            Form::Get => Request::builder()
                .method(Method::GET)
                .uri(self.destination.with_query(&payload))
                .body(Full::default())?,
        };
        let headers = request.headers_mut();
        headers.insert(HOST, self.destination.host.clone());
        for (name, value) in &self.credentials {
            headers.append(name, value.clone());
        }
        Ok(request)
    }
}

fn within(name: &str, number: u32, most: u32) -> Result<(), String> {
    if (1..=most).contains(&number) {
        Ok(())
    } else {
        Err(format!("`{name}` must be from 1 to {most}"))
    }
}

impl Destination {
    fn parse(url: &str, ca_pem: Option<&str>) -> Result<Self, String> {
        const FORM: &str = "`url` must be an address on this machine such as \
                            `http://127.0.0.1:7254/innopaas`, without user and fragment";
        let parts = url.parse::<Uri>().map_err(|_| FORM)?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(FORM.to_owned());
        };
        if authority.as_str().contains('@') || url.contains('#') {
            return Err(FORM.to_owned());
        }
        let https = match &scheme {
            scheme if *scheme == Scheme::HTTPS => true,
            scheme if *scheme == Scheme::HTTP => false,
            _ => return Err(FORM.to_owned()),
        };
        let port = port(&authority, if https { 443 } else { 80 }).ok_or(FORM)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let addresses = loopback(host).ok_or(
            "`url`: webhooks are sent to this machine only: `localhost`, 127.0.0.0/8 or `[::1]`",
        )?;
        let server_name = ServerName::try_from(host.to_owned()).map_err(|_| FORM)?;
        Ok(Self {
            addresses: addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(),
            tls: if https { Some((connector(ca_pem)?, server_name)) } else { None },
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| FORM)?,
            path: parts.path_and_query.unwrap_or(PathAndQuery::from_static("/")),
        })
    }

    fn with_query(&self, payload: &Payload) -> String {
        let path = self.path.as_str();
        let separator = if self.path.query().is_some() { '&' } else { '?' };
        match payload.query() {
            Some(query) => format!("{path}{separator}{query}"),
            None => path.to_owned(),
        }
    }
}

fn port(authority: &Authority, default: u16) -> Option<u16> {
    // What stands behind the host and is no number is no port.
    if authority.as_str().len() == authority.host().len() {
        Some(default)
    } else {
        authority.port_u16().filter(|port| *port > 0)
    }
}

fn loopback(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    host.parse().ok().filter(IpAddr::is_loopback).map(|ip| vec![ip])
}

fn connector(ca_pem: Option<&str>) -> Result<TlsConnector, String> {
    const NEEDED: &str = "https needs a CA to trust, as PEM";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.ok_or(NEEDED)?.as_bytes()) {
        let certificate = certificate.map_err(|_| NEEDED)?;
        roots.add(certificate).map_err(|_| NEEDED)?;
    }
    if roots.is_empty() {
        return Err(NEEDED.to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::super::{Show, WebhookPair};
    use super::*;

    fn problem(webhook: Webhook) -> String {
        Plan::new(webhook).err().expect("a problem")
    }

    fn to(url: &str) -> Webhook {
        Webhook::to(url, Event::SmsStatus)
    }

    #[test]
    fn only_this_machine_is_sent_to() {
        for url in [
            "http://127.0.0.1/",
            "http://127.9.9.9:81",
            "http://[::1]:7254/a?b=c",
            "http://LOCALHOST:7254/",
        ] {
            let plan = Plan::new(to(url)).map_err(|why| format!("{url}: {why}")).unwrap();
            assert!(plan.destination.addresses.iter().all(|address| address.ip().is_loopback()));
        }
        for url in [
            "http://example.com/",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost.example.com/",
            "http://127.1/",
            "http://2130706433/",
            "http://169.254.169.254/",
        ] {
            assert!(problem(to(url)).contains("this machine only"), "{url}");
        }
        for url in [
            "ftp://127.0.0.1/",
            "127.0.0.1:80",
            "/path",
            "",
            "http://u@127.0.0.1/",
            "http://127.0.0.1@example.com/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1/#x",
        ] {
            assert!(problem(to(url)).contains("must be an address on this machine"), "{url}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_remedy() {
        let url = "http://127.0.0.1/";
        for (webhook, words) in [
            (to("https://127.0.0.1/"), "needs a CA"),
            (Webhook { ca_pem: Some("x".to_owned()), ..to("https://[::1]/") }, "needs a CA"),
            (Webhook { count: 0, ..to(url) }, "`count` must be from 1 to 100000"),
            (Webhook { tries: 0, ..to(url) }, "`tries`"),
            (Webhook { pace: Pace::PerSecond(0), ..to(url) }, "`per_second`"),
            (Webhook { connections: 257, ..to(url) }, "`connections`"),
            (Webhook { pause: Duration::MAX, ..to(url) }, "24h"),
            (Webhook { patience: Duration::ZERO, ..to(url) }, "some patience"),
            (Webhook { show: Show::Swapped, ..to(url) }, "needs a pair"),
            (Webhook { form: Form::Get, ..Webhook::to(url, Event::PhoneQuality) }, "by GET"),
        ] {
            let problem = problem(webhook);
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn a_get_has_the_fields_behind_the_query_of_the_address_and_no_body() {
        let webhook = Webhook { form: Form::Get, ..to("http://localhost:1/a?b=c") };
        let request = Plan::new(webhook).unwrap().request(1).unwrap();
        let uri = request.uri().to_string();
        assert!(uri.starts_with("/a?b=c&receiver=sandbox&pswd=sandbox&msgid="), "{uri}");
        assert_eq!(request.headers().len(), 1, "Host alone");
    }

    #[test]
    fn nothing_prints_a_credential() {
        let pair = Some(WebhookPair::new("u-secret", "a-secret"));
        let webhook =
            Webhook { pair, body_check: BodyCheck::new("r-secret", "p-secret"), ..to("x") };
        let printed = format!("{webhook:?}");
        assert!(!printed.contains("-secret"), "{printed}");
    }
}
