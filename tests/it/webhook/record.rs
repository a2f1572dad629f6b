//! What is written down of an event, and what is not.

use serde_json::{Value, json};

use super::sender::request;
use super::{Bench, message, right, status};
use crate::support::canary::{PHONE, PSWD, RECEIVER, TEXT};
use crate::support::{Manner, eventually};

/// The records, without what differs from time to time, which is asserted to be there.
fn records(bench: &Bench, count: usize) -> Vec<Value> {
    eventually("every event is recorded", || bench.records().len() == count);
    let mut records = bench.records();
    for record in &mut records {
        let record = record.as_object_mut().unwrap();
        assert!(record.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
        assert!(record.remove("request_id").unwrap().as_str().is_some_and(|id| !id.is_empty()));
        assert!(record.remove("duration_us").unwrap().as_u64().is_some_and(|took| took > 0));
        assert_eq!(record.remove("level"), Some("INFO".into()));
        assert_eq!(record.remove("target"), Some("webhook".into()));
        assert_eq!(record.remove("message"), Some("event".into()));
    }
    records
}

#[test]
fn a_record_has_these_fields_and_no_others() {
    let route = "webhook.routes=path=/down to=http://127.0.0.1:9/";
    let bench = Bench::set(&[route, "webhook.methods=POST,GET"]);
    bench.application.once(Manner::status("503 Service Unavailable"));
    let query = format!(
        "msgid=m-1&status=DELIVRD&mobile={PHONE}&msg={TEXT}&receiver={RECEIVER}&pswd={PSWD}"
    );
    let calls = [
        (format!("POST /hooks?mobile={PHONE}"), message("e-1")),
        ("POST /hooks".to_owned(), status(RECEIVER, PSWD)),
        (format!("GET /hooks?{query}"), String::new()),
        ("POST /hooks".to_owned(), format!(r#"{{"type":"{TEXT} ","id":"{PHONE} "}}"#)),
        ("PUT /hooks".to_owned(), String::new()),
        ("POST /down".to_owned(), message("e-2")),
        (format!("POST http://elsewhere/hooks?{PHONE}"), String::new()),
    ];
    for (line, body) in &calls {
        bench.line().call(&request(line, right(), body.as_bytes()));
    }
    // Strangers leave none.
    bench.line().call(&request("POST /hooks", "", b"{}"));
    let kind = "whatsapp_mo_message_received";
    let wanted = [
        json!({"method": "POST", "path": "/hooks", "app": "shop", "type": kind, "event_id": "e-1",
               "status": 503, "outcome": "delivered", "sent": "maybe"}),
        json!({"method": "POST", "path": "/hooks", "app": "shop", "type": "sms_status",
               "event_id": "m-1", "status": 200, "outcome": "delivered", "sent": "maybe"}),
        json!({"method": "GET", "path": "/hooks", "app": "shop", "type": "sms_status",
               "event_id": "m-1", "status": 200, "outcome": "delivered", "sent": "maybe"}),
        json!({"method": "POST", "path": "/hooks", "app": "shop", "status": 200,
               "outcome": "delivered", "sent": "maybe"}),
        json!({"method": "PUT", "path": "/hooks", "app": "shop", "status": 405,
               "outcome": "rejected", "code": "method_refused", "sent": "no"}),
        json!({"method": "POST", "path": "/down", "app": "shop", "type": kind, "event_id": "e-2",
               "status": 503, "outcome": "undelivered", "code": "application_unreachable",
               "sent": "no"}),
        json!({"method": "POST", "path": "/hooks", "app": "shop", "status": 200,
               "outcome": "delivered", "sent": "maybe"}),
    ];
    assert_eq!(records(&bench, wanted.len()), wanted);
    assert_eq!(bench.refused("missing"), 1);
}

#[test]
fn a_record_bears_the_id_that_the_sender_and_the_application_see() {
    let bench = Bench::start();
    let answer = bench.post(message("e-1"));
    eventually("a record", || bench.records().len() == 1);
    let id = bench.records()[0]["request_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
    assert_eq!(bench.application.last().header("x-request-id"), Some(id.as_str()));
}
