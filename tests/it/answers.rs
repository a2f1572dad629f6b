//! What comes back: InnoPaaS's own answer, untouched.

use innopaas_proxy::sandbox::{Act, Refusal};

use crate::support::call::{Connection, block_on};
use crate::support::raw_upstream::{answer, read_request};
use crate::support::{Call, Proxy, RawUpstream, SMS, Setup, raw};

#[test]
fn status_body_and_end_to_end_headers_pass_unchanged() {
    let upstream = RawUpstream::start(|_, mut tls| {
        read_request(&mut tls).unwrap();
        answer(
            &mut tls,
            "HTTP/1.1 418 Short And Stout\r\nX-Odd: a\r\nX-Odd: b\r\nSet-Cookie: c=d\r\n\
             Content-Type: application/json;charset=UTF-8\r\nContent-Length: 9\r\n\r\n{ \"a\":1 }",
        );
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    let answer = proxy.call(Call::sms());
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (418, "{ \"a\":1 }"));
    let odd: Vec<_> = answer.headers.get_all("x-odd").iter().collect();
    assert_eq!(odd, ["a", "b"]);
    let mut names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "set-cookie", "x-odd", "x-request-id"]);
}

#[test]
fn what_belongs_to_the_hop_stays_there_and_nobody_speaks_for_this_proxy() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::HopHeaders, None);
    let answer = proxy.call(Call::sms());
    assert_eq!(answer.status, 200);
    for name in ["connection", "x-internal", "keep-alive", "proxy-status"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-sandbox"), Some("1"));
}

#[test]
fn a_redirect_is_passed_back_and_not_followed() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::Redirect, None);
    let answer = proxy.call(Call::sms());
    assert_eq!(answer.status, 302);
    assert!(answer.header("location").is_some());
    assert_eq!(sandbox.calls().total, 1);
}

#[test]
fn a_refusal_is_innopaas_s_own_answer_and_is_not_repeated() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.new_token();
    for (refusal, status) in [
        (Refusal::Unauthorized401Json, 401),
        (Refusal::Forbidden403Json, 403),
        (Refusal::Ok200Code, 200),
        (Refusal::Unauthorized401Html, 401),
    ] {
        sandbox.reset_counts();
        sandbox.set_refusal(refusal);
        let answer = proxy.call(Call::sms());
        assert_eq!((answer.status.as_u16(), answer.header("proxy-status")), (status, None));
        let calls = sandbox.calls();
        assert_eq!((calls.total, calls.refused), (1, 1));
    }
}

#[test]
fn too_many_requests_passes_with_its_retry_after() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::Status429 { retry_after: Some(7) }, None);
    let answer = proxy.call(Call::sms());
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, Some("7")));
    assert_eq!(sandbox.calls().total, 1);
}

#[test]
fn the_request_id_is_taken_if_well_formed_and_made_if_not() {
    let (proxy, _sandbox) = Proxy::start();
    let taken = proxy.call(Call::sms().header("x-request-id", "a.B_c-1"));
    assert_eq!(taken.header("x-request-id"), Some("a.B_c-1"));
    let made = proxy.call(Call::sms().header("x-request-id", "a b"));
    assert!(!made.header("x-request-id").unwrap().contains(' '));
}

#[test]
fn a_slow_answer_is_passed_on_as_it_comes() {
    let (proxy, sandbox) = Proxy::start();
    sandbox.act(Act::SlowBody { ms: 20 }, None);
    assert_eq!(proxy.call(Call::sms()).json()["code"], "0");
}

#[test]
fn an_answer_in_chunks_loses_its_trailers_and_nothing_else() {
    let upstream = RawUpstream::start(|_, mut tls| {
        while read_request(&mut tls).is_some() {
            answer(
                &mut tls,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n\
                 3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Late: 1\r\n\r\n",
            );
        }
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    let request = format!(
        "POST {SMS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTE: trailers\r\n\
         Connection: close\r\n\r\n{{}}"
    );
    let text = raw(proxy.listen, request.as_bytes());
    assert!(text.contains("abc") && text.contains("de") && text.ends_with("0\r\n\r\n"), "{text}");
    assert!(!text.to_ascii_lowercase().contains("x-late"), "{text}");
    assert_eq!(proxy.call(Call::sms()).text(), "abcde");
    assert_eq!(upstream.connections(), 1, "the connection was fit to be used again");
}

#[test]
fn the_head_of_an_answer_to_head_passes_with_its_length() {
    let upstream = RawUpstream::start(|_, mut tls| {
        while read_request(&mut tls).is_some() {
            answer(&mut tls, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
        }
    });
    let proxy = Setup::new().start_before_raw(&upstream);
    block_on(async {
        let mut connection = Connection::open(proxy.listen).await;
        for _ in 0..2 {
            let answer = connection.call(Call::new("HEAD", "/api/x")).await;
            assert_eq!((answer.header("content-length"), answer.body.len()), (Some("5000"), 0));
        }
    });
    assert_eq!(upstream.connections(), 1);
}
