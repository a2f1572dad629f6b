//! A credentials directory, laid out and swapped as the kubelet does it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use innopaas_proxy::sandbox::Pair;
use tempfile::TempDir;

pub(crate) struct Mount {
    directory: TempDir,
    generation: std::cell::Cell<u32>,
}

impl Mount {
    /// A mounted Secret without content.
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, generation: std::cell::Cell::new(0) }
    }

    pub(crate) fn of(pair: &Pair) -> Self {
        let mount = Self::empty();
        mount.swap_in(pair);
        mount
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a new generation aside, and renames the link onto it.
    pub(crate) fn swap_in(&self, pair: &Pair) {
        self.swap_in_files(&[("app-key", pair.app_key()), ("authorization", pair.authorization())]);
    }

    pub(crate) fn swap_in_files(&self, files: &[(&str, &str)]) {
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        let name = format!("..generation_{generation}");
        let folder = self.path().join(&name);
        fs::create_dir(&folder).unwrap();
        for (file, content) in files {
            fs::write(folder.join(file), content).unwrap();
            let visible = self.path().join(file);
            if fs::symlink_metadata(&visible).is_err() {
                symlink(PathBuf::from("..data").join(file), visible).unwrap();
            }
        }
        symlink(&name, self.path().join("..data_tmp")).unwrap();
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data")).unwrap();
        let old = self.path().join(format!("..generation_{}", generation - 1));
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
}
