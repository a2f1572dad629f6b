//! Reads the two files as one consistent pair.
//!
//! Kubernetes swaps a whole directory by renaming the link `..data`; two files read one after the
//! other through their visible names can be of two generations. So the directory is resolved
//! once, both files are read through the resolved path, and the whole is done again if the link
//! or a file moved meanwhile.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::expiry::{self, EXPIRES_AT_FILE, Expiry};
use super::file::{self, Fault, FileStamp};
use crate::secret::{MAX_LEN, Malformed, Secret};

/// Name of the file with the access key.
pub const APP_KEY_FILE: &str = "app-key";
/// Name of the file with the token.
pub const AUTHORIZATION_FILE: &str = "authorization";

/// What Kubernetes swaps (`AtomicWriter`).
const DATA_LINK: &str = "..data";

/// Why the files hold no usable pair. Names files, never contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The directory does not exist or cannot be entered.
    Directory(PathBuf, io::ErrorKind),
    /// The file does not exist.
    Missing(PathBuf),
    /// A directory, a pipe or a device stands in the file's place.
    NotAFile(PathBuf),
    /// The file cannot be read.
    Unreadable(PathBuf, io::ErrorKind),
    /// The file's content cannot be sent as it is.
    Malformed(PathBuf, Malformed),
    /// The files changed under every attempt to read them.
    Moving(PathBuf),
    /// The file holds the beginning of what is in use.
    CutOff(PathBuf),
    /// The file system does not answer.
    Stuck(PathBuf),
}

/// Files that make sense together: what they are called, and what they hold.
pub(super) struct Files<T> {
    /// Must be there.
    pub(super) required: &'static [&'static str],
    /// Need not be there.
    pub(super) optional: &'static [&'static str],
    /// Makes sense of one state of them.
    pub(super) load: fn(&Folder<'_>) -> Result<T, Problem>,
}

/// The pair that calls are sent with.
pub(super) const PAIR: Files<Loaded> =
    Files { required: &[APP_KEY_FILE, AUTHORIZATION_FILE], optional: &[EXPIRES_AT_FILE], load };

/// A directory in one state.
pub(super) struct Folder<'f> {
    /// As it is called.
    shown: &'f Path,
    /// Where its files are.
    resolved: &'f Path,
}

/// What tells one state of the files from another, without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The directory, all links resolved.
    pub(super) directory: PathBuf,
    /// Whether it is one that is swapped whole.
    pub(super) swapped_whole: bool,
    /// Of each file, by name; of none that is not there.
    files: Vec<(&'static str, Option<FileStamp>)>,
}

impl Stamp {
    /// Whether the names lead to the very same files, unchanged. Asks for no more than that, since
    /// it is asked at every poll, and the answer is hardly ever another.
    pub(super) fn still_holds(&self, directory: &Path) -> bool {
        self.files.iter().all(|(name, stamp)| file::look(&directory.join(name)).ok() == *stamp)
    }

    /// When a file last changed, or another one took its name, in whole seconds since 1970.
    pub(super) fn changed_at(&self) -> i64 {
        // A link that is turned to an old file, and on some file systems an old file that is
        // renamed, is news to the directory alone. One that cannot be asked may change now.
        let names = fs::metadata(&self.directory).map_or(i64::MAX, |directory| directory.ctime());
        let files = self.files.iter().filter_map(|(_, stamp)| *stamp).map(|s| s.changed_at());
        files.fold(names, i64::max)
    }
}

/// More often than this the files do not move under a reader, unless something is wrong.
const ATTEMPTS: usize = 5;

impl<T> Files<T> {
    /// Looks at the files without reading them.
    pub(super) fn look(&self, directory: &Path) -> Result<Stamp, Problem> {
        let link = || fs::read_link(directory.join(DATA_LINK)).ok();
        for _ in 0..ATTEMPTS {
            let before = link();
            let found = self.look_once(directory);
            // The old folder is removed once the link has moved: what is missing there is no mishap.
            if found.is_ok() || link() == before {
                return found;
            }
        }
        Err(Problem::Moving(directory.to_owned()))
    }

