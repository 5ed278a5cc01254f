//! Records of any kind: read, listed, found, stored. The queries that are really this backend's own are in the other files.

use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteRow};

use super::{
    error::storage_error,
    sql::{Reading, SqlQuery, bad_value, bind, execute, key_list, key_text, rows_by_keys},
};
use crate::storage::{
    Entity, Key, Row, StorageError,
    contract::{
        field::{Field, FieldType as _, Index, Role, Value},
        model::{ForModel, Model},
    },
    port::{CommitNumber, Rows, View, Wants},
};

/// The most rows in one INSERT.
const LARGEST_INSERT: usize = 64;

/// The statements for a kind of record.
pub(super) struct Statements {
    /// Its columns, with commas between them.
    pub(super) columns: String,
    by_key: &'static str,
    by_keys: &'static str,
    list: &'static str,
    find: Vec<(&'static str, &'static str)>,
    insert: String,
    placeholders: String,
    update: &'static str,
    remove: &'static str,
}

static STATEMENTS: LazyLock<Vec<Statements>> =
    LazyLock::new(|| Entity::EVERY.iter().map(|entity| entity.with(Make)).collect());

/// The statements for this kind of record.
#[allow(clippy::indexing_slicing)] // one for each, in their order
pub(super) fn statements<M: Model>() -> &'static Statements {
    &STATEMENTS[M::ENTITY as usize]
}

/// The columns of some fields, with commas between them, and a prefix before each.
pub(super) fn columns(fields: impl IntoIterator<Item = &'static Field>, prefix: &str) -> String {
    fields.into_iter().map(|field| format!("{prefix}{}", field.column())).collect::<Vec<_>>().join(", ")
}

/// That a row is not of a channel that is being purged, if it can be.
pub(super) fn visible<M: Model>() -> &'static str {
    match (M::ENTITY, M::GOES_WITH.map(Field::column)) {
        (Entity::Channel, _) => "id NOT IN (SELECT channel_id FROM purges)",
        (_, Some(column)) => made(format!("{column} NOT IN (SELECT channel_id FROM purges)")),
        (_, None) => "TRUE",
    }
}

/// A column with the number of the newest commit that the statement sees; NULL before the first.
pub(super) const APPLIED: &str = "(SELECT value FROM meta WHERE name = 'applied') AS applied";

/// Statements are made once, and stay.
pub(super) fn made(statement: String) -> &'static str {
    Box::leak(statement.into_boxed_str())
}

/// The field that is the key.
pub(super) fn key_column<M: Model>() -> &'static str {
    M::FIELDS.first().map_or("", Field::column)
}

struct Make;

impl ForModel for Make {
    type Answer = Statements;

    fn run<M: Model>(self) -> Statements {
        let (table, key, visible) = (M::TABLE, key_column::<M>(), visible::<M>());
        let columns = columns(M::FIELDS, "");
        let select = format!("SELECT {columns}, {APPLIED} FROM {table} WHERE {visible}");
        let changing = M::FIELDS.iter().filter(|field| field.role == Role::Content && !field.is_fixed);
        let sets: Vec<_> = changing.map(|field| format!("{} = ?", field.column())).collect();
        let find = |index: &Index| {
            let column = M::FIELDS.iter().find(|field| field.name == index.field).map_or("", Field::column);
            // The flag is literal: a bound value would lose a partial index.
            let only = index.only.map(|(flag, set)| format!(" AND {flag} = {}", u8::from(set))).unwrap_or_default();
            (index.name, made(format!("{select} AND {column} = ?{only} ORDER BY {key} LIMIT ?")))
        };
        Statements {
            // A row also where there is no record, so that the number is there.
            by_key: made(format!(
                "SELECT {columns}, {APPLIED} FROM (SELECT 1) LEFT JOIN {table} ON {key} = ? AND {visible}"
            )),
            by_keys: made(format!("{select} AND {key} IN (SELECT value FROM json_each(?))")),
            list: made(format!("{select} AND {key} > ? ORDER BY {key} LIMIT ?")),
            find: M::INDEXES.iter().map(find).collect(),
            insert: format!("INSERT INTO {table} ({columns}) VALUES "),
            placeholders: format!("({})", vec!["?"; M::FIELDS.len()].join(",")),
            update: made(format!("UPDATE {table} SET {} WHERE {key} = ?", sets.join(", "))),
            remove: made(format!("DELETE FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))")),
            columns,
        }
    }
}

/// The record that a row is, whose columns have their own names.
pub(super) fn decode<M: Model>(row: &SqliteRow) -> Result<M, StorageError> {
    M::from_source(&mut Reading { table: M::TABLE, row })
}

