//! Opening: the file and its rights, the format, migrations, indexes that need making.
//!
//! ```text
//!  meta                    value (text unless said otherwise)
//!  format                  the format of the records, a decimal number
//!  oldest_reader           the oldest format whose programs may read this file
//!  catalogue               fingerprint of the declared tables whose indexes every write so far kept, which is that of
//!                          whoever wrote last; `unfinished` while indexes are made
//!  created_at              milliseconds since 1970, a decimal number
//!  migration:NAME          when the migration ran, the same; for those older than the file, when it was created
//!  closed_at               when the store was last closed in good order, the same
//!  migrating               there while migrations run, so that a second attempt keeps the first one's copy
//! ```
//!
//! Everything else in `meta` belongs to the application.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use redb::{Builder, Database, DatabaseError, StorageBackend, backends::FileBackend};

use crate::{
    catalogue::{Catalogue, fingerprint},
    contained::{Contained, guarded},
    error::{Error, OpenError},
    medium::Medium,
    overlay::Overlay,
    slots::{FINGERPRINT, META, Slots},
    snapshot::definition,
    store::Store,
    unfinished,
};

const FORMAT: &str = "format";
const OLDEST_READER: &str = "oldest_reader";
const CREATED_AT: &str = "created_at";
/// The name in [`META`] of when the store was last closed in good order.
pub(crate) const CLOSED_AT: &str = "closed_at";
const MIGRATING: &str = "migrating";

/// The name in `meta` that a migration leaves.
fn mark(migration: &Migration) -> String {
    format!("migration:{}", migration.name)
}

/// A step towards a newer format. It must be idempotent: a crash may run it twice. It never runs again once it is done,
/// which `meta` remembers by its name.
pub struct Migration {
    /// Its name, for the log and for `meta`; never reused.
    pub name: &'static str,
    /// The format that the file has afterwards; several steps may lead to the same one.
    pub to_format: u32,
    /// Does it.
    pub run: fn(&Store) -> Result<(), Error>,
}

/// Which tables, in which format.
pub struct Schema {
    /// The tables.
    pub catalogue: Catalogue,
    /// The format this program writes.
    pub format: u32,
    /// The oldest format whose programs can read what this one writes.
    pub oldest_reader: u32,
    /// The steps from every older format, in order.
    pub migrations: &'static [Migration],
}

/// How to open a store.
#[derive(Clone, Copy)]
pub struct Options {
    /// Bytes of memory for cached pages.
    pub cache_bytes: usize,
    /// Whether every commit also saves what a quick start after a crash needs: opening takes milliseconds instead of a
    /// walk through the file, and each commit costs a second sync.
    pub quick_repair: bool,
    /// Told while opening takes long.
    pub progress: fn(Progress),
}

/// What opening is busy with.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// Walking through the file after a crash; done so far, from 0 to 1.
    Repairing(f64),
    /// Copying the file, as it is before it gets another format.
    KeepingACopy,
    /// About to run the migration with this name.
    Migrating(&'static str),
    /// Opening the file again after an input or output failed, while the store is in use.
    Recovering,
    /// Making indexes anew, because they were declared differently or a rebuild was cut short.
    RebuildingIndexes,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 128 * 1024 * 1024, quick_repair: false, progress: |_| {} }
    }
}

impl Options {
    /// Opens the store in the file at `path`, creating it (mode 0600) if it is missing or empty.
    pub fn open(&self, path: &Path, schema: &Schema) -> Result<Store, OpenError> {
        let io_error = |source| OpenError::Io { path: path.into(), source };
        // An empty file does not count: it may be left by a start that ended before its name was on disk.
        let existed = path.metadata().is_ok_and(|file| file.len() > 0);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(io_error)?;
        if !existed {
            sync_directory(path).map_err(io_error)?; // the name itself is on disk
        }
        let backend = FileBackend::new(file).map_err(|error| open_error(path, error))?;
        self.open_backend(backend, schema, path)
    }

