//! The credentials of every process in these tests, and the search for them.

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use innopaas_proxy::sandbox::Pair;
use memchr::memmem;

pub(crate) const APP_KEY: &str = "CanaryKey7q2W9zX4";
pub(crate) const TOKEN: &str = "CANARYTOKENQWERTYUIOPASDFGHJKLZXCVBNMQAZWSXEDCRFVTGBYHNU";
/// What callers show in the tests that ask them for a token.
pub(crate) const CALLER_TOKEN: &str = "CanaryCaller5rT8vB1nM6kJ3hG0";
/// What webhooks are verified by, as typed into the console.
pub(crate) const USER_NAME: &str = "CanaryUserName4dF7sL0pQ";
pub(crate) const HOOK_TOKEN: &str = "CanaryHookToken8gH2jK5zX9cV";
pub(crate) const RECEIVER: &str = "CanaryReceiver3wE6rT1y";
pub(crate) const PSWD: &str = "CanaryPswd7uI9oP2aS";
/// Whom webhooks are about, and what they say.
pub(crate) const PHONE: &str = "8613987654321";
pub(crate) const TEXT: &str = "CanaryText5bN8mQ1wE";

/// All that must not be seen.
const ALL: [&str; 9] =
    [APP_KEY, TOKEN, CALLER_TOKEN, USER_NAME, HOOK_TOKEN, RECEIVER, PSWD, PHONE, TEXT];

pub(crate) fn pair() -> Pair {
    Pair::new(APP_KEY, TOKEN)
}

/// One of many pairs, no half of which is a half of another, and which the search finds as well.
pub(crate) fn marked_pair(mark: impl Display) -> Pair {
    Pair::new(format!("{APP_KEY}{mark}"), format!("{TOKEN}{mark}"))
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
    ALL.into_iter().flat_map(forms).find_map(|(form, needle)| {
        let needle = needle.to_ascii_lowercase();
        memmem::find(&haystack, needle.as_bytes()).is_some().then_some(form)
    })
}

/// How a secret looks when something prints, dumps or encodes it.
pub(crate) fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let list: Vec<_> = bytes.iter().map(ToString::to_string).collect();
    let mut forms = vec![
        ("raw", secret.to_owned()),
        ("in hex", hex(bytes, "")),
        ("percent-encoded", hex(bytes, "%")),
        ("as a list of numbers", list.join(", ")),
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

/// Two digits a byte, each byte with this before it.
pub(crate) fn hex(bytes: &[u8], before: &str) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{before}{byte:02x}"))
}
