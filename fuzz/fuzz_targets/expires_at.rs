//! When a token expires, against `Expiry`. The input is taken three times: as the file
//! `expires-at`, as the token, and as the payload of a token that is a JWT.
//!
//! Invariant: nothing panics, and what is taken can be shown, as a content of the file that means
//! the same second. (What could not be shown once ended the process.)

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use innopaas_proxy::credentials::Expiry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Ok(expiry) = Expiry::from_file_content(content) {
        can_be_shown(expiry);
        assert!(content.is_ascii(), "a date has no other digits");
    }
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(content));
    for token in [content, token.as_bytes()] {
        if let Some(expiry) = Expiry::of_jwt(token) {
            can_be_shown(expiry);
            assert!(expiry.unix_seconds() > 0);
        }
    }
});

fn can_be_shown(expiry: Expiry) {
    let shown = expiry.to_string();
    let again = Expiry::from_file_content(shown.as_bytes()).expect("it is a content of the file");
    assert_eq!(again.unix_seconds(), expiry.unix_seconds());
    assert_eq!(expiry.left(expiry.unix_seconds()), 0);
}
