//! The shape of the source: floors, and the few places that may touch what is dangerous.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A module uses lower floors only; siblings do not know each other.
const FLOORS: [&[&str]; 6] = [
    &["secret", "fields"],
    &["config", "telemetry", "lifecycle"],
    &["server", "upstream", "credentials", "problem"],
    &["proxy", "webhook", "admin", "sandbox"],
    &["app"],
    &["cli"],
];

/// Siblings that may know each other, and why.
const KNOWN: [(&str, &str); 1] = [("telemetry", "config")]; // how the log looks is a setting

#[test]
fn modules_use_lower_floors_only() {
    let floor = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
    let mut violations = Vec::new();
    for (file, text) in sources() {
        let module = module_of(&file);
        let Some(own) = floor(&module) else { continue };
        if without_tests(&text).contains("super::super::") {
            violations.push(format!("{} climbs past its own module", file.display()));
        }
        for path in text.split("crate::").skip(1) {
            let used: String =
                path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let known = used == module || KNOWN.contains(&(module.as_str(), used.as_str()));
            match floor(&used) {
                Some(other) if other >= own && !known => {
                    violations.push(format!("{} uses {used}", file.display()));
                }
                Some(_) => {}
                None => violations.push(format!("{} uses {used}, on no floor", file.display())),
            }
        }
    }
    assert_eq!(violations, Vec::<String>::new());
    for module in fs::read_dir(source()).unwrap() {
        let module = module_of(&module.unwrap().path());
        assert!(["main", "lib"].contains(&module.as_str()) || floor(&module).is_some(), "{module}");
    }
}

#[test]
fn secrets_are_exposed_and_requests_sent_in_one_place_each() {
    for (word, places) in [
        (".expose()", &["proxy/inject.rs"][..]),
        (".add(APP_KEY", &["proxy/inject.rs"]),
        (".add(AUTHORIZATION", &["proxy/inject.rs"]),
        ("Authenticated(", &["proxy/inject.rs"]),
        ("Client::new(", &["app/worker.rs"]),
        ("self.0.send(request", &["proxy/send.rs"]),
        ("application/problem+json", &["problem.rs"]),
    ] {
        let found: Vec<_> = sources()
            .into_iter()
            .filter(|(_, text)| without_tests(text).contains(word))
            .map(|(file, _)| file.strip_prefix(source()).unwrap().display().to_string())
            .collect();
        assert_eq!(found, places, "{word}");
    }
}

/// These hold a head, with or without the pair in it: what cannot be printed is not printed.
#[test]
fn what_holds_a_head_has_no_debug() {
    for (file, name) in [
        ("proxy/admit.rs", "Admitted"),
        ("proxy/headers.rs", "Stripped"),
        ("proxy/inject.rs", "Authenticated"),
        ("upstream/request_head.rs", "Fields"),
        ("upstream/request_head.rs", "RequestHead"),
        ("proxy/body.rs", "AnswerBody"),
        ("telemetry/access.rs", "AccessRecord"),
    ] {
        let text = fs::read_to_string(source().join(file)).unwrap();
        let (before, _) = text.split_once(&format!("pub struct {name}")).expect(name);
        let attributes = before.rsplit("\n\n").next().unwrap();
        assert!(!attributes.contains("Debug") && !text.contains(&format!("Debug for {name}")));
    }
}

#[test]
fn deciding_code_reads_no_clock_environment_or_file() {
    let deciding = [
        "proxy/admit.rs",
        "proxy/answer.rs",
        "proxy/caller.rs",
        "proxy/content_type.rs",
        "proxy/headers.rs",
        "fields.rs",
        "webhook/envelope.rs",
        "webhook/heads.rs",
        "webhook/reject.rs",
        "webhook/route.rs",
        "webhook/seen.rs",
        "webhook/verify.rs",
        "proxy/inject.rs",
        "proxy/reject.rs",
        "proxy/target.rs",
        "server/grammar.rs",
        "server/inlet.rs",
        "server/lines.rs",
        "upstream/address.rs",
        "credentials/expiry.rs",
        "config/validate.rs",
        "config/value.rs",
        "config/raw.rs",
        "secret.rs",
        "sandbox/check.rs",
        "sandbox/events.rs",
        "sandbox/webhooks/show.rs",
    ];
    for file in deciding {
        let text = fs::read_to_string(source().join(file)).unwrap();
        for word in ["::now()", "std::env", "std::fs", "File::", "spawn", "SystemRandom"] {
            assert!(!without_tests(&text).contains(word), "{file} uses {word}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "{}", file.display());
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<(PathBuf, String)> {
    let (mut folders, mut files) = (vec![source()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(files.len() > 30);
    files.sort();
    files
}

fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(source()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}
