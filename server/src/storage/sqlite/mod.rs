//! SQLite through sqlx: one file, WAL, one writer connection with group commit, read-only connections.
//!
//! Durability: WAL with `synchronous=FULL` syncs the log at every commit, <https://www.sqlite.org/pragma.html#pragma_synchronous>.
//! SQLite has no page checksums, so damage within a row goes unnoticed unless it breaks the file's structure.

/// The condition that a column holds an id as this program writes it.
macro_rules! is_id {
    () => {
        "typeof(id) = 'text' AND length(id) = 26 AND id NOT GLOB '*[^0-9A-HJKMNP-TV-Z]*' AND id < '8'"
    };
}

mod channels;
mod checkpoint;
mod connections;
pub(super) mod describe;
mod error;
pub(super) mod inspect;
pub(super) mod maintain;
mod messages;
mod migrations;
pub(super) mod opening;
mod reader;
mod rows;
mod schema;
mod sessions;
mod sql;
mod tables;
mod users;
mod wal;
mod writer;

use std::{num::NonZero, path::Path, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqliteConnection,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous},
};
use tokio::sync::Mutex;
use ulid::Ulid;

use self::{
    connections::Connections,
    error::{open_error, storage_error},
    migrations::MIGRATIONS,
    opening::Opening,
    reader::SqliteReader,
    tables::made_by,
    writer::SqliteWriter,
};
use super::{
    Backend, Entity, LoginKey, OpenError, StorageError, Timestamp,
    files::{
        self,
        descriptor::{InUse, Inode},
        path_error,
    },
    id::parse_ulid,
    port::{Opened, Past, Writer},
    space,
};

/// The name in `meta` of the largest id ever given out.
const HIGH_WATER: &str = "high_water_id";
/// The name in `meta` of the number of the newest commit in the file.
const APPLIED: &str = "applied";
/// The name in `meta` of the secret that challenges are made with, in hexadecimal; shown to nobody.
const LOGIN_KEY: &str = "login_key";
/// The name in `meta` of when the store was last closed in good order.
const CLOSED_AT: &str = "closed_at";
/// The name in `meta` of when it was last tried whether changes can be stored.
const PROBED_AT: &str = "probed_at";

/// The largest this program may let the write-ahead log stay between checkpoints.
const WAL_LIMIT_BYTES: u64 = 64 * 1024 * 1024;
/// The part of that by which it may grow further before truncating it is tried again, while somebody's long read forbids it.
const WAL_STEPS: u64 = 4;
/// The shortest it is kept, on a disk without room for more.
const SHORTEST_LOG_BYTES: u64 = 128 * 1024;
/// How long writers may wait for the reads under way when the log is truncated.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_millis(20);
/// How long to wait for another process (a backup, a shell) that holds SQLite's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for a free connection before it is `Unavailable`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection: more than there are different ones.
const CACHED_STATEMENTS: usize = 512;
/// Page cache per connection in KiB; enough for the upper levels of every index of some million messages.
const CACHE_KIB: u32 = 16 * 1024;

/// Opens the store in the SQLite file at `path`, creating and migrating it as needed.
pub(super) async fn open(path: &Path) -> Result<Opened<SqliteReader>, OpenError> {
    let (writer, past) = open_own_writer(path).await?;
    let login_key = login_key(&mut *writer.connection().lock().await).await?;
    let own = files::target(&files::kind::absolute(path)?);
    let in_use = Inode::at(&own).map(InUse::begin).map_err(|error| path_error(path, &error))?;
    let readers = Connections::own(options(&own).read_only(true), read_connections(), in_use).await;
    let reader = SqliteReader::with(readers.map_err(|error| open_error(path, error))?);
    Ok(Opened { backend: Backend::Sqlite, writer: Box::new(writer), reader, past, login_key })
}

/// The writing half of the store in the SQLite file at `path`, created and migrated as needed, and what the store remembers.
pub(super) async fn open_writer(path: &Path) -> Result<(Box<dyn Writer>, Past), OpenError> {
    let (writer, past) = open_own_writer(path).await?;
    Ok((Box::new(writer), past))
}

