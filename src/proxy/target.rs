//! Whether a target has one spelling only.
//!
//! A list of allowed paths is worth nothing if the server behind it reads the path in another way:
//! takes `%2e%2e` for `..`, `\` for `/`, cuts a segment at `;`. So only targets in normal form pass
//! (RFC 3986, section 6.2.2), and nothing is rewritten: what was asked is what is sent, or it is
//! refused.

use http::uri::PathAndQuery;

/// What keeps a target from passing, if anything does.
pub(super) fn check(target: &PathAndQuery) -> Result<(), &'static str> {
    let path = target.path();
    if target.query().is_none() && is_plain(path) {
        return Ok(());
    }
    if !path.starts_with('/') {
        return Err("it does not begin with `/`");
    }
    if !target.as_str().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it holds bytes that must be percent-encoded");
    }
    if path.contains("//") {
        return Err("it holds `//`");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("it holds a dot segment");
    }
    if path.contains(['\\', ';']) {
        return Err("it holds a `\\` or `;`, which some servers take for the end of a segment");
    }
    if !path.bytes().all(|byte| byte == b'/' || byte == b'%' || is_pchar(byte)) {
        return Err("it holds bytes that must be percent-encoded");
    }
    if path.contains('%') {
        let decoded = decode(path)?;
        std::str::from_utf8(&decoded).map_err(|_| "its percent-encoding is not UTF-8")?;
    }
    match target.query() {
        Some(query) if query.contains('%') => decode_any(query).map(drop),
        Some(_) | None => Ok(()),
    }
}

/// Most paths: nothing in them could be spelled in another way, so nothing has to be asked. Whatever
/// is not so plain is looked at closely.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let before = std::mem::replace(&mut before, byte);
            match byte {
                b'/' => before != b'/',
                b'-' | b'_' => true,
                byte => byte.is_ascii_alphanumeric(),
            }
        })
}

/// What is encoded, if it is what needs to be.
fn decode(path: &str) -> Result<Vec<u8>, &'static str> {
    let decoded = decode_any(path)?;
    for (_, byte) in decoded.iter().filter(|(encoded, _)| *encoded) {
        match byte {
            b'/' | b'\\' | b'.' | b'%' | b';' => {
                return Err("it holds an encoded slash, backslash, dot, percent sign or semicolon");
            }
            byte if byte.is_ascii_control() => return Err("it holds an encoded control character"),
            byte if byte.is_ascii_alphanumeric() || b"-_~".contains(byte) => {
                return Err("it holds an encoded character that needs no encoding");
            }
            _ => {}
        }
    }
    Ok(decoded.into_iter().map(|(_, byte)| byte).collect())
}

/// Every byte, and whether it was encoded.
fn decode_any(text: &str) -> Result<Vec<(bool, u8)>, &'static str> {
    const MALFORMED: &str = "a `%` is not followed by two hexadecimal digits";
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                return Err(MALFORMED);
            };
            decoded.push((true, u8::try_from(high * 16 + low).map_err(|_| MALFORMED)?));
        } else {
            decoded.push((false, byte));
        }
    }
    Ok(decoded)
}

/// RFC 3986, section 3.3.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(target: &str) -> bool {
        check(&target.parse().unwrap()).is_ok()
    }

    #[test]
    fn targets_in_normal_form_pass() {
        for target in [
            "/",
            "/api/sms/v3/msg/send",
            "/api/x/",
            "/api/a-b._~!$&'()*+,=:@",
            "/api/%E4%BD%A0%20x",
            "/api/x?a=%2e%2F%00&b=../..//;\\&c[]=1",
            "/api/...",
            "/api/.x",
        ] {
            assert!(passes(target), "{target}");
        }
    }

    #[test]
    fn the_short_way_lets_nothing_pass_that_the_long_one_would_not() {
        for path in ["/", "/api/sms/v3/msg/send", "/a_b-c", "//a", "/a//", "a", "", "/a.b", "/a%20"]
        {
            let long = format!("{path}?x"); // a query is always looked at closely
            let passes_long = long.parse().is_ok_and(|target| check(&target).is_ok());
            assert!(!is_plain(path) || passes_long, "{path}");
        }
        assert!(is_plain("/api/whatsapp/v3/uploadFile") && !is_plain("/a//") && !is_plain(""));
    }

    #[test]
    fn a_target_with_a_second_spelling_is_refused() {
        for target in [
            "//evil.example/api",
            "/api//x",
            "/api/./x",
            "/api/../admin",
            "/api/..",
            "/api/%2e%2e/admin",
            "/api/.%2E/admin",
            "/api/x%2fy",
            "/api/x%5cy",
            "/api/x%252fy",
            "/api/..;/admin",
            "/api;a=b/x",
            "/api/x%3by",
            "/api\\x",
            "/api/%61",
            "/api/%00",
            "/api/%0d%0aHost:x",
            "/api/%7f",
            "/api/%c0%af",
            "/api/%ff",
            "/api/%",
            "/api/%2",
            "/api/%zz",
            "/api/x?%zz",
            "/api/[x]",
            "/api/ü",
        ] {
            assert!(!passes(target), "{target}");
        }
    }
}
