//! Looking into a redb store: its file, or the server that has it open.

use std::{
    cell::{self, RefCell},
    path::{Path, PathBuf},
    sync::Arc,
};

use decentcom_kvstore::{
    ByteRange, CannotOpen, Catalogue, Direction, Error, Explanation, Options, Part, RawRange, RawRows, RawSource,
    Snapshot, Store, TableInfo, Tree, Value, fingerprint, live::Live, redb::backends::InMemoryBackend, spool::Spool,
    verify_table, was_closed,
};
use ulid::Ulid;

use super::{
    error::{open_error, storage_error},
    log_progress, messages,
    opening::{OPEN_SINCE, STORE_ID},
    published::Published,
    rows,
    schema::{CATALOGUE, HIGH_WATER, LOGIN_KEY, SCHEMA},
    writer::RedbWriter,
};
use crate::storage::{
    Backend, ChannelId, Entity, OpenError, Row, StorageError, Timestamp,
    example::fill,
    files,
    finding::{Finding, Level},
    inspection::{Cell, CellValue, Content, Explained, Facts, HIDDEN, Inspection, Moment, State, Stored, TableFacts},
};

/// Bytes after which a page takes no further row.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of memory for cached pages: a look goes through a table once, and a tool is to be small beside a server.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that an empty file has: redb's header, its lists of tables and of free pages.
const EMPTY_BYTES: u64 = 64 * 1024;
/// The name of the table of facts, which is in no catalogue.
const META: &str = "meta";

struct RedbInspection {
    source: Source,
    /// The tables that are there: of a file of an older format, that format's.
    catalogue: Catalogue,
    path: PathBuf,
    state: State,
    holder: Option<String>,
}

/// Where rows come from.
enum Source {
    /// The file, and its only state, which ends with the store.
    File { snapshot: Arc<Snapshot>, _store: Arc<Store> },
    /// A store that somebody else keeps open.
    #[cfg(test)]
    Snapshot(Arc<Snapshot>),
    /// A server, in steps.
    Live(Live),
    /// A server, copied.
    Spool(Spool),
}

impl Source {
    fn raw(&self) -> &dyn RawSource {
        match self {
            Self::File { snapshot, .. } => &**snapshot,
            #[cfg(test)]
            Self::Snapshot(snapshot) => &**snapshot,
            Self::Live(live) => live,
            Self::Spool(spool) => spool,
        }
    }
}

pub(in crate::storage) fn open(
    path: &Path,
    moment: Moment,
    progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
) -> Result<Box<dyn Inspection>, OpenError> {
    files::require(path, Backend::Redb)?;
    let (in_use, live) = match look(path)? {
        Looked::Alone(inspection) => return Ok(inspection),
        Looked::Held(in_use, Some(live)) => (in_use, Some(live)),
        // Whoever had it may have stopped in between; then there is nobody to ask, and nobody who has it.
        Looked::Held(..) => match look(path)? {
            Looked::Alone(inspection) => return Ok(inspection),
            Looked::Held(in_use, live) => (in_use, live),
        },
    };
    let Some(live) = live else { return Err(open_error(path, in_use)) };
    let holder = Some(format!("{} (process {})", live.about(), live.process()));
    let source = match moment {
        Moment::Steps => Source::Live(live),
        Moment::One => Source::Spool(spool(live, path, progress)?),
    };
    Ok(Box::new(RedbInspection { source, catalogue: CATALOGUE, path: path.into(), state: State::Open, holder }))
}

/// How a file was met.
enum Looked {
    /// Nobody has it open.
    Alone(Box<dyn Inspection>),
    /// Somebody has, who may answer.
    Held(CannotOpen, Option<Live>),
}

fn look(path: &Path) -> Result<Looked, OpenError> {
    let was_closed = was_closed(path).map_err(|error| files::path_error(path, &error))?;
    let options = Options { cache_bytes: CACHE_BYTES, progress: log_progress, ..Options::default() };
    let in_use = match options.inspect(path, &SCHEMA) {
        Ok(store) => {
            let snapshot = store.snapshot().map_err(storage_error("begin to read"))?;
            let state = if was_closed == Some(true) { State::Closed } else { State::Crashed };
            let catalogue = store.catalogue();
            let source = Source::File { snapshot, _store: Arc::new(store) };
            let inspection = RedbInspection { source, catalogue, path: path.into(), state, holder: None };
            return Ok(Looked::Alone(Box::new(inspection)));
        }
        Err(error @ CannotOpen::InUse { .. }) => error,
        Err(error) => return Err(open_error(path, error)),
    };
    match Live::connect(path, CATALOGUE) {
        Ok(live) => Ok(Looked::Held(in_use, live)),
        Err(Error::Busy(readers)) => Err(busy(in_use, path, readers)),
        Err(error) => Err(storage_error("reach the server that has the store open")(error).into()),
    }
}

