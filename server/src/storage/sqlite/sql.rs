//! What the queries share: reading typed columns, binding values, key lists.

use std::{
    borrow::Cow,
    fmt::{Display, Write as _},
};

use sqlx::{
    Row as _, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::error::{corrupt_column, storage_error};
use crate::storage::{
    StorageError, UsedChallenge,
    contract::{
        field::{Field, FieldType, Kind, Value},
        model::Source,
    },
    id::parse_ulid,
    token::{bytes_of_hex, hex},
};

/// A query under construction.
pub(super) type SqlQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

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

    /// A column with a type of ours, which is written as text.
    pub(super) fn parse<T: FieldType>(&self, column: &'static str) -> Result<T, StorageError> {
        let text: Option<&str> = self.get(column)?;
        let text = text.ok_or_else(|| self.corrupt(column, "it is NULL"))?;
        self.parsed(column, text)
    }

    /// The value that a column's text stands for.
    fn parsed<T: FieldType>(&self, column: &str, text: &str) -> Result<T, StorageError> {
        let value = value_of_text(T::KIND, text).and_then(T::from_value);
        value.ok_or_else(|| self.corrupt(column, &format!("it holds `{text:.80}`")))
    }

    /// A column with values of a type of ours between commas; none when it is NULL.
    pub(super) fn parse_list<T: FieldType>(&self, column: &'static str) -> Result<Vec<T>, StorageError> {
        let text: Option<&str> = self.get(column)?;
        let values = text.into_iter().flat_map(|text| text.split(','));
        values.map(|text| self.parsed(column, text)).collect()
    }

    fn corrupt(&self, column: &str, problem: &str) -> StorageError {
        corrupt_column(&format!("read a row of {}", self.table), &format!("{}.{column}", self.table), problem)
    }
}

/// A record's columns.
impl Source for Reading<'_> {
    type Error = StorageError;

    fn take<T: FieldType>(&mut self, field: &'static Field) -> Result<T, StorageError> {
        let column = field.column();
        let value = match T::KIND {
            Kind::Flag => self.get::<Option<bool>>(column)?.map(Value::Flag),
            Kind::Number => self.get::<Option<i32>>(column)?.map(Value::Number),
            Kind::Text | Kind::Time | Kind::Id | Kind::Digest | Kind::Challenge => {
                match self.get::<Option<&str>>(column)? {
                    Some(text) => return self.parsed(column, text),
                    None => None,
                }
            }
        };
        let is_null = value.is_none();
        let held = if is_null { "it is NULL" } else { "it holds no such value" };
        T::from_value(value.unwrap_or(Value::Nothing)).ok_or_else(|| self.corrupt(column, held))
    }
}

/// The value of a kind that is written as text.
pub(super) fn value_of_text(kind: Kind, text: &str) -> Option<Value<'_>> {
    match kind {
        Kind::Time => text.parse().ok().map(Value::Time),
        Kind::Id => parse_ulid(text).map(Value::Id),
        Kind::Text => Some(Value::Text(text.into())),
        Kind::Digest => bytes_of_hex::<32>(text).map(|bytes| Value::Bytes(bytes.to_vec().into())),
        Kind::Challenge => {
            bytes_of_hex::<{ UsedChallenge::BYTES }>(text).map(|bytes| Value::Bytes(bytes.to_vec().into()))
        }
        Kind::Flag | Kind::Number => None,
    }
}

/// A value as keys have it, which are text.
pub(super) fn key_text(value: &Value<'_>) -> String {
    match value {
        Value::Id(id) => id.to_string(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Time(time) => time.to_string(),
        Value::Text(text) => text.clone().into_owned(),
        Value::Nothing | Value::Flag(_) | Value::Number(_) => String::new(), // no key is of these kinds
    }
}

/// Gives a query its next value.
pub(super) fn bind<'q>(query: SqlQuery<'q>, value: Value<'q>) -> SqlQuery<'q> {
    match value {
        Value::Nothing => query.bind(None::<String>),
        Value::Flag(flag) => query.bind(flag),
        Value::Number(number) => query.bind(number),
        Value::Text(Cow::Borrowed(text)) => query.bind(text),
        Value::Text(Cow::Owned(text)) => query.bind(text),
        other => query.bind(key_text(&other)),
    }
}

/// A value that this program never writes.
pub(super) fn bad_value(attempt: &str, column: &str, value: &str) -> StorageError {
    corrupt_column(attempt, column, &format!("it holds `{value:.80}`"))
}

/// Keys as one bound value: `key IN (SELECT value FROM json_each(?))` is one prepared statement for any number.
/// Only for ids and digests, which need no escaping.
pub(super) fn key_list(keys: impl IntoIterator<Item: Display>) -> String {
    let mut list = String::from("[");
    for key in keys {
        let comma = if list.len() > 1 { "," } else { "" };
        let _ = write!(list, "{comma}\"{key}\"");
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

/// Runs one statement that answers no rows.
pub(super) async fn execute<'q>(
    connection: &mut SqliteConnection,
    attempt: &'static str,
    query: SqlQuery<'q>,
) -> Result<(), StorageError> {
    query.execute(connection).await.map(|_| ()).map_err(|error| storage_error(attempt, error))
}
