//! Writes: one connection, one transaction per batch.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{runtime::Handle, sync::Mutex};
use ulid::Ulid;

use super::{
    APPLIED, BUSY_TIMEOUT, CHECKPOINT_TIMEOUT, HIGH_WATER, PROBED_AT, SHORTEST_LOG_BYTES, WAL_LIMIT_BYTES, WAL_STEPS,
    channels,
    checkpoint::Checkpointer,
    error::{is_full, storage_error},
    opening::{self, Opening},
    rows, sessions,
    sql::execute,
    users,
};
use crate::storage::{
    Entity, Key, Row, StorageError,
    files::beside,
    port::{Presence, Rows, Staged, Wants, Write, Writer},
};

/// IMMEDIATE: a transaction that begins by reading and then writes could fail with SQLITE_BUSY_SNAPSHOT.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Stores facts, each with its name and its value.
macro_rules! store_facts {
    ($placeholders:literal) => {
        concat!(
            "INSERT INTO meta (name, value) VALUES ",
            $placeholders,
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )
    };
}

/// The writing half of the backend, owned by the commit thread.
pub(super) struct SqliteWriter {
    connection: Arc<Mutex<SqliteConnection>>,
    runtime: Handle,
    /// Whether a transaction was begun and never ended, because a panic cut it short.
    unfinished: bool,
    /// What a store in a file has and one in memory has not.
    file: Option<DatabaseFile>,
}

struct DatabaseFile {
    options: SqliteConnectOptions,
    wal: PathBuf,
    /// Bytes that the disk has free.
    free: u64,
    /// Bytes of the log below which truncating it is not tried again, because a long read forbade it.
    not_before: u64,
    /// The connection failed in a way that a rollback did not mend; the next batch opens another.
    broken: bool,
    /// Since the last commit, everything was moved from the log to the file.
    is_emptied: bool,
    checkpointer: Checkpointer,
    /// Keeps others out; declared last, so that it ends after everything that has the file open.
    opening: Opening,
}

impl SqliteWriter {
    pub(super) fn for_file(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        opening: Opening,
    ) -> Result<Self, StorageError> {
        let runtime = Handle::current();
        let checkpointer = Checkpointer::start(&runtime, options.clone())
            .map_err(|error| StorageError::internal("start the checkpoint thread", error))?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            unfinished: false,
            file: Some(DatabaseFile {
                checkpointer,
                options,
                wal: beside(opening.path(), "-wal"),
                free: u64::MAX,
                not_before: 0,
                broken: false,
                is_emptied: false,
                opening,
            }),
            runtime,
        })
    }

    /// What it writes with.
    pub(super) fn connection(&self) -> &Mutex<SqliteConnection> {
        &self.connection
    }

    pub(super) fn in_memory(connection: Arc<Mutex<SqliteConnection>>) -> Self {
        Self { connection, runtime: Handle::current(), unfinished: false, file: None }
    }
}

impl Writer for SqliteWriter {
    fn transact(&mut self, wants: &Wants, decide: &mut dyn FnMut(Rows) -> Staged) -> Result<(), StorageError> {
        let Self { connection, runtime, unfinished, file } = self;
        runtime.block_on(async {
            let mut connection = connection.lock().await;
            if let Some(file) = file.as_mut().filter(|file| file.broken) {
                *connection =
                    file.options.connect().await.map_err(|error| storage_error("reopen the database", error))?;
                file.broken = false;
            }
            if let Some(file) = file.as_mut() {
                file.is_emptied = false;
            }
            if *unfinished {
                execute(&mut connection, "roll back a batch that panicked", sqlx::query("ROLLBACK")).await?;
            }
            *unfinished = true;
            let result = run(&mut connection, wants, decide).await;
            *unfinished = false;
            if result.is_err() {
                // SQLite ends the transaction by itself after some errors, and then there is none to roll back.
                let broken = sqlx::query("ROLLBACK").execute(&mut *connection).await.is_err();
                if let Some(file) = file.as_mut() {
                    file.broken = broken;
                }
            }
            if let (Ok(writes), Some(file)) = (&result, file.as_mut()) {
                file.checkpointer.after_commit(&mut connection, writes).await;
                bound_the_log(&mut connection, file).await;
            }
            result.map(|_| ())
        })
    }

    fn note_free(&mut self, free: u64) {
        if let Some(file) = &mut self.file {
            file.free = free;
        }
    }

