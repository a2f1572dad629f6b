//! `check`: what is wrong with a configuration, or what holds.

use super::settings::{self, Loaded, SettingsArgs};
use super::{EXIT_DONE, EXIT_USAGE};
use crate::config::settings::{Default, Setting};
use crate::config::{Config, Place, Verify, Written};
use crate::credentials::{
    self, APP_KEY_FILE, AUTHORIZATION_FILE, Callers, Console, ConsoleReport, FingerprintKey,
    Problem, Unusable, read_pair,
};
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
    let webhook = match webhook(&config) {
        Ok(words) => words,
        Err(error) => return problem(&error),
    };
    if let Err(error) = FingerprintKey::load(config.credentials.fingerprint_key_file.as_deref()) {
        return problem(&error);
    }
    print!("{}", effective(&written));
    println!("# trusted authorities: {roots}");
    credentials(&config);
    if let Some(tokens) = callers.tokens() {
        println!("# callers: must show one of {} tokens", tokens.count());
    }
    if callers.tls().is_some() {
        println!("# callers: are met with TLS; certificate and key belong together");
    }
    print!("{webhook}");
    EXIT_DONE
}

/// How webhooks would be verified; nothing, if they are not received.
fn webhook(config: &Config) -> Result<String, Unusable> {
    let Some(webhook) = &config.webhook else { return Ok(String::new()) };
    let poll = config.credentials.poll;
    Callers::of_tls(webhook.tls.as_ref(), poll)?;
    let Verify::Pairs { applications, body_check } = &webhook.verify else {
        return Ok("# webhook: everybody is let in\n".to_owned());
    };
    let reports = Console::load(applications, *body_check, poll)?.reports().all();
    let line = |ConsoleReport { app, which, in_use, problem }: ConsoleReport| match problem {
        None if in_use => format!("# webhook: {app}: {which} can be used\n"),
        None => format!("# webhook: {app}: {which} holds nothing\n"),
        Some(problem) => format!("# webhook: {app}: {which}: none now: {problem}\n"),
    };
    Ok(reports.into_iter().map(line).collect())
}

fn problem(error: &dyn std::error::Error) -> u8 {
    eprintln!("innopaas-proxy: 1 problem with the configuration:\n  {error}");
    EXIT_USAGE
}

/// The whole configuration as a file that could be used as it is; what is not a default says
/// where it comes from.
fn effective(written: &[(&'static Setting, Written)]) -> String {
    let mut text = String::new();
    let mut above: Vec<&str> = Vec::new();
    for (setting, Written { values, entries, place }) in written {
        let segments: Vec<&str> = setting.path.split('.').collect();
        let Some((name, sections)) = segments.split_last() else { continue };
        let shared = above.iter().zip(sections).take_while(|(one, two)| one == two).count();
        for (depth, section) in sections.iter().enumerate().skip(shared) {
            text += &format!("{}{section}:\n", "  ".repeat(depth));
        }
        above = sections.to_vec();
        let value = match setting.default {
            Default::One(_) => values.first().map(|value| scalar(value)).unwrap_or_default(),
            Default::Many(_) => list(values.iter().map(|value| scalar(value))),
            Default::Entries(_) => list(entries.iter().map(|entry| {
                let fields =
                    entry.iter().map(|(field, value)| format!("{field}: {}", scalar(value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            })),
        };
        let from = if *place == Place::Default { String::new() } else { format!(" # {place}") };
        text += &format!("{}{name}: {value}{from}\n", "  ".repeat(sections.len()));
    }
    text
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// JSON's text form is YAML's as well, whatever is in it.
fn scalar(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let plainly = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && value.chars().all(plain);
    if plainly { value.to_owned() } else { serde_json::Value::from(value).to_string() }
}

/// Whether there are pairs; that is no matter of the configuration, they may come later.
fn credentials(config: &Config) {
    let primary = read_pair(&config.credentials.directory);
    println!("# credentials: {}", in_words(&primary));
    let Some(directory) = &config.credentials.standby else { return };
    let standby = read_pair(directory);
    println!("# standby: {}", in_words(&standby));
    println!(
        "# standby: is another application of InnoPaaS: sender ids, templates, bound IP addresses, \
         billing and webhooks are its own and must fit what is sent with it"
    );
    if let (Ok(primary), Ok(standby)) = (primary, standby)
        && primary.app_key.same_as(&standby.app_key)
    {
        eprintln!(
            "warning: credentials.standby.directory: its app-key is that of credentials.directory: \
             a new token kills the old one of the same application, so it is no standby; take the \
             pair of a second application"
        );
    }
}

fn in_words(pair: &Result<credentials::Loaded, Problem>) -> String {
    match pair {
        Ok(credentials::Loaded { app_key, authorization, expiry, expiry_problem }) => {
            let expires = match (expiry, expiry_problem) {
                (Some(expiry), _) => format!("expires at {expiry}"),
                (None, Some(problem)) => format!("expiry unknown: {problem}"),
                (None, None) => "expiry unknown".to_owned(),
            };
            format!(
                "{APP_KEY_FILE} **** ({} bytes), {AUTHORIZATION_FILE} **** ({} bytes), {expires}",
                app_key.len(),
                authorization.len()
            )
        }
        Err(problem) => format!("none now: {problem}"),
    }
}