    fn look_once(&self, directory: &Path) -> Result<Stamp, Problem> {
        let (resolved, swapped_whole) = resolve(directory)?;
        let look = |name: &str| file::look(&resolved.join(name));
        let mut files = Vec::with_capacity(self.required.len() + self.optional.len());
        for name in self.required {
            let stamp = look(name).map_err(|fault| Problem::at(directory.join(name), fault))?;
            files.push((*name, Some(stamp)));
        }
        files.extend(self.optional.iter().map(|name| (*name, look(name).ok())));
        Ok(Stamp { directory: resolved, swapped_whole, files })
    }

    /// Reads the files in one state; that state, and what is to be said of their content.
    pub(super) fn read(&self, directory: &Path) -> Result<(Stamp, Result<T, Problem>), Problem> {
        for _ in 0..ATTEMPTS {
            let stamp = self.look(directory)?;
            let loaded = (self.load)(&Folder { shown: directory, resolved: &stamp.directory });
            // Whatever was found counts only if nothing moved while it was read.
            if self.look(directory).is_ok_and(|after| after == stamp) {
                return Ok((stamp, loaded));
            }
        }
        Err(Problem::Moving(directory.to_owned()))
    }
}

/// What the files held at one time.
#[derive(Debug)]
pub struct Loaded {
    /// What goes into `AppKey`.
    pub app_key: Secret,
    /// What goes into `Authorization`.
    pub authorization: Secret,
    /// When the token expires, if that is known.
    pub expiry: Option<Expiry>,
    /// What is wrong with the file that should tell. It keeps no pair back.
    pub expiry_problem: Option<String>,
}

/// Reads all values as they stood in the files at one time.
///
/// # Errors
/// [`Problem`], if a file is missing, unreadable or malformed, or the files do not hold still.
pub fn read_pair(directory: &Path) -> Result<Loaded, Problem> {
    PAIR.read(directory)?.1
}

/// The directory that really holds the files, and whether it is replaced as a whole.
fn resolve(directory: &Path) -> Result<(PathBuf, bool), Problem> {
    let data = directory.join(DATA_LINK);
    let swapped_whole = fs::symlink_metadata(&data).is_ok();
    fs::canonicalize(if swapped_whole { &data } else { directory })
        .map(|resolved| (resolved, swapped_whole))
        .map_err(|error| Problem::Directory(directory.to_owned(), error.kind()))
}

fn load(folder: &Folder<'_>) -> Result<Loaded, Problem> {
    let (app_key, _) = folder.secret(APP_KEY_FILE)?;
    let (authorization, token) = folder.secret(AUTHORIZATION_FILE)?;
    let (expiry, expiry_problem) = match folder.expires_at() {
        Ok(written) => (written.or_else(|| Expiry::of_jwt(&token)), None),
        Err(problem) => (None, Some(problem)),
    };
    Ok(Loaded { app_key, authorization, expiry, expiry_problem })
}