    /// Moves the log to the file and gives its room back.
    fn settle(&mut self) -> Result<(), StorageError> {
        let Self { connection, runtime, file: Some(file), .. } = self else { return Ok(()) };
        let truncated =
            runtime.block_on(async { truncate_in_turn(&mut *connection.lock().await, &file.checkpointer).await });
        truncated.map(|_| ()).map_err(|error| storage_error("move the log to the file", error))
    }

    fn store_high_water(&mut self, id: Ulid) -> Result<(), StorageError> {
        let Self { connection, runtime, .. } = self;
        runtime.block_on(async { store_fact(&mut *connection.lock().await, HIGH_WATER, &id.to_string()).await })
    }

    fn presence(&self) -> Arc<Presence> {
        self.file.as_ref().map_or_else(Arc::default, |file| file.opening.presence())
    }

    /// A log that has lost its name ends with this process, so what it has goes to the file, wherever that is.
    fn rescue(&mut self) {
        let Self { connection, runtime, file: Some(file), .. } = self else { return };
        if !file.is_emptied {
            let emptied =
                runtime.block_on(async { truncate_in_turn(&mut *connection.lock().await, &file.checkpointer).await });
            file.is_emptied = emptied.unwrap_or(false); // tried again in a moment
        }
    }

    fn note_newest(&mut self, newest: Ulid) {
        if let Some(file) = &mut self.file {
            file.opening.note_newest(newest);
        }
    }

    fn close(self: Box<Self>) -> Result<(), StorageError> {
        let Self { connection, runtime, file, .. } = *self;
        // In memory the readers have the connection too.
        let (Ok(connection), Some(file)) = (Arc::try_unwrap(connection), file) else { return Ok(()) };
        let mut connection = connection.into_inner();
        let DatabaseFile { checkpointer, opening, .. } = file;
        runtime.block_on(async {
            checkpointer.stop();
            if !opening.may_remove_the_log() {
                // SQLite would remove the file that somebody has put in the log's place. What this process has open ends
                // with it, and so do its locks.
                tracing::error!("the log was replaced while the store was open; it stays as it is");
                std::mem::forget((connection, opening));
                return Ok(());
            }
            // Only worth having: a full disk must not keep anybody from closing.
            let says_so = opening::end(&mut connection).await.is_ok();
            if opening.presence().last_problem().is_some() {
                // SQLite leaves the log of a file that has another name as it is, when it closes it.
                let _ = truncate_the_log(&mut connection).await;
            }
            connection.close().await.map_err(|error| storage_error("close the database", error))?;
            opening.closed(says_so);
            Ok(())
        })
    }
}

/// One transaction; answers what it stored.
async fn run(
    connection: &mut SqliteConnection,
    wants: &Wants,
    decide: &mut dyn FnMut(Rows) -> Staged,
) -> Result<Vec<Write>, StorageError> {
    let rows = begin(connection, wants).await?;
    let staged = decide(rows);
    if staged.writes.is_empty() {
        execute(connection, "end a transaction", sqlx::query("ROLLBACK")).await?;
        return Ok(staged.writes);
    }
    store(connection, &staged.writes).await?;
    let applied = staged.commit.to_string();
    let commit = match &staged.high_water {
        Some(high_water) => sqlx::query(concat!(store_facts!("(?, ?), (?, ?)"), "; COMMIT"))
            .bind(HIGH_WATER)
            .bind(high_water.to_string()),
        None => sqlx::query(concat!(store_facts!("(?, ?)"), "; COMMIT")),
    };
    let commit = commit.bind(APPLIED).bind(applied);
    execute(connection, "commit", commit).await?;
    Ok(staged.writes)
}

/// Begins a transaction and loads what is wanted.
async fn begin(connection: &mut SqliteConnection, wants: &Wants) -> Result<Rows, StorageError> {
    let mut rows = Rows::default();
    begin_with_references(connection, wants, &mut rows).await?;
    rows::load(connection, wants, &mut rows).await?;
    users::load(connection, wants, &mut rows).await?;
    channels::load(connection, wants, &mut rows).await?;
    sessions::load(connection, wants, &mut rows).await?;
    Ok(rows)
}

