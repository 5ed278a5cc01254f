//! Mending and compacting an SQLite store; see `inspect/maintain.rs`.

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection, SqliteConnection};
use ulid::Ulid;

use super::{
    HIGH_WATER, PROBED_AT,
    error::{primary_code, storage_error},
    lock, open_error, options, refuse_foreign_schema, refuse_newer_schema,
    sql::bad_value,
};
use crate::storage::{
    Clock as _, OpenError, SystemClock,
    files::{self, beside},
    id::parse_ulid,
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

pub(in crate::storage) async fn lower_high_water(path: &Path) -> Result<Option<Ulid>, OpenError> {
    let attempt = "record the largest id";
    let held = lock(path, &beside(path, ".lock"))?;
    let mut connection = connect(path).await?;
    // A deleted channel's id is in use until its messages are gone. Text order is id order.
    let largest: Option<String> = sqlx::query_scalar(
        "SELECT max(id) FROM (
            SELECT max(id) AS id FROM users
            UNION ALL SELECT max(id) FROM channels
            UNION ALL SELECT max(id) FROM categories
            UNION ALL SELECT max(id) FROM messages
            UNION ALL SELECT max(channel_id) FROM purges)",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(|error| storage_error(attempt, error))?;
    let largest = match largest {
        Some(text) => Some(parse_ulid(&text).ok_or_else(|| bad_value(attempt, "id", &text))?),
        None => None,
    };
    sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?), (?, ?)")
        .bind(HIGH_WATER)
        .bind(largest.unwrap_or_default().to_string())
        .bind(PROBED_AT)
        .bind(SystemClock.now().to_string())
        .execute(&mut connection)
        .await
        .map_err(|error| storage_error(attempt, error))?;
    close(path, connection).await?;
    drop(held);
    Ok(largest)
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
    let statement = concat!(
        "INSERT INTO meta (name, value) SELECT 'high_water_id', newest FROM (SELECT max(id) AS newest FROM (",
        newest_ids!(),
        ")) WHERE newest IS NOT NULL ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
    );
    sqlx::query(statement).execute(connection).await.map_err(|error| storage_error("record the largest id", error))?;
    Ok(())
}
