//! When there is a receiver, when there is none, and how it ends.

use std::net::TcpStream;
use std::process::Command;

use super::sender::{Line, request};
use super::{Bench, console, message, right};
use crate::support::application::answer;
use crate::support::proxy::binary;
use crate::support::{Application, Manner, Mount, Proxy, Setup, canary, eventually};

const LISTEN: &str = "webhook.listen=127.0.0.1:0";

/// A start that fails: exit code and what is said.
fn start(settings: &[String]) -> (i32, String) {
    run("run", settings)
}

fn check(settings: &[String]) -> (i32, String) {
    run("check", settings)
}

fn run(name: &str, settings: &[String]) -> (i32, String) {
    let mut command: Command = binary();
    command.args([name, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    canary::assert_absent("the problems", &said);
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn without_credentials_there_is_no_receiver_and_nobody_speaks_of_one() {
    let address = Application::nowhere();
    let (proxy, _sandbox) = Setup::new().set(&format!("webhook.listen={address}")).start();
    assert_eq!(proxy.webhook, None);
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    let ready = proxy.admin("/readyz");
    assert_eq!(ready.status, 200);
    assert!(!ready.text().contains("webhook"), "{}", ready.text());
    assert!(proxy.admin("/status").json()["webhook"].is_null());
}

#[test]
fn a_receiver_says_how_its_files_fare() {
    let bench = Bench::start();
    let ready = bench.proxy.admin("/readyz");
    let text = ready.text();
    assert_eq!(ready.status, 200);
    for app in ["shop", "club"] {
        assert!(text.contains(&format!("webhook: {app}: current is in use\n")), "{text}");
    }
    let webhook = bench.proxy.admin("/status").json()["webhook"].clone();
    assert_eq!(
        (&webhook["verified"], &webhook["credentials"][0]["app"]),
        (&true.into(), &"shop".into())
    );
    let loaded = r#"innopaas_proxy_webhook_reloads_total{result="loaded"}"#;
    assert_eq!(bench.proxy.metric(loaded), 2);
    assert_eq!(bench.proxy.metric("innopaas_proxy_webhook_receiver_open"), 0);
    let _ = (&bench.shop, &bench.club);
}

#[test]
fn a_directory_that_holds_nothing_is_a_problem_of_the_configuration() {
    let (empty, half) = (Mount::empty(), Mount::empty());
    half.swap_in_files(&[("authorization", canary::HOOK_TOKEN)]);
    let lines = Mount::empty();
    lines.swap_in_files(&[("authorization", format!("{}\nsecond line", canary::HOOK_TOKEN))]);
    let credentials = |directory: &str| format!("webhook.credentials=app=shop current={directory}");
    let default = || "webhook.default=http://127.0.0.1:9/".to_owned();
    let path = |mount: &Mount| mount.path().display().to_string();
    for (directory, body_check, words) in [
        ("/nowhere/at/all".to_owned(), false, "/nowhere/at/all"),
        (path(&empty), false, "user-name: there is no such file"),
        (path(&half), true, "receiver: there is no such file"),
        (path(&lines), false, "authorization: the byte at position"),
    ] {
        let checked = format!("webhook.body_check={body_check}");
        let settings = [LISTEN.to_owned(), credentials(&directory), default(), checked];
        let (code, said) = start(&settings);
        assert_eq!(code, 64, "{said}");
        assert!(said.contains("webhook.credentials") && said.contains(words), "{said}");
        let (code, said) = check(&settings);
        assert_eq!(code, 64, "{said}");
        assert!(said.contains("webhook.credentials") && said.contains(words), "{said}");
    }
    let settings = [LISTEN.to_owned(), credentials(&path(&half)), default()];
    let (code, said) = check(&settings);
    assert!(code == 0 && said.contains("# webhook: shop: current can be used"), "{code} {said}");
}

#[test]
fn a_missing_directory_is_told_with_its_own_remedy() {
    let credentials = "webhook.credentials=app=shop current=/nowhere/at/all".to_owned();
    let default = "webhook.default=http://127.0.0.1:9/".to_owned();
    let (code, said) = start(&[LISTEN.to_owned(), credentials, default]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("mount the Secret there"), "{said}");
    assert!(!said.contains("credentials.directory"), "another setting: {said}");
}

#[test]
fn a_receiver_that_shares_an_address_or_has_nowhere_to_hand_over_to_is_a_problem() {
    let shop = console("");
    let credentials = format!("webhook.credentials=app=shop current={}", shop.path().display());
    let default = "webhook.default=http://127.0.0.1:9/".to_owned();
    let address = Application::nowhere();
    for other in ["admin.address", "listen.address"] {
        let mut command = binary();
        command.arg("check");
        let settings = [
            format!("webhook.listen={address}"),
            format!("{other}={address}"),
            credentials.clone(),
            default.clone(),
        ];
        for setting in &settings {
            command.args(["--set", setting]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("webhook.listen: must not be the address of another"), "{said}");
    }
    let (code, said) = start(&[LISTEN.to_owned(), credentials.clone()]);
    assert!(code == 64 && said.contains("events must go somewhere"), "{said}");
    let (code, said) = start(&[LISTEN.to_owned(), default.clone()]);
    assert!(code == 64 && said.contains("webhook.verify: none"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("webhook.listen={}", taken.local_addr().unwrap());
    let (code, said) = start(&[taken, credentials, default]);
    assert!(code == 1 && said.contains("webhook.listen") && said.contains("is in use"), "{said}");
}

#[test]
fn a_receiver_that_lets_everybody_in_warns_of_it_wherever_one_looks() {
    let application = Application::start();
    let (proxy, _sandbox) = Setup::new()
        .set(LISTEN)
        .set("webhook.verify=none")
        .set(&format!("webhook.default={}", application.at("/")))
        .start();
    let call = |fields: String| {
        Line::open(proxy.webhook.unwrap()).call(&request(
            "POST /",
            fields,
            message("e-1").as_bytes(),
        ))
    };
    assert_eq!([call(String::new()).status(), call(right() + &right()).status()], [200, 200]);
    let got = application.last();
    assert_eq!((got.header("x-innopaas-app"), got.header("username")), (None, None));
    let warns = |line: &serde_json::Value| {
        line["level"] == "WARN"
            && line["message"].as_str().unwrap().contains("webhook.verify is none")
    };
    assert!(proxy.log().iter().any(warns), "{}", proxy.output());
    assert!(proxy.admin("/readyz").text().contains("webhook: everybody is let in"));
    assert_eq!(proxy.admin("/status").json()["webhook"]["verified"], false);
    assert_eq!(proxy.metric("innopaas_proxy_webhook_receiver_open"), 1);
}

fn post_later(bench: &Bench) -> Line {
    let mut line = bench.line();
    line.send(&request("POST /hooks", right(), message("e-1").as_bytes()));
    bench.application.wait_for(1);
    line
}

#[test]
fn an_event_in_flight_is_finished_at_the_end_and_no_new_one_is_taken() {
    let mut bench = Bench::start();
    let later = std::time::Duration::from_millis(600);
    bench.application.once(Manner::AnswersAfter(later, answer("200 OK", "", b"taken")));
    let mut unused = bench.line();
    assert_eq!(unused.call(&request("POST /", "", b"{}")).status(), 401);
    let mut line = post_later(&bench);
    bench.proxy.signal("TERM");
    assert_eq!(line.answer().body(), b"taken");
    assert_eq!(unused.rest(), b"");
    assert_eq!(bench.proxy.wait(), 0, "{}", bench.proxy.output());
    assert!(TcpStream::connect(bench.proxy.webhook.unwrap()).is_err());
    assert_eq!(bench.records().len(), 1);
}

#[test]
fn an_event_that_does_not_finish_in_time_is_cut_and_the_exit_code_says_so() {
    let mut bench = Bench::set(&["webhook.deadline=20s", "drain.maximum=300ms"]);
    bench.application.once(Manner::Hangs);
    let mut line = post_later(&bench);
    assert_eq!(bench.proxy.stop(), 3, "{}", bench.proxy.output());
    assert_eq!(line.rest(), b"");
    let records = bench.records();
    assert_eq!((records.len(), &records[0]["sent"]), (1, &"maybe".into()));
}

#[test]
fn calls_of_the_application_are_served_beside_webhooks() {
    let bench = Bench::start();
    assert_eq!(bench.proxy.call(crate::support::Call::sms()).status, 200);
    assert_eq!(bench.post(message("e-1")).status(), 200);
    let proxy: &Proxy = &bench.proxy;
    eventually("both are recorded", || !proxy.records().is_empty() && !bench.records().is_empty());
}
