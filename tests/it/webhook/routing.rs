//! Which application an event goes to, and what it is asked for there.

use super::sender::request;
use super::{Bench, message, right, right_of_club, status, typed, uplink};
use crate::support::Application;
use crate::support::canary::PHONE;

/// Where an event went: what its application was asked for.
fn target(bench: &Bench) -> String {
    bench.application.last().request.target
}

#[test]
fn the_first_route_that_fits_by_app_type_and_path_wins_and_the_default_takes_the_rest() {
    let application = Application::start();
    let routes = [
        format!("app=club type=sms_status to={}", application.at("/club-status")),
        format!("type=whatsapp_template_status_update to={}", application.at("/templates")),
        format!("type=whatsapp_phone_number_quality_updated to={}", application.at("/quality")),
        format!("path=/by/*/path to={}", application.at("/path")),
        format!("app=club to={}", application.at("/club")),
        format!("type=sms_uplink to={}", application.at("/uplinks?of=shop")),
    ];
    let routes = format!("webhook.routes={}", routes.join(","));
    let bench = Bench::before(application, &[&routes]);
    let template = |spelling: &str| typed(&format!("whatsapp_template_status_{spelling}"), "e-1");
    let quality =
        |spelling: &str| typed(&format!("whatsapp_phone_number_quality_{spelling}"), "e-1");
    let (shop, club) = (right(), right_of_club());
    let event = message("e-1");
    for (fields, path, body, to) in [
        (&club, "/", &status("a", "b"), "/club-status"),
        (&club, "/by/any/path", &status("a", "b"), "/club-status"),
        (&shop, "/by/any/path", &status("a", "b"), "/path"),
        (&shop, "/", &template("update"), "/templates"),
        (&shop, "/", &template("updated"), "/templates"),
        (&club, "/", &template("updated"), "/templates"),
        (&shop, "/", &quality("update"), "/quality"),
        (&shop, "/", &quality("updated"), "/quality"),
        (&shop, "/by/any/path", &event, "/path"),
        (&club, "/by/any/path", &event, "/path"),
        (&club, "/", &event, "/club"),
        (&club, "/", &uplink("a", "b"), "/club"),
        (&shop, "/", &uplink("a", "b"), "/uplinks?of=shop"),
        (&shop, "/", &event, "/in"),
        (&shop, "/by/path", &event, "/in"),
        (&shop, "/by/a/b/path", &event, "/in"),
        (&shop, "/by/a%2Fb/path", &event, "/path"),
        (&shop, "/", &template("updates"), "/in"),
        (&shop, "/", &"no JSON".to_owned(), "/in"),
        (&shop, "/", &String::new(), "/in"),
    ] {
        let answer = bench.line().call(&request(&format!("POST {path}"), fields, body.as_bytes()));
        assert_eq!(answer.status(), 200, "{path} {body}");
        assert_eq!(target(&bench), to, "{path} {body}");
    }
}

#[test]
fn what_no_route_fits_is_404_where_there_is_no_default() {
    let application = Application::start();
    let route = format!("webhook.routes=type=sms_status to={}", application.at("/status"));
    let bench = Bench::without_default(application, &[&route]);
    assert_eq!(bench.post(status("a", "b")).status(), 200);
    bench.post(message("e-1")).assert_problem(404, "event_unroutable", "no");
    bench.post("").assert_problem(404, "event_unroutable", "no");
    assert_eq!((bench.events("unroutable"), bench.application.count()), (2, 1));
}

#[test]
fn methods_that_are_not_configured_are_405_and_the_answer_names_those_that_are() {
    let bench = Bench::start();
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "BREW"] {
        let bytes = request(&format!("{method} /hooks"), right(), b"");
        let mut line = bench.line();
        if method == "HEAD" {
            line.send(&bytes);
            assert!(line.interim().starts_with("HTTP/1.1 405 "));
            continue;
        }
        let answer = line.call(&bytes);
        answer.assert_problem(405, "method_refused", "no");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    for line in ["CONNECT hooks.example:443", "OPTIONS *"] {
        let answer = bench.line().call(&request(line, right(), b""));
        answer.assert_problem(405, "method_refused", "no");
    }
    // Who is not known does not learn which they are.
    assert_eq!(bench.line().call(&request("GET /hooks", "", b"")).status(), 401);
    assert_eq!(bench.application.count(), 0);
    let bench = Bench::set(&["webhook.methods=GET"]);
    assert_eq!(bench.line().call(&request("GET /hooks?a=b", right(), b"")).status(), 200);
    assert_eq!(bench.post("{}").header("allow"), Some("GET"));
    assert_eq!(bench.application.count(), 1);
}

#[test]
fn nothing_of_the_address_goes_on_but_the_query_of_a_get() {
    let application = Application::start();
    let (plain, own) = (application.at("/plain"), application.at("/own?a=b"));
    let routes = format!("webhook.routes=path=/plain to={plain}, path=/own to={own}");
    let bench = Bench::before(application, &[&routes, "webhook.methods=POST,GET"]);
    let query = format!("msgid=1&status=x%20y&mobile={PHONE}&x=[]|&&");
    for (line, to) in [
        ("GET /plain?Q", "/plain?Q".to_owned()),
        ("GET /own?Q", "/own?a=b&Q".to_owned()),
        ("POST /plain?Q", "/plain".to_owned()),
        ("POST /own?Q", "/own?a=b".to_owned()),
        ("GET /plain", "/plain".to_owned()),
        ("GET /plain?", "/plain?".to_owned()),
        ("GET /own", "/own?a=b".to_owned()),
        ("POST http://elsewhere.example/plain?Q", "/plain".to_owned()),
        ("POST /../x//%2e%2e/y", "/in".to_owned()),
    ] {
        let line = line.replace('Q', &query);
        assert_eq!(bench.line().call(&request(&line, right(), b"")).status(), 200, "{line}");
        assert_eq!(target(&bench), to.replace('Q', &query), "{line}");
        assert_eq!(bench.application.last().header("host"), Some(bench.application.host()));
    }
}
