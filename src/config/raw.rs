//! Gathers what was written, setting by setting: defaults, then the file, then the environment,
//! then flags. Nothing is judged here but names and shapes; `validate` judges the values.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_yaml::Value;

use super::error::{Place, Problem};
use super::locate;
use super::settings::{ALL, Default, ENVIRONMENT_PREFIX, Setting};

/// The largest file that is read, in bytes.
const MAX_FILE: usize = 256 * 1024;

/// What was written, by setting.
#[derive(Debug)]
pub struct Raw {
    written: BTreeMap<&'static str, Written>,
    /// What is wrong with names and shapes.
    pub problems: Vec<Problem>,
    /// What looks wrong but does no harm: unknown environment names.
    pub warnings: Vec<String>,
}

/// What was written for one entry of a list, by field.
pub type Entry = BTreeMap<&'static str, String>;

/// One value as it was written, and where.
#[derive(Debug, Clone)]
pub struct Written {
    /// The values; exactly one, unless the setting is a list.
    pub values: Vec<String>,
    /// The values of a list of entries, by field.
    pub entries: Vec<Entry>,
    /// Who wrote it.
    pub place: Place,
}

impl Raw {
    /// Nothing but defaults.
    pub fn defaults() -> Self {
        let written = ALL
            .iter()
            .map(|setting| {
                let values = match setting.default {
                    Default::One(value) => vec![value.to_owned()],
                    Default::Many(values) => values.iter().map(|&v| v.to_owned()).collect(),
                    Default::Entries(_) => Vec::new(),
                };
                (setting.path, Written { values, entries: Vec::new(), place: Place::Default })
            })
            .collect();
        Self { written, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Lays the file's settings over what is there.
    pub fn file(&mut self, content: &[u8]) {
        if content.len() > MAX_FILE {
            return self.file_problem(None, "is larger than 256 kB; this is not a configuration");
        }
        let Ok(text) = std::str::from_utf8(content) else {
            return self.file_problem(None, "is not UTF-8");
        };
        match serde_yaml::from_str(text) {
            Ok(Value::Null) => {}
            Ok(Value::Mapping(sections)) => self.section(text, &[], &sections),
            Ok(_) => self.file_problem(Some(1), "must be sections such as `upstream:`"),
            // The parser's own message can quote what it found.
            Err(error) => self.file_problem(
                error.location().map(|location| location.line()),
                "is not valid YAML here: look at the indentation, for a missing quote or colon, \
                 and for a name that stands twice",
            ),
        }
    }

    /// Lays the environment over what is there. Other programs' names are passed over.
    pub fn environment(
        &mut self,
        variables: impl Iterator<Item = (String, Result<String, OsString>)>,
    ) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            if rest == "CONFIG" || is_made_by_kubernetes(rest) {
                continue;
            }
            let known = ALL.iter().find(|setting| setting.environment_name() == name);
            match (known, value) {
                (Some(setting), Ok(value)) => self.text(setting, &value, Place::Environment(name)),
                (Some(setting), Err(_)) => {
                    let place = Place::Environment(name);
                    self.problem(place, setting.path, "is not UTF-8".to_owned());
                }
                (None, _) => self.warnings.push(match nearest(&name, Setting::environment_name) {
                    Some(known) => format!("unknown environment name {name}; is it {known}?"),
                    None => format!("unknown environment name {name}; it is ignored"),
                }),
            }
        }
    }

    /// Lays one flag over what is there: `--set section.setting=value`.
    pub fn assignment(&mut self, flag: &str, assignment: &str) {
        let place = Place::Flag(flag.to_owned());
        let Some((path, value)) = assignment.split_once('=') else {
            return self.problem(place, "", "must be `section.setting=value`".to_owned());
        };
        match ALL.iter().find(|setting| setting.path == path) {
            Some(setting) => self.text(setting, value, place),
            None => self.unknown(place, path),
        }
    }

    /// Lays one value over what is there, given as a single text: a list is split at commas, an
    /// entry of one at spaces.
    pub fn text(&mut self, setting: &'static Setting, value: &str, place: Place) {
        let items = || value.split(',').map(str::trim).filter(|item| !item.is_empty());
        let (mut values, mut entries) = (Vec::new(), Vec::new());
        match setting.default {
            Default::One(_) => values.push(value.trim().to_owned()),
            Default::Many(_) => values.extend(items().map(str::to_owned)),
            Default::Entries(fields) => match items().map(|item| entry(item, fields)).collect() {
                Some(read) => entries = read,
                None => return self.problem(place, setting.path, form(fields)),
            },
        }
        self.written.insert(setting.path, Written { values, entries, place });
    }

    /// What holds for a setting.
    pub fn written(&self, setting: &'static Setting) -> Written {
        self.written.get(setting.path).cloned().unwrap_or(Written {
            values: Vec::new(),
            entries: Vec::new(),
            place: Place::Default,
        })
    }

