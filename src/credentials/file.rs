//! Looks at and reads one file, whoever put whatever in its place.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Tells one state of a file from another, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file does not exist.
    Missing,
    /// A directory, a pipe or a device stands in the file's place.
    NotAFile,
    /// The file cannot be read.
    Unreadable(io::ErrorKind),
}

impl FileStamp {
    /// When the file last changed, in whole seconds since 1970.
    pub(super) fn changed_at(&self) -> i64 {
        self.changed.0
    }
}

/// Looks at a file without reading it.
pub(super) fn look(path: &Path) -> Result<FileStamp, Fault> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    Ok(FileStamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Reads no more than this many bytes of a file. They are overwritten when dropped.
pub(super) fn read(path: &Path, at_most: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    // With room for all of it, and the system's probe for more: what grows is copied.
    let mut content = Zeroizing::new(Vec::with_capacity(at_most + 64));
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed()) // opening a pipe would wait for a writer
        .open(path)?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(Fault::NotAFile);
    }
    file.take(at_most as u64).read_to_end(&mut content)?;
    Ok(content)
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::Missing
        } else {
            Self::Unreadable(error.kind())
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::NotAFile => f.write_str("is not a regular file"),
            Self::Unreadable(kind) => write!(f, "cannot be read: {kind}"),
        }
    }
}
