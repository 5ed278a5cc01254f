//! Whether the files of an open store are still where they were opened.
//!
//! A file that was moved, replaced or deleted goes on to take what is written to it, and at the next start none of that is
//! found under its name. So nothing is acknowledged any more as long as a file is away. It is only looked at, by `stat`;
//! it is never opened.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::descriptor::Inode;
use crate::storage::StorageError;

/// The files of a store.
#[derive(Debug, Default)]
pub struct Presence {
    files: Vec<(PathBuf, Inode)>,
    /// What was last found to be wrong.
    problem: Mutex<Option<String>>,
}

impl Presence {
    /// Remembers which files these paths name now; those that are missing do not belong to the store.
    pub(in crate::storage) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let found = |path: PathBuf| Inode::at(&path).ok().map(|inode| (path, inode));
        Self { files: paths.into_iter().filter_map(found).collect(), problem: Mutex::default() }
    }

    /// `Unavailable`, with the reason, as long as a file is away. Says so in the log when that changes.
    pub(in crate::storage) fn check(&self) -> Result<(), StorageError> {
        let now = self.files.iter().find_map(|(path, inode)| what_became_of(path, *inode));
        let mut last = self.problem();
        match (&*last, &now) {
            (None, Some(problem)) => tracing::error!(
                "{problem}; no change is taken until it is back in its place, or the server is started again on what is there"
            ),
            (Some(_), None) => tracing::warn!("the store's files are back where they were; changes are taken again"),
            _ => {}
        }
        last.clone_from(&now);
        match now {
            None => Ok(()),
            Some(problem) => Err(StorageError::unavailable(problem)),
        }
    }

    /// Whether `path` still names the file that it named at first, or none.
    pub(in crate::storage) fn owns_or_misses(&self, path: &Path) -> bool {
        match Inode::at(path) {
            Ok(found) => self.files.iter().any(|(watched, inode)| watched == path && *inode == found),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// What was wrong when the files were last looked at, which a store that is open does twice a second at least.
    pub(in crate::storage) fn last_problem(&self) -> Option<String> {
        self.problem().clone()
    }

    fn problem(&self) -> MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn what_became_of(path: &Path, inode: Inode) -> Option<String> {
    let found = Inode::at(path);
    let path = path.display();
    match found {
        Ok(found) if found == inode => None,
        Ok(_) => Some(format!("{path} was replaced while the server had it open: another file has its name")),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Some(format!("{path} was moved or deleted while the server had it open"))
        }
        Err(error) => Some(format!("{path} can no longer be found: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_missed_as_long_as_it_is_away() {
        let directory = tempfile::tempdir().unwrap();
        let (file, away) = (directory.path().join("file"), directory.path().join("away"));
        fs::write(&file, "x").unwrap();
        let presence = Presence::of([file.clone(), directory.path().join("never there")]);
        presence.check().unwrap();
        fs::rename(&file, &away).unwrap();
        assert_eq!(presence.last_problem(), None, "nobody has looked");
        assert!(presence.check().unwrap_err().to_string().contains("moved or deleted"));
        fs::write(&file, "x").unwrap();
        assert!(presence.check().unwrap_err().to_string().contains("replaced"));
        assert!(presence.last_problem().unwrap().contains("replaced"));
        fs::rename(&away, &file).unwrap();
        presence.check().unwrap();
        assert_eq!(presence.last_problem(), None);
    }
}
