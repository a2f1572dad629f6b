//! Reads the two files as one consistent pair.
//!
//! Kubernetes swaps a whole directory by renaming the link `..data`; two files read one after the
//! other through their visible names can be of two generations. So the directory is resolved
//! once, both files are read through the resolved path, and the whole is done again if the link
//! or a file moved meanwhile.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
    /// The file system does not answer.
    Stuck(PathBuf),
}

/// What tells one state of the files from another, without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The directory, all links resolved.
    pub(super) directory: PathBuf,
    /// Whether it is one that is swapped whole.
    pub(super) swapped_whole: bool,
    files: [FileStamp; 2],
}

impl Stamp {
    /// When a file last changed, in whole seconds since 1970.
    pub(super) fn changed_at(&self) -> i64 {
        self.files.iter().map(FileStamp::changed_at).max().unwrap_or_default()
    }
}

/// Looks at the files without reading them.
pub(super) fn look(directory: &Path) -> Result<Stamp, Problem> {
    let (resolved, swapped_whole) = resolve(directory)?;
    let stamp = |name| {
        file::look(&resolved.join(name)).map_err(|fault| Problem::at(directory.join(name), fault))
    };
    let files = [stamp(APP_KEY_FILE)?, stamp(AUTHORIZATION_FILE)?];
    Ok(Stamp { directory: resolved, swapped_whole, files })
}

/// The two values, or what is wrong with them.
pub(super) type Pair = Result<(Secret, Secret), Problem>;

/// Reads both values as they stood in the files at one time.
///
/// # Errors
/// [`Problem`], if a file is missing, unreadable or malformed, or the files do not hold still.
pub fn read_pair(directory: &Path) -> Pair {
    read(directory)?.1
}

/// Reads the files in one state; that state, and what is to be said of their content.
pub(super) fn read(directory: &Path) -> Result<(Stamp, Pair), Problem> {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let stamp = look(directory)?;
        let pair = read_file(directory, &stamp, APP_KEY_FILE)
            .and_then(|app_key| Ok((app_key, read_file(directory, &stamp, AUTHORIZATION_FILE)?)));
        // Whatever was found counts only if nothing moved while it was read.
        if look(directory).is_ok_and(|after| after == stamp) {
            return Ok((stamp, pair));
        }
    }
    Err(Problem::Moving(directory.to_owned()))
}

/// The directory that really holds the files, and whether it is replaced as a whole.
fn resolve(directory: &Path) -> Result<(PathBuf, bool), Problem> {
    let data = directory.join(DATA_LINK);
    let swapped_whole = fs::symlink_metadata(&data).is_ok();
    fs::canonicalize(if swapped_whole { &data } else { directory })
        .map(|resolved| (resolved, swapped_whole))
        .map_err(|error| Problem::Directory(directory.to_owned(), error.kind()))
}

fn read_file(directory: &Path, stamp: &Stamp, name: &str) -> Result<Secret, Problem> {
    /// One more than the longest secret with its line end, to see that it is too long.
    const ENOUGH: u64 = MAX_LEN as u64 + 3;
    let shown = || directory.join(name);
    let content = file::read(&stamp.directory.join(name), ENOUGH)
        .map_err(|fault| Problem::at(shown(), fault))?;
    Secret::from_file_content(&content).map_err(|why| Problem::Malformed(shown(), why))
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
                "{}: {kind}; mount the Secret there, or set credentials.directory",
                path.display()
            ),
            Self::Missing(path) => write!(f, "{}: there is no such file", path.display()),
            Self::NotAFile(path) => write!(f, "{}: is not a regular file", path.display()),
            Self::Unreadable(path, kind) => write!(f, "{}: cannot be read: {kind}", path.display()),
            Self::Malformed(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Moving(path) => {
                write!(f, "{}: the files change faster than they can be read", path.display())
            }
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
            match read(&root) {
                Ok((_, pair)) => {
                    let (app_key, authorization) = pair.unwrap();
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
        assert_eq!(look(directory), Err(Problem::Missing(directory.join(APP_KEY_FILE))));
        write_pair(directory, "key", "to ken");
        let authorization = directory.join(AUTHORIZATION_FILE);
        let problem = read_pair(directory).unwrap_err();
        assert_eq!(
            problem,
            Problem::Malformed(authorization.clone(), Malformed::Byte { position: 2 })
        );
        fs::remove_file(&authorization).unwrap();
        fs::create_dir(&authorization).unwrap();
        assert_eq!(look(directory), Err(Problem::NotAFile(authorization)));
        let nowhere = directory.join("nowhere");
        assert!(matches!(look(&nowhere), Err(Problem::Directory(..))));
    }
}