/// The server has the file and will not answer one more.
fn busy(in_use: CannotOpen, path: &Path, readers: usize) -> OpenError {
    let holder = match open_error(path, in_use) {
        OpenError::InUse { holder, .. } => holder,
        _ => None,
    };
    OpenError::Busy { path: path.into(), holder, readers }
}

/// See [`inspect::example`](crate::storage::inspect::example).
pub(in crate::storage) fn example() -> Result<Box<dyn Inspection>, OpenError> {
    let path = Path::new(":memory:");
    let store = Options::default().open_over(InMemoryBackend::new(), &SCHEMA);
    let store = Arc::new(store.map_err(|error| open_error(path, error))?);
    let published = Arc::new(Published::of(store.clone())?);
    let (created_at, closed_at) = fill(&mut RedbWriter { published, live: None, presence: Arc::default() })?;
    let dated = store.write(|batch| {
        batch.set_meta("created_at", created_at.as_millis().to_string().as_bytes())?;
        batch.set_meta("closed_at", closed_at.as_millis().to_string().as_bytes())
    });
    let attempt = "make the example";
    dated.map_err(storage_error(attempt))?;
    let snapshot = store.snapshot().map_err(storage_error(attempt))?;
    let source = Source::File { snapshot, _store: store };
    let (catalogue, state) = (CATALOGUE, State::Closed);
    Ok(Box::new(RedbInspection { source, catalogue, path: path.into(), state, holder: None }))
}

/// Copies what a server has to a file without a name, beside the store if that is possible.
fn spool(
    live: Live,
    path: &Path,
    progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
) -> Result<Spool, OpenError> {
    let file = tempfile::tempfile_in(files::directory_of(path)).or_else(|_| tempfile::tempfile());
    let file = file.map_err(|error| files::path_error(path, &error))?;
    let mut stopped = None;
    let spooled = live.spool(CATALOGUE, file, &mut |rows| {
        progress(rows).map_err(|error| {
            stopped = Some(error);
            Error::Refused("stopped".into())
        })
    });
    match (spooled, stopped) {
        (_, Some(stopped)) => Err(stopped.into()),
        (spooled, None) => spooled.map_err(|error| storage_error("copy the store from the server")(error).into()),
    }
}

/// Checks an open store, wherever it lies: all but its pages.
#[cfg(test)]
pub(super) fn check(store: &Store, report: &mut dyn FnMut(Finding)) -> Result<(), StorageError> {
    let snapshot = store.snapshot().map_err(storage_error("begin to read"))?;
    let source = Source::Snapshot(snapshot);
    let (catalogue, path) = (CATALOGUE, PathBuf::new());
    let mut inspection = RedbInspection { source, catalogue, path, state: State::Open, holder: None };
    crate::storage::inspect::verify(&mut inspection, report, &mut |_| Ok(()))
}