/// Begins a transaction and looks for what is only referred to.
///
/// Each statement is a round trip to the connection's thread, and so is each row it answers: on a busy server they cost
/// more than SQLite's own work. So what every batch of posts needs begins the transaction too, and answers one row.
async fn begin_with_references(
    connection: &mut SqliteConnection,
    wants: &Wants,
    rows: &mut Rows,
) -> Result<(), StorageError> {
    let references = rows::references(wants);
    if references.is_empty() {
        return execute(connection, "begin a transaction", sqlx::query(BEGIN)).await;
    }
    let existing: Vec<_> = references.iter().map(|(_, existing, _)| existing.as_str()).collect();
    let statement = format!("{BEGIN}; SELECT {}", existing.join(", "));
    let query = sqlx::query(AssertSqlSafe(statement));
    let row = references.iter().fold(query, |query, (_, _, keys)| query.bind(keys)).fetch_one(connection).await;
    let row = row.map_err(|error| storage_error("begin a transaction", error))?;
    references.iter().try_for_each(|(entity, ..)| rows::add_known(*entity, &row, rows))
}

/// Applies the writes in order; runs of the kinds that come in crowds share statements.
async fn store(connection: &mut SqliteConnection, writes: &[Write]) -> Result<(), StorageError> {
    for run in writes.chunk_by(|one, other| crowd(one).is_some_and(|crowd| Some(crowd) == self::crowd(other))) {
        match run.first().and_then(crowd) {
            Some(Crowd::Inserted(_)) => {
                let inserted =
                    run.iter().filter_map(|write| if let Write::Insert(row) = write { Some(row) } else { None });
                rows::insert(connection, &inserted.collect::<Vec<_>>()).await?;
            }
            Some(Crowd::Removed(entity)) => {
                rows::remove(connection, entity, run.iter().filter_map(removed)).await?;
            }
            None => {
                for write in run {
                    store_one(connection, write).await?;
                }
            }
        }
    }
    Ok(())
}

/// Writes that share a statement with their neighbours of the same kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crowd {
    Inserted(Entity),
    Removed(Entity),
}

fn crowd(write: &Write) -> Option<Crowd> {
    match write {
        Write::Insert(row) => Some(Crowd::Inserted(row.entity())),
        write => removed(write).map(|key| Crowd::Removed(key.entity())),
    }
}

/// What a write removes, if it removes a row by its key and nothing else.
fn removed(write: &Write) -> Option<Key> {
    match write {
        Write::Remove(key) => Some(*key),
        Write::SweepSession { digest, .. } => Some((*digest).into()),
        Write::ReclaimMessage { id, .. } => Some((*id).into()),
        _ => None,
    }
}

async fn store_one(connection: &mut SqliteConnection, write: &Write) -> Result<(), StorageError> {
    match write {
        Write::Replace(row) => rows::replace(connection, row).await,
        Write::ChangeMembership(user) => rows::replace(connection, &Row::User(user.clone())).await,
        Write::BeginPurge(id) => channels::begin_purge(connection, *id).await,
        Write::EndPurge(id) => channels::end_purge(connection, *id).await,
        Write::NoteProbe(at) => store_fact(connection, PROBED_AT, &at.to_string()).await,
        // These are crowds, if only of one.
        Write::Insert(_) | Write::Remove(_) | Write::SweepSession { .. } | Write::ReclaimMessage { .. } => Ok(()),
    }
}

/// Stores a fact about the store, by name.
pub(super) async fn store_fact(connection: &mut SqliteConnection, name: &str, value: &str) -> Result<(), StorageError> {
    execute(connection, "store a fact about the store", sqlx::query(store_facts!("(?, ?)")).bind(name).bind(value))
        .await
}

/// SQLite checkpoints by itself every 1000 pages, but can reuse the log only at a moment without readers. Should
/// constant reading deny it that moment, the log grows; then it is truncated here, waiting for the reads under way.
///
/// A read that takes minutes, such as a dump of the running store, is not waited for: writers would stand still. The log
/// grows by a step, and truncating it is tried again.
///
/// Where the disk has little room, the log is kept so short that all of it fits into what is free, should all its pages be
/// new to the file.
async fn bound_the_log(connection: &mut SqliteConnection, file: &mut DatabaseFile) {
    let bytes = std::fs::metadata(&file.wal).map_or(0, |wal| wal.len());
    let limit = WAL_LIMIT_BYTES.min(file.free / 2).max(SHORTEST_LOG_BYTES);
    if bytes <= limit.max(file.not_before) {
        return;
    }
    file.not_before = match truncate_in_turn(connection, &file.checkpointer).await {
        Ok(true) => 0,
        Ok(false) => bytes + limit / WAL_STEPS,
        Err(error) => {
            if !is_full(&error) {
                tracing::warn!(%error, bytes, "the write-ahead log could not be truncated; it is tried again as it grows");
            }
            bytes + limit / WAL_STEPS
        }
    };
}

