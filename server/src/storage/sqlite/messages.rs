//! Messages: a page of a channel's history, the query that is this backend's own.

use std::{cmp::Reverse, fmt, marker::PhantomData, sync::LazyLock};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, SeqAccess, Visitor},
};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    error::storage_error,
    rows::{APPLIED, applied_of, columns, decode, made, view},
    sql::{Reading, value_of_text},
};
use crate::storage::{
    ChannelId, Message, MessagePage, StorageError,
    contract::{
        field::{Field, FieldType, Kind, Value},
        model::{Model, Source},
    },
    port::{Bounds, Page, View},
};

/// A page is one seek in the table, where the live messages of a channel are neighbours, and a walk along it. Each direction
/// has a statement of its own, because `(?4 IS NULL OR id < ?4)` would walk from the channel's end. The plans are asserted below. `?2` is one more row than the page may have: whether there are
/// others.
///
/// Each row that a statement answers is a message between threads, which costs more than SQLite's work for it. So a page
/// comes as one row, of texts that are a few KiB each at most. As JSON a text may grow sixfold: a page with a long one is
/// read again, row by row and only as many as are wanted, and so is one that is not what this program writes, to say which
/// row it is.
struct Statements {
    /// One row that holds the rows of the page: JSON of those columns that differ, or null for a text too long for it.
    packed: &'static str,
    /// The rows that are within `?3` bytes: first the lengths alone, which SQLite finds without reading the texts
    /// (<https://www.sqlite.org/lang_corefunc.html#octet_length>), then the rows themselves. `CROSS JOIN` keeps that order.
    by_rows: &'static str,
}

impl Statements {
    fn made(cursor: &str, order: &str) -> Self {
        let packed = columns(packed_fields(), "");
        let rest = format!(
            "WHERE channel_id = ?1 AND deleted = 0 {cursor} AND NOT EXISTS (SELECT 1 FROM purges WHERE channel_id = ?1)
             ORDER BY {order} LIMIT ?2"
        );
        Self {
            packed: made(format!(
                "SELECT json_group_array(CASE WHEN octet_length(content) <= 4096 THEN json_array({packed}) END) AS page, {APPLIED}
                 FROM (SELECT {packed} FROM messages {rest})"
            )),
            by_rows: made(format!(
                "WITH found AS MATERIALIZED (SELECT id, octet_length(content) AS bytes FROM messages {rest}),
                 added AS (SELECT id, row_number() OVER so_far AS number, sum(bytes) OVER so_far AS bytes FROM found
                    WINDOW so_far AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING))
                 SELECT {}, (SELECT count(*) FROM found) AS found, {APPLIED}
                 FROM added CROSS JOIN messages AS m ON m.id = added.id
                 WHERE added.number = 1 OR (added.number < ?2 AND added.bytes <= ?3)",
                columns(Message::FIELDS, "m.")
            )),
        }
    }
}

static NEWEST: LazyLock<Statements> = LazyLock::new(|| Statements::made("", "id DESC"));
static BEFORE: LazyLock<Statements> = LazyLock::new(|| Statements::made("AND id < ?4", "id DESC"));
static AFTER: LazyLock<Statements> = LazyLock::new(|| Statements::made("AND id > ?4", "id"));

/// What all messages of a page have in common.
const COMMON: [&str; 2] = ["channel_id", "deleted"];

/// The fields in which the messages of a page differ.
fn packed_fields() -> impl Iterator<Item = &'static Field> {
    Message::FIELDS.iter().filter(|field| !COMMON.contains(&field.name))
}

