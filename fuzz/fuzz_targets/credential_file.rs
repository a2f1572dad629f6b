//! What a mounted file may hold, against `Secret::from_file_content`.
//!
//! Invariant: what is accepted can be sent to the byte as it stands in the file, less one line
//! end: printable ASCII, of bounded length; and `Debug` tells its length and nothing else. What is
//! refused is refused for a reason that the file bears out. (`Malformed` holds no bytes, so it has
//! none to tell.)

#![no_main]

use innopaas_proxy::secret::{MAX_LEN, Malformed, Secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    let bare = without_line_end(content);
    match Secret::from_file_content(content) {
        Ok(secret) => {
            assert_eq!(secret.expose().as_bytes(), bare);
            assert!(secret.expose().is_sensitive());
            assert!((1..=MAX_LEN).contains(&secret.len()));
            assert!(bare.iter().all(u8::is_ascii_graphic));
            let shown = format!("{secret:?} {:?}", secret.expose());
            assert_eq!(shown, format!("Secret({} bytes) Sensitive", bare.len()));
            let again = Secret::from_file_content(bare).expect("a bare secret is a file too");
            assert!(secret.same_as(&again));
        }
        Err(malformed) => is_borne_out(malformed, bare),
    }
});

fn without_line_end(content: &[u8]) -> &[u8] {
    match content {
        [bare @ .., b'\r', b'\n'] | [bare @ .., b'\n'] => bare,
        bare => bare,
    }
}

fn is_borne_out(malformed: Malformed, bare: &[u8]) {
    match malformed {
        Malformed::Empty => assert!(bare.is_empty()),
        Malformed::TooLong => assert!(bare.len() > MAX_LEN),
        Malformed::Byte { position } => assert!(!bare[position].is_ascii_graphic()),
        Malformed::Quoted => assert!(bare.len() > 1 && bare[0] == bare[bare.len() - 1]),
        Malformed::Scheme => assert!(bare.contains(&b' ')),
    }
}
