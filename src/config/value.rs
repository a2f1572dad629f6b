//! How single values are written: durations, sizes, numbers, switches, origins, networks.
//!
//! Every parser returns what is wrong as a text that never repeats the value.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use ipnet::IpNet;
use rustls::pki_types::ServerName;

/// Text with a unit: `250ms`, `5s`, `2m`, `1h`.
///
/// # Errors
/// The form that it must have.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text).ok_or(DURATION_FORM)?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(DURATION_FORM.to_owned()),
    };
    match milliseconds {
        Some(ms) if ms <= LONGEST_MS => Ok(Duration::from_millis(ms)),
        _ => Err("must not be longer than 24h".to_owned()),
    }
}

/// A duration that somebody waits for.
pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    /// Shorter than this, a busy machine alone would trip it.
    const SHORTEST: Duration = Duration::from_millis(10);
    match duration(text)? {
        duration if duration < SHORTEST => Err("must be at least 10ms".to_owned()),
        duration => Ok(duration),
    }
}

const DURATION_FORM: &str = "must be a duration such as `250ms`, `5s`, `2m` or `1h`";
const LONGEST_MS: u64 = 24 * 3_600_000;

/// Text with a unit: `64KiB`, `1MiB`. In bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text).ok_or(SIZE_FORM)?;
    let bytes = match unit {
        "B" => Some(number),
        "KiB" => number.checked_mul(1 << 10),
        "MiB" => number.checked_mul(1 << 20),
        "GiB" => number.checked_mul(1 << 30),
        _ => return Err(SIZE_FORM.to_owned()),
    };
    bytes.ok_or_else(|| "is too large".to_owned())
}

const SIZE_FORM: &str = "must be a size such as `512B`, `64KiB` or `1MiB`";

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be `true` or `false`".to_owned()),
    }
}

/// A whole number within these bounds, both included.
pub(super) fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

/// The one place that calls go to: scheme https, host, port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    authority: Authority,
    host_header: HeaderValue,
    server_name: ServerName<'static>,
}

impl Origin {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "must be an origin such as `https://api.innopaas.com`: https, a host \
                            and perhaps a port, without user, path or query";
        let uri: Uri = text.parse().map_err(|_| FORM)?;
        if uri.scheme() == Some(&Scheme::HTTP) {
            return Err("must begin with https: the credential would travel in clear".to_owned());
        }
        let parts = uri.into_parts();
        let bare = parts.path_and_query.is_none_or(|path| path == "/");
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority))
                if scheme == Scheme::HTTPS
                    && bare
                    && !authority.as_str().contains('@')
                    && !authority.host().is_empty()
                    && authority.port().is_some() == has_port(&authority) =>
            {
                let server_name = unbracketed(authority.host()).to_owned();
                Ok(Self {
                    server_name: ServerName::try_from(server_name).map_err(|_| FORM)?,
                    host_header: host_header(&authority).ok_or(FORM)?,
                    authority,
                })
            }
            _ => Err(FORM.to_owned()),
        }
    }

    /// Name or address, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The host as the resolver wants it: an IPv6 address without brackets.
    pub fn bare_host(&self) -> &str {
        unbracketed(self.host())
    }

    /// Whom the certificate must be for.
    pub fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    /// Port, 443 unless written.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(443)
    }

    /// What stands in `Host` (RFC 9110, section 7.2).
    pub fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }
}

/// RFC 9110, section 7.2: without the port, if it is the scheme's own.
fn host_header(authority: &Authority) -> Option<HeaderValue> {
    let text = match authority.port_u16() {
        Some(443) => authority.host(),
        Some(_) | None => authority.as_str(),
    };
    HeaderValue::from_str(text).ok()
}

fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether something stands behind the host, be it a number or not.
fn has_port(authority: &Authority) -> bool {
    authority.as_str().len() > authority.host().len()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority)
    }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, such as `127.0.0.1:7253`".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "has the form of a parser; any text is a path")]
pub(super) fn optional_path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok(if text.is_empty() { None } else { Some(PathBuf::from(text)) })
}

/// A host name or address as it may stand in `Host`, without port; lower case.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    let bracketed = text.starts_with('[') && text.ends_with(']');
    if text.is_empty() || !text.chars().all(legal) || (text.contains(':') && !bracketed) {
        return Err("must be a host name or address without port, IPv6 in brackets".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>();
    let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(IpNet::V6(network)) if network.addr().to_ipv4_mapped().is_some() => {
            Err("is IPv4 in IPv6's form; write it as IPv4".to_owned())
        }
        Ok(network) if network == network.trunc() => Ok(network),
        Ok(_) => Err("has bits set beyond its prefix length".to_owned()),
        Err(_) => Err("must be a network such as `10.0.0.0/8` or one address".to_owned()),
    }
}

/// A media type without parameters; lower case.
pub(super) fn media_type(text: &str) -> Result<String, String> {
    let token = |s: &str| {
        !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    match text.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => Ok(text.to_ascii_lowercase()),
        _ => Err("must be a media type such as `text/plain`, without parameters".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_carry_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(size("64KiB"), Ok(65_536));
        for wrong in ["5", "", "s", "-1s", "5 parsecs", "99999999999999999999s", "25h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["5", "1MB", "1mib", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_https_and_nothing_but_host_and_port() {
        let origin = Origin::parse("https://api.innopaas.com").unwrap();
        assert_eq!((origin.host(), origin.port()), ("api.innopaas.com", 443));
        let origin = Origin::parse("https://[::1]:8443/").unwrap();
        assert_eq!((origin.bare_host(), origin.port()), ("::1", 8443));
        assert_eq!(origin.host_header(), "[::1]:8443");
        assert_eq!(Origin::parse("https://a.example:443").unwrap().host_header(), "a.example");
        for wrong in [
            "http://api.innopaas.com",
            "api.innopaas.com",
            "https://user@host",
            "https://host/path",
            "https://host?q",
            "https://host:",
            "https://host:99999",
            "https://no_such..name",
            "",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_is_written_with_its_first_address() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        for wrong in ["10.0.0.1/8", "10.0.0.0/33", "10.0/8", "::ffff:127.0.0.0/104", "all", ""] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }
}