    /// Opens the store in the file at `path` to look at it: the file stays as it is, byte for byte. A repair after a
    /// crash, and everything else that would be written, happens in memory and is gone with the store; nothing is
    /// migrated. Others may look at the same time; while anybody has it open for writing it is [`OpenError::InUse`].
    pub fn inspect(&self, path: &Path, schema: &Schema) -> Result<Store, OpenError> {
        let medium = File::open(path).and_then(Overlay::over).and_then(Medium::over);
        let medium = medium.map_err(|source| OpenError::Io { path: path.into(), source })?;
        let database = opened(path, || self.database_over(&medium))?;
        match refuse_what_is_not_ours(database.get()?, schema, path, false)? {
            None => Err(OpenError::Foreign { path: path.into() }),
            Some(_) if !lost(database.get()?, schema)?.is_empty() => {
                Ok(Store::as_it_is(database, medium, schema.catalogue, *self)?)
            }
            Some(_) => Ok(Store::over(database, medium, schema.catalogue, *self)?),
        }
    }

    /// Opens a store on any backend, such as one in memory; it is new.
    pub fn open_with_backend(&self, backend: impl StorageBackend, schema: &Schema) -> Result<Store, OpenError> {
        self.open_backend(backend, schema, Path::new(":memory:"))
    }

    fn open_backend(&self, backend: impl StorageBackend, schema: &Schema, path: &Path) -> Result<Store, OpenError> {
        unfinished::clear(&backend).map_err(|error| open_error(path, redb::StorageError::from(error).into()))?;
        let is_new = backend.len().is_ok_and(|length| length == 0);
        let medium = Medium::over(backend).map_err(|source| OpenError::Io { path: path.into(), source })?;
        let database = opened(path, || self.database_over(&medium))?;
        self.set_up(database, medium, schema, path, is_new)
    }

    /// Another database over a file that has one, or the first.
    pub(crate) fn database_over(&self, medium: &Arc<Medium>) -> Result<Database, DatabaseError> {
        self.builder().create_with_backend(medium.handle())
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        let progress = self.progress;
        builder.set_repair_callback(move |session| progress(Progress::Repairing(session.progress())));
        builder
    }

    fn set_up(
        &self,
        database: Contained<Database>,
        medium: Arc<Medium>,
        schema: &Schema,
        path: &Path,
        is_new: bool,
    ) -> Result<Store, OpenError> {
        // Refusals come before the first write: a file of others stays as it is.
        let found = refuse_what_is_not_ours(database.get()?, schema, path, is_new)?;
        let lost = if found.is_some() { lost(database.get()?, schema)? } else { Vec::new() };
        if let Some(table) = lost.first() {
            return Err(lost_table(path, table));
        }
        let store = Store::over(database, medium, schema.catalogue, *self)?;
        match found {
            None => {
                // One commit: a file has all of these or is still empty.
                store.write(|batch| {
                    batch.run(|operation| {
                        for migration in schema.migrations {
                            operation.set_meta(&mark(migration), now().as_bytes())?;
                        }
                        operation.set_meta(FORMAT, schema.format.to_string().as_bytes())?;
                        operation.set_meta(OLDEST_READER, schema.oldest_reader.to_string().as_bytes())?;
                        operation.set_meta(CREATED_AT, now().as_bytes())?;
                        operation.set_meta(FINGERPRINT, fingerprint(schema.catalogue).as_bytes())
                    })
                })??;
            }
            Some((found, _)) => {
                // A newer program's file which it lets us use keeps its format.
                if found <= schema.format {
                    self.migrate(&store, schema, path, found)?;
                }
                // Whoever writes keeps the indexes of its own catalogue only. So where another one wrote last, older or
                // newer, they are made anew; and what stands here afterwards has that one make its own in turn.
                if store.meta(FINGERPRINT)?.as_deref() != Some(fingerprint(schema.catalogue).as_bytes()) {
                    (self.progress)(Progress::RebuildingIndexes);
                    store.rebuild_indexes()?;
                }
            }
        }
        Ok(store)
    }

