//! The table `users`.

use std::{collections::BTreeSet, sync::Arc};

use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    error::storage_error,
    sql::{Reading, execute, key_list, rows_by_keys},
};
use crate::storage::{StorageError, User, UserId, front::engine::Rows};

pub(super) fn decode(row: &SqliteRow) -> Result<User, StorageError> {
    let row = Reading { table: "users", row };
    Ok(User {
        id: row.parse("id")?,
        pubkey: row.get("pubkey")?,
        display_name: row.get("display_name")?,
        avatar_hash: row.get("avatar_hash")?,
        is_bot: row.get("is_bot")?,
        is_member: row.get("is_member")?,
        created_at: row.parse("created_at")?,
        updated_at: row.parse("updated_at")?,
    })
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, pubkey, display_name, avatar_hash, created_at, updated_at, is_bot, is_member FROM users ",
            $rest
        )
    };
}

pub(super) async fn by_id(connection: &mut SqliteConnection, id: UserId) -> Result<Option<User>, StorageError> {
    let row = sqlx::query(select!("WHERE id = ?")).bind(id.as_str()).fetch_optional(connection).await;
    row.map_err(|error| storage_error("read a user", error))?.as_ref().map(decode).transpose()
}

pub(super) async fn by_pubkey(connection: &mut SqliteConnection, pubkey: &str) -> Result<Option<User>, StorageError> {
    let row = sqlx::query(select!("WHERE pubkey = ?")).bind(pubkey).fetch_optional(connection).await;
    row.map_err(|error| storage_error("read a user by public key", error))?.as_ref().map(decode).transpose()
}

/// Users above `after`, by id; all of them without a limit.
pub(super) async fn list(
    connection: &mut SqliteConnection,
    after: Option<UserId>,
    limit: Option<u32>,
) -> Result<Vec<User>, StorageError> {
    let rows = sqlx::query(select!("WHERE id > ? ORDER BY id LIMIT ?"))
        .bind(after.as_deref().unwrap_or_default())
        .bind(limit.map_or(-1, i64::from)) // negative: no limit
        .fetch_all(connection)
        .await;
    rows.map_err(|error| storage_error("list users", error))?.iter().map(decode).collect()
}

/// Members above `after`, by id. `is_member = 1` is literal: a bound value would lose the partial index.
pub(super) async fn members(
    connection: &mut SqliteConnection,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<User>, StorageError> {
    let statement = select!("INDEXED BY idx_users_members WHERE is_member = 1 AND id > ? ORDER BY id LIMIT ?");
    let rows = sqlx::query(statement)
        .bind(after.as_deref().unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await;
    rows.map_err(|error| storage_error("list members", error))?.iter().map(decode).collect()
}

pub(super) async fn load(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<UserId>,
    pubkeys: &BTreeSet<String>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    if !ids.is_empty() {
        let found = rows_by_keys(
            connection,
            "load users",
            select!("WHERE id IN (SELECT value FROM json_each(?))"),
            key_list(ids),
        )
        .await?;
        for row in &found {
            let user = decode(row)?;
            rows.users.insert(user.id, Arc::new(user));
        }
    }
    for pubkey in pubkeys {
        if let Some(user) = by_pubkey(connection, pubkey).await? {
            rows.pubkeys.insert(user.pubkey.clone(), user.id);
            rows.users.insert(user.id, Arc::new(user));
        }
    }
    Ok(())
}

pub(super) async fn put(connection: &mut SqliteConnection, user: &User) -> Result<(), StorageError> {
    let query = sqlx::query(
        "INSERT INTO users (id, pubkey, display_name, avatar_hash, created_at, updated_at, is_bot, is_member)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name, avatar_hash = excluded.avatar_hash,
             updated_at = excluded.updated_at, is_bot = excluded.is_bot, is_member = excluded.is_member",
    )
    .bind(user.id.as_str())
    .bind(&user.pubkey)
    .bind(&user.display_name)
    .bind(&user.avatar_hash)
    .bind(user.created_at.to_string())
    .bind(user.updated_at.to_string())
    .bind(user.is_bot)
    .bind(user.is_member);
    execute(connection, "store a user", query).await
}
