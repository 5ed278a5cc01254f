//! The SQL schema for people: what the migrations make, read back from a fresh database, and what each part is for.

use std::path::Path;

use sqlx::{AssertSqlSafe, ConnectOptions, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{error::storage_error, inspect::TABLES, migrate, open_error};
use crate::storage::{OpenError, StorageError};

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
    pub meaning: &'static str,
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

/// What each column holds.
const MEANINGS: &[(&str, &[(&str, &str)])] = &[
    (
        "users",
        &[
            ("id", "ULID, 26 upper-case characters; its time is when the user was created."),
            ("pubkey", "The public key, 1 to 256 bytes of UTF-8, unique."),
            ("display_name", "The name shown to others, up to 1024 bytes; NULL: none."),
            ("avatar_hash", "The hash of the picture in the media store, up to 1024 bytes; NULL: none."),
            ("created_at", "The time within the id."),
            ("updated_at", "When a field last changed."),
            ("is_bot", "1: a program, not a person, first logged in; 0: not."),
            ("is_member", "1: belongs to the community now; 0: left, or only visits."),
        ],
    ),
    (
        "channels",
        &[
            ("id", "ULID; its time is when the channel was created."),
            ("name", "The name, 1 to 1024 bytes of UTF-8."),
            ("topic", "What it is about, up to 1024 bytes; NULL: nothing was said."),
            (
                "category_id",
                "The category it stands under, kept as given (no reference), up to 1024 bytes; NULL: none.",
            ),
            ("position", "Where it stands among its neighbours."),
            ("created_at", "The time within the id."),
            ("updated_at", "When a field last changed."),
        ],
    ),
    (
        "categories",
        &[
            ("id", "ULID; its time is when the category was created."),
            ("name", "The name, 1 to 1024 bytes of UTF-8."),
            ("position", "Where it stands among its neighbours."),
            ("created_at", "The time within the id."),
        ],
    ),
    (
        "messages",
        &[
            ("id", "ULID; its time is when the message was posted."),
            ("channel_id", "Its channel."),
            ("author_id", "Who posted it."),
            ("content", "The text, up to 1 MiB of UTF-8; kept after a soft delete."),
            ("edited_at", "When the text last changed; NULL: never."),
            ("deleted", "1: soft-deleted; 0: not."),
            ("created_at", "The time within the id."),
        ],
    ),
    (
        "sessions",
        &[
            ("token", "SHA-256 of the token, 64 lower-case hexadecimal digits. The token itself is kept nowhere."),
            ("user_id", "Who is logged in."),
            ("created_at", "When it was created."),
            ("expires_at", "The first instant at which it is gone."),
        ],
    ),
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
        "used_challenges",
        &[
            (
                "challenge",
                "Hexadecimal digits: 16 of its slot (a minute, counted from 1970), 64 of the SHA-256 of the public key, 8 of its number.",
            ),
            ("expires_at", "From when on it is of no more use."),
        ],
    ),
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

/// What each index is for.
const INDEXES: &[(&str, &str)] = &[
    ("sqlite_autoindex_users_2", "Finds the user who logs in with a key; keeps keys unique."),
    (
        "idx_messages_channel_created",
        "Of the specification. Serves no call: it knows no ids, so a page would be sorted.",
    ),
    ("idx_messages_live", "Pages of a channel's history: one seek and a walk, past no soft-deleted message."),
    ("idx_users_members", "Lists the members, past those who are none."),
    ("idx_sessions_user", "The log-ins of a user."),
    ("idx_sessions_expires", "Which log-ins expire next; read by the sweep."),
];

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
    let column = |row: &sqlx::sqlite::SqliteRow| -> Result<SqlColumn, sqlx::Error> {
        let name: String = row.try_get("name")?;
        let mut declaration: String = row.try_get("type")?;
        if row.try_get::<i64, _>("pk")? > 0 {
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
        Ok(SqlColumn { meaning: find(meanings, &name).unwrap_or_default(), name, declaration, references })
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
        let condition = sql.split_once(" WHERE ").map(|(_, it)| format!(" where {it}")).unwrap_or_default();
        let is_primary = row.try_get("is_primary")?;
        let purpose = if is_primary { "The primary key." } else { find(INDEXES, &name).unwrap_or_default() };
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
    fn every_table_column_and_index_of_a_fresh_database_is_explained_and_nothing_else() {
        let tables = tables().unwrap();
        let explained: usize = MEANINGS.iter().map(|(_, columns)| columns.len()).sum();
        assert_eq!(tables.iter().map(|table| table.columns.len()).sum::<usize>(), explained, "say it in MEANINGS");
        assert_eq!(
            tables.iter().flat_map(|table| &table.indexes).filter(|index| !index.is_primary).count(),
            INDEXES.len(),
            "say it in INDEXES"
        );
        for table in tables {
            assert!(!table.purpose.is_empty(), "say in PURPOSES what the table {} is for", table.name);
            for column in table.columns {
                assert!(!column.meaning.is_empty(), "say in MEANINGS what {}.{} holds", table.name, column.name);
            }
            for index in table.indexes {
                assert!(!index.purpose.is_empty(), "say in INDEXES what {} is for", index.name);
            }
        }
    }
}