impl RedbInspection {
    fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.source.raw().raw(META, name.as_bytes()).map_err(storage_error("read what is known of the store"))
    }

    fn text_fact(&self, name: &str) -> Result<Option<String>, StorageError> {
        Ok(self.fact(name)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn time_fact(&self, name: &str) -> Result<Option<Timestamp>, StorageError> {
        Ok(self.text_fact(name)?.and_then(|text| text.parse().ok()).and_then(Timestamp::from_millis))
    }

    /// Has the engine check every page's checksum, in an opening of its own: it needs the store to itself, and drops what
    /// it finds damaged.
    fn verify_pages(&self, report: &mut dyn FnMut(Finding)) -> Result<(), StorageError> {
        let mut found = |problem: String| {
            report(Finding { level: Level::Pages, table: "file".into(), key: String::new(), problem });
        };
        let checked = Options::default().inspect(&self.path, &SCHEMA).map(|store| store.check_pages());
        match checked {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                found("pages are not what their checksums say; an older state of the file is whole".into())
            }
            Ok(Err(Error::Damaged(problem))) => found(problem),
            Ok(Err(error)) => return Err(storage_error("check the pages of the file")(error)),
            Err(error) => found(error.to_string()),
        }
        Ok(())
    }

    /// The index that has the keys of a table whose rows lie in another order.
    fn index_by_key(&self, table: &str) -> Option<&'static str> {
        let entity = Entity::of_table(table)?;
        let index = entity.cluster()?.by_key;
        let is_there = |it: &TableInfo| it.name == table && it.indexes.iter().any(|its| its.name == index);
        self.catalogue.iter().any(|it| is_there(&it.describe())).then_some(index)
    }

    /// Rows of a clustered table in the order of their keys. An entry without a row is for `verify` to name.
    fn read_by_key(
        &self,
        table: &str,
        index: &str,
        range: &RawRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let source = self.source.raw();
        let mut page = Vec::new();
        let mut bytes = 0;
        for entry in source.scan(index, range.clone(), direction)? {
            if page.len() == limit || bytes >= PAGE_BYTES {
                break;
            }
            let (key, mut place) = entry?;
            let mut value = source.raw(table, &place)?;
            // Beside a server it may lie elsewhere by now.
            if value.is_none()
                && let Some(moved) = source.raw(index, &key)?
            {
                value = source.raw(table, &moved)?;
                place = moved;
            }
            let Some(value) = value else { continue };
            bytes += value.len();
            page.push(stored(key, place, value));
        }
        Ok(page)
    }

    /// The messages of a channel with ids in a range: the live and the deleted, each in their order, made one.
    fn read_channel(
        &self,
        channel: ChannelId,
        range: &RawRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let is_before = |one: &Stored, other: &Stored| match direction {
            Direction::Forward => one.key < other.key,
            Direction::Reverse => one.key > other.key,
        };
        let mut parts = Vec::new();
        for deleted in [false, true] {
            let (within, key_at) = messages::within(channel, deleted, range);
            let rows = self.source.raw().scan(Entity::Message.table(), within, direction)?.take(limit);
            let rows = rows.map(|row| {
                row.map(|(place, value)| stored(place.get(key_at..).unwrap_or_default().into(), place, value))
            });
            parts.push(rows.collect::<Result<Vec<_>, _>>()?.into_iter().peekable());
        }
        let [Some(mut live), Some(mut deleted)] = [parts.pop(), parts.pop()] else { return Ok(Vec::new()) };
        let merged = std::iter::from_fn(|| match (live.peek(), deleted.peek()) {
            (Some(one), Some(other)) if is_before(other, one) => deleted.next(),
            (Some(_), _) => live.next(),
            (None, _) => deleted.next(),
        });
        Ok(within_a_page(merged.take(limit)).collect())
    }

    /// Bytes of the pages that hold something.
    fn used_bytes(&self) -> Result<Option<u64>, StorageError> {
        let mut used = Some(0);
        for table in self.tables() {
            let tree = match self.source.raw().tree(table.name) {
                Err(Error::Altered(_)) => return Ok(None), // whoever reads the table hears of it
                tree => tree.map_err(storage_error("measure a table"))?,
            };
            used = used.zip(tree).map(|(used, tree): (u64, Tree)| {
                used + tree.stored_bytes + tree.metadata_bytes + tree.fragmented_bytes
            });
        }
        Ok(used)
    }
}

impl Inspection for RedbInspection {
    fn backend(&self) -> Backend {
        Backend::Redb
    }

    fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    fn moment(&self) -> Moment {
        if matches!(self.source, Source::Live(_)) { Moment::Steps } else { Moment::One }
    }

    /// There is but one file.
    fn doubt(&self) -> Option<String> {
        None
    }

    fn facts(&mut self) -> Result<Facts, StorageError> {
        let (file_bytes, allocated_bytes) = files::sizes(&self.path);
        let format = self.text_fact("format")?.unwrap_or_else(|| "none".into());
        Ok(Facts {
            path: self.path.clone(),
            backend: Backend::Redb,
            format: format!("format {format}"),
            current_format: format!("format {}", SCHEMA.format),
            fingerprint: self.text_fact("catalogue")?,
            current_fingerprint: fingerprint(CATALOGUE),
            created_at: self.time_fact("created_at")?,
            closed_at: self.time_fact("closed_at")?,
            store_id: self.text_fact(STORE_ID)?,
            open_since: self.time_fact(OPEN_SINCE)?,
            state: self.state,
            doubt: None,
            high_water: self.fact(HIGH_WATER)?.and_then(|bytes| bytes.try_into().ok()).map(Ulid::from_bytes),
            file_bytes,
            allocated_bytes,
            // Files are sparse: what was never written takes no disk.
            reclaimable_bytes: self
                .used_bytes()?
                .map(|used| file_bytes.min(allocated_bytes).saturating_sub(used + EMPTY_BYTES)),
        })
    }

