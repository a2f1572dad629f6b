//! `check`: what is wrong with a configuration, or what holds.

use super::settings::{self, Loaded, SettingsArgs};
use super::{EXIT_DONE, EXIT_USAGE};
use crate::config::settings::{Default, Setting};
use crate::config::{Config, Place};
use crate::credentials::{APP_KEY_FILE, AUTHORIZATION_FILE, Callers, read_pair};
use crate::upstream;

pub(super) fn check(arguments: &SettingsArgs) -> u8 {
    let Loaded { config, warnings, written } = match arguments.load() {
        Ok(loaded) => loaded,
        Err(problems) => return settings::report(&problems),
    };
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let roots = match upstream::client_config(config.upstream.ca_file.as_deref()) {
        Ok((_, roots)) => roots,
        Err(error) => return problem(&error),
    };
    let callers = match Callers::load(&config.listen, config.credentials.poll) {
        Ok(callers) => callers,
        Err(error) => return problem(&error),
    };
    print!("{}", effective(&written));
    println!("# trusted authorities: {roots}");
    println!("{}", credentials(&config));
    if let Some(tokens) = callers.tokens() {
        println!("# callers: must show one of {} tokens", tokens.count());
    }
    if callers.tls().is_some() {
        println!("# callers: are met with TLS; certificate and key belong together");
    }
    EXIT_DONE
}

fn problem(error: &dyn std::error::Error) -> u8 {
    eprintln!("innopaas-proxy: 1 problem with the configuration:\n  {error}");
    EXIT_USAGE
}

/// The whole configuration as a file that could be used as it is; what is not a default says
/// where it comes from.
fn effective(written: &[(&'static Setting, Vec<String>, Place)]) -> String {
    let mut text = String::new();
    let mut above: Vec<&str> = Vec::new();
    for (setting, values, place) in written {
        let segments: Vec<&str> = setting.path.split('.').collect();
        let Some((name, sections)) = segments.split_last() else { continue };
        let shared = above.iter().zip(sections).take_while(|(one, two)| one == two).count();
        for (depth, section) in sections.iter().enumerate().skip(shared) {
            text += &format!("{}{section}:\n", "  ".repeat(depth));
        }
        above = sections.to_vec();
        let value = match setting.default {
            Default::One(_) => values.first().map(|value| scalar(value)).unwrap_or_default(),
            Default::Many(_) => {
                let items: Vec<String> = values.iter().map(|value| scalar(value)).collect();
                format!("[{}]", items.join(", "))
            }
        };
        let from = if *place == Place::Default { String::new() } else { format!(" # {place}") };
        text += &format!("{}{name}: {value}{from}\n", "  ".repeat(sections.len()));
    }
    text
}

/// JSON's text form is YAML's as well, whatever is in it.
fn scalar(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let plainly = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && value.chars().all(plain);
    if plainly { value.to_owned() } else { serde_json::Value::from(value).to_string() }
}

/// Whether there is a pair; that is no matter of the configuration, it may come later.
fn credentials(config: &Config) -> String {
    match read_pair(&config.credentials.directory) {
        Ok((app_key, authorization)) => format!(
            "# credentials: {APP_KEY_FILE} **** ({} bytes), {AUTHORIZATION_FILE} **** ({} bytes)",
            app_key.len(),
            authorization.len()
        ),
        Err(problem) => format!("# credentials: none now: {problem}"),
    }
}