impl Folder<'_> {
    /// A secret of ours, and the content of its file.
    fn secret(&self, name: &str) -> Result<(Secret, Zeroizing<Vec<u8>>), Problem> {
        self.read(name, Secret::from_file_content)
    }

    /// What somebody else shows in a header, to be compared with.
    pub(super) fn of_header(&self, name: &str) -> Result<Secret, Problem> {
        self.read(name, Secret::from_file_of_header).map(|(secret, _)| secret)
    }

    /// The same where the file need not be there.
    pub(super) fn of_optional_header(&self, name: &str) -> Result<Option<Secret>, Problem> {
        match self.of_header(name) {
            Ok(secret) => Ok(Some(secret)),
            Err(Problem::Missing(_)) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    fn read(
        &self,
        name: &str,
        parse: fn(&[u8]) -> Result<Secret, Malformed>,
    ) -> Result<(Secret, Zeroizing<Vec<u8>>), Problem> {
        /// One more than the longest secret with its line end, to see that it is too long.
        const ENOUGH: usize = MAX_LEN + 3;
        let shown = || self.shown.join(name);
        let content = file::read(&self.resolved.join(name), ENOUGH)
            .map_err(|fault| Problem::at(shown(), fault))?;
        match parse(&content) {
            Ok(secret) => Ok((secret, content)),
            Err(why) => Err(Problem::Malformed(shown(), why)),
        }
    }

    /// The path of a file, to be shown.
    pub(super) fn shown(&self, name: &str) -> PathBuf {
        self.shown.join(name)
    }

    fn expires_at(&self) -> Result<Option<Expiry>, String> {
        let wrong =
            |why: &dyn fmt::Display| format!("{}: {why}", self.shown(EXPIRES_AT_FILE).display());
        match file::read(&self.resolved.join(EXPIRES_AT_FILE), expiry::LONGEST + 3) {
            Ok(content) => Expiry::from_file_content(&content).map(Some).map_err(|why| wrong(&why)),
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(wrong(&fault)),
        }
    }
}

impl Problem {
    fn at(shown: PathBuf, fault: Fault) -> Self {
        match fault {
            Fault::Missing => Self::Missing(shown),
            Fault::NotAFile => Self::NotAFile(shown),
            Fault::Unreadable(kind) => Self::Unreadable(shown, kind),
        }
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, kind) => write!(
                f,
                "{}: {kind}; mount the Secret there, or change the setting",
                path.display()
            ),
            Self::Missing(path) => write!(f, "{}: there is no such file", path.display()),
            Self::NotAFile(path) => write!(f, "{}: is not a regular file", path.display()),
            Self::Unreadable(path, kind) => write!(f, "{}: cannot be read: {kind}", path.display()),
            Self::Malformed(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Moving(path) => {
                write!(f, "{}: the files change faster than they can be read", path.display())
            }
            Self::CutOff(path) => write!(
                f,
                "{}: it is the beginning of the one in use, cut off; write it whole",
                path.display()
            ),
            Self::Stuck(path) => write!(f, "{}: the file system does not answer", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write_pair(directory: &Path, app_key: &str, authorization: &str) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(APP_KEY_FILE), app_key).unwrap();
        fs::write(directory.join(AUTHORIZATION_FILE), authorization).unwrap();
    }

    #[test]
    fn a_pair_swapped_at_every_moment_is_never_mixed() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().to_owned();
        for generation in 0..2 {
            let text = format!("generation{generation}");
            write_pair(&root.join(format!("..{generation}")), &text, &text);
        }
        symlink("..0", root.join("..data")).unwrap();
        let swapping = std::thread::spawn({
            let root = root.clone();
            move || {
                for round in 0..2_000 {
                    symlink(format!("..{}", round % 2), root.join("..data_tmp")).unwrap();
                    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
                }
            }
        });
        let mut read_pairs = 0;
        while !swapping.is_finished() {
            match PAIR.read(&root) {
                Ok((_, pair)) => {
                    let Loaded { app_key, authorization, .. } = pair.unwrap();
                    assert!(app_key.same_as(&authorization));
                    read_pairs += 1;
                }
                Err(Problem::Moving(_) | Problem::Missing(_) | Problem::Directory(..)) => {}
                Err(problem) => panic!("{problem}"),
            }
        }
        swapping.join().unwrap();
        assert!(read_pairs > 0);
    }

    #[test]
    fn what_stands_in_the_place_of_a_file_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let directory = temp.path();
        assert_eq!(PAIR.look(directory), Err(Problem::Missing(directory.join(APP_KEY_FILE))));
        write_pair(directory, "key", "to ken");
        let authorization = directory.join(AUTHORIZATION_FILE);
        let problem = read_pair(directory).unwrap_err();
        assert_eq!(
            problem,
            Problem::Malformed(authorization.clone(), Malformed::Byte { position: 2 })
        );
        fs::remove_file(&authorization).unwrap();
        fs::create_dir(&authorization).unwrap();
        assert_eq!(PAIR.look(directory), Err(Problem::NotAFile(authorization)));
        let nowhere = directory.join("nowhere");
        assert!(matches!(PAIR.look(&nowhere), Err(Problem::Directory(..))));
    }

    #[test]
    fn an_old_file_under_a_new_name_is_no_old_state() {
        let temp = tempfile::tempdir().unwrap();
        let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        for name in [APP_KEY_FILE, AUTHORIZATION_FILE] {
            symlink(&old, temp.path().join(name)).unwrap();
        }
        let now = fs::metadata(temp.path()).unwrap().ctime();
        assert!(fs::metadata(&old).unwrap().ctime() <= now);
        assert_eq!(PAIR.look(temp.path()).unwrap().changed_at(), now);
    }
}