    fn tables(&self) -> Vec<TableFacts> {
        let mut tables = Vec::new();
        for table in self.catalogue.iter().map(|table| table.describe()) {
            tables.push(TableFacts { name: table.name, index_of: None, purpose: table.purpose.into() });
            for index in table.indexes {
                let index_of = Some(table.name);
                tables.push(TableFacts { name: index.name, index_of, purpose: index.purpose.into() });
            }
        }
        tables.push(TableFacts {
            name: META,
            index_of: None,
            purpose: "Facts about the store itself, by name.".into(),
        });
        tables
    }

    fn check_tables(&mut self) -> Result<(), StorageError> {
        self.tables().iter().try_for_each(|table| self.count(table.name).map(drop))
    }

    fn read(
        &mut self,
        table: &str,
        range: &RawRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Stored>, StorageError> {
        let attempt = "read rows";
        if let Some(index) = self.index_by_key(table) {
            return self.read_by_key(table, index, range, direction, limit).map_err(storage_error(attempt));
        }
        let rows = self.source.raw().scan(table, range.clone(), direction).map_err(storage_error(attempt))?;
        let mut page = Vec::new();
        let mut bytes = 0;
        for row in rows.take(limit) {
            let (key, mut value) = row.map_err(storage_error(attempt))?;
            if table == META && key == LOGIN_KEY.as_bytes() {
                value = HIDDEN.as_bytes().to_vec();
            }
            bytes += key.len() + value.len();
            page.push(stored(key.clone(), key, value));
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(page)
    }

    fn has_channels_together(&self) -> bool {
        self.index_by_key(Entity::Message.table()).is_some()
    }

    fn read_of_channel(
        &mut self,
        channel: ChannelId,
        range: &RawRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Stored>, StorageError> {
        self.read_channel(channel, range, direction, limit).map_err(storage_error("read the messages of a channel"))
    }

    fn count(&mut self, table: &str) -> Result<u64, StorageError> {
        self.source.raw().count(table).map_err(storage_error("count rows"))
    }

    fn tree(&mut self, table: &str) -> Result<Option<Tree>, StorageError> {
        self.source.raw().tree(table).map_err(storage_error("measure a table"))
    }

    fn range_of(&self, table: &str, text: &str) -> Option<ByteRange> {
        if table == META {
            return <String as decentcom_kvstore::Key>::range_of(text);
        }
        let by_key = self.index_by_key(table).unwrap_or(table);
        self.catalogue.iter().find_map(|it| it.range_of(by_key, text))
    }

    fn decode(&self, table: &str, stored: &Stored) -> Result<Option<Row>, StorageError> {
        let (Some(entity), Content::KeyValue { place, value }) = (Entity::of_table(table), &stored.content) else {
            return Ok(None);
        };
        rows::from_raw(entity, place, value).map(Some)
    }

    fn explain(&self, table: &str, stored: &Stored) -> Explained {
        let Content::KeyValue { place, value } = &stored.content else { return Explained::default() };
        let Explanation { key: key_parts, value: value_parts } =
            match self.catalogue.iter().find_map(|it| it.explain(table, place, value)) {
                Some(explanation) => explanation,
                None => explain_fact(place, value),
            };
        Explained { key: cells(place, key_parts), value: cells(value, value_parts) }
    }

    fn verify_engine(
        &mut self,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if matches!(self.source, Source::File { .. }) {
            self.verify_pages(report)?;
        }
        let facts = self.facts()?;
        if facts.fingerprint.as_deref() != Some(&facts.current_fingerprint) {
            let problem =
                "its indexes are not those of this program, or making them was cut short; the next start makes them";
            let (table, key) = (META.into(), "catalogue".into());
            report(Finding { level: Level::File, table, key, problem: problem.into() });
        }
        let watched = Watched {
            inner: self.source.raw(),
            progress: RefCell::new(progress),
            rows: cell::Cell::new(0),
            stopped: RefCell::new(None),
        };
        for table in self.catalogue {
            let found = verify_table(*table, &watched, &mut |found| {
                let is_index = table.describe().indexes.iter().any(|index| index.name == found.table);
                // Records of the contract are decoded by the check that both backends share.
                if is_index || Entity::of_table(found.table).is_none() {
                    let level = if is_index { Level::Indexes } else { Level::Records };
                    let problem = found.problem.to_string();
                    report(Finding { level, table: found.table.into(), key: found.key, problem });
                }
            });
            if let Some(stopped) = watched.stopped.take() {
                return Err(stopped);
            }
            found.map_err(storage_error("check the indexes"))?;
        }
        Ok(())
    }
}

/// A row that lies under `place` and is found by `key`.
fn stored(key: Vec<u8>, place: Vec<u8>, value: Vec<u8>) -> Stored {
    Stored { key, value_bytes: value.len(), content: Content::KeyValue { place, value } }
}

/// The first rows, until a page is full.
fn within_a_page(rows: impl Iterator<Item = Stored>) -> impl Iterator<Item = Stored> {
    let mut before = 0;
    rows.take_while(move |row| {
        let has_room = before < PAGE_BYTES;
        before += row.value_bytes;
        has_room
    })
}

/// A source of rows that tells how many were read, and ends when it is told to.
struct Watched<'a, 'b> {
    inner: &'a dyn RawSource,
    progress: RefCell<&'b mut dyn FnMut(u64) -> Result<(), StorageError>>,
    rows: cell::Cell<u64>,
    stopped: RefCell<Option<StorageError>>,
}

impl RawSource for Watched<'_, '_> {
    fn raw(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner.raw(table, key)
    }

    fn scan(&self, table: &str, range: RawRange, direction: Direction) -> Result<RawRows<'_>, Error> {
        let rows = self.inner.scan(table, range, direction)?;
        Ok(Box::new(rows.map(|row| {
            self.rows.set(self.rows.get() + 1);
            (self.progress.borrow_mut())(self.rows.get()).map_err(|stopped| {
                self.stopped.replace(Some(stopped));
                Error::Refused("stopped".into())
            })?;
            row
        })))
    }

    fn count(&self, table: &str) -> Result<u64, Error> {
        self.inner.count(table)
    }

    fn tree(&self, table: &str) -> Result<Option<Tree>, Error> {
        self.inner.tree(table)
    }
}

/// Gives each part its bytes. Numbers of fields whose names end in `_at` are times, bytes of those in `_id` are ids.
fn cells(bytes: &[u8], parts: Vec<Part>) -> Vec<Cell> {
    let mut at = 0;
    let mut cells = Vec::new();
    for part in parts {
        let own = bytes.get(at..at + part.bytes).unwrap_or_default();
        at += part.bytes;
        let value = match part.value {
            Value::Nothing => CellValue::Nothing,
            Value::Bool(value) => CellValue::Bool(value),
            Value::Signed(number) => CellValue::Number(number.into()),
            Value::Unsigned(number) if part.name.ends_with("_at") => {
                Timestamp::from_millis(number).map_or(CellValue::Number(number.into()), CellValue::Time)
            }
            Value::Unsigned(number) => CellValue::Number(number.into()),
            Value::Text(text) => CellValue::Text(text),
            Value::Ulid(id) => CellValue::Text(id.to_string()),
            Value::Bytes(bytes) => match <[u8; 16]>::try_from(bytes.as_slice()) {
                Ok(id) if part.name.ends_with("_id") => CellValue::Text(Ulid::from_bytes(id).to_string()),
                _ => CellValue::Text(decentcom_kvstore::hex(&bytes)),
            },
            Value::Unreadable(why) => CellValue::Unreadable(why),
        };
        cells.push(Cell { name: part.name.into(), layout: part.layout.into(), bytes: own.to_vec(), value });
    }
    cells
}

/// A row of `meta`: a name, and text or an id.
fn explain_fact(key: &[u8], value: &[u8]) -> Explanation {
    let part = |name, layout, bytes: &[u8], value| Part { name, layout, bytes: bytes.len(), value };
    let name = String::from_utf8_lossy(key).into_owned();
    let value = match <[u8; 16]>::try_from(value) {
        Ok(id) if name == HIGH_WATER => {
            part("value", "ULID, 16 bytes big-endian", value, Value::Ulid(Ulid::from_bytes(id)))
        }
        _ => part("value", "UTF-8 text", value, Value::Text(String::from_utf8_lossy(value).into_owned())),
    };
    Explanation { key: vec![part("name", "UTF-8 text", key, Value::Text(name))], value: vec![value] }
}