pub(super) async fn page(
    connection: &mut SqliteConnection,
    channel_id: ChannelId,
    page: Page,
    bounds: Bounds,
) -> Result<View<MessagePage>, StorageError> {
    let (statements, cursor) = match &page {
        Page::Newest => (&NEWEST, None),
        Page::Before(id) => (&BEFORE, Some(id)),
        Page::After(id) => (&AFTER, Some(id)),
    };
    let query = |statement| {
        let query = sqlx::query(statement)
            .bind(channel_id.to_string())
            .bind(i64::from(bounds.messages) + 1)
            .bind(i64::try_from(bounds.bytes).unwrap_or(i64::MAX));
        match cursor {
            Some(cursor) => query.bind(cursor.to_string()),
            None => query,
        }
    };
    let packed = query(statements.packed).fetch_one(&mut *connection).await.ok();
    let packed = packed.and_then(|row| Some((applied_of(&row).ok()?, unpack(channel_id, &row)?)));
    let (commit, mut messages, found) = match packed {
        Some((commit, messages)) => (commit, messages, 0),
        None => {
            let rows = query(statements.by_rows).fetch_all(&mut *connection).await;
            let rows = rows.map_err(|error| storage_error("read a page of messages", error))?;
            let found: i64 = match rows.first() {
                Some(row) => Reading { table: "messages", row }.get("found")?,
                None => 0,
            };
            let messages = rows.iter().map(decode::<Message>).collect::<Result<Vec<_>, _>>()?;
            (view(connection, &rows, ()).await?.commit, messages, found)
        }
    };
    // They come in order, but SQLite promises none within an aggregate or a join.
    match page {
        Page::Newest | Page::Before(_) => messages.sort_by_key(|message| Reverse(message.id)),
        Page::After(_) => messages.sort_by_key(|message| message.id),
    }
    let has_more = found > messages.len() as i64;
    Ok(View { commit, shows: bounds.cut(MessagePage { messages, has_more }) })
}

/// The messages of a packed page, unless one was too long for it or is damaged.
fn unpack(channel_id: ChannelId, row: &SqliteRow) -> Option<Vec<Message>> {
    let rows: Vec<Option<Packed>> = serde_json::from_str(row.try_get("page").ok()?).ok()?;
    rows.into_iter().map(|row| row.map(|Packed(message)| Message { channel_id, ..message })).collect()
}

/// A message of a packed page: the values of [`packed_fields`], and blanks for [what all have in common](COMMON). Whatever a
/// page has in its index is not deleted, which is blank too.
struct Packed(Message);

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns;

        impl<'de> Visitor<'de> for Columns {
            type Value = Packed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the columns of a message")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, columns: A) -> Result<Packed, A::Error> {
                Message::from_source(&mut Unpacking(columns, PhantomData)).map(Packed)
            }
        }

        deserializer.deserialize_seq(Columns)
    }
}

struct Unpacking<'de, A>(A, PhantomData<&'de str>);

impl<'de, A: SeqAccess<'de>> Source for Unpacking<'de, A> {
    type Error = A::Error;

    fn take<T: FieldType>(&mut self, field: &'static Field) -> Result<T, A::Error> {
        if COMMON.contains(&field.name) {
            return Ok(T::blank());
        }
        self.0.next_element_seed(Cell(PhantomData))?.ok_or_else(|| serde::de::Error::custom(field.name))
    }
}

/// What SQLite's JSON has of a column; made a field at once, so that a text is copied once, whether it had escapes or not.
struct Cell<T>(PhantomData<T>);

impl<T: FieldType> Cell<T> {
    fn made<E: serde::de::Error>(value: Option<Value<'_>>) -> Result<T, E> {
        value.and_then(T::from_value).ok_or_else(|| E::custom("no such value"))
    }
}

impl<'de, T: FieldType> DeserializeSeed<'de> for Cell<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: FieldType> Visitor<'_> for Cell<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of a column")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
        Self::made(Some(Value::Nothing))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        Self::made(value_of_text(T::KIND, text))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        Self::made(match T::KIND {
            Kind::Flag => Some(Value::Flag(number != 0)),
            Kind::Number => i32::try_from(number).ok().map(Value::Number),
            _ => None,
        })
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_i64(i64::try_from(number).map_err(E::custom)?)
    }
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
            (&NEWEST, "USING PRIMARY KEY (channel_id=? AND deleted=?)"),
            (&BEFORE, "USING PRIMARY KEY (channel_id=? AND deleted=? AND id<?)"),
            (&AFTER, "USING PRIMARY KEY (channel_id=? AND deleted=? AND id>?)"),
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
