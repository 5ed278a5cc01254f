//! The table `messages`.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    error::storage_error,
    sql::{Column, Reading, execute, insert_rows, key_list, rows_by_keys},
};
use crate::storage::{
    ChannelId, Message, MessageId, MessagePage, StorageError,
    front::engine::{Bounds, Page, Rows},
};

pub(super) fn decode(row: &SqliteRow) -> Result<Message, StorageError> {
    let row = Reading { table: "messages", row };
    Ok(Message {
        id: row.parse("id")?,
        channel_id: row.parse("channel_id")?,
        author_id: row.parse("author_id")?,
        content: row.get("content")?,
        edited_at: row.parse_optional("edited_at")?,
        deleted: row.get("deleted")?,
        created_at: row.parse("created_at")?,
    })
}

macro_rules! select {
    ($rest:expr) => {
        concat!("SELECT id, channel_id, author_id, content, edited_at, deleted, created_at FROM messages ", $rest)
    };
}

/// One row that holds the rows of a page: JSON of those columns that differ, or null for a text too long for it.
macro_rules! select_packed {
    ($rest:expr) => {
        concat!(
            "SELECT json_group_array(CASE WHEN octet_length(content) <= 4096
                 THEN json_array(id, author_id, content, edited_at, created_at) END) AS page
             FROM (SELECT id, author_id, content, edited_at, created_at FROM messages ",
            $rest,
            ")"
        )
    };
}

/// The rows of a page that are within `?3` bytes: first the lengths alone, which SQLite finds without reading the texts
/// (<https://www.sqlite.org/lang_corefunc.html#octet_length>), then the rows themselves. `CROSS JOIN` keeps that order.
macro_rules! select_bounded {
    ($order:literal, $rest:expr) => {
        concat!(
            "WITH found AS MATERIALIZED (SELECT id, octet_length(content) AS bytes FROM messages ",
            $rest,
            "), added AS (SELECT id, row_number() OVER so_far AS number, sum(bytes) OVER so_far AS bytes FROM found
                WINDOW so_far AS (ORDER BY ",
            $order,
            " ROWS UNBOUNDED PRECEDING))
             SELECT m.id, m.channel_id, m.author_id, m.content, m.edited_at, m.deleted, m.created_at,
                (SELECT count(*) FROM found) AS found
             FROM added CROSS JOIN messages AS m ON m.id = added.id
             WHERE added.number = 1 OR (added.number < ?2 AND added.bytes <= ?3)"
        )
    };
}

/// A page is one seek in `idx_messages_live` and a walk along it. `deleted = 0` is literal, because a bound value could
/// not use the partial index; each direction has a statement of its own, because `(?4 IS NULL OR id < ?4)` would walk
/// from the channel's end. The plans are asserted below. `?2` is one more row than the page may have: whether there are
/// others.
///
/// Each row that a statement answers is a message between threads, which costs more than SQLite's work for it. So a page
/// comes as one row, of texts that are a few KiB each at most. As JSON a text may grow sixfold: a page with a long one is
/// read again, row by row and only as many as are wanted, and so is one that is not what this program writes, to say which
/// row it is.
struct Statements {
    packed: &'static str,
    by_rows: &'static str,
}

macro_rules! statements {
    ($cursor:literal, $order:literal) => {
        Statements {
            packed: select_packed!(statements!(@rest $cursor, $order)),
            by_rows: select_bounded!($order, statements!(@rest $cursor, $order)),
        }
    };
    (@rest $cursor:literal, $order:literal) => {
        concat!(
            "WHERE channel_id = ?1 AND deleted = 0 ", $cursor,
            " AND NOT EXISTS (SELECT 1 FROM purges WHERE channel_id = ?1) ORDER BY ", $order, " LIMIT ?2"
        )
    };
}

const NEWEST: Statements = statements!("", "id DESC");
const BEFORE: Statements = statements!("AND id < ?4", "id DESC");
const AFTER: Statements = statements!("AND id > ?4", "id");

/// A row of [`select_packed`]: id, author, text, time of the last edit, time.
type Packed<'a> = (&'a str, &'a str, String, Option<&'a str>, &'a str);

pub(super) async fn by_id(connection: &mut SqliteConnection, id: MessageId) -> Result<Option<Message>, StorageError> {
    let row = sqlx::query(select!("WHERE id = ? AND channel_id NOT IN (SELECT channel_id FROM purges)"))
        .bind(id.as_str())
        .fetch_optional(connection)
        .await;
    row.map_err(|error| storage_error("read a message", error))?.as_ref().map(decode).transpose()
}

pub(super) async fn page(
    connection: &mut SqliteConnection,
    channel_id: ChannelId,
    page: Page,
    bounds: Bounds,
) -> Result<MessagePage, StorageError> {
    let (statements, cursor) = match &page {
        Page::Newest => (NEWEST, None),
        Page::Before(id) => (BEFORE, Some(id.as_str())),
        Page::After(id) => (AFTER, Some(id.as_str())),
    };
    let query = |statement| {
        let query = sqlx::query(statement)
            .bind(channel_id.as_str())
            .bind(i64::from(bounds.messages) + 1)
            .bind(i64::try_from(bounds.bytes).unwrap_or(i64::MAX));
        match cursor {
            Some(cursor) => query.bind(cursor),
            None => query,
        }
    };
    let packed = query(statements.packed).fetch_one(&mut *connection).await;
    let (mut messages, found) = match packed.ok().and_then(|row| unpack(channel_id, &row)) {
        Some(messages) => (messages, 0),
        None => {
            let rows = query(statements.by_rows).fetch_all(connection).await;
            let rows = rows.map_err(|error| storage_error("read a page of messages", error))?;
            let found: i64 = match rows.first() {
                Some(row) => Reading { table: "messages", row }.get("found")?,
                None => 0,
            };
            (rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?, found)
        }
    };
    // They come in order, but SQLite promises none within an aggregate or a join.
    match page {
        Page::Newest | Page::Before(_) => messages.sort_by_key(|message| Reverse(message.id)),
        Page::After(_) => messages.sort_by_key(|message| message.id),
    }
    let has_more = found > messages.len() as i64;
    Ok(bounds.cut(MessagePage { messages, has_more }))
}

/// The messages of a packed page, unless one was too long for it or is damaged.
fn unpack(channel_id: ChannelId, row: &SqliteRow) -> Option<Vec<Message>> {
    let rows: Vec<Option<Packed<'_>>> = serde_json::from_str(row.try_get("page").ok()?).ok()?;
    let decode = |(id, author_id, content, edited_at, created_at): Packed<'_>| {
        Some(Message {
            id: Column::parse(id)?,
            channel_id,
            author_id: Column::parse(author_id)?,
            content,
            edited_at: match edited_at {
                None => None,
                Some(time) => Some(Column::parse(time)?),
            },
            deleted: false,
            created_at: Column::parse(created_at)?,
        })
    };
    rows.into_iter().map(|row| decode(row?)).collect()
}

