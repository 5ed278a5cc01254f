//! Looking into an SQLite store: one read-only connection, one read transaction, beside a server or without one.
//!
//! SQLite needs an index (`-shm`) of the write-ahead log that a crash left. One that is there is left as it is, and SQLite
//! makes its own in memory; where no server has the store open, companions that were not there before are removed again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use decentcom_kvstore::Tree;
use futures::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row as _, SqliteConnection, TypeInfo, ValueRef,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use tokio::{runtime::Runtime, sync::Mutex};
use ulid::Ulid;

use decentcom_kvstore::{ByteRange, Direction, RawRange};

use super::{
    BUSY_TIMEOUT, CLOSED_AT, HIGH_WATER, LOGIN_KEY, MIGRATIONS,
    error::{REMEDY, code, primary_code, storage_error},
    migrate, open_error,
    opening::{Doubt, Files, OPEN_SINCE, STORE_ID},
    refuse_foreign_schema, refuse_newer_schema, rows,
    schema::{CURRENT, Schema},
    sql::execute,
    tables::{TABLES, Table},
    wal,
    writer::SqliteWriter,
};
use crate::storage::{
    Backend, Entity, OpenError, Row, StorageError, Timestamp,
    contract::field::Kind,
    example::fill,
    files::{
        self, beside,
        descriptor::{Descriptor, InUse, Inode},
        held::note_path,
    },
    finding::{Finding, Level},
    id::parse_ulid,
    inspection::{Cell, CellValue, Content, Explained, Facts, HIDDEN, Inspection, Moment, State, Stored, TableFacts},
};

/// Bytes after which a page takes no further row.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

struct SqliteInspection {
    /// The path as it was given.
    path: PathBuf,
    /// The file's own, beside which its companions lie.
    own: PathBuf,
    /// `None` once closed.
    connection: Option<SqliteConnection>,
    runtime: Runtime,
    state: State,
    holder: Option<String>,
    /// What is wrong with how the files lie together.
    doubt: Option<Doubt>,
    /// Companions that nobody needs who does not look.
    new_companions: Vec<PathBuf>,
    /// Keeps servers out of a store left by a crash: an index in memory does not notice what they do to the log.
    lock: Option<Lock>,
    /// Tables known to be as they are read.
    sound: Vec<&'static str>,
    _in_use: Option<InUse>,
}

/// The locks of a store, shared with others who look at it.
struct Lock {
    file: Descriptor,
    note: Option<Descriptor>,
}

