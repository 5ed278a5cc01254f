//! The SQL schema for people: what the migrations make, read back from a fresh database, and what each part is for.

use std::path::Path;

use sqlx::{AssertSqlSafe, ConnectOptions, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{error::storage_error, migrate, open_error, tables::TABLES};
use crate::storage::{Entity, OpenError, StorageError};

/// A table of a freshly migrated database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlTable {
    /// Its name.
    pub name: String,
    /// What it is for, in a line.
    pub purpose: &'static str,
    /// Its columns, in order.
    pub columns: Vec<SqlColumn>,
    /// Its indexes, those of keys and UNIQUE constraints too.
    pub indexes: Vec<SqlIndex>,
    /// The statement that makes it.
    pub sql: String,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its type and constraints, as SQL.
    pub declaration: String,
    /// The table and column that it refers to by a foreign key.
    pub references: Option<(String, String)>,
    /// What it holds, with its unit.
    pub meaning: String,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlIndex {
    /// Its name.
    pub name: String,
    /// The columns, and the condition of a partial one.
    pub on: String,
    /// What it is for, in a line.
    pub purpose: &'static str,
    /// Whether it is that of the primary key.
    pub is_primary: bool,
}

/// What no other place says of tables.
const PURPOSES: &[(&str, &str)] = &[
    ("media", "What is known of stored blobs. Reserved: nothing writes it yet."),
    ("_sqlx_migrations", "Which migrations this file has had; kept by sqlx."),
];

/// What each column holds of the tables that hold none of the contract's records.
const MEANINGS: &[(&str, &[(&str, &str)])] = &[
    (
        "media",
        &[
            ("hash", "SHA-256 of the bytes, hexadecimal."),
            ("mime_type", "Such as `image/png`."),
            ("size", "Bytes."),
            ("uploaded_by", "The id of a user, if known."),
            ("created_at", "When it was first put."),
        ],
    ),
    ("meta", &[("name", "The name of a fact; see below."), ("value", "What it says, as text.")]),
    ("purges", &[("channel_id", "The id of the deleted channel.")]),
    (
        "_sqlx_migrations",
        &[
            ("version", "Its number: 1 for `001_initial.sql`."),
            ("description", "The rest of its file's name."),
            ("installed_on", "When it ran."),
            ("success", "1."),
            ("checksum", "SHA-384 of its text, by which a shipped migration that was edited is refused."),
            ("execution_time", "Nanoseconds it took."),
        ],
    ),
];

/// What each index is for that the contract's descriptions do not name.
const INDEXES: &[(&str, &str)] = &[("idx_messages_id", "Finds a message by its id; keeps ids unique.")];

/// What an index is for, by what it is over.
fn purpose_of(table: &str, name: &str, columns: &str, condition: Option<&str>) -> &'static str {
    let only = condition.and_then(|it| it.split_once(" = ")).map(|(flag, set)| (flag, set.trim() == "1"));
    let entity = Entity::EVERY.iter().find(|entity| entity.table() == table);
    let indexes = entity.map_or(&[][..], |entity| entity.indexes());
    let own = find(INDEXES, name).or_else(|| {
        let first = columns.split(',').next().unwrap_or_default();
        indexes.iter().find(|index| index.is_on(first, only)).map(|index| index.purpose.trim())
    });
    own.unwrap_or_default()
}

/// Every table that the migrations make, read back from a fresh database in memory.
pub(in crate::storage) fn tables() -> Result<Vec<SqlTable>, OpenError> {
    let path = Path::new(":memory:");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StorageError::internal("start a runtime", error))?;
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().in_memory(true);
        let mut connection = options.connect().await.map_err(|error| open_error(path, error))?;
        migrate(path, &mut connection).await?;
        read(&mut connection).await.map_err(|error| storage_error("read the schema", error).into())
    })
}

async fn read(connection: &mut SqliteConnection) -> Result<Vec<SqlTable>, sqlx::Error> {
    // Ours first, in the order in which they were made.
    let listed: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name LIKE '\\_sqlx\\_%' ESCAPE '\\', rowid",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut tables = Vec::new();
    for (name, sql) in listed {
        let columns = columns(connection, &name).await?;
        let indexes = indexes(connection, &name).await?;
        let known = TABLES.iter().find(|table| table.name == name).map(|table| table.purpose);
        let purpose = known.or_else(|| find(PURPOSES, &name)).unwrap_or_default();
        tables.push(SqlTable { name, purpose, columns, indexes, sql });
    }
    Ok(tables)
}

