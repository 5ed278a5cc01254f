//! Mending and compacting an SQLite store; see `inspect/maintain.rs`.

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{
    error::{primary_code, storage_error},
    lock, open_error, options, refuse_foreign_schema, refuse_newer_schema,
};
use crate::storage::{
    OpenError,
    files::{self, beside},
};

pub(in crate::storage) async fn repair(path: &Path) -> Result<PathBuf, OpenError> {
    let held = lock(path, &beside(path, ".lock"))?;
    let copy = files::keep_copy(path, &["", "-wal"])?;
    let mut connection = connect(path).await?;
    run(path, &mut connection, "make the indexes anew", "REINDEX").await?;
    raise_high_water(path, &mut connection).await?;
    close(path, connection).await?;
    drop(held);
    Ok(copy)
}

pub(in crate::storage) async fn compact(path: &Path) -> Result<(), OpenError> {
    let held = lock(path, &beside(path, ".lock"))?;
    let mut connection = connect(path).await?;
    run(path, &mut connection, "compact the file", "VACUUM").await?;
    close(path, connection).await?;
    drop(held);
    Ok(())
}

async fn connect(path: &Path) -> Result<SqliteConnection, OpenError> {
    let mut connection = options(path).connect().await.map_err(|error| open_error(path, error))?;
    refuse_foreign_schema(path, &mut connection).await?;
    refuse_newer_schema(path, &mut connection).await?;
    Ok(connection)
}

/// Runs a statement. A shell or a backup that is at work on the file knows nothing of the store's lock.
async fn run(
    path: &Path,
    connection: &mut SqliteConnection,
    attempt: &str,
    statement: &'static str,
) -> Result<(), OpenError> {
    let done = sqlx::query(statement).execute(connection).await;
    done.map(drop).map_err(|error| match primary_code(&error) {
        Some(5 | 6) => open_error(path, error),
        _ => storage_error(attempt, error).into(),
    })
}

/// Moves everything from the log to the file: its size is the store's.
async fn close(path: &Path, mut connection: SqliteConnection) -> Result<(), OpenError> {
    run(path, &mut connection, "empty the log", "PRAGMA wal_checkpoint(TRUNCATE)").await?;
    connection.close().await.map_err(|error| open_error(path, error))
}

/// Records the largest id that is there. A file that has no table for it yet gets one at the next start.
async fn raise_high_water(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let has_meta: Option<i64> = sqlx::query_scalar("SELECT 1 FROM sqlite_master WHERE name = 'meta'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| open_error(path, error))?;
    if has_meta.is_none() {
        return Ok(());
    }
    let statement = "INSERT INTO meta (name, value)
        SELECT 'high_water_id', newest FROM (SELECT max(id) AS newest FROM (
            SELECT max(id) AS id FROM users
            UNION ALL SELECT max(id) FROM channels
            UNION ALL SELECT max(id) FROM categories
            UNION ALL SELECT max(id) FROM messages))
        WHERE newest IS NOT NULL
        ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)";
    sqlx::query(statement).execute(connection).await.map_err(|error| storage_error("record the largest id", error))?;
    Ok(())
}
