//! Commands, flags, environment, exit codes.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use innopaas_proxy::sandbox::{Options, Pair, Sandbox};

use crate::support::call::Call;
use crate::support::proxy::{Process, binary};
use crate::support::{Mount, SMS, canary, eventually};

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn check_prints_every_problem_with_its_place_and_exits_64() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "listen:\n  address: 10.0.0.1:80\nupstream:\n  orign: {}", canary::TOKEN)
        .unwrap();
    let (code, out, err) = run(binary()
        .args(["check", "--log-level", canary::TOKEN, "--config"])
        .arg(file.path())
        .env("INNOPAAS_PROXY_DRAIN__MINIMUM", "soon"));
    assert_eq!((code, out.as_str()), (64, ""));
    for words in [
        "4 problems",
        "line 2: listen.address: must be a loopback address",
        "line 4: upstream.orign: there is no such setting; is it upstream.origin?",
        "INNOPAAS_PROXY_DRAIN__MINIMUM: drain.minimum: must be a duration",
        "--log-level: log.level: must be",
    ] {
        assert!(err.contains(words), "{words}\n{err}");
    }
    canary::assert_absent("the problems", err.as_bytes());
}

#[test]
fn check_prints_what_holds_with_secrets_masked_and_exits_0() {
    let mount = Mount::of(&canary::pair());
    let (code, out, err) = run(binary()
        .args(["check", "--set", "limits.workers=2", "--credentials"])
        .arg(mount.path())
        .env("INNOPAAS_PROXY_LOG__FORMAT", "text")
        .env("INNOPAAS_PROXY_LOG__FROMAT", "text")
        .env("INNOPAAS_PROXY_SERVICE_HOST", "10.0.0.1"));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("  workers: 2 # --set"), "{out}");
    assert!(out.contains("  format: text # INNOPAAS_PROXY_LOG__FORMAT"), "{out}");
    assert!(out.contains("app-key **** (17 bytes), authorization **** (56 bytes)"), "{out}");
    assert_eq!(err.matches("warning:").count(), 1, "{err}");
    assert!(err.contains("INNOPAAS_PROXY_LOG__FROMAT"), "{err}");
    canary::assert_absent("what check prints", out.as_bytes());

    // What it prints can be used as a file.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(out.as_bytes()).unwrap();
    let (code, again, err) = run(binary().args(["check", "--config"]).arg(file.path()));
    assert_eq!(code, 0, "{err}");
    assert!(again.contains("  workers: 2 # line "), "{again}");
}

#[test]
fn a_ca_file_of_no_use_is_a_problem() {
    let (code, _, err) = run(binary().args(["check", "--ca-file", "/dev/null"]));
    assert_eq!(code, 64);
    assert!(err.contains("has no certificate in it"), "{err}");
    let (code, _, err) = run(binary().args(["run", "--ca-file", "/nowhere.pem"]));
    assert_eq!(code, 64, "{err}");
    assert!(err.contains("upstream.ca_file"), "{err}");
}

#[test]
fn check_says_what_a_standby_is_and_what_is_none() {
    let primary = Mount::of(&canary::pair());
    let standby = Mount::of(&canary::marked_pair("S"));
    let check = |standby: &Mount| {
        let setting = format!("credentials.standby.directory={}", standby.path().display());
        run(binary().args(["check", "--set", &setting, "--credentials"]).arg(primary.path()))
    };
    let (code, out, err) = check(&standby);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("# standby: app-key **** (18 bytes), authorization **** (57 bytes)"));
    assert!(out.contains("# standby: is another application of InnoPaaS: sender ids"), "{out}");
    canary::assert_absent("what check prints", out.as_bytes());

    standby.swap_in(&Pair::new(canary::APP_KEY, format!("{}2", canary::TOKEN)));
    let (code, _, err) = check(&standby);
    assert_eq!(code, 0);
    assert!(err.contains("its app-key is that of credentials.directory"), "{err}");
    assert_eq!(check(&primary).0, 64, "one directory for both");
}