async fn columns(connection: &mut SqliteConnection, table: &str) -> Result<Vec<SqlColumn>, sqlx::Error> {
    let statement = format!(
        "SELECT c.name, c.type, c.\"notnull\" AS required, c.dflt_value, c.pk, f.\"table\" AS other, f.\"to\" AS its
         FROM pragma_table_info('{table}') c LEFT JOIN pragma_foreign_key_list('{table}') f ON f.\"from\" = c.name
         ORDER BY c.cid"
    );
    let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(connection).await?;
    let meanings = MEANINGS.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, columns)| columns);
    let described = TABLES.iter().find(|known| known.name == table);
    let parts_of_key = rows.iter().filter(|row| row.try_get::<i64, _>("pk").is_ok_and(|place| place > 0)).count();
    let column = |row: &sqlx::sqlite::SqliteRow| -> Result<SqlColumn, sqlx::Error> {
        let name: String = row.try_get("name")?;
        let mut declaration: String = row.try_get("type")?;
        let place_in_key: i64 = row.try_get("pk")?;
        if place_in_key > 0 && parts_of_key > 1 {
            declaration.push_str(&format!(" NOT NULL, {place_in_key} of {parts_of_key} in PRIMARY KEY"));
        } else if place_in_key > 0 {
            declaration.push_str(" PRIMARY KEY");
        } else if row.try_get::<i64, _>("required")? > 0 {
            declaration.push_str(" NOT NULL");
        }
        match row.try_get::<Option<String>, _>("dflt_value")? {
            Some(default) if default.contains("strftime") => declaration.push_str(" DEFAULT now"),
            Some(default) => declaration.push_str(&format!(" DEFAULT {default}")),
            None => {}
        }
        let references = row.try_get::<Option<String>, _>("other")?.zip(row.try_get("its")?);
        let meaning = described.and_then(|table| table.meaning(&name));
        let meaning = meaning.or_else(|| find(meanings, &name).map(str::to_owned)).unwrap_or_default();
        Ok(SqlColumn { meaning, name, declaration, references })
    };
    rows.iter().map(column).collect()
}

async fn indexes(connection: &mut SqliteConnection, table: &str) -> Result<Vec<SqlIndex>, sqlx::Error> {
    let statement = format!(
        "SELECT i.name, i.origin = 'pk' AS is_primary, coalesce(m.sql, '') AS made_by,
                (SELECT group_concat(name, ', ') FROM pragma_index_info(i.name)) AS columns
         FROM pragma_index_list('{table}') i LEFT JOIN sqlite_master m ON m.name = i.name ORDER BY i.seq DESC"
    );
    let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(connection).await?;
    let index = |row: &sqlx::sqlite::SqliteRow| -> Result<SqlIndex, sqlx::Error> {
        let (name, sql): (String, String) = (row.try_get("name")?, row.try_get("made_by")?);
        let columns: String = row.try_get("columns")?;
        let condition = sql.split_once(" WHERE ").map(|(_, it)| it);
        let is_primary = row.try_get("is_primary")?;
        let purpose = if is_primary { "The primary key." } else { purpose_of(table, &name, &columns, condition) };
        let condition = condition.map(|it| format!(" where {it}")).unwrap_or_default();
        Ok(SqlIndex { name, on: format!("({columns}){condition}"), purpose, is_primary })
    };
    rows.iter().map(index).collect()
}

fn find(texts: &'static [(&str, &'static str)], name: &str) -> Option<&'static str> {
    texts.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_column_and_index_of_a_fresh_database_is_explained() {
        let tables = tables().unwrap();
        for table in tables {
            assert!(
                !table.purpose.is_empty(),
                "say in models.rs, or in PURPOSES, what the table {} is for",
                table.name
            );
            for column in table.columns {
                assert!(
                    !column.meaning.is_empty(),
                    "say in models.rs, or in MEANINGS, what {}.{} holds",
                    table.name,
                    column.name
                );
            }
            for index in table.indexes {
                assert!(!index.purpose.is_empty(), "say in models.rs, or in INDEXES, what {} is for", index.name);
            }
        }
    }
}
