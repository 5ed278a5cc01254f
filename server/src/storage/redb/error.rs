//! Native errors in the contract's terms; the one place where the key-value store's errors are known.

use std::path::Path;
use std::sync::Arc;

use decentcom_kvstore::{CannotOpen, Error};

use crate::storage::{OpenError, StorageError, files};

/// What to do about damage.
pub(super) const REMEDY: &str = "Stop the server, keep a copy of the file and restore from a backup";

/// Maps a native error; `attempt` completes "while trying to …".
pub(super) fn storage_error(attempt: &'static str) -> impl FnOnce(Error) -> StorageError {
    move |error| {
        let unavailable = |reason: &str, error: Error| StorageError::Unavailable {
            reason: reason.into(),
            source: Some(Arc::new(error)),
        };
        match error {
            Error::Closed => StorageError::unavailable("the store is closed"),
            Error::DiskFull(_) => {
                StorageError::Full { reason: "the disk is full; free some space".into(), source: Some(Arc::new(error)) }
            }
            Error::Io(_) => unavailable("the disk failed; see the log, and check it", error),
            Error::MustReopen(_) => unavailable("the disk failed a moment ago; try again, or check the disk", error),
            Error::Transfer(_) => unavailable(
                "the server that has the store open has stopped or hung up, or the copy of what it has failed; try again",
                error,
            ),
            Error::Corrupt { table, key, problem } => StorageError::Corrupt {
                place: format!("the redb file, table {table}, key {key}"),
                problem: format!("while trying to {attempt}: {problem}"),
                remedy: REMEDY,
            },
            Error::Damaged(problem) | Error::Altered(problem) => StorageError::Corrupt {
                place: "the redb file".into(),
                problem: format!("while trying to {attempt}: {problem}"),
                remedy: REMEDY,
            },
            other => StorageError::internal(attempt, other),
        }
    }
}

/// A stored value that no record of ours has.
pub(super) fn corrupt(table: &str, key: &str, problem: &str) -> StorageError {
    StorageError::Corrupt {
        place: format!("the redb file, table {table}, key {key}"),
        problem: problem.into(),
        remedy: REMEDY,
    }
}

pub(super) fn open_error(path: &Path, error: CannotOpen) -> OpenError {
    match error {
        CannotOpen::Io { path, source } => files::path_error(&path, &source),
        CannotOpen::InUse { path } => OpenError::InUse { holder: files::holder_of(&path), path },
        CannotOpen::NewerFormat { path, found, supported, .. } => {
            OpenError::NewerFormat { path, found: format!("{found}"), supported: format!("format {supported}") }
        }
        CannotOpen::Damaged { path, problem } => OpenError::Damaged { path, problem, remedy: REMEDY },
        CannotOpen::Foreign { path } => OpenError::WrongFormat {
            path,
            expected: "a decentcom redb",
            found: "it is a redb database of another program".into(),
            remedy: "Name another file in `database_path`",
        },
        CannotOpen::Store(error) => OpenError::Storage(storage_error("open the database")(error)),
        other => OpenError::Damaged { path: path.into(), problem: other.to_string(), remedy: REMEDY },
    }
}