pub(in crate::storage) fn open(path: &Path) -> Result<Box<dyn Inspection>, OpenError> {
    files::require(path, Backend::Sqlite)?;
    let own = files::target(&files::kind::absolute(path)?);
    let failed = |error| files::path_error(path, &error);
    let inode = Inode::at(&own).map_err(failed)?;
    let is_ours = InUse::is_begun(inode);
    let in_use = InUse::begin(inode);
    let (holder, lock) = match lock(&own).map_err(failed)? {
        Locked::By(holder) => (Some(holder), None),
        Locked::Shared(lock) => (None, Some(lock)),
    };
    let log = beside(&own, "-wal");
    if let (Some(holder), false) = (&holder, is_ours || log.exists()) {
        // Its log, and the index of that, have names that come of the one it was opened by.
        let holder = Some(format!("{holder}, which opened it by another name: only that shows all of it"));
        return Err(OpenError::InUse { path: path.into(), holder });
    }
    let files = match &lock {
        Some(lock) => Some(Files::of(&own, &lock.file, lock.note.as_ref())?),
        None => None,
    };
    let mut doubt = files.as_ref().and_then(Files::doubt);
    let state = match (&holder, doubt, files::sizes(&log).0) {
        (Some(_), ..) => State::Open,
        (None, Some(_), _) => State::Doubtful,
        (None, None, 0) => State::Closed,
        (None, None, _) => State::Crashed,
    };
    let companions = ["-wal", "-shm"].map(|suffix| beside(&own, suffix));
    // Where there is no log, they are of somebody who looked, perhaps of one who was killed: nobody's, either way.
    let is_without_log = state == State::Closed;
    let new_companions = companions.into_iter().filter(|it| is_without_log || !it.exists()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StorageError::internal("start a runtime", error))?;
    let alone = SqliteConnectOptions::new().filename(&own).immutable(true);
    let connected = runtime.block_on(async {
        if doubt == Some(Doubt::ForeignLog) {
            return connect(path, alone).await; // without the log
        }
        match connect(path, connecting(&own, state)).await {
            // Nobody may write beside the file, and it has no log: then it is all there is.
            Err(OpenError::Path { .. }) if files::sizes(&log).0 == 0 && holder.is_none() => connect(path, alone).await,
            connected => connected,
        }
    });
    let connection = Some(connected?);
    let lock = lock.filter(|_| state != State::Closed);
    let (path, sound) = (path.into(), Vec::new());
    let mut inspection = SqliteInspection {
        path,
        own,
        connection,
        runtime,
        state,
        holder,
        doubt,
        new_companions,
        lock,
        sound,
        _in_use: Some(in_use),
    };
    if let Some(newest) = files.and_then(|files| files.newest()).filter(|_| doubt.is_none())
        && inspection.newest_id().is_some_and(|found| found < newest)
    {
        doubt = Some(Doubt::WithoutLog);
        (inspection.doubt, inspection.state) = (doubt, State::Doubtful);
    }
    Ok(Box::new(inspection))
}

/// See [`inspect::example`](crate::storage::inspect::example).
pub(in crate::storage) fn example() -> Result<Box<dyn Inspection>, OpenError> {
    let path = Path::new(":memory:");
    let attempt = "make the example";
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| StorageError::internal(attempt, error))?;
    let (connection, mut writer) = runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new()
            .in_memory(true)
            .foreign_keys(true)
            .connect()
            .await
            .map_err(|error| open_error(path, error))?;
        migrate(path, &mut connection).await?;
        let connection = Arc::new(Mutex::new(connection));
        Ok::<_, OpenError>((connection.clone(), SqliteWriter::in_memory(connection)))
    })?;
    let (created_at, closed_at) = fill(&mut writer)?;
    drop(writer);
    let mut connection = Arc::try_unwrap(connection)
        .map_err(|_| StorageError::unavailable("the example is still being written"))?
        .into_inner();
    runtime.block_on(async {
        let query = sqlx::query("INSERT OR REPLACE INTO meta (name, value) VALUES ('created_at', ?), (?, ?)")
            .bind(created_at.to_string())
            .bind(CLOSED_AT)
            .bind(closed_at.to_string());
        execute(&mut connection, attempt, query).await
    })?;
    Ok(Box::new(SqliteInspection {
        path: path.into(),
        own: path.into(),
        connection: Some(connection),
        runtime,
        state: State::Closed,
        holder: None,
        doubt: None,
        new_companions: Vec::new(),
        lock: None,
        sound: Vec::new(),
        _in_use: None,
    }))
}

/// Whether a store can be locked.
enum Locked {
    /// It is, by this server.
    By(String),
    Shared(Lock),
}

/// Looks for a server that has the store open: by the lock of the file, or, one of before, by that of the note beside it.
fn lock(own: &Path) -> std::io::Result<Locked> {
    let holder = |path: &Path| Locked::By(files::holder_of(path).unwrap_or_else(|| "another process".into()));
    let file = Descriptor::read(own)?;
    if !file.lock_shared()? {
        return Ok(holder(own));
    }
    let note_path = note_path(own);
    let note = Descriptor::read(&note_path).ok();
    match note.as_ref().map_or(Ok(true), Descriptor::lock_shared)? {
        true => Ok(Locked::Shared(Lock { file, note })),
        false => Ok(holder(&note_path)),
    }
}