async fn open_own_writer(path: &Path) -> Result<(SqliteWriter, Past), OpenError> {
    let mut opening = Opening::begin(path)?;
    let own = opening.path().to_owned();
    if opening.has_content() {
        let options = SqliteConnectOptions::new().filename(&own).create_if_missing(false).busy_timeout(BUSY_TIMEOUT);
        let mut connection = options.connect().await.map_err(|error| open_error(path, error))?;
        refuse_foreign_schema(path, &mut connection).await?;
        if opening.was_noted() {
            opening.refuse_what_is_behind(high_water(&mut connection).await?, path)?;
        }
        // Closing the only connection also writes the whole log back and removes it. The server relies on that: after a
        // sync that failed, the next process reads from memory what the disk may not have, and would append to it.
        connection.close().await.map_err(|error| open_error(path, error))?;
    }
    // SQLite gives the log and its index the mode of the database file, which is there by now.
    let writing = options(&own).pragma("wal_autocheckpoint", checkpoint::FALLBACK_PAGES.to_string());
    let mut connection = writing.connect().await.map_err(|error| open_error(path, error))?;
    bring_up_to_date(path, &mut connection).await?;
    // The journal that undoes half a statement stays in memory: it has some pages per row of an INSERT.
    let writing = writing.pragma("temp_store", "memory");
    pragma(path, &mut connection, "PRAGMA temp_store = memory").await?;
    let past = Past {
        high_water: high_water(&mut connection).await?,
        last_seen: last_seen(&mut connection).await?,
        commit: rows::applied(&mut connection).await?,
    };
    opening.settle(&mut connection, past.high_water).await?;
    Ok((SqliteWriter::for_file(connection, writing, opening)?, past))
}

/// Opens an empty store in memory. One connection serves reads and writes: a second would see another database.
pub(super) async fn open_in_memory() -> Result<Opened<SqliteReader>, OpenError> {
    let path = Path::new(":memory:");
    let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
    let mut connection = options.connect().await.map_err(|error| open_error(path, error))?;
    migrate(path, &mut connection).await?;
    let login_key = login_key(&mut connection).await?;
    let connection = Arc::new(Mutex::new(connection));
    let writer = Box::new(SqliteWriter::in_memory(connection.clone()));
    let reader = SqliteReader::with(Connections::Shared(connection));
    Ok(Opened { backend: Backend::Sqlite, writer, reader, past: Past::default(), login_key })
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(CACHED_STATEMENTS)
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .pragma("journal_size_limit", WAL_LIMIT_BYTES.to_string())
}

/// About one per core; more would only queue inside SQLite.
fn read_connections() -> usize {
    std::thread::available_parallelism().map_or(4, NonZero::get).clamp(2, 16)
}

/// Moves everything from the log of the store at `path`, which nobody may have open, to its file. Also a shell that does
/// nothing would write to that log later, whatever file is there by then.
pub(super) async fn empty_the_log(path: &Path) -> Result<(), OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .locking_mode(SqliteLockingMode::Exclusive)
        .busy_timeout(BUSY_TIMEOUT);
    let emptied = async {
        let mut connection = options.connect().await?;
        // Nobody has it open; where it says so, its last opening ended in a crash.
        opening::end_a_crashed(&mut connection).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        connection.close().await
    };
    emptied.await.map_err(|error| open_error(path, error))
}

/// Looks at the schema before anything is written: another program's database stays as it is.
async fn refuse_foreign_schema(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(connection)
        .await
        .map_err(|error| open_error(path, error))?;
    if tables.is_empty() || tables.iter().any(|table| table == "_sqlx_migrations") {
        return Ok(());
    }
    Err(OpenError::WrongFormat {
        path: path.into(),
        expected: "a decentcom SQLite",
        found: format!("it is an SQLite database of another program, with the tables {}", tables.join(", ")),
        remedy: "Name another file in `database_path`",
    })
}

/// Looks at the migrations a file has had: one that this program does not know is a newer program's.
async fn refuse_newer_schema(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let newest = MIGRATIONS.iter().map(|it| it.version).max().unwrap_or(0);
    // Without that table the file is older than any migration.
    let found: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(connection).await.unwrap_or_default();
    match found.filter(|found| *found > newest) {
        Some(found) => Err(newer(path, found)),
        None => Ok(()),
    }
}

fn newer(path: &Path, found: i64) -> OpenError {
    OpenError::NewerFormat {
        path: path.into(),
        found: format!("migration {found}"),
        supported: format!("migration {}", MIGRATIONS.iter().map(|it| it.version).max().unwrap_or(0)),
    }
}

/// The migration that lays the messages out anew, all of them.
const TOGETHER: i64 = 4;