    fn migrate(&self, store: &Store, schema: &Schema, path: &Path, found: u32) -> Result<(), OpenError> {
        let mut due = Vec::new();
        for migration in schema.migrations {
            if store.meta(&mark(migration))?.is_none() {
                due.push(migration);
            }
        }
        // Also where no step is due: older programs cannot read what this one is about to write, and the copy is the way back.
        if (!due.is_empty() || found < schema.format) && store.meta(MIGRATING)?.is_none() {
            if path.is_file() {
                (self.progress)(Progress::KeepingACopy);
                keep_copy(path, found)?;
            }
            store.set_meta(MIGRATING, now().as_bytes())?;
        }
        let mut reached = found;
        for migration in due {
            (self.progress)(Progress::Migrating(migration.name));
            (migration.run)(store)?;
            reached = reached.max(migration.to_format);
            store.write(|batch| {
                batch.run(|operation| {
                    operation.set_meta(&mark(migration), now().as_bytes())?;
                    operation.set_meta(OLDEST_READER, schema.oldest_reader.to_string().as_bytes())?;
                    operation.set_meta(FORMAT, reached.to_string().as_bytes())
                })
            })??;
        }
        // Also where no step was needed: from now on records are written as this format has them.
        if found < schema.format || store.meta(MIGRATING)?.is_some() {
            store.write(|batch| {
                batch.run(|operation| {
                    operation.clear_meta(MIGRATING)?;
                    operation.set_meta(OLDEST_READER, schema.oldest_reader.to_string().as_bytes())?;
                    operation.set_meta(FORMAT, schema.format.to_string().as_bytes())
                })
            })??;
        }
        Ok(())
    }
}

/// Format and oldest reader of a file that this program may use; `None` where nothing was ever set up.
fn refuse_what_is_not_ours(
    database: &Database,
    schema: &Schema,
    path: &Path,
    is_new: bool,
) -> Result<Option<(u32, u32)>, OpenError> {
    let format = guarded(|| format_of(database))?;
    match format {
        None if !is_new && guarded(|| has_tables_of(database, schema))? => Err(lost_table(path, META)),
        None if !is_new && guarded(|| has_tables(database))? => Err(OpenError::Foreign { path: path.into() }),
        Some((found, oldest_reader)) if found > schema.format && oldest_reader > schema.format => {
            Err(OpenError::NewerFormat { path: path.into(), found, oldest_reader, supported: schema.format })
        }
        _ => Ok(format),
    }
}

/// Whether the file at `path` was closed in good order, so that it opens without a repair; `None` if it is no redb file.
/// That is bit 1 of the byte after the signature, see "God byte" in redb's `docs/design.md`.
pub fn was_closed(path: &Path) -> io::Result<Option<bool>> {
    const SIGNATURE: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
    const RECOVERY_REQUIRED: u8 = 2;
    let mut start = Vec::new();
    File::open(path)?.take(SIGNATURE.len() as u64 + 1).read_to_end(&mut start)?;
    Ok(start.strip_prefix(SIGNATURE).and_then(<[u8]>::first).map(|flags| flags & RECOVERY_REQUIRED == 0))
}

/// Keeps the file as it was before its first migration, beside it, under a name that is still free.
fn keep_copy(path: &Path, format: u32) -> Result<PathBuf, OpenError> {
    let beside = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".before-format-{}{suffix}", format.saturating_add(1)));
        PathBuf::from(name)
    };
    // A copy from an earlier upgrade, since gone back on, is somebody's backup.
    let mut copy = beside(String::new());
    let mut number = 2;
    while copy.exists() {
        copy = beside(format!("-{number}"));
        number += 1;
    }
    let partial = beside(".partial".into());
    let written = std::fs::copy(path, &partial)
        .and_then(|_| File::open(&partial)?.sync_all())
        .and_then(|()| std::fs::rename(&partial, &copy))
        .and_then(|()| sync_directory(&copy));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&partial); // half a copy is worth nothing, and takes space that may be what is missing
        OpenError::Io { path: copy.clone(), source }
    })?;
    Ok(copy)
}