/// The name that makes SQLite leave an index of the log as it is, <https://www.sqlite.org/c3ref/open.html>.
fn with_index_in_memory(path: &Path) -> PathBuf {
    let mut name = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => name.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(*byte)),
            byte => name.push_str(&format!("%{byte:02X}")),
        }
    }
    (name + "?readonly_shm=1").into()
}

fn connecting(path: &Path, state: State) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new();
    let [log, index] = ["-wal", "-shm"].map(|suffix| files::sizes(&beside(path, suffix)).0);
    match state == State::Crashed && index > 0 {
        false => options.filename(path),
        // A server was killed when it had written only the header. An index in memory does not know the salts of such a log,
        // and SQLite tries again for ten seconds (`walBeginShmUnreliable` in its `wal.c`). Nothing is in it.
        true if log <= wal::HEADER as u64 => options.filename(path).immutable(true),
        true => options.filename(with_index_in_memory(path)),
    }
}

async fn connect(path: &Path, options: SqliteConnectOptions) -> Result<SqliteConnection, OpenError> {
    let failed = |error| match primary_code(&error) {
        Some(code::CANTOPEN) => OpenError::Path {
            path: path.into(),
            problem: error.to_string(),
            remedy: "SQLite writes an index of its log beside the file even to read it: give yourself write access to the \
                     directory, or copy the file with its -wal elsewhere and look at the copy",
        },
        _ => open_error(path, error),
    };
    let options = options.read_only(true).busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.connect().await.map_err(failed)?;
    refuse_foreign_schema(path, &mut connection).await?;
    refuse_newer_schema(path, &mut connection).await?;
    // One state for all that is read: it is taken by the first read.
    sqlx::query("BEGIN").execute(&mut connection).await.map_err(failed)?;
    sqlx::query("SELECT count(*) FROM sqlite_master").execute(&mut connection).await.map_err(failed)?;
    Ok(connection)
}