/// Runs the migrations that a file has not had.
async fn bring_up_to_date(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let had: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut *connection)
        .await
        .unwrap_or_default(); // a new file has none
    if had.is_none_or(|had| had >= TOGETHER) {
        return migrate(path, connection).await;
    }
    // What it has, once more in the log, and once more in the file.
    space::require_room(path, 2)?;
    tracing::info!("laying the store's messages out anew, once; that takes about a minute per million of them");
    // Rows that refer to nothing, which `verify` names, keep nobody from starting.
    pragma(path, connection, "PRAGMA foreign_keys = OFF").await?;
    migrate(path, connection).await?;
    tracing::info!("the store's messages are laid out anew");
    pragma(path, connection, "PRAGMA foreign_keys = ON").await
}

async fn pragma(path: &Path, connection: &mut SqliteConnection, statement: &'static str) -> Result<(), OpenError> {
    sqlx::query(statement).execute(connection).await.map(drop).map_err(|error| open_error(path, error))
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    // Not `run`: the futures of its generic `Acquire` argument cannot be shown to be Send.
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => newer(path, found),
        MigrateError::VersionMismatch(version) => OpenError::WrongFormat {
            path: path.into(),
            expected: "a decentcom SQLite",
            found: format!("its migration {version} differs from this program's"),
            remedy: "Name another file in `database_path`, or use the program that made this one",
        },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => open_error(path, error),
        other => OpenError::Damaged { path: path.into(), problem: other.to_string(), remedy: error::REMEDY },
    })
}

/// The largest id ever given out: as recorded, or as found, should a tool have added rows.
async fn high_water(connection: &mut SqliteConnection) -> Result<Ulid, StorageError> {
    let recorded = "SELECT value AS id FROM meta WHERE name = 'high_water_id'";
    let newest =
        largest_id(connection, recorded).await.map_err(|error| storage_error("read the high-water id", error))?;
    match newest {
        None => Ok(Ulid::nil()),
        Some(text) => parse_ulid(&text).ok_or_else(|| sql::bad_value("read the high-water id", "meta.value", &text)),
    }
}

/// The largest id that a query answers or that is in a table of the file, which may be older than the newest tables. What is
/// damaged and no id any more is not taken for it. Text order is id order.
async fn largest_id(connection: &mut SqliteConnection, or_of: &str) -> Result<Option<String>, sqlx::Error> {
    let tables = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'");
    let tables: Vec<String> = tables.fetch_all(&mut *connection).await?;
    let mut statement = format!("SELECT max(id) FROM ({or_of}");
    for table in Entity::with_ids().map(Entity::table) {
        if made_by(table) == 1 || tables.iter().any(|it| it == table) {
            let newest = format!("SELECT id FROM {table} WHERE {} ORDER BY id DESC LIMIT 1", is_id!());
            statement += &format!(" UNION ALL SELECT ({newest}) AS id");
        }
    }
    sqlx::query_scalar(AssertSqlSafe(statement + ")")).fetch_one(connection).await
}

/// When the store was last closed, or found to take changes, whichever was later.
async fn last_seen(connection: &mut SqliteConnection) -> Result<Option<Timestamp>, StorageError> {
    let noted: Vec<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name IN ('closed_at', 'probed_at')")
        .fetch_all(connection)
        .await
        .map_err(|error| storage_error("read when the store was last in use", error))?;
    Ok(noted.iter().filter_map(|text| text.parse().ok()).max())
}

/// The secret that challenges are made with, drawn where there is none: at the first start on a store that is new, was
/// loaded or copied.
async fn login_key(connection: &mut SqliteConnection) -> Result<LoginKey, StorageError> {
    let kept: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?")
        .bind(LOGIN_KEY)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| storage_error("read the login key", error))?;
    if let Some(kept) = kept.and_then(|text| LoginKey::from_hex(&text)) {
        return Ok(kept);
    }
    let drawn = LoginKey::draw()?;
    writer::store_fact(connection, LOGIN_KEY, &drawn.to_hex()).await?;
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That SQLite is told to sync at every commit; that it does is for a test below the engine to show.
    #[tokio::test]
    async fn connections_are_durable_and_hold_to_references() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        drop(std::fs::File::create(&path).unwrap());
        let mut connection = options(&path).connect().await.unwrap();
        for (pragma, expected) in [("PRAGMA synchronous", "2"), ("PRAGMA foreign_keys", "1")] {
            let value: i64 = sqlx::query_scalar(pragma).fetch_one(&mut connection).await.unwrap();
            assert_eq!(value.to_string(), expected, "{pragma}");
        }
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
        assert_eq!(mode, "wal");
    }
}
