//! What one would otherwise write: each call a transaction of its own, as the guides of redb, tokio and sqlx show it.

use std::{path::Path, sync::Arc};

use dcstore::Code;
use redb::Database;
use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};

use super::{
    raw_redb::{self, Post},
    raw_sqlite,
};
use crate::{failure::Failure, measure::text};

/// Connections of the pool: sqlx's own default.
const CONNECTIONS: u32 = 10;

/// A message that a task can take along.
pub(crate) struct OwnedPost {
    post: Post<'static>,
    text: String,
}

impl OwnedPost {
    /// A post with the text of this number.
    pub(crate) fn new(post: Post<'static>, number: u64) -> Self {
        Self { post, text: text(number) }
    }
}

/// Posts on a blocking thread, where one transaction waits for the other.
pub(crate) async fn post_to_redb(database: Arc<Database>, owned: OwnedPost) -> Result<(), Failure> {
    let posting = tokio::task::spawn_blocking(move || {
        let post = Post { text: &owned.text, ..owned.post };
        raw_redb::write(&database, &[post])
    });
    posting.await.map_err(|error| Failure::new(Code::Io, error.to_string()))?
}

/// A pool over a file that has decentcom's schema.
pub(crate) async fn open_sqlite(path: &Path) -> Result<SqlitePool, Failure> {
    let options = raw_sqlite::options(path).busy_timeout(std::time::Duration::from_secs(60));
    Ok(SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?)
}

/// Posts on any connection of the pool.
pub(crate) async fn post_to_sqlite(pool: &SqlitePool, owned: OwnedPost) -> Result<(), Failure> {
    let OwnedPost { post, text } = owned;
    sqlx::query(
        "INSERT INTO messages (id, channel_id, author_id, content, edited_at, deleted, created_at)
         VALUES (?, ?, ?, ?, NULL, 0, ?)",
    )
    .bind(post.id.to_string())
    .bind(post.channel.to_string())
    .bind(post.author.to_string())
    .bind(text)
    .bind(post.id.timestamp().unwrap_or_default().to_string())
    .execute(pool)
    .await?;
    Ok(())
}