impl SqliteInspection {
    /// Runs a call on the connection.
    fn run<T>(
        &mut self,
        attempt: &'static str,
        call: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StorageError> {
        let connection = self.connection.as_mut().ok_or_else(|| StorageError::unavailable("the store is closed"))?;
        self.runtime.block_on(call(connection)).map_err(|error| storage_error(attempt, error))
    }

    fn number(&mut self, attempt: &'static str, statement: String) -> Result<u64, StorageError> {
        let number: i64 = self.run(attempt, async |connection| {
            sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await
        })?;
        Ok(u64::try_from(number).unwrap_or_default())
    }

    /// What a table is: `table`, `view`, `virtual`, `shadow`; `None` where nothing has its name.
    fn kind(&mut self, table: &'static str) -> Result<Option<String>, StorageError> {
        self.run("look for a table", async |connection| {
            sqlx::query_scalar("SELECT type FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE")
                .bind(table)
                .fetch_optional(connection)
                .await
        })
    }

    /// Whether there is a table to read: one made by an older program may lack the newer ones. A table that should be there
    /// and is not, or is no table, or lacks columns, is an error that names it.
    fn has(&mut self, table: &'static Table) -> Result<bool, StorageError> {
        if self.sound.contains(&table.name) {
            return Ok(true);
        }
        let (kind, migration) = (self.kind(table.name)?, self.migration()?);
        match kind.as_deref() {
            Some("table") => {}
            None if migration < table.since => return Ok(false),
            None => return Err(altered(table, "it is missing")),
            Some(kind) => return Err(altered(table, &format!("it is a {kind}, not a table"))),
        }
        if migration == newest_migration() {
            let statement = format!("SELECT name FROM pragma_table_xinfo('{}')", table.name);
            let found: Vec<String> = self.run("read the columns of a table", async |connection| {
                sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(connection).await
            })?;
            let is_there = |column: &str| found.iter().any(|found| found.eq_ignore_ascii_case(column));
            if let Some(column) = table.columns.iter().find(|column| !is_there(column)) {
                return Err(altered(table, &format!("its column {column} is missing")));
            }
        }
        self.sound.push(table.name);
        Ok(true)
    }

    fn fact(&mut self, name: &'static str) -> Result<Option<String>, StorageError> {
        if !self.has(find("meta")?)? {
            return Ok(None);
        }
        self.run("read what is known of the store", async |connection| {
            sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(name).fetch_optional(connection).await
        })
    }

    /// Names the rows that no reading shows, because their keys are no text.
    fn verify_keys(&mut self, report: &mut dyn FnMut(Finding)) -> Result<(), StorageError> {
        for table in TABLES.iter() {
            let Some(key) = table.columns.first() else { continue };
            if !self.has(table)? {
                continue;
            }
            let statement = format!(
                "SELECT typeof({key}), count(*) FROM {} WHERE typeof({key}) <> 'text' GROUP BY 1 ORDER BY 1",
                table.name
            );
            let kinds: Vec<(String, i64)> = self.run("look for keys that are no text", async |connection| {
                sqlx::query_as(AssertSqlSafe(statement)).fetch_all(connection).await
            })?;
            for (kind, rows) in kinds {
                let problem = format!("the {key} of {rows} rows is a {kind}, not text; nothing finds them");
                report(Finding { level: Level::Records, table: table.name.into(), key: String::new(), problem });
            }
        }
        Ok(())
    }

    /// The largest id ever given out, or found.
    fn newest_id(&mut self) -> Option<Ulid> {
        let connection = self.connection.as_mut()?;
        self.runtime.block_on(super::high_water(connection)).ok() // damage is for others to find
    }

    fn high_water(&mut self) -> Result<Option<Ulid>, StorageError> {
        Ok(self.fact(HIGH_WATER)?.and_then(|text| parse_ulid(&text)))
    }

    fn migration(&mut self) -> Result<u64, StorageError> {
        if self.kind("_sqlx_migrations")?.is_none() {
            return Ok(0);
        }
        self.number("read the schema's version", "SELECT coalesce(max(version), 0) FROM _sqlx_migrations".into())
    }
}

/// Closes the connection, and removes the companions that it made, unless somebody else has come to use them.
impl Drop for SqliteInspection {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = self.runtime.block_on(connection.close());
        }
        self.lock = None;
        let locks = [Descriptor::read(&self.own), Descriptor::read(&note_path(&self.own))];
        let is_alone = locks.iter().flatten().all(|lock| lock.lock().unwrap_or(false));
        if is_alone && self.holder.is_none() {
            for companion in &self.new_companions {
                // A log with content is somebody's.
                if companion.to_string_lossy().ends_with("-shm") || files::sizes(companion).0 == 0 {
                    let _ = std::fs::remove_file(companion);
                }
            }
        }
    }
}

impl Inspection for SqliteInspection {
    fn backend(&self) -> Backend {
        Backend::Sqlite
    }

    fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    fn moment(&self) -> Moment {
        Moment::One
    }

    fn doubt(&self) -> Option<String> {
        self.doubt.map(|doubt| format!("{}. {}", doubt.problem(), doubt.remedy()))
    }

