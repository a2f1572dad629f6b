//! What is written down is what the program does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use innopaas_proxy::cli;
use innopaas_proxy::config::settings::{ALL, Default};
use innopaas_proxy::config::{Config, Place, Raw};
use innopaas_proxy::telemetry::code::{Code, EventOutcome, Outcome, Unverified};
use serde::Deserialize;

use crate::support::proxy::binary;
use crate::support::{Mount, Setup, canary};

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Everything between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_example_shows_every_setting_with_its_true_default_and_its_sentence() {
    let example = document("proxy.yaml.example");
    let mut raw = Raw::defaults();
    raw.file(example.as_bytes());
    assert_eq!(raw.problems, []);
    let defaults = Raw::defaults();
    for setting in ALL {
        let (shown, default) = (raw.written(setting), defaults.written(setting));
        assert!(matches!(shown.place, Place::File(Some(_))), "{} is not shown", setting.path);
        assert_eq!(shown.values, default.values, "{}", setting.path);
        assert!(example.contains(setting.sentence), "{}", setting.path);
    }
    Config::from_raw(raw).unwrap();
}

/// What they say to Kubernetes, Helm and others is judged by `tests/deploy`.
#[test]
fn every_shipped_yaml_is_yaml_and_every_configuration_is_valid() {
    let mut folders = vec![PathBuf::from("deploy")];
    let mut configurations = vec![PathBuf::from("proxy.yaml.example")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
            if path.is_dir() && !path.ends_with("templates") {
                folders.push(path);
            } else if path.ends_with("proxy.yaml") {
                configurations.push(path);
            } else if is_yaml {
                let text = fs::read_to_string(&path).unwrap();
                for object in serde_yaml::Deserializer::from_str(&text) {
                    let object = serde_yaml::Value::deserialize(object);
                    assert!(object.is_ok(), "{}: {object:?}", path.display());
                }
            }
        }
    }
    assert!(configurations.len() > 1);
    for path in configurations {
        let output = binary().args(["check", "--config"]).arg(&path).output().unwrap();
        let problems = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {problems}", path.display());
    }
}

#[test]
fn the_reference_lists_every_setting_and_no_other() {
    let reference = document("docs/reference.md");
    for setting in ALL {
        let default = match setting.default {
            Default::One("") => "`\"\"`".to_owned(),
            Default::One(value) => format!("`{value}`"),
            Default::Many(values) => format!("`[{}]`", values.join(", ")),
            Default::Entries(_) => "`[]`".to_owned(),
        };
        let line =
            reference.lines().find(|line| line.starts_with(&format!("| `{}`", setting.path)));
        let line = line.unwrap_or_else(|| panic!("{} is not there", setting.path));
        let name = format!("`{}`", setting.environment_name());
        for part in [&default, &name, setting.sentence] {
            assert!(line.contains(part), "{part}\n{line}");
        }
    }
    let sections: BTreeSet<_> = ALL.iter().filter_map(|s| s.path.split('.').next()).collect();
    for word in quoted(&reference) {
        let is_path = word.split_once('.').is_some_and(|(section, rest)| {
            sections.contains(section)
                && rest.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c))
        });
        assert!(!is_path || ALL.iter().any(|s| s.path == word), "no such setting: {word}");
        let is_name = word.starts_with("INNOPAAS_PROXY_") && word.contains("__");
        let is_form = word.contains('<');
        assert!(!is_name || is_form || ALL.iter().any(|s| s.environment_name() == word), "{word}");
    }
}

#[test]
fn the_reference_lists_every_metric_and_no_other() {
    let reference = document("docs/reference.md");
    let mount = Mount::empty();
    let pair = [("app-key", canary::APP_KEY), ("authorization", canary::TOKEN)];
    mount.swap_in_files(&[pair[0], pair[1], ("expires-at", "2040-01-01")]);
    let (proxy, _sandbox) = Setup::new().mount(mount).start();
    let scrape = proxy.admin("/metrics").text();
    let exposed: BTreeSet<_> = scrape
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(|name| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name)
        })
        .collect();
    assert!(exposed.len() > 10);
    let quoted = quoted(&reference);
    let listed: BTreeSet<_> =
        quoted.iter().copied().filter(|word| word.starts_with("innopaas_proxy_")).collect();
    let listed: BTreeSet<_> =
        listed.into_iter().filter(|word| *word != "innopaas_proxy_").collect();
    assert_eq!(listed, exposed);
    let outcomes = Outcome::ALL.iter().map(|outcome| outcome.as_str());
    let of_events = EventOutcome::ALL.iter().map(|outcome| outcome.as_str());
    let unverified = Unverified::ALL.iter().map(|why| why.as_str());
    for word in outcomes.chain(of_events).chain(unverified) {
        assert!(quoted.contains(word), "{word}");
    }
}

#[test]
fn the_reference_and_the_errors_page_list_every_code() {
    for name in ["docs/reference.md", "docs/errors.md"] {
        let text = document(name);
        for code in Code::ALL {
            assert!(quoted(&text).contains(code.as_str()), "{code} is not in {name}");
        }
    }
}

#[test]
fn the_reference_lists_every_flag_and_no_other() {
    let reference = document("docs/reference.md");
    let mut flags = BTreeSet::new();
    for command in ["run", "check", "health", "wait", "dev", "sandbox"] {
        let output = binary().args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        flags.extend(
            help.lines()
                .filter_map(|line| line.trim_start().split_once("--").map(|(_, flag)| flag))
                .filter_map(|flag| flag.split([' ', ',']).next().map(|flag| format!("--{flag}"))),
        );
    }
    assert!(flags.len() > 8, "{flags:?}");
    let listed: BTreeSet<_> = quoted(&reference)
        .into_iter()
        .filter(|word| word.starts_with("--"))
        .filter_map(|word| word.split([' ', '=']).next())
        .map(str::to_owned)
        .collect();
    let listed: BTreeSet<_> = listed.into_iter().filter(|flag| flag != "--version").collect();
    assert_eq!(listed, flags);
}

#[test]
fn the_reference_lists_every_exit_code() {
    let reference = document("docs/reference.md");
    let (_, section) = reference.split_once("## Exit codes").expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let listed: BTreeSet<u8> =
        quoted(section).into_iter().filter_map(|word| word.parse().ok()).collect();
    let known = [cli::EXIT_DONE, cli::EXIT_FAILED, cli::EXIT_CUT, cli::EXIT_USAGE];
    assert_eq!(listed, BTreeSet::from(known));
}
