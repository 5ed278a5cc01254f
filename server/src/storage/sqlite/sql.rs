//! What the tables' files share: reading typed columns, key lists, statements for many rows.

use std::str::FromStr;

use sqlx::{
    AssertSqlSafe, Row as _, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::error::{corrupt_column, storage_error};
use crate::storage::{CategoryId, ChannelId, MessageId, StorageError, Timestamp, UserId};

/// A column's type in Rust, checked on the way in.
pub(super) trait Column: Sized {
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! id_columns {
    ($($id:ident)*) => {$(
        impl Column for $id {
            fn parse(text: &str) -> Option<Self> {
                $id::parse(text)
            }
        }
    )*};
}

id_columns! { UserId ChannelId CategoryId MessageId }

impl Column for Timestamp {
    fn parse(text: &str) -> Option<Self> {
        Timestamp::from_str(text).ok()
    }
}

/// One row being read, with the name of its table for error messages.
pub(super) struct Reading<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a SqliteRow,
}

impl Reading<'_> {
    /// A column as sqlx decodes it.
    pub(super) fn get<'r, T>(&'r self, column: &'static str) -> Result<T, StorageError>
    where
        T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
    {
        self.row.try_get(column).map_err(|error| self.corrupt(column, &error.to_string()))
    }

    /// A column with a type of ours.
    pub(super) fn parse<T: Column>(&self, column: &'static str) -> Result<T, StorageError> {
        self.parse_optional(column)?.ok_or_else(|| self.corrupt(column, "it is NULL"))
    }

    /// A column with a type of ours that may be NULL.
    pub(super) fn parse_optional<T: Column>(&self, column: &'static str) -> Result<Option<T>, StorageError> {
        let text: Option<&str> = self.get(column)?;
        text.map(|text| self.parsed(column, text)).transpose()
    }

    /// The value that a column's text stands for.
    fn parsed<T: Column>(&self, column: &str, text: &str) -> Result<T, StorageError> {
        T::parse(text).ok_or_else(|| self.corrupt(column, &format!("it holds `{text:.80}`")))
    }

    /// A column with values of a type of ours between commas; none when it is NULL.
    pub(super) fn parse_list<T: Column, C: FromIterator<T>>(&self, column: &'static str) -> Result<C, StorageError> {
        let text: Option<&str> = self.get(column)?;
        let values = text.into_iter().flat_map(|text| text.split(','));
        values.map(|text| self.parsed(column, text)).collect()
    }

    fn corrupt(&self, column: &str, problem: &str) -> StorageError {
        corrupt_column(&format!("read a row of {}", self.table), &format!("{}.{column}", self.table), problem)
    }
}

/// A value that this program never writes.
pub(super) fn bad_value(attempt: &str, column: &str, value: &str) -> StorageError {
    corrupt_column(attempt, column, &format!("it holds `{value:.80}`"))
}

/// Keys as one bound value: `key IN (SELECT value FROM json_each(?))` is one prepared statement for any number.
/// Only for ids and digests, which need no escaping.
pub(super) fn key_list<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> String {
    let mut list = String::from("[");
    for key in keys {
        if list.len() > 1 {
            list.push(',');
        }
        list.push('"');
        list.push_str(key.as_ref());
        list.push('"');
    }
    list.push(']');
    list
}

/// The rows of `statement`, a SELECT with one [`key_list`].
pub(super) async fn rows_by_keys(
    connection: &mut SqliteConnection,
    attempt: &'static str,
    statement: &'static str,
    keys: String,
) -> Result<Vec<SqliteRow>, StorageError> {
    sqlx::query(statement).bind(keys).fetch_all(connection).await.map_err(|error| storage_error(attempt, error))
}

/// The most rows in one INSERT.
const LARGEST_INSERT: usize = 64;

/// Inserts rows, many with one statement, so that each costs a fraction of a round trip to the connection's thread. There
/// are as many prepared statements as there are numbers of rows up to [`LARGEST_INSERT`]. `head` is an INSERT up to
/// VALUES, `values` the placeholders of one row, `bind` gives them a row's values.
pub(super) async fn insert_rows<'q, T>(
    connection: &mut SqliteConnection,
    attempt: &'static str,
    head: &'static str,
    values: &'static str,
    mut rows: &[&'q T],
    bind: impl Fn(Query<'q, Sqlite, SqliteArguments>, &'q T) -> Query<'q, Sqlite, SqliteArguments>,
) -> Result<(), StorageError> {
    while !rows.is_empty() {
        let count = rows.len().min(LARGEST_INSERT);
        let (now, later) = rows.split_at(count);
        rows = later;
        let statement = format!("{head} VALUES {}", vec![values; count].join(","));
        now.iter()
            .copied()
            .fold(sqlx::query(AssertSqlSafe(statement)), &bind)
            .execute(&mut *connection)
            .await
            .map_err(|error| storage_error(attempt, error))?;
    }
    Ok(())
}

/// Runs one statement that answers no rows.
pub(super) async fn execute<'q>(
    connection: &mut SqliteConnection,
    attempt: &'static str,
    query: Query<'q, Sqlite, SqliteArguments>,
) -> Result<(), StorageError> {
    query.execute(connection).await.map(|_| ()).map_err(|error| storage_error(attempt, error))
}
