//! The credentials of every process in these tests, and the search for them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use innopaas_proxy::sandbox::Pair;

pub(crate) const APP_KEY: &str = "CanaryKey7q2W9zX4";
pub(crate) const TOKEN: &str = "CANARYTOKENQWERTYUIOPASDFGHJKLZXCVBNMQAZWSXEDCRFVTGBYHNU";

pub(crate) fn pair() -> Pair {
    Pair::new(APP_KEY, TOKEN)
}

/// Panics if any form of a canary is in there.
pub(crate) fn assert_absent(place: &str, bytes: &[u8]) {
    if let Some(form) = find(bytes) {
        panic!("a credential leaked into {place}, {form}");
    }
}

/// The form in which a canary is in there, if one is.
pub(crate) fn find(bytes: &[u8]) -> Option<&'static str> {
    let haystack = bytes.to_ascii_lowercase();
    [APP_KEY, TOKEN].into_iter().flat_map(forms).find_map(|(form, needle)| {
        let needle = needle.to_ascii_lowercase();
        haystack.windows(needle.len()).any(|window| window == needle.as_bytes()).then_some(form)
    })
}

/// How a secret looks when something prints, dumps or encodes it.
pub(crate) fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let each = |f: fn(u8) -> String, between: &str| {
        bytes.iter().map(|&b| f(b)).collect::<Vec<_>>().join(between)
    };
    let mut forms = vec![
        ("raw", secret.to_owned()),
        ("in hex", each(|b| format!("{b:02x}"), "")),
        ("percent-encoded", each(|b| format!("%{b:02x}"), "")),
        ("as a list of numbers", each(|b| b.to_string(), ", ")),
    ];
    // Within a longer text, base64 of a secret has three forms, by its offset; the characters at
    // both ends depend on the neighbours and are left out.
    for offset in 0..3 {
        let text = STANDARD.encode([&b"xx"[..offset], bytes].concat());
        let inner = &text[if offset == 0 { 0 } else { 4 }..text.len() - 4];
        forms.push(("in base64", inner.to_owned()));
    }
    forms
}
