//! Nothing reaches an application but what shows exactly what was typed into the console, and who
//! does not is told always the same.

use std::fs;
use std::sync::Arc;

use rcgen::generate_simple_self_signed;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use super::sender::{Answer, Line, chunked, request};
use super::{Bench, console, message, right, right_of_club, shown};
use crate::support::canary::{HOOK_TOKEN, USER_NAME};
use crate::support::{Application, Mount, Setup, eventually};

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// It is handed over, as one of this app.
    Of(&'static str),
    /// It is refused, and counted under this reason.
    Refused(&'static str),
    /// It is not HTTP, and refused as such.
    Malformed,
}

use Fate::{Malformed, Of, Refused};

const POST: &str = "POST /hooks";

/// What a head shows, and what becomes of it.
type Row = (&'static str, Vec<u8>, Fate);

/// The beginning of the token, all but its last letter.
fn cut() -> &'static str {
    &HOOK_TOKEN[..HOOK_TOKEN.len() - 1]
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// A name in some spelling for each of the two right values.
fn spelled(user_name: &str, authorization: &str) -> Vec<u8> {
    text(&format!("{user_name}: {USER_NAME}\r\n{authorization}: {HOOK_TOKEN}\r\n"))
}

/// A row whose user name is the right one.
fn token(name: &'static str, token: impl AsRef<[u8]>) -> Row {
    let user_name = format!("UserName: {USER_NAME}\r\nAuthorization: ");
    (name, [user_name.as_bytes(), token.as_ref(), b"\r\n"].concat(), Refused("authorization"))
}

/// A row whose token is the right one.
fn user_name(name: &'static str, user_name: impl AsRef<str>) -> Row {
    (name, text(&shown(user_name.as_ref(), HOOK_TOKEN)), Refused("user_name"))
}

/// A row of what is no value at all.
fn malformed(name: &'static str, before: &str, byte: u8, after: &str) -> Row {
    let (name, fields, _) = token(name, [before.as_bytes(), &[byte], after.as_bytes()].concat());
    (name, fields, Malformed)
}

fn rows_that_pass() -> Vec<Row> {
    let (user, token) = (USER_NAME, HOOK_TOKEN);
    let spaced = format!("UserName:\t {user} \t\r\nAuthorization:{token}   \r\n");
    let more = |more: &str| text(&(right() + more));
    vec![
        ("the right pair", more(""), Of("shop")),
        ("the right pair of another app", text(&right_of_club()), Of("club")),
        (
            "names in another case, which are the same",
            spelled("USERNAME", "authorization"),
            Of("shop"),
        ),
        (
            "spaces around values, no part of them (RFC 9110, section 5.5)",
            text(&spaced),
            Of("shop"),
        ),
        ("other spellings of a name as well", more("User_Name: x\r\nUser-Name: y\r\n"), Of("shop")),
        ("Connection names both", more("Connection: UserName, Authorization\r\n"), Of("shop")),
    ]
}

fn rows_by_number() -> Vec<Row> {
    let (user, token) = (USER_NAME, HOOK_TOKEN);
    let several = |name, fields: String| (name, text(&fields), Refused("several"));
    vec![
        several("the user name twice", format!("UserName: {user}\r\n{}", right())),
        several("the token twice", format!("{}Authorization: {token}\r\n", right())),
        several("both twice", right() + &right()),
        several("a right token, then a wrong one", format!("{}Authorization: x\r\n", right())),
        several("a wrong token, then a right one", format!("Authorization: x\r\n{}", right())),
        several("a right user name, then an empty one", format!("{}username:\r\n", right())),
        several("pairs of two apps", right() + &right_of_club()),
        ("both empty", text(&shown("", "")), Refused("missing")),
        ("neither", Vec::new(), Refused("missing")),
        user_name("an empty user name", ""),
        self::token("an empty token", ""),
        ("no user name", text(&format!("Authorization: {token}\r\n")), Refused("user_name")),
        ("no token", text(&format!("UserName: {user}\r\n")), Refused("authorization")),
    ]
}

fn rows_by_value() -> Vec<Row> {
    let (user, right, cut) = (USER_NAME, HOOK_TOKEN, cut());
    let last = &right[cut.len()..];
    vec![
        token("the beginning of the token", cut),
        user_name("the beginning of the user name", &user[..user.len() - 1]),
        token("the end of the token", &right[1..]),
        token("more than the token", format!("{right}x")),
        token("the token twice over", format!("{right}{right}")),
        token("the token in lower case", right.to_lowercase()),
        user_name("the user name in upper case", user.to_uppercase()),
        malformed("NUL behind the token", right, 0, ""),
        malformed("NUL within the token", cut, 0, last),
        malformed("DEL behind the token", right, 0x7f, ""),
        malformed("CR within the token", cut, b'\r', last),
        malformed("LF alone within the token", cut, b'\n', last),
        token("a byte beyond ASCII behind it", [right.as_bytes(), b"\xff"].concat()),
        token("a no-break space behind it", format!("{right}\u{a0}")),
        token("a letter that looks the same", right.replace('a', "\u{430}")),
        token("a tab within the token", format!("{cut}\t{last}")),
        token("joined by a comma", format!("{right}, {right}")),
        user_name("user names of two apps in one line", format!("{user}, {user}Club")),
        token("the token of another app", format!("{right}Club")),
        // Either is one of a pair, which is said of the user name first.
        (
            "the user name of another app",
            text(&shown(&format!("{user}Club"), right)),
            Refused("authorization"),
        ),
        token("a scheme before the token", format!("Bearer {right}")),
        token("quotes around the token", format!("\"{right}\"")),
        token("percent before a letter", right.replace('C', "%43")),
        ("the values swapped", text(&shown(right, user)), Refused("unknown")),
        ("something else altogether", text(&shown("someone", "something")), Refused("unknown")),
        ("something long", text(&shown("someone", &"x".repeat(8000))), Refused("unknown")),
    ]
}

fn rows_by_name() -> Vec<Row> {
    let folded = format!("UserName: {USER_NAME}\r\nAuthorization:\r\n {HOOK_TOKEN}\r\n");
    vec![
        ("a value folded over two lines", text(&folded), Malformed),
        ("a space before the colon", spelled("UserName ", "Authorization"), Malformed),
        ("an underscore", spelled("user_name", "Authorization"), Refused("user_name")),
        ("a hyphen", spelled("User-Name", "Authorization"), Refused("user_name")),
        ("another header", spelled("UserName", "Proxy-Authorization"), Refused("authorization")),
    ]
}

fn table() -> Vec<Row> {
    [rows_that_pass(), rows_by_number(), rows_by_value(), rows_by_name()].concat()
}

/// Asserts that every line of the table has its fate, on lines to the receiver that are opened so.
fn judge(bench: &Bench, open: &dyn Fn() -> Line) {
    const REASONS: [&str; 6] =
        ["missing", "several", "authorization", "user_name", "unknown", "body"];
    let counted = || REASONS.map(|reason| (reason, bench.refused(reason)));
    let malformed = || bench.proxy.metric("innopaas_proxy_webhook_malformed_requests_total");
    let refusal = open().call(&request(POST, "", b"")).without_ids();
    assert_eq!(refusal.0, 401);
    for (name, fields, fate) in table() {
        let (delivered, before) = (bench.application.count(), counted());
        let malformed_before = malformed();
        let body = message("e-1");
        let answer = open().call(&request(POST, fields, body.as_bytes()));
        match fate {
            Of(app) => {
                assert_eq!(answer.status(), 200, "{name}");
                assert_eq!(bench.application.last().header("x-innopaas-app"), Some(app), "{name}");
            }
            Refused(_) => {
                assert_eq!(answer.without_ids(), refusal, "{name}");
                answer.assert_problem(401, "event_refused", "no");
            }
            Malformed => answer.assert_problem(400, "request_malformed", "no"),
        }
        let arrived = usize::from(matches!(fate, Of(_)));
        assert_eq!(bench.application.count(), delivered + arrived, "{name}");
        assert_eq!(malformed(), malformed_before + u64::from(fate == Malformed), "{name}");
        for ((reason, after), (_, before)) in counted().into_iter().zip(before) {
            let more = u64::from(fate == Refused(reason));
            assert_eq!(after, before + more, "{name}: {reason}");
        }
    }
}

#[test]
fn only_the_exact_pair_gets_past_a_plain_listener() {
    let bench = Bench::start();
    judge(&bench, &|| bench.line());
}

#[test]
fn only_the_exact_pair_gets_past_a_listener_that_speaks_tls() {
    let (files, config) = tls();
    let setting = |setting: &str, name: &str| {
        format!("webhook.tls.{setting}={}", files.path().join(name).display())
    };
    let settings = [setting("certificate_file", "tls.crt"), setting("key_file", "tls.key")];
    let bench = Bench::set(&settings.each_ref().map(String::as_str));
    let address = bench.proxy.webhook.unwrap();
    judge(&bench, &|| Line::open_tls(address, &config));
    // In clear there is not even a refusal.
    let (mut plain, before) = (bench.line(), bench.application.count());
    plain.send(&request(POST, right(), b"{}"));
    assert!(!plain.rest().starts_with(b"HTTP"));
    assert_eq!(bench.application.count(), before);
}

/// Files for a listener, and who trusts them.
fn tls() -> (TempDir, Arc<ClientConfig>) {
    let made = generate_simple_self_signed(vec!["hooks.example".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(files.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (files, Arc::new(config))
}

#[test]
fn what_verifies_counts_in_the_head_alone() {
    let bench = Bench::set(&["webhook.methods=POST,GET"]);
    let query = format!("/hooks?UserName={USER_NAME}&Authorization={HOOK_TOKEN}");
    let in_query = request(&format!("POST {query}"), "", b"{}");
    let in_get = request(&format!("GET {query}"), "", b"");
    let body = format!(r#"{{"UserName":"{USER_NAME}","Authorization":"{HOOK_TOKEN}"}}"#);
    let in_body = request(POST, "", body.as_bytes());
    let mut in_trailers = chunked(POST, "", b"{}", 2);
    in_trailers.truncate(in_trailers.len() - 2);
    in_trailers.extend(right().bytes().chain(*b"\r\n"));
    for bytes in [in_query, in_get, in_body, in_trailers] {
        bench.line().call(&bytes).assert_problem(401, "event_refused", "no");
    }
    assert_eq!((bench.refused("missing"), bench.application.count()), (4, 0));
}

#[test]
fn every_request_of_a_connection_is_judged_by_itself() {
    let bench = Bench::start();
    let requests = [right(), shown(USER_NAME, "wrong"), right(), String::new(), right_of_club()]
        .map(|fields| request(POST, fields, message("e-1").as_bytes()));
    let statuses = [200, 401, 200, 401, 200];
    let mut kept = bench.line();
    assert_eq!(requests.each_ref().map(|bytes| kept.call(bytes).status()), statuses);
    let mut pipelined = bench.line();
    pipelined.send(&requests.concat());
    assert_eq!(statuses.map(|_| pipelined.answer().status()), statuses);
    assert_eq!(bench.application.count(), 6);
}

#[test]
fn a_wrong_request_hidden_in_the_body_of_a_right_one_is_its_body() {
    let bench = Bench::start();
    let hidden = request(POST, "", b"{}");
    assert_eq!(bench.line().call(&request(POST, right(), &hidden)).status(), 200);
    assert_eq!(bench.application.last().request.body, hidden);
    // With two lengths it is no request at all.
    let two = format!("{}Transfer-Encoding: chunked\r\n", right());
    let answer = bench.line().call(&request(POST, two, &hidden));
    answer.assert_problem(400, "framing_ambiguous", "no");
    assert_eq!(bench.application.count(), 1);
}

#[test]
fn where_one_value_was_typed_the_other_header_is_absent_or_empty() {
    let (application, [shop, club]) = (Application::start(), [(); 2].map(|()| Mount::empty()));
    shop.swap_in_files(&[("authorization", HOOK_TOKEN)]);
    club.swap_in_files(&[("user-name", USER_NAME)]);
    let setup = Setup::new().receiving(&[("shop", &shop), ("club", &club)]);
    let (proxy, _sandbox) = setup.set(&format!("webhook.default={}", application.at("/"))).start();
    let call = |fields: String| {
        let mut line = Line::open(proxy.webhook.unwrap());
        line.call(&request(POST, fields, b"{}")).status()
    };
    for fields in [
        format!("Authorization: {HOOK_TOKEN}\r\n"),
        shown("", HOOK_TOKEN),
        format!("UserName: {USER_NAME}\r\n"),
        shown(USER_NAME, ""),
    ] {
        assert_eq!(call(fields), 200);
    }
    for fields in [
        shown("someone", HOOK_TOKEN),
        shown(USER_NAME, HOOK_TOKEN), // of two apps
        shown(USER_NAME, "something"),
        shown(HOOK_TOKEN, ""),
        String::new(),
        shown("", ""),
    ] {
        assert_eq!(call(fields), 401);
    }
    assert_eq!(application.count(), 4);
}

#[test]
fn a_previous_pair_counts_as_well_until_it_is_taken_away_and_is_not_mixed_with_the_current_one() {
    let (application, current, previous) = (Application::start(), console("New"), console("Old"));
    let setting = format!(
        "webhook.credentials=app=shop current={} previous={}",
        current.path().display(),
        previous.path().display()
    );
    let (proxy, _sandbox) = Setup::new()
        .receiving(&[])
        .set(&setting)
        .set("credentials.poll=20ms")
        .set(&format!("webhook.default={}", application.at("/")))
        .start();
    let answer = |user: &str, token: &str| -> Answer {
        let fields = shown(&format!("{USER_NAME}{user}"), &format!("{HOOK_TOKEN}{token}"));
        Line::open(proxy.webhook.unwrap()).call(&request(POST, fields, b"{}"))
    };
    let call = |user, token| answer(user, token).status();
    assert_eq!((call("New", "New"), call("Old", "Old")), (200, 200));
    assert_eq!((call("New", "Old"), call("Old", "New")), (401, 401));
    // The console's next value: what was current becomes previous.
    previous.swap_in_files(&[
        ("user-name", format!("{USER_NAME}New")),
        ("authorization", format!("{HOOK_TOKEN}New")),
    ]);
    current.swap_in_files(&[
        ("user-name", format!("{USER_NAME}Newer")),
        ("authorization", format!("{HOOK_TOKEN}Newer")),
    ]);
    eventually("the old pair does not count", || call("Old", "Old") == 401);
    eventually("the next pair counts", || call("Newer", "Newer") == 200);
    assert_eq!(call("New", "New"), 200);
    // What is unfit replaces nothing.
    current.swap_in_files::<&str>(&[]);
    eventually("it is said", || proxy.admin("/readyz").text().contains("the last reload failed"));
    assert_eq!(call("Newer", "Newer"), 200);
}
