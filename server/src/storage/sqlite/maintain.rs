//! Mending and compacting an SQLite store; see `inspect/maintain.rs`.

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection, SqliteConnection};
use ulid::Ulid;

use super::{
    HIGH_WATER, PROBED_AT,
    error::{code, primary_code, storage_error},
    largest_id, open_error, opening, options, refuse_foreign_schema, refuse_newer_schema,
    sql::bad_value,
};
use crate::storage::{
    Backend, Clock as _, OpenError, SystemClock,
    files::{self, held::Held},
    id::parse_ulid,
};

pub(in crate::storage) async fn repair(path: &Path) -> Result<PathBuf, OpenError> {
    let held = Held::take(path, Backend::Sqlite)?;
    opening::refuse_foreign_log(path, &held)?;
    let copy = files::keep_copy(held.path(), &["", "-wal"])?;
    let mut connection = connect(held.path()).await?;
    run(path, &mut connection, "make the indexes anew", "REINDEX").await?;
    raise_high_water(path, &mut connection).await?;
    close(path, connection).await?;
    drop(held);
    Ok(copy)
}

/// Writes what the store at `path` holds, which nobody has open, to the empty file `copy`, page by page.
pub(in crate::storage) async fn compact(path: &Path, copy: &Path) -> Result<(), OpenError> {
    let mut connection = connect(path).await?;
    let done = sqlx::query("VACUUM INTO ?").bind(copy.display().to_string()).execute(&mut connection).await;
    done.map_err(|error| storage_error("write a compact copy", error))?;
    close(path, connection).await
}

pub(in crate::storage) async fn lower_high_water(path: &Path) -> Result<Option<Ulid>, OpenError> {
    let attempt = "record the largest id";
    let held = Held::take(path, Backend::Sqlite)?;
    opening::refuse_doubtful(path, &held)?;
    let mut connection = connect(held.path()).await?;
    // A deleted channel's id is in use until its messages are gone.
    let purged = "SELECT max(channel_id) AS id FROM purges";
    let largest = largest_id(&mut connection, purged).await.map_err(|error| storage_error(attempt, error))?;
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
    opening::forget_newest(&held)?;
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
        Some(code::BUSY | code::LOCKED) => open_error(path, error),
        _ => storage_error(attempt, error).into(),
    })
}

/// Moves everything from the log to the file: its size is the store's.
async fn close(path: &Path, mut connection: SqliteConnection) -> Result<(), OpenError> {
    opening::end_a_crashed(&mut connection).await.map_err(|error| open_error(path, error))?;
    run(path, &mut connection, "empty the log", "PRAGMA wal_checkpoint(TRUNCATE)").await?;
    connection.close().await.map_err(|error| open_error(path, error))
}

/// Records the largest id that is there, in place of a smaller one or of what is no id. A file that has no table for it yet
/// gets one at the next start.
async fn raise_high_water(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let attempt = "record the largest id";
    let failed = |error| storage_error(attempt, error);
    let has_meta: Option<i64> = sqlx::query_scalar("SELECT 1 FROM sqlite_master WHERE name = 'meta'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| open_error(path, error))?;
    if has_meta.is_none() {
        return Ok(());
    }
    let recorded: Option<String> = sqlx::query_scalar("SELECT CAST(value AS TEXT) FROM meta WHERE name = ?")
        .bind(HIGH_WATER)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let largest = largest_id(connection, "SELECT NULL AS id").await.map_err(failed)?;
    let id_of = |text: Option<String>| text.as_deref().and_then(parse_ulid);
    let is_recorded = recorded.is_some();
    let (recorded, largest) = (id_of(recorded), id_of(largest));
    if recorded < largest {
        let query = sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)");
        let query = query.bind(HIGH_WATER).bind(largest.unwrap_or_default().to_string());
        query.execute(connection).await.map_err(failed)?;
    } else if is_recorded && recorded.is_none() {
        let query = sqlx::query("DELETE FROM meta WHERE name = ?").bind(HIGH_WATER);
        query.execute(connection).await.map_err(failed)?;
    }
    Ok(())
}
