//! A Unix socket's place in the file system: taken without a moment in which it is half made, and
//! given back at the end.
//!
//! Invariant: nothing is removed or replaced that is not a socket, nor a socket that somebody
//! serves. Two processes that begin on one path in the same instant are not kept apart: the later
//! one has it then.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::accept::BACKLOG;

/// Removes the socket's file when it is dropped, if it is still the one that was made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Binds a listening Unix socket with this mode, fit for tokio. Needs no runtime.
///
/// # Errors
/// What the system says; `AddrInUse` if somebody serves the socket that is there, `AlreadyExists`
/// if what is there is no socket.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    make_way(path)?;
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Made where nobody else has access, so that nobody finds it, or puts a link in its place,
    // before its mode is right and it listens.
    let hidden = tempfile::Builder::new().prefix(".").tempdir_in(directory)?;
    let unpublished = hidden.path().join("s");
    socket.bind(&SockAddr::unix(&unpublished)?)?;
    fs::set_permissions(&unpublished, Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    let metadata = fs::symlink_metadata(&unpublished)?;
    fs::rename(&unpublished, path)?;
    let file = SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
    Ok((socket.into(), file))
}

/// Whether the path may be taken.
fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => match knock(path) {
            Ok(()) => Err(ErrorKind::AddrInUse.into()),
            // As many as it takes have knocked already: it lives.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::AddrInUse.into()),
            // Nobody is behind it any more; or it went away just now.
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        },
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
    }
}

fn knock(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?; // one that stands still must not hold us up
    socket.connect(&SockAddr::unix(path)?)
}

impl SocketFile {
    fn is(&self, metadata: &Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| self.is(&metadata)) {
            // What cannot be removed is stale then, and replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn refused(path: &Path) -> ErrorKind {
        bind_unix(path, 0o600).unwrap_err().kind()
    }

    #[test]
    fn a_path_is_taken_only_from_a_socket_that_nobody_serves() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("p.sock");
        let (listener, file) = bind_unix(&path, 0o620).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        assert_eq!(refused(&path), ErrorKind::AddrInUse);
        drop(listener);
        let (_second, second_file) = bind_unix(&path, 0o600).unwrap();
        drop(file);
        assert!(path.exists(), "the successor's file is not ours to remove");
        drop(second_file);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn what_is_no_socket_stays() {
        let temp = tempfile::tempdir().unwrap();
        let (file, link) = (temp.path().join("file"), temp.path().join("link"));
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        for path in [&file, &link, &temp.path().to_owned()] {
            assert_eq!(refused(path), ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
        assert_eq!(refused(&temp.path().join("no/where")), ErrorKind::NotFound);
    }
}
