//! Which endpoints there are, and what each takes.
//!
//! Invariant: one table of paths serves the check of the head and the answer, so that the two
//! cannot disagree. What an endpoint answers is not known here.

use http::Method;
use http::request::Parts;

use super::check::Rule;

/// One of InnoPaaS's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    SmsSend,
    OtpSend,
    WhatsappSend,
    TemplateSubmit,
    TemplateUpdate,
    TemplateList,
    TemplateDelete,
    WabaInfo,
    PhoneInfo,
    UploadFile,
    Media { bytes: u64 },
}

/// What a path's body must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    Json,
    Multipart,
    /// The path is not known.
    Either,
}

const MEDIA: &str = "/api/whatsapp/v3/media/";
const MEDIA_DEFAULT: u64 = 1 << 20;
const MEDIA_LARGEST: u64 = 1 << 30;

/// What the body of a call to this path must be.
pub(super) fn expects(path: &str) -> Expects {
    match endpoint(path) {
        Some(Endpoint::UploadFile) => Expects::Multipart,
        Some(_) => Expects::Json,
        None => Expects::Either,
    }
}

/// The endpoint that a call is for.
pub(super) fn route(head: &Parts) -> Result<Endpoint, Rule> {
    let endpoint = endpoint(head.uri.path()).ok_or(Rule::Path)?;
    if head.method != method(endpoint) {
        return Err(Rule::Method);
    }
    if let Endpoint::Media { .. } = endpoint {
        let bytes = media_bytes(head.uri.query())?;
        return Ok(Endpoint::Media { bytes });
    }
    Ok(endpoint)
}

/// The method that the endpoint at this path takes.
pub(super) fn allowed(path: &str) -> Option<Method> {
    endpoint(path).map(method)
}

fn endpoint(path: &str) -> Option<Endpoint> {
    Some(match path {
        "/api/sms/v3/msg/send" => Endpoint::SmsSend,
        "/api/otp/v3/msg/send/verify" => Endpoint::OtpSend,
        "/api/whatsapp/v3/msg/submit" => Endpoint::WhatsappSend,
        "/api/whatsapp/v3/template/submit" => Endpoint::TemplateSubmit,
        "/api/whatsapp/v3/template/update" => Endpoint::TemplateUpdate,
        "/api/whatsapp/v3/template/list" => Endpoint::TemplateList,
        "/api/whatsapp/v3/template/delete" => Endpoint::TemplateDelete,
        "/api/whatsapp/v3/account/wabaInfo" => Endpoint::WabaInfo,
        "/api/whatsapp/v3/account/phoneInfo" => Endpoint::PhoneInfo,
        "/api/whatsapp/v3/uploadFile" => Endpoint::UploadFile,
        other => {
            let id = other.strip_prefix(MEDIA)?;
            if id.is_empty() || id.contains('/') {
                return None;
            }
            Endpoint::Media { bytes: MEDIA_DEFAULT }
        }
    })
}

fn method(endpoint: Endpoint) -> Method {
    if let Endpoint::Media { .. } = endpoint { Method::GET } else { Method::POST }
}

fn media_bytes(query: Option<&str>) -> Result<u64, Rule> {
    let Some(query) = query else {
        return Ok(MEDIA_DEFAULT);
    };
    let bytes = query.strip_prefix("bytes=").ok_or(Rule::Query)?;
    let bytes = bytes.parse().map_err(|_| Rule::Query)?;
    if bytes > MEDIA_LARGEST {
        return Err(Rule::Query);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(method: &str, target: &str) -> Result<Endpoint, Rule> {
        let request = http::Request::builder().method(method).uri(target);
        route(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn calls_find_their_endpoints() {
        let sms = "/api/sms/v3/msg/send";
        assert_eq!(routed("POST", sms), Ok(Endpoint::SmsSend));
        assert_eq!(routed("GET", sms), Err(Rule::Method));
        assert_eq!(routed("POST", "/api/sms/v3/msg/send/"), Err(Rule::Path));
    }

    #[test]
    fn media_has_the_size_that_is_asked_for() {
        let media = |bytes| Ok(Endpoint::Media { bytes });
        let path = "/api/whatsapp/v3/media/7";
        assert_eq!(routed("GET", path), media(1 << 20));
        assert_eq!(routed("GET", &format!("{path}?bytes=5")), media(5));
        assert_eq!(routed("GET", &format!("{path}?bytes=1073741825")), Err(Rule::Query));
    }
}
