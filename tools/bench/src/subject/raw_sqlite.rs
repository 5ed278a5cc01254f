//! SQLite used directly: the same schema, one connection of sqlx, prepared statements, the same cache and durability.

use std::path::Path;

use dcstore::Code;
use decentcom_server::storage::{ChannelId, MessageId};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::raw_redb::Post;
use crate::failure::Failure;

/// Rows of one INSERT.
const ROWS: usize = 64;

/// How a connection is made; the file exists, and has decentcom's schema.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("cache_size", "-16384")
}

pub(crate) async fn open(path: &Path) -> Result<SqliteConnection, Failure> {
    Ok(options(path).connect().await?)
}

/// Writes messages in one durable transaction.
pub(crate) async fn write(connection: &mut SqliteConnection, posts: &[Post<'_>]) -> Result<(), Failure> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for posts in posts.chunks(ROWS) {
        let values = vec!["(?,?,?,?,?,?,?)"; posts.len()].join(",");
        let statement = format!(
            "INSERT INTO messages (id, channel_id, author_id, content, edited_at, deleted, created_at) VALUES {values}"
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for post in posts {
            query = query
                .bind(post.id.to_string())
                .bind(post.channel.to_string())
                .bind(post.author.to_string())
                .bind(post.text.to_owned())
                .bind(None::<String>)
                .bind(false)
                .bind(post.id.timestamp().unwrap_or_default().to_string());
        }
        query.execute(&mut *transaction).await?;
    }
    if let Some(last) = posts.last() {
        sqlx::query("INSERT INTO meta VALUES ('high_water_id', ?) ON CONFLICT DO UPDATE SET value = excluded.value")
            .bind(last.id.to_string())
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, channel_id, author_id, content, edited_at, deleted, created_at FROM messages ", $rest)
    };
}

/// The text of a message.
pub(crate) async fn get(connection: &mut SqliteConnection, id: MessageId) -> Result<Option<String>, Failure> {
    let row = sqlx::query(select!("WHERE id = ?")).bind(id.to_string()).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get("content")).transpose()?)
}

/// The texts of a page of messages below `before`, newest first.
pub(crate) async fn page(
    connection: &mut SqliteConnection,
    channel: ChannelId,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Vec<String>, Failure> {
    let newest = select!("WHERE channel_id = ? AND deleted = 0 ORDER BY id DESC LIMIT ?");
    let below = select!("WHERE channel_id = ? AND deleted = 0 AND id < ? ORDER BY id DESC LIMIT ?");
    let query = match before {
        None => sqlx::query(newest).bind(channel.to_string()),
        Some(before) => sqlx::query(below).bind(channel.to_string()).bind(before.to_string()),
    };
    let rows = query.bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get("content")?)).collect()
}

/// The id of the user with this public key.
pub(crate) async fn user(connection: &mut SqliteConnection, pubkey: &str) -> Result<Option<String>, Failure> {
    let statement = "SELECT id, pubkey, display_name, avatar_hash, created_at, updated_at FROM users WHERE pubkey = ?";
    let row = sqlx::query(statement).bind(pubkey.to_owned()).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?)
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::new(Code::Io, format!("SQLite, used directly: {error}"))
    }
}
