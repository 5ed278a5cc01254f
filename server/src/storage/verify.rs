//! Checking a store that no server has open: every row decodes, indexes and records agree, references exist.
//!
//! Findings are streamed, so memory stays constant; opening a store that crashed repairs its engine's file first.

use std::path::Path;

pub use super::finding::Finding;
use super::{OpenError, redb, sqlite};

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

/// The tables of the key-value layout, to work on without a store.
pub fn redb_catalogue() -> decentcom_kvstore::Catalogue {
    redb::CATALOGUE
}

/// The tables of the key-value layout, from their declarations.
pub fn redb_tables() -> Vec<decentcom_kvstore::TableInfo> {
    redb::CATALOGUE.iter().map(|table| table.describe()).collect()
}
