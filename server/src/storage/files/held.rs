//! A database file that this process has to itself, whatever the file is called.
//!
//! The lock is a `flock` on the file, which every name of the file shares: hard links, bind mounts, names to come. SQLite's
//! own locks are of another kind and do not meet it. Beside the file, under its name with `.lock` after it, lies another
//! that is locked too: it keeps the place of a store that does not exist yet, and it holds a note about the store in use.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    beside, create_directories,
    descriptor::{Descriptor, InUse, Inode},
    directory_of, holder_of, kind, path_error, sync_directory, target,
};
use crate::storage::{Backend, OpenError};

/// Times that the file may be replaced between being opened and being locked.
const PATIENCE: usize = 10;

/// A file that is locked.
#[derive(Debug)]
pub(in crate::storage) struct Held {
    /// The file's own path: from the root on, behind any symbolic link to it.
    path: PathBuf,
    // Declared before the descriptors, so that they are closed and not put aside for it.
    _in_use: Option<InUse>,
    file: Descriptor,
    note: Descriptor,
    /// Whether there was no note before.
    is_new: bool,
}

impl Held {
    /// Locks the file at `path`, which is created (0600, in directories of 0700) if it is missing. To be called before
    /// SQLite opens the file, and dropped after it has closed it.
    pub(in crate::storage) fn take(path: &Path, backend: Backend) -> Result<Self, OpenError> {
        kind::check(path, backend)?;
        let own = target(&kind::absolute(path)?);
        let failed = |error: io::Error| path_error(&own, &error);
        let had_note = note_path(&own).exists();
        for _ in 0..PATIENCE {
            // One order for everybody, so that of two who come at once one gets both.
            let note = take_note(path)?;
            let file = Descriptor::write(&own).map_err(failed).and_then(|file| locked(file, path, &own));
            if file.is_err() && !had_note {
                // In use under another name: beside this one nothing is left. Whoever waits for it looks at its name.
                let _ = std::fs::remove_file(note_path(&own));
            }
            let file = file?;
            if file.length() == 0 {
                sync_directory(directory_of(&own)).map_err(failed)?; // an empty file's name may not be on disk yet
            }
            if Inode::at(&own).is_ok_and(|named| named == file.inode()) {
                let _in_use = (backend == Backend::Sqlite).then(|| InUse::begin(file.inode()));
                return Ok(Self { path: own, _in_use, file, note, is_new: !had_note });
            }
        }
        Err(OpenError::InUse { path: path.into(), holder: None })
    }

    /// The path of the file itself, through all symbolic links.
    pub(in crate::storage) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::storage) fn file(&self) -> &Descriptor {
        &self.file
    }

    /// Leaves nothing beside a file that is refused.
    pub(in crate::storage) fn remove_new_note(&self) {
        if self.is_new {
            let _ = std::fs::remove_file(note_path(&self.path));
        }
    }

    /// The file with the note beside it.
    pub(in crate::storage) fn note(&self) -> &Descriptor {
        &self.note
    }
}

/// Where the note about the store in the file at `path` lies, whatever name that is called by.
pub(in crate::storage) fn note_path(path: &Path) -> PathBuf {
    beside(&target(path), ".lock")
}

/// Locks the place of the store at `path`, which need not exist.
pub(in crate::storage) fn take_note(path: &Path) -> Result<Descriptor, OpenError> {
    let note = note_path(path);
    let failed = |error: io::Error| path_error(&note, &error);
    let directory = directory_of(&note);
    create_directories(directory).map_err(|error| path_error(directory, &error))?;
    loop {
        let file = locked(Descriptor::write(&note).map_err(failed)?, path, &note)?;
        if file.length() == 0 {
            sync_directory(directory).map_err(|error| path_error(directory, &error))?;
        }
        // Somebody may have removed it between its opening and its locking.
        if Inode::at(&note).is_ok_and(|named| named == file.inode()) {
            return Ok(file);
        }
    }
}

fn locked(file: Descriptor, store: &Path, locked: &Path) -> Result<Descriptor, OpenError> {
    match file.lock() {
        Ok(true) => Ok(file),
        Ok(false) => Err(OpenError::InUse { path: store.into(), holder: holder_of(locked) }),
        Err(error) => Err(path_error(locked, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in_use(path: &Path) -> bool {
        matches!(Held::take(path, Backend::Sqlite), Err(OpenError::InUse { .. }))
    }

    #[test]
    fn a_file_is_held_under_every_name_that_it_has_or_gets() {
        let directory = tempfile::tempdir().unwrap();
        let name = |name: &str| directory.path().join(name);
        let held = Held::take(&name("new/store"), Backend::Sqlite).unwrap();
        std::fs::hard_link(name("new/store"), name("hard")).unwrap();
        std::os::unix::fs::symlink("new/store", name("soft")).unwrap();
        for path in [name("new/store"), name("hard"), name("soft"), name("new/../new/store")] {
            assert!(is_in_use(&path), "{}", path.display());
        }
        assert!(!name("hard.lock").exists(), "nothing is left beside a name that is refused");
        std::fs::rename(name("new"), name("elsewhere")).unwrap();
        assert!(is_in_use(&name("elsewhere/store")));
        drop(held);
        assert!(!is_in_use(&name("hard")));
    }
}