    fn facts(&mut self) -> Result<Facts, StorageError> {
        let (mut file_bytes, mut allocated_bytes) = files::sizes(&self.own);
        for suffix in ["-wal", "-shm"] {
            let companion = beside(&self.own, suffix);
            if self.holder.is_none() && self.new_companions.contains(&companion) {
                continue; // it is there because somebody looks
            }
            let (logical, allocated) = files::sizes(&companion);
            file_bytes += logical;
            allocated_bytes += allocated;
        }
        let free = self.number("measure the file", "SELECT freelist_count FROM pragma_freelist_count".into())?;
        let page = self.number("measure the file", "SELECT page_size FROM pragma_page_size".into())?;
        let schema = self.run("read the schema", async |connection| Schema::of(connection).await)?;
        Ok(Facts {
            path: self.path.clone(),
            backend: Backend::Sqlite,
            format: format!("migration {}", self.migration()?),
            current_format: format!("migration {}", newest_migration()),
            fingerprint: Some(schema.fingerprint()),
            current_fingerprint: CURRENT.fingerprint(),
            created_at: self.fact("created_at")?.and_then(|text| text.parse().ok()),
            closed_at: self.fact(CLOSED_AT)?.and_then(|text| text.parse().ok()),
            store_id: self.fact(STORE_ID)?,
            open_since: self.fact(OPEN_SINCE)?.and_then(|text| text.parse().ok()),
            state: self.state,
            doubt: self.doubt(),
            high_water: self.high_water()?,
            file_bytes,
            allocated_bytes,
            reclaimable_bytes: Some(free * page),
        })
    }

    fn tables(&self) -> Vec<TableFacts> {
        let tables = TABLES.iter();
        tables.map(|it| TableFacts { name: it.name, index_of: None, purpose: it.purpose.into() }).collect()
    }

    fn check_tables(&mut self) -> Result<(), StorageError> {
        TABLES.iter().try_for_each(|table| self.has(table).map(drop))
    }

    fn read(
        &mut self,
        table: &str,
        range: &RawRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Stored>, StorageError> {
        let (table, bounds) = (find(table)?, range.clone());
        if !self.has(table)? {
            return Ok(Vec::new());
        }
        self.run("read rows", async |connection| page(connection, table, bounds, direction, limit).await)
    }

    fn count(&mut self, table: &str) -> Result<u64, StorageError> {
        let table = find(table)?;
        if !self.has(table)? {
            return Ok(0);
        }
        self.number("count rows", format!("SELECT count(*) FROM {}", table.name))
    }

    fn tree(&mut self, _table: &str) -> Result<Option<Tree>, StorageError> {
        Ok(None)
    }

    fn range_of(&self, table: &str, text: &str) -> Option<ByteRange> {
        let text = match table {
            "meta" => text.to_owned(),
            "sessions" | "used_challenges" => text.to_ascii_lowercase(),
            _ => text.to_ascii_uppercase(),
        };
        find(table).ok().and(<String as decentcom_kvstore::Key>::range_of(&text))
    }

    fn decode(&self, table: &str, stored: &Stored) -> Result<Option<Row>, StorageError> {
        let (Some(entity), Content::Sql(row)) = (Entity::of_table(table), &stored.content) else { return Ok(None) };
        rows::decode_row(entity, row).map(Some)
    }

    fn explain(&self, table: &str, stored: &Stored) -> Explained {
        let (Ok(table), Content::Sql(row)) = (find(table), &stored.content) else { return Explained::default() };
        let mut cells = table.columns.iter().enumerate().map(|(at, name)| cell(row, at, name, table.kind(name)));
        Explained { key: cells.next().into_iter().collect(), value: cells.collect() }
    }

    fn verify_engine(
        &mut self,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let attempt = "check the pages and indexes of the file";
        let problems: Vec<String> = self.run(attempt, async |connection| {
            sqlx::query_scalar("PRAGMA integrity_check").fetch_all(connection).await
        })?;
        // The b-tree layer says all it finds in one answer, a line each under a title.
        let lines = problems.iter().flat_map(|problem| problem.lines());
        for problem in lines.filter(|line| *line != "ok" && !line.starts_with("*** in database ")) {
            // `row 5 missing from index idx_…`, `wrong # of entries in index …`
            let level = match () {
                () if problem.contains(" index ") => Level::Indexes, // first: `non-unique entry in index …`
                () if problem.starts_with("NULL value in ") || problem.starts_with("non-") => Level::Records,
                () => Level::Pages,
            };
            report(Finding { level, table: "file".into(), key: String::new(), problem: problem.into() });
        }
        progress(0)?;
        if let Some(doubt) = self.doubt {
            let (table, key) = match doubt {
                Doubt::ForeignLog => ("file", "-wal"),
                Doubt::WithoutLog => ("meta", OPEN_SINCE),
            };
            let problem = format!("{}. {}", doubt.problem(), doubt.remedy());
            report(Finding { level: Level::File, table: table.into(), key: key.into(), problem });
        }
        self.verify_keys(report)?;
        if self.migration()? == newest_migration() {
            let schema = self.run("read the schema", async |connection| Schema::of(connection).await)?;
            for alteration in schema.alterations() {
                let problem = format!("its schema was altered: {alteration}");
                report(Finding { level: Level::File, table: "file".into(), key: String::new(), problem });
            }
        }
        Ok(())
    }
}

fn find(name: &str) -> Result<&'static Table, StorageError> {
    let unknown = || StorageError::invalid("table", format!("an SQLite store has no table `{name}` that can be read"));
    TABLES.iter().find(|table| table.name == name).ok_or_else(unknown)
}

