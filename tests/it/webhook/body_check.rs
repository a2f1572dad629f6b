//! SMS pushes that must show `receiver` and `pswd` as well: what shows them goes on without them, and
//! what does not stays outside, whatever it is dressed up as.

use super::sender::{Answer, request};
use super::{Bench, message, right, right_of_club, status, typed, uplink};
use crate::support::canary::{PHONE, PSWD, RECEIVER, TEXT};

const CHECKED: [&str; 2] = ["webhook.body_check=true", "webhook.methods=POST,GET"];

fn checked() -> Bench {
    Bench::set(&CHECKED)
}

/// As a query: letters and digits need no encoding.
fn query(receiver: &str, pswd: &str) -> String {
    format!("receiver={receiver}&pswd={pswd}&msgid=m-1&mobile={PHONE}&status=DELIVRD")
}

fn get(bench: &Bench, query: &str) -> Answer {
    bench.line().call(&request(&format!("GET /hooks?{query}"), right(), b""))
}

fn stars(text: &str) -> String {
    text.replace(RECEIVER, &"*".repeat(RECEIVER.len())).replace(PSWD, &"*".repeat(PSWD.len()))
}

#[test]
fn a_push_that_shows_both_values_goes_on_with_as_many_stars_in_their_place() {
    let bench = checked();
    for push in [status(RECEIVER, PSWD), uplink(RECEIVER, PSWD)] {
        assert_eq!(bench.post(&push).status(), 200);
        let got = bench.application.last();
        assert_eq!(String::from_utf8(got.request.body.clone()).unwrap(), stars(&push));
        assert_eq!(got.header("content-length"), Some(push.len().to_string().as_str()));
        assert_eq!(got.header("x-innopaas-app"), Some("shop"));
    }
    let queries = [
        query(RECEIVER, PSWD),
        format!("moTime=1&destcode=2&receiver={RECEIVER}&msg={TEXT}&pswd={PSWD}"),
    ];
    for query in queries {
        assert_eq!(get(&bench, &query).status(), 200);
        let got = bench.application.last().request;
        assert_eq!((got.method.as_str(), got.target), ("GET", format!("/in?{}", stars(&query))));
    }
}

#[test]
fn values_that_are_written_in_another_way_are_the_same_and_are_masked_as_they_are_written() {
    let bench = checked();
    let escaped = |text: &str| text.replacen('C', "\\u0043", 1);
    let push = status(&escaped(RECEIVER), PSWD);
    assert_eq!(bench.post(&push).status(), 200);
    let body = String::from_utf8(bench.application.last().request.body).unwrap();
    assert_eq!(body, stars(&push.replace("\\u0043", "*****C")));
    let percent = query(RECEIVER, &PSWD.replacen('C', "%43", 1));
    assert_eq!(get(&bench, &percent).status(), 200);
    let target = bench.application.last().request.target;
    assert_eq!(target, format!("/in?{}", stars(&percent.replace("%43", "**C"))));
    let name = status(RECEIVER, PSWD).replace("pswd", "p\\u0073wd");
    assert_eq!(bench.post(&name).status(), 200);
}