/// The same, of any kind.
pub(super) fn decode_row(entity: Entity, row: &SqliteRow) -> Result<Row, StorageError> {
    entity.with(Decode(row))
}

struct Decode<'a>(&'a SqliteRow);

impl ForModel for Decode<'_> {
    type Answer = Result<Row, StorageError>;

    fn run<M: Model>(self) -> Self::Answer {
        decode::<M>(self.0).map(|record| Arc::new(record).into_row())
    }
}

/// The records that a statement answers.
pub(super) async fn records<M: Model>(
    connection: &mut SqliteConnection,
    attempt: &'static str,
    query: SqlQuery<'_>,
) -> Result<Vec<M>, StorageError> {
    let rows = query.fetch_all(connection).await.map_err(|error| storage_error(attempt, error))?;
    rows.iter().map(decode).collect()
}

/// The number of the newest commit that the row's statement saw.
pub(super) fn applied_of(row: &SqliteRow) -> Result<CommitNumber, StorageError> {
    let meta = Reading { table: "meta", row };
    let text: Option<&str> = meta.get("applied")?;
    let Some(text) = text else { return Ok(0) };
    text.parse().map_err(|_| bad_value("read the number of the newest commit", "meta.value", text))
}

/// The number of the newest commit.
pub(super) async fn applied(connection: &mut SqliteConnection) -> Result<CommitNumber, StorageError> {
    static STATEMENT: LazyLock<&str> = LazyLock::new(|| made(format!("SELECT {APPLIED}")));
    let row = sqlx::query(*STATEMENT).fetch_one(connection).await;
    applied_of(&row.map_err(|error| storage_error("read the number of the newest commit", error))?)
}

/// What the rows of a statement show, and when that was so. A statement without rows did not answer the number either: what it
/// saw is no newer than what is there now.
pub(super) async fn view<T>(
    connection: &mut SqliteConnection,
    rows: &[SqliteRow],
    shows: T,
) -> Result<View<T>, StorageError> {
    let commit = match rows.first() {
        Some(row) => applied_of(row)?,
        None => applied(connection).await?,
    };
    Ok(View { commit, shows })
}

/// The records that a statement answers, which has a column for the number of the newest commit.
pub(super) async fn view_of_records<M: Model>(
    connection: &mut SqliteConnection,
    attempt: &'static str,
    query: SqlQuery<'_>,
) -> Result<View<Vec<M>>, StorageError> {
    let rows = query.fetch_all(&mut *connection).await.map_err(|error| storage_error(attempt, error))?;
    let records = rows.iter().map(decode).collect::<Result<_, _>>()?;
    view(connection, &rows, records).await
}

/// The record with this key, unless it went with a channel that is being purged.
pub(super) async fn get<M: Model>(
    connection: &mut SqliteConnection,
    key: M::Key,
) -> Result<View<Option<M>>, StorageError> {
    let query = sqlx::query(statements::<M>().by_key).bind(key_text(&key.value()));
    let row = query.fetch_one(connection).await.map_err(|error| storage_error("read a record", error))?;
    let is_there = Reading { table: M::TABLE, row: &row }.get::<Option<&str>>(key_column::<M>())?.is_some();
    let shows = is_there.then(|| decode(&row)).transpose()?;
    Ok(View { commit: applied_of(&row)?, shows })
}

/// Records with keys above `after`, by key; all of them without a limit.
pub(super) async fn list<M: Model>(
    connection: &mut SqliteConnection,
    after: Option<M::Key>,
    limit: Option<u32>,
) -> Result<View<Vec<M>>, StorageError> {
    let query = sqlx::query(statements::<M>().list)
        .bind(after.map(|key| key_text(&key.value())).unwrap_or_default())
        .bind(limit.map_or(-1, i64::from)); // negative: no limit
    view_of_records(connection, "list records", query).await
}

/// At most so many of the records that an index finds by this value, by key.
pub(super) async fn find<M: Model>(
    connection: &mut SqliteConnection,
    index: &Index,
    value: Value<'_>,
    limit: u32,
) -> Result<View<Vec<M>>, StorageError> {
    let statement = statements::<M>().find.iter().find(|(name, _)| *name == index.name);
    let unknown = || StorageError::Internal { attempt: format!("find records by {}", index.name), source: None };
    let (_, statement) = statement.ok_or_else(unknown)?;
    let query = bind(sqlx::query(*statement), value).bind(i64::from(limit));
    view_of_records(connection, "find records by an index", query).await
}