    fn section(&mut self, text: &str, above: &[&str], entries: &serde_yaml::Mapping) {
        /// Enough to see that this is no configuration of ours.
        const PROBLEMS: usize = 50;
        for (key, value) in entries {
            if self.problems.len() >= PROBLEMS {
                return;
            }
            let Some(key) = key.as_str() else {
                self.file_problem(locate::line(text, above), "has a name here that is not a text");
                continue;
            };
            let here: Vec<&str> = above.iter().copied().chain([key]).collect();
            let path = here.join(".");
            let place = Place::File(locate::line(text, &here));
            if key.contains('.') {
                self.unknown(place, &path); // the dots of a path stand for indentation
            } else if let Some(setting) = ALL.iter().find(|setting| setting.path == path) {
                self.file_value(setting, value, place);
            } else if !ALL.iter().any(|setting| is_below(setting.path, &path)) {
                self.unknown(place, &path);
            } else if let Value::Mapping(entries) = value {
                self.section(text, &here, entries);
            } else if !value.is_null() {
                self.problem(place, &path, "is a section: settings stand indented below it".into());
            }
        }
    }

    fn file_value(&mut self, setting: &'static Setting, value: &Value, place: Place) {
        let (mut values, mut entries) = (Vec::new(), Vec::new());
        let fits = match (setting.default, value) {
            (_, Value::Null) => return, // `setting:` with nothing behind it keeps the default
            (Default::Entries(fields), Value::Sequence(items)) => {
                let read: Option<Vec<_>> = items.iter().map(|item| mapping(item, fields)).collect();
                read.map(|read| entries = read)
            }
            (Default::Entries(_), _) => None,
            (Default::Many(_), Value::Sequence(items)) => {
                let read: Option<Vec<_>> = items.iter().map(scalar).collect();
                read.map(|read| values = read)
            }
            (Default::One(_) | Default::Many(_), value) => {
                scalar(value).map(|value| values.push(value))
            }
        };
        if fits.is_some() {
            self.written.insert(setting.path, Written { values, entries, place });
            return;
        }
        let form = match setting.default {
            Default::One(_) => "must be a single value".to_owned(),
            Default::Many(_) => "must be a list of texts".to_owned(),
            Default::Entries(fields) => form(fields),
        };
        self.problem(place, setting.path, form);
    }

    fn unknown(&mut self, place: Place, path: &str) {
        let text = match nearest(path, |setting| setting.path.to_owned()) {
            Some(known) => format!("there is no such setting; is it {known}?"),
            None => "there is no such setting; docs/reference.md lists them all".to_owned(),
        };
        self.problem(place, &printable(path), text);
    }

    fn file_problem(&mut self, line: Option<usize>, text: &str) {
        self.problem(Place::File(line), "", format!("the file {text}"));
    }

    fn problem(&mut self, place: Place, path: &str, text: String) {
        self.problems.push(Problem { place, path: path.to_owned(), text });
    }
}

/// Kubernetes makes `INNOPAAS_PROXY_PORT…` and `INNOPAAS_PROXY_SERVICE_…` for a Service called
/// innopaas-proxy.
fn is_made_by_kubernetes(rest: &str) -> bool {
    rest.starts_with("PORT") || rest.starts_with("SERVICE_")
}

fn is_below(setting: &str, section: &str) -> bool {
    setting.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

/// An entry of a list, as the file has it: single values by field.
fn mapping(value: &Value, fields: &[&'static str]) -> Option<Entry> {
    let Value::Mapping(written) = value else { return None };
    let field = |(key, value): (&Value, &Value)| {
        let known = fields.iter().find(|field| key.as_str() == Some(**field))?;
        Some((*known, scalar(value)?))
    };
    written.iter().map(field).collect()
}

/// An entry of a list, as one text has it: `field=value field=value`.
fn entry(text: &str, fields: &[&'static str]) -> Option<Entry> {
    let mut entry = Entry::new();
    for part in text.split_whitespace() {
        let (name, value) = part.split_once('=')?;
        let known = fields.iter().find(|field| **field == name)?;
        if entry.insert(known, value.to_owned()).is_some() {
            return None;
        }
    }
    Some(entry)
}

fn form(fields: &[&str]) -> String {
    format!("must be a list of entries with single values for {}", fields.join(", "))
}

/// The known name that is most like the unknown one, if any is like it at all.
fn nearest(unknown: &str, name: impl Fn(&Setting) -> String) -> Option<String> {
    /// Below this a suggestion puzzles more than it helps.
    const ALIKE: f64 = 0.75;
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(unknown, known);
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    ALL.iter()
        .map(|setting| {
            let known = name(setting);
            // The right name in the wrong section is worth naming too.
            let same_leaf = last(unknown) == last(&known);
            (if same_leaf { 1.0 } else { likeness(&known) }, known)
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (two, _)| one.total_cmp(two))
        .map(|(_, known)| known)
}

/// A name from the file, as far as it may be shown: what does not look like a setting may be a
/// secret that was pasted in the wrong place.
fn printable(path: &str) -> String {
    let plain = |segment: &str| {
        segment.len() <= 24 && segment.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let shown: Vec<&str> = path
        .split('.')
        .map(|segment| if plain(segment) { segment } else { "(not shown)" })
        .collect();
    shown.join(".")
}