/// Puts the names in a file's directory on disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Format and oldest reader; `None` where nothing was ever set up.
fn format_of(database: &Database) -> Result<Option<(u32, u32)>, Error> {
    use redb::ReadableDatabase;
    let table = match database.begin_read()?.open_table(definition(META)) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_) | redb::TableError::TableTypeMismatch { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let number = |name: &str| -> Result<Option<u32>, Error> {
        let Some(value) = table.get(name.as_bytes())? else { return Ok(None) };
        let number = std::str::from_utf8(value.value()).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| Error::corrupt("meta", name.as_bytes(), "it is not a number"))
    };
    Ok(match number(FORMAT)? {
        None => None,
        Some(format) => Some((format, number(OLDEST_READER)?.unwrap_or(format))),
    })
}

/// Whether the file has tables, of whomever. A start that was cut short before anything was set up leaves empty ones of
/// ours, with an empty `meta` among them.
fn has_tables(database: &Database) -> Result<bool, Error> {
    use redb::{ReadableDatabase, TableHandle};
    let transaction = database.begin_read()?;
    let names: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    Ok(!names.is_empty() && !names.iter().any(|name| name == META))
}

/// Whether a file that lacks a `meta` of ours has records of ours all the same. One whose set-up was cut short has none.
fn has_tables_of(database: &Database, schema: &Schema) -> Result<bool, Error> {
    use redb::{ReadableDatabase, ReadableTableMetadata};
    let transaction = database.begin_read()?;
    for table in schema.catalogue {
        match transaction.open_table(definition(table.describe().name)) {
            Ok(table) if table.len()? > 0 => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// Tables that a file made for this very catalogue had at its first start and that are gone, or are none of ours, by now.
fn lost(database: &Database, schema: &Schema) -> Result<Vec<&'static str>, Error> {
    use redb::{ReadableDatabase, TableError};
    guarded(|| {
        let transaction = database.begin_read()?;
        let made_for = transaction.open_table(definition(META))?.get(FINGERPRINT.as_bytes())?;
        if made_for.is_none_or(|it| it.value() != fingerprint(schema.catalogue).as_bytes()) {
            return Ok(Vec::new()); // it may be older than some of them
        }
        let mut lost = Vec::new();
        for name in Slots::of(schema.catalogue).names() {
            match transaction.open_table(definition(name)) {
                Ok(_) => {}
                Err(TableError::Storage(error)) => return Err(Error::from(error)),
                Err(_) => lost.push(*name),
            }
        }
        Ok(lost)
    })
}

fn lost_table(path: &Path, table: &str) -> OpenError {
    let problem = format!("its table `{table}` is missing, or was replaced by one of another type");
    OpenError::Damaged { path: path.into(), problem }
}

pub(crate) fn now() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string()
}

/// redb trusts a file that was closed cleanly, so damage to it may end in a panic instead of an error.
fn opened(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Contained<Database>, OpenError> {
    match guarded(|| Ok::<_, Error>(open())) {
        Ok(opened) => opened.map(Contained::new).map_err(|error| open_error(path, error)),
        Err(panicked) => Err(OpenError::Damaged { path: path.into(), problem: panicked.to_string() }),
    }
}

fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.into() },
        DatabaseError::Storage(redb::StorageError::Io(source))
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
            ) =>
        {
            OpenError::Io { path: path.into(), source }
        }
        other => OpenError::Damaged { path: path.into(), problem: other.to_string() },
    }
}
