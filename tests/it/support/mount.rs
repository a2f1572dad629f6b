//! A credentials directory, laid out and swapped as the kubelet's `AtomicWriter` does it, in its
//! newer form, which makes the links that users see last: nothing is ever changed in place, and
//! nobody who goes through `..data` once sees two generations.
//!
//! ```text
//! app-key                              -> ..data/app-key
//! authorization                        -> ..data/authorization
//! ..data                               -> ..2026_11_24_02_25_29.1234567890
//! ..2026_11_24_02_25_29.1234567890/       the files
//! ```
//!
//! What a Secret cannot hold (a pipe, a directory) can be swapped in too: other writers exist.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use innopaas_proxy::sandbox::Pair;
use tempfile::TempDir;
use time::OffsetDateTime;

/// `defaultMode` of a volume.
const MODE: u32 = 0o644;

pub(crate) struct Mount {
    directory: TempDir,
}

impl Mount {
    /// A mounted Secret without content.
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o755);
        Self { directory }
    }

    pub(crate) fn of(pair: &Pair) -> Self {
        let mount = Self::empty();
        mount.swap_in(pair);
        mount
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn swap_in(&self, pair: &Pair) {
        self.swap_in_files(&[("app-key", pair.app_key()), ("authorization", pair.authorization())]);
    }

    /// Brings the directory to this content, if it has another one.
    pub(crate) fn swap_in_files<C: AsRef<[u8]>>(&self, files: &[(&str, C)]) {
        let names = files.iter().map(|(name, _)| OsString::from(name)).collect();
        let same = |(name, content): &(&str, C)| {
            let old = self.data().join(name);
            old.symlink_metadata().is_ok_and(|old| old.is_file())
                && fs::read(old).is_ok_and(|old| old == content.as_ref())
        };
        if self.data().exists() && names_in(&self.data()) == names && files.iter().all(same) {
            self.link(&names); // a link that somebody took away is mended nevertheless
            return;
        }
        self.swap(|folder| {
            for (name, content) in files {
                fs::write(folder.join(name), content).unwrap();
                set_mode(&folder.join(name), MODE);
            }
        });
    }

    /// A new generation: made aside by `fill`, which may put anything into the folder, and then
    /// shown all at once.
    pub(crate) fn swap(&self, fill: impl FnOnce(&Path)) {
        let old = fs::read_link(self.data()).ok().map(|old| self.path().join(old));
        let old_names = old.as_deref().map(names_in).unwrap_or_default();
        let name = timestamped();
        let folder = self.path().join(&name);
        fs::create_dir(&folder).unwrap();
        set_mode(&folder, 0o755);
        fill(&folder);
        symlink(&name, self.path().join("..data_tmp")).unwrap();
        fs::rename(self.path().join("..data_tmp"), self.data()).unwrap();
        let names = names_in(&folder);
        self.link(&names);
        for gone in old_names.difference(&names) {
            fs::remove_file(self.path().join(gone)).unwrap();
        }
        if let Some(old) = old {
            fs::remove_dir_all(old).unwrap();
        }
    }

    /// Makes the links that users see, where they are missing.
    fn link(&self, names: &BTreeSet<OsString>) {
        for name in names {
            let visible = self.path().join(name);
            if visible.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(name), visible).unwrap();
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.path().join("..data")
    }
}

fn timestamped() -> String {
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, nanosecond) = now.to_hms_nano();
    let month = u8::from(month);
    // The kubelet's number is random; that it is another one each time is what matters.
    format!("..{year}_{month:02}_{day:02}_{hour:02}_{minute:02}_{second:02}.{nanosecond}")
}

fn names_in(folder: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// Whatever the umask is.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_mount_changes_as_the_kubelets_does() {
    let mount = Mount::empty();
    let target = |name: &str| fs::read_link(mount.path().join(name)).unwrap();
    mount.swap_in_files(&[("a", "1"), ("b", "2")]);
    let first = target("..data");
    mount.swap_in_files(&[("b", "2"), ("a", "1")]);
    assert_eq!(target("..data"), first, "the same content is no new generation");
    mount.swap_in_files(&[("b", b"\xff"), ("c", b"3")]);
    let names: BTreeSet<_> = ["..data", "b", "c"].map(OsString::from).into();
    let second = target("..data");
    assert_eq!(names_in(mount.path()), &names | &[second.clone().into_os_string()].into());
    assert!(second.to_string_lossy().starts_with("..20") && second != first);
    assert_eq!(
        (target("b"), fs::read(mount.path().join("b")).unwrap()),
        ("..data/b".into(), vec![0xff])
    );
}