/// The number of the last migration of all.
pub(in crate::storage) fn newest_migration() -> u64 {
    let newest = MIGRATIONS.iter().map(|it| it.version).max().unwrap_or_default();
    u64::try_from(newest).unwrap_or_default()
}

/// A table that is not what the migrations made it.
fn altered(table: &Table, how: &str) -> StorageError {
    StorageError::Corrupt {
        place: "the SQLite file".into(),
        problem: format!("its table {} was altered: {how}", table.name),
        remedy: REMEDY,
    }
}

async fn page(
    connection: &mut SqliteConnection,
    table: &Table,
    range: RawRange,
    direction: Direction,
    limit: usize,
) -> Result<Vec<Stored>, sqlx::Error> {
    use std::ops::Bound;
    let key = table.columns.first().copied().unwrap_or_default();
    let order = if direction == Direction::Forward { "ASC" } else { "DESC" };
    let compare = |bound: &Bound<Vec<u8>>, included, excluded| match bound {
        Bound::Unbounded => None,
        Bound::Included(key) => Some((included, key.clone())),
        Bound::Excluded(key) => Some((excluded, key.clone())),
    };
    let bounds: Vec<_> =
        [compare(&range.start, ">=", ">"), compare(&range.end, "<=", "<")].into_iter().flatten().collect();
    // Keys are text, bounds bytes; as text they compare as bytes too.
    let mut conditions: Vec<_> =
        bounds.iter().map(|(operator, _)| format!("{key} {operator} CAST(? AS TEXT)")).collect();
    // A blob sorts after every text, so a page would never get past one.
    conditions.push(format!("typeof({key}) = 'text'"));
    let condition = format!("WHERE {}", conditions.join(" AND "));
    let (columns, name) = (selected(connection, table).await?, table.name);
    let statement = format!("SELECT {columns} FROM {name} {condition} ORDER BY {key} {order} LIMIT {limit}");
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (_, key) in bounds {
        query = query.bind(key);
    }
    let mut rows = query.fetch(connection);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let mut cells = (0..table.columns.len()).map(|at| bytes_of(&row, at));
        let key = cells.next().unwrap_or_default();
        let value_bytes = cells.map(|cell| cell.len()).sum();
        bytes += key.len() + value_bytes;
        page.push(Stored { key, value_bytes, content: Content::Sql(row) });
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

/// The columns of a table, as they are selected: with a secret hidden, and in an old file with what it lacks.
async fn selected(connection: &mut SqliteConnection, table: &Table) -> Result<String, sqlx::Error> {
    let mut missing = Vec::new();
    for column in &table.columns {
        let Some(value) = table.before(column) else { continue };
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM pragma_table_info(?) WHERE name = ?")
            .bind(table.name)
            .bind(*column)
            .fetch_optional(&mut *connection)
            .await?;
        if found.is_none() {
            missing.push((*column, value));
        }
    }
    let select = |column: &&str| match missing.iter().find(|(name, _)| name == column) {
        Some((name, value)) => format!("{value} AS {name}"),
        None if (table.name, *column) == ("meta", "value") => {
            format!("CASE name WHEN '{LOGIN_KEY}' THEN '{HIDDEN}' ELSE value END AS value")
        }
        None => (*column).to_owned(),
    };
    Ok(table.columns.iter().map(select).collect::<Vec<_>>().join(", "))
}

/// A column's bytes: text and blobs as they are, numbers as text.
fn bytes_of(row: &SqliteRow, at: usize) -> Vec<u8> {
    let number = || row.try_get_unchecked::<i64, _>(at).map(|number| number.to_string().into_bytes());
    match kind_of(row, at).as_str() {
        "NULL" => Vec::new(),
        "INTEGER" => number().unwrap_or_default(),
        "REAL" => row.try_get_unchecked::<f64, _>(at).map(|it| it.to_string().into_bytes()).unwrap_or_default(),
        _ => row.try_get_unchecked::<Vec<u8>, _>(at).unwrap_or_default(),
    }
}

/// SQLite's storage class of a column, <https://www.sqlite.org/datatype3.html>.
fn kind_of(row: &SqliteRow, at: usize) -> String {
    row.try_get_raw(at).map_or_else(
        |_| "missing".into(),
        |value| if value.is_null() { "NULL".into() } else { value.type_info().name().to_owned() },
    )
}

fn cell(row: &SqliteRow, at: usize, name: &str, kind: Kind) -> Cell {
    let (layout, bytes) = (kind_of(row, at), bytes_of(row, at));
    let value = match (layout.as_str(), std::str::from_utf8(&bytes)) {
        ("NULL", _) => CellValue::Nothing,
        ("INTEGER", Ok("0")) if kind == Kind::Flag => CellValue::Bool(false),
        ("INTEGER", Ok("1")) if kind == Kind::Flag => CellValue::Bool(true),
        ("INTEGER" | "BOOLEAN", Ok(digits)) => {
            digits.parse().map_or_else(|_| CellValue::Text(digits.into()), CellValue::Number)
        }
        ("TEXT", Ok(text)) if kind == Kind::Time => {
            text.parse::<Timestamp>().map_or_else(|_| CellValue::Text(text.into()), CellValue::Time)
        }
        (_, Ok(text)) => CellValue::Text(text.into()),
        (_, Err(_)) => CellValue::Unreadable("it is not UTF-8".into()),
    };
    Cell { name: name.into(), layout, bytes, value }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteJournalMode;

    use super::*;

    #[test]
    fn every_column_of_a_fresh_schema_is_read() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
            MIGRATIONS.run_direct(None, &mut connection, false).await.unwrap();
            for table in TABLES.iter() {
                let statement = format!("SELECT name FROM pragma_table_info('{}') ORDER BY cid", table.name);
                let columns: Vec<String> =
                    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap();
                assert_eq!(columns, table.columns, "{}", table.name);
            }
        });
    }

    #[test]
    fn a_log_of_which_a_crash_left_only_the_header_keeps_nobody_from_looking() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (open, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let options = SqliteConnectOptions::new().filename(open.path().join("store")).create_if_missing(true);
            let mut connection = options.journal_mode(SqliteJournalMode::Wal).connect().await.unwrap();
            MIGRATIONS.run_direct(None, &mut connection, false).await.unwrap();
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await.unwrap();
            for name in ["store", "store-wal", "store-shm"] {
                std::fs::copy(open.path().join(name), killed.path().join(name)).unwrap();
            }
            let path = killed.path().join("store");
            let log = std::fs::File::options().write(true).open(beside(&path, "-wal")).unwrap();
            log.set_len(wal::HEADER as u64).unwrap();
            connect(&path, connecting(&path, State::Crashed)).await.unwrap();
        });
    }
}
