//! Native errors in the contract's terms; the one place where SQLite's codes are known.

use std::sync::Arc;

use super::super::StorageError;

/// SQLite's primary result codes, <https://www.sqlite.org/rescode.html>.
pub(super) mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const CORRUPT: u32 = 11;
    pub(in super::super) const FULL: u32 = 13;
    pub(super) const NOTADB: u32 = 26;
}

/// What to do about damage.
pub(super) const REMEDY: &str =
    "Stop the server, keep a copy of the file, run `PRAGMA integrity_check` on it and restore from a backup";

/// The primary result code of an error that came from SQLite itself.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Maps a native error; `attempt` completes "while trying to …".
pub(super) fn storage_error(attempt: &str, error: sqlx::Error) -> StorageError {
    let unavailable = |reason: &str| StorageError::Unavailable { reason: reason.into(), source: None };
    let mut mapped = match (&error, primary_code(&error)) {
        (_, Some(code::BUSY | code::LOCKED)) => unavailable("another process is writing to the database; try again"),
        (_, Some(code::FULL)) => unavailable("the disk is full; free some space"),
        (_, Some(code::READONLY)) => unavailable("the database is read-only; check the rights of its file"),
        (_, Some(code::CORRUPT | code::NOTADB)) => {
            return StorageError::Corrupt {
                place: "the SQLite file".into(),
                problem: format!("while trying to {attempt}: {error}"),
                remedy: REMEDY,
            };
        }
        (sqlx::Error::PoolTimedOut, _) => unavailable("too many reads are waiting; try again in a moment"),
        (sqlx::Error::PoolClosed, _) => unavailable("the store is closed"),
        (sqlx::Error::ColumnDecode { index, .. }, _) => {
            return corrupt_column(attempt, index, &error.to_string());
        }
        _ => StorageError::Internal { attempt: attempt.into(), source: None },
    };
    if let StorageError::Unavailable { source, .. } | StorageError::Internal { source, .. } = &mut mapped {
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
