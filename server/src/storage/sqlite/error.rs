//! Native errors in the contract's terms; the one place where SQLite's codes are known.

use std::{path::Path, sync::Arc};

use super::super::{OpenError, StorageError, files, space};

/// SQLite's primary result codes, <https://www.sqlite.org/rescode.html>.
pub(super) mod code {
    pub(in super::super) const BUSY: u32 = 5;
    pub(in super::super) const LOCKED: u32 = 6;
    pub(in super::super) const NOMEM: u32 = 7;
    pub(in super::super) const READONLY: u32 = 8;
    pub(in super::super) const IOERR: u32 = 10;
    pub(in super::super) const CORRUPT: u32 = 11;
    pub(in super::super) const FULL: u32 = 13;
    pub(in super::super) const CANTOPEN: u32 = 14;
    pub(in super::super) const NOTADB: u32 = 26;
    /// Of [`IOERR`], those for which there was no room: the index of the log, shared memory in a file, could not grow, or
    /// no memory was left.
    pub(in super::super) const IOERR_NOMEM: u32 = IOERR | (12 << 8);
    pub(in super::super) const IOERR_SHMSIZE: u32 = IOERR | (19 << 8);
    /// A write was refused for another reason than a full disk: a failing one, a quota, a limit on file sizes.
    pub(in super::super) const IOERR_WRITE: u32 = IOERR | (3 << 8);
}

/// What to do about damage.
pub(super) const REMEDY: &str =
    "Stop the server, keep a copy of the file, run `PRAGMA integrity_check` on it and restore from a backup";

/// The result code of an error that came from SQLite itself.
fn extended_code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// The primary result code of an error that came from SQLite itself.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<u32> {
    extended_code(error).map(|code| code & 0xff)
}

/// Whether it failed for lack of room.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(code::FULL)
}

/// Why the file at `path` cannot be opened. Only where it is damaged is a backup the way out.
pub(super) fn open_error(path: &Path, error: sqlx::Error) -> OpenError {
    if let sqlx::Error::Io(error) = &error {
        return files::path_error(path, error);
    }
    let cannot = |problem: &str, remedy| OpenError::Path { path: path.into(), problem: problem.into(), remedy };
    match (primary_code(&error), extended_code(&error)) {
        (Some(code::BUSY | code::LOCKED), _) => OpenError::InUse { path: path.into(), holder: files::holder_of(path) },
        (Some(code::FULL), _) | (_, Some(code::IOERR_SHMSIZE)) => {
            files::path_error(path, &std::io::ErrorKind::StorageFull.into())
        }
        (Some(code::NOMEM), _) | (_, Some(code::IOERR_NOMEM)) => {
            files::path_error(path, &std::io::ErrorKind::OutOfMemory.into())
        }
        (Some(code::READONLY | code::CANTOPEN), _) => space::full_disk(path).unwrap_or_else(|| {
            cannot(
                &error.to_string(),
                "Give the user that runs this program read and write access to the file and its directory",
            )
        }),
        (Some(code::CORRUPT | code::NOTADB), _) | (None, _) => {
            OpenError::Damaged { path: path.into(), problem: error.to_string(), remedy: REMEDY }
        }
        (Some(code::IOERR), _) => cannot(&error.to_string(), "Check the disk; the system's log says what failed"),
        _ => cannot(&error.to_string(), "Look up SQLite's message, and check the file and its disk"),
    }
}

const NO_MEMORY: &str = "the system has no memory left; give this program more, or stop others";

/// Maps a native error; `attempt` completes "while trying to …".
pub(super) fn storage_error(attempt: &str, error: sqlx::Error) -> StorageError {
    let unavailable = |reason: &str| StorageError::Unavailable { reason: reason.into(), source: None };
    let full = |reason: &str| StorageError::Full { reason: reason.into(), source: None };
    let mut mapped = match (&error, primary_code(&error)) {
        (_, Some(code::BUSY | code::LOCKED)) => unavailable("another process is writing to the database; try again"),
        (_, Some(code::FULL)) => full("the disk is full; free some space"),
        _ if extended_code(&error) == Some(code::IOERR_SHMSIZE) => full("the disk is full; free some space"),
        _ if extended_code(&error) == Some(code::IOERR_WRITE) && space::is_limited() => {
            full("the file may not grow: a limit on file sizes (ulimit -f) is reached; raise it")
        }
        (_, Some(code::NOMEM)) => unavailable(NO_MEMORY),
        _ if extended_code(&error) == Some(code::IOERR_NOMEM) => unavailable(NO_MEMORY),
        (_, Some(code::IOERR)) => unavailable("the disk failed; see the log, and check it"),
        (_, Some(code::READONLY)) => unavailable("the database is read-only; check the rights of its file"),
        (_, Some(code::CORRUPT | code::NOTADB)) => {
            return StorageError::Corrupt {
                place: "the SQLite file".into(),
                problem: format!("while trying to {attempt}: {error}"),
                remedy: REMEDY,
            };
        }
        (sqlx::Error::ColumnDecode { index, .. }, _) => {
            return corrupt_column(attempt, index, &error.to_string());
        }
        _ => StorageError::Internal { attempt: attempt.into(), source: None },
    };
    if let StorageError::Full { source, .. }
    | StorageError::Unavailable { source, .. }
    | StorageError::Internal { source, .. } = &mut mapped
    {
        *source = Some(Arc::new(error));
    }
    mapped
}

/// A column holds what this program never writes.
pub(super) fn corrupt_column(attempt: &str, column: &str, problem: &str) -> StorageError {
    StorageError::Corrupt {
        place: format!("the SQLite file, column {column}"),
        problem: format!("while trying to {attempt}: {problem}"),
        remedy: REMEDY,
    }
}
