//! The declarations of both backends, for tools that describe them and tests that compare them.

use super::{OpenError, redb, sqlite};
pub use super::{
    redb::ShippedVersion,
    sqlite::describe::{SqlColumn, SqlIndex, SqlTable},
};

/// The tables of the key-value layout, to work on without a store.
pub fn redb_catalogue() -> decentcom_kvstore::Catalogue {
    redb::CATALOGUE
}

/// The tables of the key-value layout, from their declarations.
pub fn redb_tables() -> Vec<decentcom_kvstore::TableInfo> {
    redb::CATALOGUE.iter().map(|table| table.describe()).collect()
}

/// The number of the format that the key-value layout has now.
pub fn redb_format() -> u32 {
    redb::FORMAT
}

/// The number of the migration that an SQLite file has had last.
pub fn sqlite_format() -> u64 {
    sqlite::inspect::newest_migration()
}

/// Every record version of the key-value layout that was ever shipped.
pub fn redb_versions() -> Vec<ShippedVersion> {
    redb::shipped().collect()
}

/// The tables of the SQL schema, as the migrations make them.
pub fn sqlite_tables() -> Result<Vec<SqlTable>, OpenError> {
    sqlite::describe::tables()
}