#[test]
fn check_rejects_codes_behind_which_messages_may_have_been_sent() {
    for code in ["110", "131", "132", "133", "134", "0", "000000"] {
        let setting = format!("refusal.codes={code}");
        let (exit, _, err) = run(binary().args(["check", "--set", &setting]));
        assert_eq!(exit, 64, "{code}");
        assert!(err.contains("refusal.codes") && err.contains("sent twice"), "{err}");
    }
}

#[test]
fn a_fingerprint_key_of_no_use_is_a_problem() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "short").unwrap();
    let setting = format!("credentials.fingerprint_key_file={}", file.path().display());
    for command in ["check", "run"] {
        let (code, _, err) = run(binary().args([command, "--set", &setting]));
        assert_eq!(code, 64, "{err}");
        assert!(
            err.contains("credentials.fingerprint_key_file") && err.contains("16 bytes"),
            "{err}"
        );
    }
}

#[test]
fn wrong_usage_exits_64_and_help_exits_0() {
    for arguments in [&["frobnicate"][..], &["run", "--prot"], &[], &["sandbox", "--port", "x"]] {
        assert_eq!(run(binary().args(arguments)).0, 64, "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let (code, out, _) = run(binary().args(arguments));
        assert!(code == 0 && !out.is_empty(), "{arguments:?}");
    }
    let (code, _, err) = run(binary().args(["run", "--config", "/nowhere.yaml"]));
    assert_eq!(code, 64);
    assert!(err.contains("/nowhere.yaml") && err.contains("cannot be read"), "{err}");
}

#[test]
fn an_address_in_use_is_said_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = run(binary().args(["run", "--listen", &address]));
    assert_eq!(code, 1);
    assert!(err.contains(&format!("listen.address: {address} is in use")), "{err}");
    assert!(err.contains("--set listen.address=127.0.0.1:PORT"), "{err}");
}

