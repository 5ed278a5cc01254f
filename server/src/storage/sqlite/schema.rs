//! What stands in the schema of a file, against what this program's migrations make of a new one.
//!
//! Somebody who changes what the migrations made has altered the store. So has whoever hangs something on a table of it that
//! can refuse or add a write: a trigger, an index that is unique, partial or over expressions, a foreign key of another
//! table. What SQLite keeps for itself (`ANALYZE`), other tables and views, and plain indexes are nobody's concern.

use std::sync::LazyLock;

use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

use super::MIGRATIONS;

/// Something in a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    kind: String,
    name: String,
    /// The table it is, or belongs to.
    of_table: String,
    /// What it was made with; `None` of an index that a constraint makes.
    sql: Option<String>,
    /// Whether it is an index that changes no write, or nothing that refers to a table of ours.
    is_harmless: bool,
}

/// What there is, but for what SQLite and the migrations keep for themselves.
async fn read(connection: &mut SqliteConnection, own_tables: &[String]) -> Result<Vec<Object>, sqlx::Error> {
    let names: Vec<_> = own_tables.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    let own = names.join(", ");
    let statement = format!(
        "SELECT it.type AS kind, it.name, it.tbl_name AS of_table, it.sql,
            CASE it.type
            WHEN 'index' THEN EXISTS (SELECT 1 FROM pragma_index_list(it.tbl_name) AS own
                    WHERE own.name = it.name AND own.\"unique\" = 0 AND own.partial = 0)
                AND NOT EXISTS (SELECT 1 FROM pragma_index_xinfo(it.name) AS part WHERE part.cid = -2)
            WHEN 'table' THEN NOT EXISTS (SELECT 1 FROM pragma_foreign_key_list(it.name) AS key
                WHERE key.\"table\" COLLATE NOCASE IN ({own}))
            ELSE it.type = 'view' END AS is_harmless
        FROM sqlite_master AS it
        WHERE it.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND it.name NOT LIKE '\\_sqlx\\_%' ESCAPE '\\'
        ORDER BY it.name"
    );
    let rows: Vec<(String, String, String, Option<String>, bool)> =
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(connection).await?;
    let objects = rows.into_iter();
    Ok(objects
        .map(|(kind, name, of_table, sql, is_harmless)| Object { kind, name, of_table, sql, is_harmless })
        .collect())
}

/// A schema, as far as it is the store's: what the migrations made, and what hangs on it.
pub(super) struct Schema(Vec<Object>);

impl Schema {
    /// That of a file.
    pub(super) async fn of(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let own = &CURRENT.0;
        let own_tables: Vec<_> = own.iter().filter(|it| it.kind == "table").map(|it| it.name.clone()).collect();
        let mut objects = read(connection, &own_tables).await?;
        objects.retain(|found| {
            let is_own = own.iter().any(|own| own.name.eq_ignore_ascii_case(&found.name));
            let on_own = own_tables.iter().any(|table| table.eq_ignore_ascii_case(&found.of_table));
            is_own || (!found.is_harmless && (on_own || found.kind == "table"))
        });
        Ok(Self(objects))
    }

    /// Names it: the CRC-32C of what its tables and indexes were made with.
    pub(super) fn fingerprint(&self) -> String {
        let statements: Vec<_> = self.0.iter().filter_map(|it| it.sql.as_deref()).collect();
        decentcom_kvstore::checksum_text(&statements.join(";\n"))
    }

    /// What is different from what the migrations make.
    pub(super) fn alterations(&self) -> Vec<String> {
        let mut alterations = Vec::new();
        for own in &CURRENT.0 {
            let Object { kind, name, .. } = own;
            match self.0.iter().find(|found| found.name.eq_ignore_ascii_case(name)) {
                None => alterations.push(format!("the {kind} {name} is missing")),
                Some(found) if found.kind != *kind => {
                    alterations.push(format!("{name} is a {}, not the {kind} that its migrations made", found.kind));
                }
                Some(found) if found.sql != own.sql => {
                    alterations.push(format!("the {kind} {name} is not as its migrations made it"));
                }
                Some(_) => {}
            }
        }
        for Object { kind, name, of_table, .. } in &self.0 {
            if CURRENT.0.iter().any(|own| own.name.eq_ignore_ascii_case(name)) {
                continue;
            }
            alterations.push(match kind.as_str() {
                "table" => {
                    format!("the table {name}, which its migrations did not make, refers to tables of the store")
                }
                _ => format!(
                    "the {kind} {name} on {of_table}, which its migrations did not make, may refuse or add writes"
                ),
            });
        }
        alterations
    }
}

/// The schema that this program's migrations make.
pub(super) static CURRENT: LazyLock<Schema> = LazyLock::new(|| {
    let migrated = async {
        let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await?;
        MIGRATIONS
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|error| sqlx::Error::Migrate(error.into()))?;
        read(&mut connection, &[]).await
    };
    // On a thread of its own: the caller may be inside a runtime.
    let objects = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(migrated).ok()
        });
        made.join().ok().flatten().unwrap_or_default()
    });
    Schema(objects)
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_the_migrations_is_known() {
        assert!(CURRENT.0.len() > 8, "{:?}", CURRENT.0);
        assert_eq!(CURRENT.fingerprint().len(), 8);
    }

    /// What statements make of a fresh schema: what is said of it.
    fn after(statements: &'static str) -> Vec<String> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
            MIGRATIONS.run_direct(None, &mut connection, false).await.unwrap();
            sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
            let found = Schema::of(&mut connection).await.unwrap();
            let alterations = found.alterations();
            assert_eq!(alterations.is_empty(), found.fingerprint() == CURRENT.fingerprint(), "{statements}");
            alterations
        })
    }

    #[test]
    fn what_changes_no_write_is_no_alteration() {
        for statements in [
            "",
            "ANALYZE",
            "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT); CREATE INDEX by_text ON notes (text)",
            "CREATE VIEW newest AS SELECT * FROM messages ORDER BY id DESC",
            "CREATE INDEX by_author ON messages (author_id, id)",
        ] {
            assert_eq!(after(statements), [""; 0], "{statements}");
        }
    }

    #[test]
    fn what_can_refuse_or_add_a_write_is_one() {
        for (statements, said) in [
            ("DROP INDEX idx_sessions_user", "the index idx_sessions_user is missing"),
            ("DROP TABLE media", "the table media is missing"),
            ("ALTER TABLE users ADD COLUMN shoe_size INTEGER", "the table users is not as its migrations made it"),
            ("ALTER TABLE media RENAME TO pictures; CREATE VIEW media AS SELECT 1", "media is a view, not the table"),
            ("CREATE UNIQUE INDEX one_name ON users (display_name)", "the index one_name on users"),
            ("CREATE INDEX by_length ON messages (length(content))", "the index by_length on messages"),
            ("CREATE INDEX edited ON messages (id) WHERE edited_at IS NOT NULL", "the index edited on messages"),
            ("CREATE TRIGGER log AFTER INSERT ON users BEGIN SELECT 1; END", "the trigger log on users"),
            ("CREATE TABLE votes (message_id TEXT REFERENCES Messages(id))", "the table votes"),
        ] {
            let alterations = after(statements);
            assert!(alterations.iter().any(|it| it.starts_with(said)), "{statements}: {alterations:?}");
        }
    }
}
