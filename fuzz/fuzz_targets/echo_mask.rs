//! Any body in any pieces, against the search for the pair.
//!
//! Input: a byte that says in what pieces the body comes, and the body, in which the bytes 0xF0 to
//! 0xF3 stand for a secret or the beginning of one.
//!
//! Invariants: the length stays; nothing of what passes holds a secret; what no secret covered is
//! as it was, and what one covered is `*`; the number of finds and what passes do not depend on the
//! pieces. The secrets overlap themselves and each other.

#![no_main]

use std::sync::{Arc, LazyLock};

use innopaas_proxy::credentials::Credentials;
use innopaas_proxy::proxy::mask;
use innopaas_proxy::secret::Secret;
use innopaas_proxy::telemetry::code::Pair;
use libfuzzer_sys::fuzz_target;

const APP_KEY: &[u8] = b"abababab";
const AUTHORIZATION: &[u8] = b"babababaXbababab";

static PAIR: LazyLock<Arc<Credentials>> = LazyLock::new(|| {
    let secret = |bytes| Secret::from_file_content(bytes).expect("it can be sent");
    let (app_key, authorization) = (secret(APP_KEY), secret(AUTHORIZATION));
    Arc::new(Credentials { app_key, authorization, generation: 1, pair: Pair::Primary })
});

fuzz_target!(|input: &[u8]| {
    let Some((piece, template)) = input.split_first() else { return };
    let body = template.iter().fold(Vec::new(), |mut body, byte| {
        match byte {
            0xf0 => body.extend(APP_KEY),
            0xf1 => body.extend(AUTHORIZATION),
            0xf2 => body.extend(&APP_KEY[..5]),
            0xf3 => body.extend(&AUTHORIZATION[..12]),
            byte => body.push(*byte),
        }
        body
    });
    let mut wanted = body.clone();
    let mut count = 0;
    for secret in [APP_KEY, AUTHORIZATION] {
        for (at, part) in body.windows(secret.len()).enumerate() {
            if part == secret {
                wanted[at..at + secret.len()].fill(b'*');
                count += 1;
            }
        }
    }
    let pieces = body.chunks(usize::from(*piece).max(1));
    let (passed, found) = mask(&PAIR, pieces);
    assert_eq!(passed, wanted);
    assert_eq!(found, count);
});
