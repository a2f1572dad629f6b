//! A file that a setting names, and what is to be said if it is of no use.

use std::fmt;
use std::path::PathBuf;

use super::file::Fault;
use crate::config::settings::Setting;

/// A file, and the setting that names it.
pub(super) type Named = (&'static Setting, PathBuf);

/// Why a file for callers is of no use. Names setting, file and remedy, never contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    setting: &'static str,
    path: PathBuf,
    why: String,
}

impl Unusable {
    pub(super) fn new((setting, path): &Named, why: impl Into<String>) -> Self {
        Self { setting: setting.path, path: path.clone(), why: why.into() }
    }

    pub(super) fn fault(named: &Named, fault: Fault) -> Self {
        let remedy = "mount it there, readable for the proxy's user, or change the setting";
        Self::new(named, format!("{fault}; {remedy}"))
    }

    pub(super) fn nothing() -> Self {
        Self { setting: "listen", path: PathBuf::new(), why: "names no file".to_owned() }
    }
}

impl std::error::Error for Unusable {}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.setting, self.path.display(), self.why)
    }
}
