//! Checking an SQLite store: SQLite's own checks of file, indexes and references, and that every row decodes.

use std::path::Path;

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{BUSY_TIMEOUT, channels, messages, open_error, refuse_foreign_schema, sessions, users};
use crate::storage::{Backend, OpenError, files, finding::Finding};

pub(in crate::storage) async fn verify(path: &Path, mut report: impl FnMut(Finding)) -> Result<(), OpenError> {
    files::require(path, Backend::Sqlite)?;
    refuse_foreign_schema(path).await?;
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(BUSY_TIMEOUT);
    let failed = |error| open_error(path, error);
    let mut connection = options.read_only(true).connect().await.map_err(failed)?;
    check(&mut connection, &mut report).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

async fn check(connection: &mut SqliteConnection, report: &mut impl FnMut(Finding)) -> Result<(), sqlx::Error> {
    for problem in sqlx::query_scalar::<_, String>("PRAGMA integrity_check").fetch_all(&mut *connection).await? {
        if problem != "ok" {
            report(Finding { table: "file".into(), key: String::new(), problem });
        }
    }
    for row in sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *connection).await? {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        let key = row.try_get::<Option<i64>, _>(1)?.map_or_else(String::new, |rowid| format!("rowid {rowid}"));
        report(Finding { table, key, problem: format!("it refers to a row of {parent} that does not exist") });
    }
    users::undecodable(connection, report).await?;
    channels::undecodable(connection, report).await?;
    messages::undecodable(connection, report).await?;
    sessions::undecodable(connection, report).await
}