pub(super) async fn load(
    connection: &mut SqliteConnection,
    ids: &BTreeSet<MessageId>,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    if ids.is_empty() {
        return Ok(());
    }
    let statement =
        select!("WHERE id IN (SELECT value FROM json_each(?)) AND channel_id NOT IN (SELECT channel_id FROM purges)");
    for row in &rows_by_keys(connection, "load messages", statement, key_list(ids)).await? {
        let message = decode(row)?;
        rows.messages.insert(message.id, Arc::new(message));
    }
    Ok(())
}

pub(super) async fn insert(connection: &mut SqliteConnection, messages: &[&Message]) -> Result<(), StorageError> {
    insert_rows(
        connection,
        "store messages",
        "INSERT INTO messages (id, channel_id, author_id, content, edited_at, deleted, created_at)",
        "(?,?,?,?,?,?,?)",
        messages,
        |query, message| {
            query
                .bind(message.id.as_str())
                .bind(message.channel_id.as_str())
                .bind(message.author_id.as_str())
                .bind(message.content.as_str())
                .bind(message.edited_at.map(|it| it.to_string()))
                .bind(message.deleted)
                .bind(message.created_at.to_string())
        },
    )
    .await
}

pub(super) async fn replace(connection: &mut SqliteConnection, message: &Message) -> Result<(), StorageError> {
    let query = sqlx::query("UPDATE messages SET content = ?, edited_at = ?, deleted = ? WHERE id = ?")
        .bind(message.content.as_str())
        .bind(message.edited_at.map(|it| it.to_string()))
        .bind(message.deleted)
        .bind(message.id.as_str());
    execute(connection, "change a message", query).await
}

pub(super) async fn remove(
    connection: &mut SqliteConnection,
    ids: impl IntoIterator<Item = MessageId>,
) -> Result<(), StorageError> {
    let query = sqlx::query("DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?))").bind(key_list(ids));
    execute(connection, "reclaim the messages of a deleted channel", query).await
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, ConnectOptions, Row, sqlite::SqliteConnectOptions};

    use super::*;

    async fn plan_of(statement: &str) -> Vec<String> {
        let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
        crate::storage::sqlite::MIGRATIONS.run(&mut connection).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
            .fetch_all(&mut connection)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get("detail"))
            .collect()
    }

    #[tokio::test]
    async fn the_cursor_is_part_of_the_seek_and_nothing_is_sorted() {
        for (statement, seek) in [
            (NEWEST, "USING INDEX idx_messages_live (channel_id=?)"),
            (BEFORE, "USING INDEX idx_messages_live (channel_id=? AND id<?)"),
            (AFTER, "USING INDEX idx_messages_live (channel_id=? AND id>?)"),
        ] {
            let packed = plan_of(statement.packed).await;
            assert!(!packed.iter().any(|step| step.contains("TEMP B-TREE")), "{packed:?}");
            let by_rows = plan_of(statement.by_rows).await;
            assert!(by_rows.contains(&"SCAN added".into()), "{by_rows:?}");
            assert!(
                by_rows.iter().any(|step| step.starts_with("SEARCH m USING INDEX") && step.ends_with("(id=?)")),
                "{by_rows:?}"
            );
            for plan in [packed, by_rows] {
                assert!(plan.iter().any(|step| step.ends_with(seek)), "{plan:?}");
                assert!(!plan.iter().any(|step| step.starts_with("SCAN m")), "{plan:?}");
            }
        }
    }
}
