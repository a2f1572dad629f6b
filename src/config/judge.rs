//! Puts what was written for a setting before its parser, and keeps what is wrong with it: every
//! problem is told, not only the first.

use super::error::{Place, Problem};
use super::raw::{Entry, Raw, Written};
use super::settings::Setting;

/// Applies a parser to what was written and takes note of what is wrong.
pub(super) struct Judge {
    pub(super) raw: Raw,
}

impl Judge {
    pub(super) fn one<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Written { values, entries: _, place } = self.raw.written(setting);
        match values.as_slice() {
            [value] => self.take(setting, place, parse(value)),
            _ => self.take(setting, place, Err("must be a single value".to_owned())),
        }
    }

    pub(super) fn many<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Written { values, entries: _, place } = self.raw.written(setting);
        let parsed = values.iter().enumerate().map(|(index, value)| {
            parse(value).map_err(|text| format!("entry {} {text}", index + 1))
        });
        let parsed = parsed.collect();
        self.take(setting, place, parsed)
    }

    /// Parses entries, each from what was written for its fields.
    pub(super) fn entries<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&Entry) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Written { values: _, entries, place } = self.raw.written(setting);
        let parsed = entries.iter().enumerate().map(|(index, entry)| {
            parse(entry).map_err(|text| format!("entry {} {text}", index + 1))
        });
        let parsed = parsed.collect();
        self.take(setting, place, parsed)
    }

    fn take<T>(
        &mut self,
        setting: &'static Setting,
        place: Place,
        parsed: Result<T, String>,
    ) -> Option<T> {
        parsed
            .map_err(|text| {
                self.raw.problems.push(Problem { place, path: setting.path.to_owned(), text });
            })
            .ok()
    }

    pub(super) fn problem(&mut self, setting: &'static Setting, text: &str) {
        let place = self.raw.written(setting).place;
        self.take::<()>(setting, place, Err(text.to_owned()));
    }
}
