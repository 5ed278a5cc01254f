//! The table `sessions`. Its column `token` holds the SHA-256 of the token, in hexadecimal.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    error::storage_error,
    sql::{Reading, bad_value, execute, key_list, rows_by_keys},
};
use crate::storage::{
    SessionDigest, StorageError, Timestamp, UserId,
    front::engine::{Rows, StoredSession},
};

fn digest(row: &Reading<'_>) -> Result<SessionDigest, StorageError> {
    let text: &str = row.get("token")?;
    SessionDigest::from_hex(text).ok_or_else(|| bad_value("read a row of sessions", "sessions.token", text))
}

pub(super) fn decode(row: &SqliteRow) -> Result<StoredSession, StorageError> {
    let row = Reading { table: "sessions", row };
    Ok(StoredSession {
        digest: digest(&row)?,
        user_id: row.parse("user_id")?,
        created_at: row.parse("created_at")?,
        expires_at: row.parse("expires_at")?,
    })
}

pub(super) async fn by_digest(
    connection: &mut SqliteConnection,
    digest: SessionDigest,
) -> Result<Option<StoredSession>, StorageError> {
    let row = sqlx::query("SELECT token, user_id, created_at, expires_at FROM sessions WHERE token = ?")
        .bind(digest.to_hex())
        .fetch_optional(connection)
        .await;
    row.map_err(|error| storage_error("read a session", error))?.as_ref().map(decode).transpose()
}

pub(super) async fn load(
    connection: &mut SqliteConnection,
    digests: &BTreeSet<SessionDigest>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    if digests.is_empty() {
        return Ok(());
    }
    let statement = "SELECT token FROM sessions WHERE token IN (SELECT value FROM json_each(?))";
    let keys = key_list(digests.iter().map(|digest| digest.to_hex()));
    for row in &rows_by_keys(connection, "load sessions", statement, keys).await? {
        rows.sessions.insert(digest(&Reading { table: "sessions", row })?);
    }
    Ok(())
}

/// Some sessions of each of these users.
pub(super) async fn load_of_users(
    connection: &mut SqliteConnection,
    users: &BTreeMap<UserId, usize>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    for (user, at_most) in users {
        let found = sqlx::query("SELECT token FROM sessions WHERE user_id = ? LIMIT ?")
            .bind(user.as_str())
            .bind(i64::try_from(*at_most).unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| storage_error("find the sessions of a user", error))?;
        let digests = found.iter().map(|row| digest(&Reading { table: "sessions", row }));
        rows.sessions_of.insert(*user, digests.collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// The earliest sessions that end no later than `expired_at`.
pub(super) async fn load_expired(
    connection: &mut SqliteConnection,
    expired_at: Timestamp,
    at_most: usize,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    // What has no digest logs nobody in; it must not keep the sweep from what comes after it.
    let statement = "SELECT token, expires_at FROM sessions WHERE expires_at <= ? AND typeof(token) = 'text'
        AND length(token) = 64 AND token NOT GLOB '*[^0-9a-f]*' ORDER BY expires_at LIMIT ?";
    let found = sqlx::query(statement)
        .bind(expired_at.to_string())
        .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await
        .map_err(|error| storage_error("find expired sessions", error))?;
    for row in &found {
        let row = Reading { table: "sessions", row };
        // A time that is none has passed all the same.
        rows.expired.push((row.parse("expires_at").unwrap_or(expired_at), digest(&row)?));
    }
    Ok(())
}

pub(super) async fn put(connection: &mut SqliteConnection, session: &StoredSession) -> Result<(), StorageError> {
    let query =
        sqlx::query("INSERT OR REPLACE INTO sessions (token, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)")
            .bind(session.digest.to_hex())
            .bind(session.user_id.as_str())
            .bind(session.created_at.to_string())
            .bind(session.expires_at.to_string());
    execute(connection, "store a session", query).await
}

pub(super) async fn remove(
    connection: &mut SqliteConnection,
    digests: impl IntoIterator<Item = SessionDigest>,
) -> Result<(), StorageError> {
    let query = sqlx::query("DELETE FROM sessions WHERE token IN (SELECT value FROM json_each(?))")
        .bind(key_list(digests.into_iter().map(SessionDigest::to_hex)));
    execute(connection, "remove sessions", query).await
}
