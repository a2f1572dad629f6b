//! What this process asks of the kernel before it reads a secret.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The pair stands in memory: it must not get into a core file, and another process of the same
/// user must not read it by way of `ptrace` or `/proc/PID/mem`. Root still can.
pub(super) fn forbid_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none).and(hide()) {
        tracing::warn!(%error, "a crash could write the secrets into a core file");
    }
}

/// Closes `/proc/PID` to other processes of the same user: from there they would read memory, and through
/// `root` every file that this one can, where they share its process namespace.
///
/// # Errors
/// If the kernel refuses.
pub fn hide() -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Each call takes one descriptor towards its caller and one towards InnoPaaS; the usual soft
/// limit of 1,024 is for programs that use `select`.
pub(super) fn raise_descriptor_limit(connections: usize) {
    /// Listeners, files, name lookups, the admin endpoints.
    const OTHERS: usize = 320;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // what holds is read again
    let wanted = 2 * connections + OTHERS;
    match getrlimit(Resource::Nofile).current.map(usize::try_from) {
        Some(Ok(allowed)) if allowed < wanted => {
            tracing::warn!(allowed, wanted, "too few file descriptors for limits.connections");
        }
        Some(_) | None => {}
    }
}
