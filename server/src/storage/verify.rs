//! Checking a store by its file; what is checked is in `inspect/verify.rs`.

use std::path::Path;

pub use super::finding::{Finding, Level};
pub use super::redb::ShippedVersion;
pub use super::sqlite::describe::{SqlColumn, SqlIndex, SqlTable};
use super::{
    Backend, OpenError, StorageError,
    inspect::{self, Moment},
    redb, sqlite,
};

/// Checks the redb store in the file at `path`, which must exist and stays as it is. Blocks the thread.
pub fn verify_redb(path: &Path, report: impl FnMut(Finding)) -> Result<(), OpenError> {
    verify(Backend::Redb, path, report)
}

/// Checks the SQLite store in the file at `path`, which must exist and stays as it is.
pub async fn verify_sqlite(path: &Path, mut report: impl FnMut(Finding)) -> Result<(), OpenError> {
    let path = path.to_owned();
    let checked = tokio::task::spawn_blocking(move || {
        let mut findings = Vec::new();
        verify(Backend::Sqlite, &path, |finding| findings.push(finding)).map(|()| findings)
    });
    let findings = checked.await.map_err(|error| StorageError::internal("check the store", error))??;
    findings.into_iter().for_each(&mut report);
    Ok(())
}

fn verify(backend: Backend, path: &Path, mut report: impl FnMut(Finding)) -> Result<(), OpenError> {
    let mut store = inspect::open(backend, path, Moment::One, &mut |_| Ok(()))?;
    Ok(inspect::verify(&mut *store, &mut report, &mut |_| Ok(()))?)
}

/// The tables of the key-value layout, to work on without a store.
pub fn redb_catalogue() -> decentcom_kvstore::Catalogue {
    redb::CATALOGUE
}

/// The tables of the key-value layout, from their declarations.
pub fn redb_tables() -> Vec<decentcom_kvstore::TableInfo> {
    redb::CATALOGUE.iter().map(|table| table.describe()).collect()
}

/// Every record version of the key-value layout that was ever shipped.
pub fn redb_versions() -> Vec<ShippedVersion> {
    redb::SHIPPED.to_vec()
}

/// The tables of the SQL schema, as the migrations make them.
pub fn sqlite_tables() -> Result<Vec<SqlTable>, OpenError> {
    sqlite::describe::tables()
}