/// Answers whether there was a moment without readers.
async fn truncate_the_log(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let patience = |time: Duration| sqlx::query(AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis())));
    patience(CHECKPOINT_TIMEOUT).execute(&mut *connection).await?;
    let truncated = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
    patience(BUSY_TIMEOUT).execute(&mut *connection).await?;
    let is_busy: i64 = truncated?;
    Ok(is_busy == 0)
}

/// The same beside the checkpointer: waits for the checkpoint under way, of which SQLite says at once that it is busy.
async fn truncate_in_turn(connection: &mut SqliteConnection, checkpointer: &Checkpointer) -> Result<bool, sqlx::Error> {
    let _alone = checkpointer.pause().await;
    truncate_the_log(connection).await
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        path::Path,
    };

    use super::*;
    use crate::storage::{Message, Timestamp, User, contract::model::Model as _};

    /// A writer over a database in memory or in a file.
    async fn writer_over(file: Option<&Path>) -> SqliteWriter {
        let options = match file {
            None => SqliteConnectOptions::new().in_memory(true),
            Some(path) => SqliteConnectOptions::new().filename(path).create_if_missing(true),
        };
        let mut connection = options.foreign_keys(true).connect().await.unwrap();
        super::super::MIGRATIONS.run_direct(None, &mut connection, false).await.unwrap();
        match file {
            None => SqliteWriter::in_memory(Arc::new(Mutex::new(connection))),
            Some(path) => {
                let options = SqliteConnectOptions::new().filename(path);
                SqliteWriter::for_file(connection, options, Opening::begin(path).unwrap()).unwrap()
            }
        }
    }

    fn user(number: u128) -> Write {
        let (id, pubkey, now) = (Ulid(number).into(), format!("key {number}"), Timestamp::MIN);
        let user = User {
            id,
            pubkey,
            display_name: None,
            avatar_hash: None,
            is_bot: false,
            is_member: true,
            created_at: now,
            updated_at: now,
        };
        Write::Insert(Row::User(Arc::new(user)))
    }

    fn pubkeys_found(writer: &mut SqliteWriter, numbers: &[u128]) -> usize {
        let pubkeys = numbers.iter().map(|number| format!("key {number}")).collect();
        let mut found = 0;
        writer
            .transact(&Wants { pubkeys, ..Wants::default() }, &mut |rows| {
                found = rows.pubkeys.len();
                Staged::default()
            })
            .unwrap();
        found
    }

    #[test]
    fn a_batch_that_fails_half_way_is_undone_and_the_next_one_works() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        for file in [None, Some(directory.path().join("store"))] {
            let mut writer = runtime.block_on(writer_over(file.as_deref()));
            let orphan = Message {
                channel_id: Ulid(8).into(),
                author_id: Ulid(1).into(),
                content: "nowhere".into(),
                created_at: Timestamp::MIN,
                ..Message::blank(Ulid(9).into())
            };
            let orphan = Write::Insert(Row::Message(Arc::new(orphan)));
            let half = Staged { writes: vec![user(1), orphan], high_water: None, commit: 1 };
            let mut half = Some(half);
            writer.transact(&Wants::default(), &mut |_| half.take().unwrap()).unwrap_err();
            writer
                .transact(&Wants::default(), &mut |_| Staged { writes: vec![user(2)], high_water: None, commit: 1 })
                .unwrap();
            assert_eq!(pubkeys_found(&mut writer, &[1, 2]), 1, "{file:?}");
        }
    }

    #[test]
    fn a_panic_in_the_middle_of_a_transaction_is_undone_and_the_next_one_works() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut writer = runtime.block_on(writer_over(None));
        let panicked =
            catch_unwind(AssertUnwindSafe(|| writer.transact(&Wants::default(), &mut |_| panic!("planned"))));
        assert!(panicked.is_err());
        writer
            .transact(&Wants::default(), &mut |_| Staged { writes: vec![user(1)], high_water: None, commit: 1 })
            .unwrap();
        assert_eq!(pubkeys_found(&mut writer, &[1]), 1);
    }
}