#[test]
fn a_push_that_does_not_show_them_once_each_is_told_what_every_stranger_is_told() {
    let bench = checked();
    let stranger = bench.line().call(&request("POST /hooks", "", b"")).without_ids();
    let whole = status(RECEIVER, PSWD);
    let without = |name: &str, text: &str| text.replace(name, "other");
    let bodies = [
        status("someone", PSWD),
        status(RECEIVER, "something"),
        status("", ""),
        status(PSWD, RECEIVER),
        status(&RECEIVER.to_lowercase(), PSWD),
        status(RECEIVER, &PSWD[..PSWD.len() - 1]),
        status(RECEIVER, &format!("{PSWD} ")),
        status(&format!("{RECEIVER}Club"), &format!("{PSWD}Club")),
        status(RECEIVER, &format!("{PSWD}Club")),
        without("receiver", &whole),
        without("pswd", &whole),
        whole.replace("\"msgid\"", &format!("\"pswd\":\"{PSWD}\",\"msgid\"")),
        whole.replace("\"msgid\"", "\"receiver\":\"x\",\"msgid\""),
        whole.replace("\"msgid\"", &format!("\"receive\\u0072\":\"{RECEIVER}\",\"msgid\"")),
        whole.replace(&format!("\"{PSWD}\""), &format!("[\"{PSWD}\"]")),
        whole.replace(&format!("\"{PSWD}\""), "null"),
        format!(r#"{{"msgid":"1","status":"x","in":{whole}}}"#),
        uplink("someone", PSWD),
        uplink(RECEIVER, "something"),
        without("pswd", &uplink(RECEIVER, PSWD)),
    ];
    for body in &bodies {
        assert_eq!(bench.post(body).without_ids(), stranger, "{body}");
    }
    let right = query(RECEIVER, PSWD);
    let queries = [
        query("someone", PSWD),
        query(RECEIVER, "something"),
        without("receiver", &right),
        without("pswd", &right),
        format!("{right}&pswd={PSWD}"),
        format!("{right}&receiver=x"),
        format!("{right}&recei%76er=x"),
        query("", ""),
        "moTime=1".to_owned(),
    ];
    for query in &queries {
        assert_eq!(get(&bench, query).without_ids(), stranger, "{query}");
    }
    assert_eq!(bench.application.count(), 0);
    assert_eq!(bench.refused("body"), (bodies.len() + queries.len()) as u64);
}

#[test]
fn the_values_of_another_app_do_not_do() {
    let bench = checked();
    let push = status(RECEIVER, PSWD);
    let of_club = request("POST /hooks", right_of_club(), push.as_bytes());
    assert_eq!(bench.line().call(&of_club).status(), 401);
    assert_eq!(bench.application.count(), 0);
}

#[test]
fn a_push_without_the_check_goes_on_as_it_is() {
    let bench = Bench::start();
    let push = status("someone", PSWD);
    assert_eq!(bench.post(&push).status(), 200);
    assert_eq!(bench.application.last().request.body, push.as_bytes());
}

#[test]
fn events_in_an_envelope_are_not_touched() {
    let bench = checked();
    for event in [
        message("e-1"),
        typed("whatsapp_message_status_updated", "e-2"),
        r#"{"id":"e-3","type":"later","body":{"receiver":"x","pswd":"y","msgid":"1","status":"z"}}"#
            .to_owned(),
    ] {
        assert_eq!(bench.post(&event).status(), 200);
        assert_eq!(bench.application.last().request.body, event.as_bytes());
    }
}

#[test]
fn a_push_of_more_than_64_kib_is_too_large_to_be_checked() {
    let bench = checked();
    let padded = |length: usize| {
        let push = status(RECEIVER, PSWD);
        let pad = "x".repeat(length - push.len() - r#""pad":"","#.len());
        push.replacen('{', &format!(r#"{{"pad":"{pad}","#), 1)
    };
    let fits = padded(64 * 1024 - 1);
    assert_eq!(bench.post(&fits).status(), 200);
    assert_eq!(bench.application.last().request.body, stars(&fits).into_bytes());
    let behind = format!(
        "{},\"pad\":\"{}\"}}",
        status(RECEIVER, PSWD).trim_end_matches('}'),
        "x".repeat(70_000)
    );
    bench.post(behind).assert_problem(413, "body_too_large", "no");
    assert_eq!(bench.application.count(), 1);
    // What it shows stands where it was not looked for.
    bench.post(padded(70_000)).assert_problem(413, "body_too_large", "no");
    assert_eq!(bench.application.count(), 1);
}

#[test]
fn a_push_cannot_pass_as_something_else() {
    let bench = checked();
    let push = status("someone", "something");
    let dressed = [
        push.replacen('{', r#"{"type":"sms_status","#, 1),
        push.replacen('{', r#"{"type":"whatsapp_mo_message_received","id":"e-1","#, 1),
        push.replacen('}', r#","type":"later"}"#, 1),
        r#"{"type":"sms_status","receiver":"someone","pswd":"something"}"#.to_owned(),
        r#"{"type":"sms_uplink","id":"1"}"#.to_owned(),
        uplink("someone", PSWD).replacen('{', r#"{"type":"later","#, 1),
        // Many take a name in any case, and some take what is no JSON.
        push.replace("msgid", "MsgId").replace("receiver", "Receiver"),
        push.replace("status", "STATUS"),
        push.replacen('{', r#"{"fee":NaN,"#, 1),
        push.replacen('{', "{/**/", 1),
        push.replace('"', "'"),
        format!("\u{feff}{push}"),
        format!("[{push}]"),
        format!("{{}}\n{push}"),
        query("someone", "something"),
    ];
    for body in &dressed {
        let answer = bench.post(body);
        assert_eq!(answer.status(), 401, "{body}");
    }
    // Of two places, an application may look at either.
    let wrong = query("someone", "something");
    for (query, body) in
        [(wrong.as_str(), "x"), (wrong.as_str(), message("e-1").as_str()), ("a=b", push.as_str())]
    {
        let bytes = request(&format!("GET /hooks?{query}"), right(), body.as_bytes());
        assert_eq!(bench.line().call(&bytes).status(), 401, "{query} {body}");
    }
    assert_eq!(bench.application.count(), 0);
}

#[test]
fn what_is_read_to_its_end_and_is_no_push_goes_on() {
    let bench = checked();
    for body in ["", "{}", r#"{"hello":1}"#, r#"{"type":"later"}"#] {
        assert_eq!(bench.post(body).status(), 200, "{body}");
        assert_eq!(bench.application.last().request.body, body.as_bytes());
    }
    assert_eq!(get(&bench, "hello=1").status(), 200);
    let pad = "x".repeat(100_000);
    let large = message("e-1").replace("\"from\"", &format!("\"pad\":\"{pad}\",\"from\""));
    assert_eq!(bench.post(&large).status(), 200, "an envelope that tells its type first");
    assert_eq!(bench.application.last().request.body, large.as_bytes());
}