#[test]
fn dev_shows_a_first_call_and_lines_that_work_and_ends_cleanly() {
    let mut command = binary();
    command.args(["dev", "--port", "0"]);
    let mut dev = Process::start(command);
    eventually("the first call", || {
        dev.output().contains("A first call, made just now, was answered")
    });
    let output = dev.output();
    assert!(output.contains(r#"was answered 200 OK: {"code":"0""#), "{output}");
    let lines: Vec<_> = output.lines().filter(|line| line.contains("curl ")).collect();
    assert_eq!(lines.len(), 3, "{output}");
    for line in lines {
        let (code, answer, _) = run(Command::new("sh").args(["-c", &format!("{line} -sS")]));
        assert!(code == 0 && answer.contains(r#""code":"0""#), "{line}\n{answer}");
    }
    let arrived = "The application got a webhook: app dev, type ";
    eventually("a webhook", || dev.output().contains(&format!("{arrived}sms_status")));
    let line = output.lines().find(|line| line.contains(" --webhook ")).unwrap();
    let mut words = line.split_whitespace().skip(1); // the program's name
    let mut another = Process::start({
        let mut command = binary();
        command.args(words.by_ref());
        command
    });
    let inbound = format!("{arrived}whatsapp_mo_message_received");
    eventually("another webhook", || dev.output().contains(&inbound));
    another.signal("TERM");
    assert_eq!(another.wait(), 0, "{}", another.output());
    let credentials = output.lines().find_map(|l| l.strip_prefix("credentials  ")).unwrap();
    let directory = credentials.split(' ').next().unwrap();
    assert!(fs::exists(directory).unwrap());
    dev.signal("INT");
    assert_eq!(dev.wait(), 0, "{}", dev.output());
    assert!(!fs::exists(directory).unwrap(), "the throw-away directory is gone");
}

#[test]
fn the_sandbox_runs_by_itself_and_run_uses_what_it_writes() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = binary();
    command.args(["sandbox", "--port", "0", "--act", r#"{"code":{"code":"110"}}"#, "--write"]);
    command.arg(directory.path());
    let mut sandbox = Process::start(command);
    eventually("it listens", || sandbox.output().contains("sandbox: https://"));
    let output = sandbox.output();
    let origin = output.lines().find_map(|line| line.strip_prefix("sandbox: ")).unwrap();
    let written = |path: &str| fs::read_to_string(directory.path().join(path)).unwrap();
    assert_ne!(written("authorization"), written("standby/authorization"));
    assert_ne!(written("app-key"), written("standby/app-key"));

    // Settings by environment and file, as in production.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "listen: {{address: '127.0.0.1:0'}}\nadmin: {{address: '127.0.0.1:0'}}")
        .unwrap();
    writeln!(file, "drain: {{minimum: 0s}}").unwrap();
    let mut command = binary();
    command
        .arg("run")
        .env("INNOPAAS_PROXY_CONFIG", file.path())
        .env("INNOPAAS_PROXY_UPSTREAM__ORIGIN", origin)
        .env("INNOPAAS_PROXY_UPSTREAM__ALLOW_PRIVATE", "127.0.0.0/8,::1")
        .env("INNOPAAS_PROXY_UPSTREAM__CA_FILE", directory.path().join("ca.pem"))
        .env("INNOPAAS_PROXY_CREDENTIALS__DIRECTORY", directory.path())
        .env("INNOPAAS_PROXY_CREDENTIALS__POLL", "50ms");
    let mut proxy = Process::start(command);
    let listen = proxy.log_line("serving")["listen"].as_str().unwrap().parse().unwrap();
    let mut answer = None;
    eventually("the plain directory stood still", || {
        answer = Some(Call::post(SMS, "{}").to(listen));
        answer.as_ref().is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(answer.unwrap().json()["code"], "110");
    for process in [&mut proxy, &mut sandbox] {
        process.signal("TERM");
        assert_eq!(process.wait(), 0);
    }
}

#[test]
fn a_wrong_file_that_is_named_as_ca_file_is_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authorization");
    fs::write(&file, format!("-----BEGIN {}\n", canary::TOKEN)).unwrap();
    let output = binary().args(["check", "--ca-file"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    canary::assert_absent("the problem with a CA file", &output.stderr);
    assert!(String::from_utf8_lossy(&output.stderr).contains("name a PEM file"));
}

#[test]
fn the_sandbox_sends_webhooks_and_prints_a_line_for_each_event() {
    let (receiver, files) =
        (Sandbox::start(Options::default()).unwrap(), tempfile::tempdir().unwrap());
    let ca_file = files.path().join("ca.pem");
    fs::write(&ca_file, receiver.ca_pem()).unwrap();
    fs::write(files.path().join("user-name"), canary::APP_KEY).unwrap();
    fs::write(files.path().join("authorization"), canary::TOKEN).unwrap();
    let start = |path: &str, more: &[&str]| {
        let url = format!("{}/_sandbox/{path}", receiver.origin());
        let mut command = binary();
        command
            .args(["sandbox", "--port", "0", "--webhook", &url, "--webhook-event", "sms_status"])
            .args([Path::new("--webhook-ca-file"), &ca_file])
            .args([Path::new("--webhook-credentials"), files.path()])
            .args(more);
        Process::start(command)
    };
    // The receiver answers 200 to the one, and 404 to the other.
    for (path, more, lines) in [
        (
            "expire",
            &["--webhook-count", "3"][..],
            [
                "webhook sandbox000000000003 delivered: 200\n",
                "webhooks: 3 delivered, 0 lost, 3 tries\n",
            ],
        ),
        (
            "nowhere",
            &["--webhook-pause", "10ms"],
            [
                "webhook sandbox000000000001 lost: 404, 404, 404\n",
                "webhooks: 0 delivered, 1 lost, 3 tries\n",
            ],
        ),
    ] {
        let mut sandbox = start(path, more);
        for line in lines {
            eventually(line, || sandbox.output().contains(line));
        }
        sandbox.signal("TERM");
        assert_eq!(sandbox.wait(), 0);
        canary::assert_absent("what the sandbox prints", sandbox.output().as_bytes());
    }
    let (code, _, err) =
        run(binary().args(["sandbox", "--port", "0", "--webhook", "http://example.com/"]));
    assert_eq!(code, 64);
    assert!(err.contains("this machine only"), "{err}");
}
