//! Events that InnoPaaS sends again although they were acknowledged.

use super::sender::request;
use super::{Bench, message, right, right_of_club, status, typed};
use crate::support::canary::{PSWD, RECEIVER};
use crate::support::{Manner, eventually};

fn remembering() -> Bench {
    Bench::set(&["webhook.duplicates.window=1h", "webhook.methods=POST,GET"])
}

#[test]
fn an_event_that_was_acknowledged_is_answered_200_and_not_handed_over_again() {
    let bench = remembering();
    bench.application.always(Manner::ok("taken"));
    assert_eq!(bench.post(message("e-1")).body(), b"taken");
    let again = bench.post(message("e-1"));
    assert_eq!((again.status(), again.body()), (200, &b""[..]));
    assert!(again.header("x-request-id").is_some());
    // What else it says does not matter.
    let changed = message("e-1").replace("eventTime", "time");
    assert_eq!(bench.post(changed).status(), 200);
    assert_eq!((bench.application.count(), bench.events("duplicate")), (1, 2));
    assert_eq!(bench.post(message("e-2")).body(), b"taken");
    let other_type = typed("whatsapp_message_status_updated", "e-1");
    assert_eq!(bench.post(other_type).body(), b"taken");
    assert_eq!((bench.application.count(), bench.events("duplicate")), (3, 2));
    eventually("records", || bench.records().len() == 5);
    let duplicates = bench.records().into_iter().filter(|record| record["outcome"] == "duplicate");
    assert!(duplicates.inspect(|record| assert_eq!(record["sent"], "no")).count() == 2);
}

#[test]
fn an_event_that_was_not_acknowledged_is_handed_over_again() {
    let bench = Bench::set(&["webhook.duplicates.window=1h", "webhook.deadline=400ms"]);
    let manners = [
        (Manner::status("500 Internal Server Error"), 500),
        (Manner::status("404 Not Found"), 404),
        (Manner::status("302 Found"), 302),
        (Manner::Closes, 504),
        (Manner::Hangs, 504),
    ];
    for (manner, status) in manners {
        bench.application.once(manner);
        assert_eq!(bench.post(message("e-1")).status(), status);
    }
    assert_eq!((bench.application.count(), bench.events("duplicate")), (5, 0));
    assert_eq!([(); 2].map(|()| bench.post(message("e-1")).status()), [200, 200]);
    assert_eq!((bench.application.count(), bench.events("duplicate")), (6, 1));
}

#[test]
fn pushes_of_sms_are_told_apart_by_all_that_they_say() {
    let bench = remembering();
    let delivered = status(RECEIVER, PSWD);
    let expired = delivered.replace("DELIVRD", "EXPIRED");
    for body in [&delivered, &expired, &delivered, &expired, &delivered] {
        assert_eq!(bench.post(body).status(), 200);
    }
    assert_eq!((bench.application.count(), bench.events("duplicate")), (2, 3));
    let get = |query: &str| {
        let bytes = request(&format!("GET /hooks?{query}"), right(), b"");
        assert_eq!(bench.line().call(&bytes).status(), 200);
    };
    for query in ["msgid=1&status=a", "msgid=1&status=b", "msgid=1&status=a"] {
        get(query);
    }
    assert_eq!((bench.application.count(), bench.events("duplicate")), (4, 4));
}

#[test]
fn the_same_id_of_another_app_is_another_event() {
    let bench = remembering();
    let of_club = request("POST /hooks", right_of_club(), message("e-1").as_bytes());
    assert_eq!(bench.post(message("e-1")).status(), 200);
    assert_eq!(bench.line().call(&of_club).status(), 200);
    assert_eq!((bench.application.count(), bench.events("duplicate")), (2, 0));
    // Nor does one that is refused count as seen, or see.
    let unknown = request("POST /hooks", "", message("e-1").as_bytes());
    assert_eq!(bench.line().call(&unknown).status(), 401);
    assert_eq!(bench.events("duplicate"), 0);
}

#[test]
fn what_cannot_be_told_from_others_is_never_a_duplicate() {
    let bench = remembering();
    for body in ["", "{}", "no JSON", r#"{"type":"later"}"#, r#"{"id":"e-1"}"#] {
        assert_eq!([(); 2].map(|()| bench.post(body).status()), [200, 200]);
    }
    assert_eq!((bench.application.count(), bench.events("duplicate")), (10, 0));
}

#[test]
fn only_so_many_are_remembered_and_none_by_default() {
    let bench = Bench::set(&["webhook.duplicates.window=1h", "webhook.duplicates.entries=2"]);
    for id in ["a", "b", "c", "a", "c"] {
        assert_eq!(bench.post(message(id)).status(), 200);
    }
    assert_eq!((bench.application.count(), bench.events("duplicate")), (4, 1));
    let bench = Bench::start();
    assert_eq!([(); 2].map(|()| bench.post(message("e-1")).status()), [200, 200]);
    assert_eq!(bench.application.count(), 2);
}
