//! Checking a store that no server has open: every row decodes, indexes and records agree, references exist.
//!
//! Findings are streamed, so memory stays constant; opening a store that crashed repairs its engine's file first.

use std::{fmt, path::Path};

use super::{OpenError, redb, sqlite};

/// Something found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table or index; `file` for the file as a whole.
    pub table: String,
    /// The key of the row or index entry: an id, or hexadecimal; empty for the whole table.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.table, self.key, self.problem)
    }
}

/// Checks the redb store in the file at `path`, which must exist. Blocks the thread.
pub fn verify_redb(path: &Path, report: impl FnMut(Finding)) -> Result<(), OpenError> {
    redb::verify::verify(path, report)
}

/// Makes every index of the redb store at `path` anew from its records; answers how many rows it read. Blocks the
/// thread.
pub fn rebuild_redb_indexes(path: &Path) -> Result<u64, OpenError> {
    redb::verify::rebuild_indexes(path)
}

/// Checks the SQLite store in the file at `path`, which must exist.
pub async fn verify_sqlite(path: &Path, report: impl FnMut(Finding)) -> Result<(), OpenError> {
    sqlite::verify::verify(path, report).await
}

/// The tables of the key-value layout, from their declarations.
pub fn redb_tables() -> Vec<decentcom_kvstore::TableInfo> {
    redb::CATALOGUE.iter().map(|table| table.describe()).collect()
}