/// Loads the records that are wanted by key.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    wants: &Wants,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    for entity in Entity::EVERY {
        let keys = Wants::of(&wants.records, *entity);
        if keys.is_empty() {
            continue;
        }
        let keys = key_list(keys);
        for row in rows_by_keys(connection, "load records", entity.with(ByKeys), keys).await? {
            let row = decode_row(*entity, &row)?;
            rows.records.insert(row.key(), row);
        }
    }
    Ok(())
}

struct ByKeys;

impl ForModel for ByKeys {
    type Answer = &'static str;

    fn run<M: Model>(self) -> &'static str {
        statements::<M>().by_keys
    }
}

/// Parts of a SELECT that look for records which are only referred to: those that exist, with commas between their keys.
pub(super) fn references(wants: &Wants) -> Vec<(Entity, String, String)> {
    let wanted = |entity: &Entity| {
        let keys = Wants::of(&wants.references, *entity);
        (!keys.is_empty()).then(|| (*entity, entity.with(Existing), key_list(keys)))
    };
    Entity::EVERY.iter().filter_map(wanted).collect()
}

struct Existing;

impl ForModel for Existing {
    type Answer = String;

    fn run<M: Model>(self) -> String {
        let (table, key, visible) = (M::TABLE, key_column::<M>(), visible::<M>());
        let keys = format!("SELECT group_concat({key}) FROM {table}");
        format!("({keys} WHERE {visible} AND {key} IN (SELECT value FROM json_each(?))) AS {table}")
    }
}

/// Adds those that exist, as the row says that the statement answered.
pub(super) fn add_known(entity: Entity, row: &SqliteRow, rows: &mut Rows) -> Result<(), StorageError> {
    entity.with(AddKnown { row, rows })
}

struct AddKnown<'a> {
    row: &'a SqliteRow,
    rows: &'a mut Rows,
}

impl ForModel for AddKnown<'_> {
    type Answer = Result<(), StorageError>;

    fn run<M: Model>(self) -> Self::Answer {
        let found = Reading { table: M::TABLE, row: self.row }.parse_list::<M::Key>(M::TABLE)?;
        self.rows.known.extend(found.into_iter().map(Into::<Key>::into));
        Ok(())
    }
}

/// Inserts records of one kind, many with one statement, so that each costs a fraction of a round trip to the connection's
/// thread. There are as many prepared statements as there are numbers of rows up to [`LARGEST_INSERT`].
pub(super) async fn insert(connection: &mut SqliteConnection, rows: &[&Row]) -> Result<(), StorageError> {
    let Some(first) = rows.first() else { return Ok(()) };
    let (head, placeholders) = first.entity().with(InsertOf);
    for rows in rows.chunks(LARGEST_INSERT) {
        let statement = format!("{head}{}", vec![placeholders; rows.len()].join(","));
        let query =
            rows.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, row| bind_all(query, row, |_| true));
        execute(connection, "store records", query).await?;
    }
    Ok(())
}

struct InsertOf;

impl ForModel for InsertOf {
    type Answer = (&'static str, &'static str);

    fn run<M: Model>(self) -> Self::Answer {
        let Statements { insert, placeholders, .. } = statements::<M>();
        (insert, placeholders)
    }
}

/// Gives a query the values of some fields of a record.
fn bind_all<'q>(query: SqlQuery<'q>, row: &'q Row, takes: impl Fn(&Field) -> bool) -> SqlQuery<'q> {
    let mut values = Vec::with_capacity(16);
    row.visit(&mut |field, value| {
        if takes(field) {
            values.push(value);
        }
    });
    values.into_iter().fold(query, bind)
}

/// Replaces a record.
pub(super) async fn replace(connection: &mut SqliteConnection, row: &Row) -> Result<(), StorageError> {
    let statement = row.entity().with(UpdateOf);
    let query = bind_all(sqlx::query(statement), row, |field| field.role == Role::Content && !field.is_fixed);
    execute(connection, "change a record", query.bind(row.key().to_string())).await
}

struct UpdateOf;

impl ForModel for UpdateOf {
    type Answer = &'static str;

    fn run<M: Model>(self) -> &'static str {
        statements::<M>().update
    }
}

/// Removes records of one kind.
pub(super) async fn remove(
    connection: &mut SqliteConnection,
    entity: Entity,
    keys: impl IntoIterator<Item = Key>,
) -> Result<(), StorageError> {
    let query = sqlx::query(entity.with(RemoveOf)).bind(key_list(keys));
    execute(connection, "remove records", query).await
}

struct RemoveOf;

impl ForModel for RemoveOf {
    type Answer = &'static str;

    fn run<M: Model>(self) -> &'static str {
        statements::<M>().remove
    }
}
