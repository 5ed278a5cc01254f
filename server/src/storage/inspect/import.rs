//! Making a store from records, for tools: as fast as the backend stores batches, with ids and times as they come.
//!
//! ```text
//!  Claim::on           PATH.lock is ours; PATH is missing, empty, or opened to be looked at
//!  Claim::import       PATH.partial ── push … ── close(high water)
//!  Claim::unfinished   reads it back
//!  Claim::install      PATH.partial becomes PATH; nobody saw it before
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use tempfile::TempPath;
use tokio::runtime::{Builder, Runtime};
use ulid::Ulid;

use super::{Inspection, Moment, Row, open};
use crate::storage::{
    Backend, OpenError, RedbOptions, StorageError,
    contract::field::Value,
    files::{
        self, beside,
        descriptor::Descriptor,
        held::{self, Held},
        kind, path_error,
    },
    port::{CommitNumber, Staged, Wants, Write, Writer},
    redb, sqlite,
};

/// Bytes of memory for cached pages of a redb store being made: rows come in order, so few pages are in use.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Rows of the first commit. Each has twice as many as the one before, up to [`MOST_ROWS`]: a small import that is cut short has
/// stored something, and in a large one many messages of a channel are stored together and fill pages of their own.
const FIRST_ROWS: usize = 4096;
/// Rows of a commit at most.
const MOST_ROWS: usize = 32_768;
/// Bytes of text after which a commit takes no further row.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Where a store is to be made or replaced. As long as this lives, no other tool makes a store here, and nobody opens an
/// SQLite store that is here; a redb store is kept by holding what [`on`](Self::on) answers.
pub struct Claim {
    backend: Backend,
    path: PathBuf,
    _lock: Lock,
    /// What is beside the store only for as long as this lives.
    companions: Vec<PathBuf>,
}

/// Keeps everybody else away; given up when it is dropped.
enum Lock {
    /// The SQLite store that is here.
    Store { _held: Held },
    /// Of a name: of an SQLite store to be; for redb, one that only tools know.
    Name { _note: Descriptor },
}

impl Claim {
    /// Keeps everybody else from the store at `path`, or from the place where one is to be. Answers the store that is there
    /// too; it is to be dropped first.
    pub fn on(backend: Backend, path: &Path) -> Result<(Self, Option<Box<dyn Inspection>>), OpenError> {
        let has_content = files::prepare(path, backend)?;
        let path = &files::target(&kind::absolute(path)?); // what a symbolic link names is replaced, not the link
        let lock_path = beside(path, ".lock");
        // A lock that no store has is a tool's own, also one that was left by a tool that was killed.
        let is_stores = |companion: &Path| companion != lock_path || (has_content && backend == Backend::Sqlite);
        let companions = ["-wal", "-shm", ".lock"].map(|suffix| beside(path, suffix)).into_iter();
        let companions = companions.filter(|it| !(it.exists() && is_stores(it))).collect();
        let _lock = match backend {
            Backend::Sqlite if has_content => {
                let held = Held::take(path, backend)?;
                sqlite::opening::refuse_doubtful(path, &held)?;
                Lock::Store { _held: held }
            }
            _ => Lock::Name { _note: held::take_note(path)? },
        };
        // From here on, dropping it removes what it made.
        let claim = Self { backend, path: path.into(), _lock, companions };
        if has_content {
            let store = open(backend, path, Moment::Steps, &mut |_| Ok(()))?;
            // Of SQLite the lock is ours by now, so whoever was named as its holder is this process.
            if let Some(holder) = store.holder().filter(|_| backend == Backend::Redb) {
                return Err(OpenError::InUse { path: path.into(), holder: Some(holder.into()) });
            }
            return Ok((claim, Some(store)));
        }
        if files::sizes(&beside(path, "-wal")).0 > 0 {
            return Err(OpenError::Path {
                path: beside(path, "-wal"),
                problem: "it is the log of a store that is gone, and SQLite would take it for the new one's".into(),
                remedy: "Move it away",
            });
        }
        Ok((claim, None))
    }

    /// The store's own file, behind any symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the unfinished store lies.
    pub fn partial(&self) -> PathBuf {
        beside(&self.path, ".partial")
    }

    /// Opens the unfinished store to write, creating it if there is none.
    pub fn import(&self) -> Result<Import, OpenError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(no_runtime)?;
        let (writer, past) = match self.backend {
            Backend::Redb => {
                redb::open_writer(&self.partial(), RedbOptions { cache_bytes: CACHE_BYTES, ..RedbOptions::default() })?
            }
            Backend::Sqlite => runtime.block_on(sqlite::open_writer(&self.partial()))?,
        };
        Ok(Import {
            writer: Some(writer),
            high_water: past.high_water,
            commit: past.commit,
            batch: Vec::new(),
            bytes: 0,
            most: FIRST_ROWS,
            _runtime: runtime,
        })
    }

    /// Opens the unfinished store to look at it, if there is one.
    pub fn unfinished(&self) -> Result<Option<Box<dyn Inspection>>, OpenError> {
        let partial = self.partial();
        if files::sizes(&partial).0 == 0 {
            return Ok(None);
        }
        open(self.backend, &partial, Moment::One, &mut |_| Ok(())).map(Some)
    }

    /// Removes the unfinished store, if there is one.
    pub fn discard(&self) -> Result<(), OpenError> {
        let partial = self.partial();
        remove_companions(&partial);
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(path_error(&partial, &error)),
            _ => Ok(()),
        }
    }

    /// Puts the store, which is closed, where it is to be, in place of the one that [`on`](Self::on) answered. Until
    /// the last step nothing is there that was not before.
    pub fn install(mut self, existing: Option<Box<dyn Inspection>>) -> Result<(), OpenError> {
        let partial = self.partial();
        let moved = match existing {
            None => self.move_to_free_name(),
            Some(existing) if self.backend == Backend::Sqlite => {
                drop(existing);
                self.empty_the_log()?;
                std::fs::rename(&partial, &self.path)
            }
            Some(_keeps_writers_out) => std::fs::rename(&partial, &self.path),
        };
        let moved = moved.and_then(|()| files::sync_directory(files::directory_of(&self.path)));
        moved.map_err(|error| path_error(&self.path, &error))?;
        remove_companions(&partial);
        if self.backend == Backend::Sqlite {
            self.companions.clear(); // the lock belongs to an SQLite store
        }
        Ok(())
    }

    /// Empties the log of the store that is there: SQLite would play it into whatever file has that name next.
    fn empty_the_log(&self) -> Result<(), OpenError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
        runtime.block_on(sqlite::empty_the_log(&self.path))?;
        if files::sizes(&beside(&self.path, "-wal")).0 > 0 {
            return Err(OpenError::InUse { path: self.path.clone(), holder: None });
        }
        // Nobody has it open, so these belong to nobody.
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(&self.path, suffix));
        }
        Ok(())
    }

    /// Where there was no store, one may have been made meanwhile: it stays.
    fn move_to_free_name(&self) -> io::Result<()> {
        if files::sizes(&self.path).0 == 0 && self.path.exists() {
            std::fs::remove_file(&self.path)?;
        }
        TempPath::try_from_path(self.partial())?.persist_noclobber(&self.path).map_err(|refused| {
            let _ = refused.path.keep();
            refused.error
        })
    }
}

/// A lock that nobody needs any more goes, while it is still held, and so does what SQLite makes beside a file to read it.
impl Drop for Claim {
    fn drop(&mut self) {
        for companion in &self.companions {
            // A log with content is somebody's.
            if !companion.to_string_lossy().ends_with("-wal") || files::sizes(companion).0 == 0 {
                let _ = std::fs::remove_file(companion);
            }
        }
    }
}

fn no_runtime(error: io::Error) -> StorageError {
    StorageError::internal("start a runtime", error)
}

/// A store being filled.
pub struct Import {
    /// `None` once closed.
    writer: Option<Box<dyn Writer>>,
    high_water: Ulid,
    /// The number of the newest commit.
    commit: CommitNumber,
    /// What is to be stored next, together.
    batch: Vec<Row>,
    /// Bytes of the texts in it.
    bytes: usize,
    /// Rows that it takes.
    most: usize,
    /// SQLite's calls are futures; declared last, so that it outlives the writer.
    _runtime: Runtime,
}

impl Import {
    /// Stores a row that is new; what it refers to was pushed before. Rows are stored many together, in durable commits, the
    /// last of them when the store is [closed](Self::close).
    pub fn push(&mut self, row: Row) -> Result<(), StorageError> {
        self.bytes += size(&row);
        self.batch.push(row);
        if self.batch.len() >= self.most || self.bytes >= MOST_BYTES { self.store() } else { Ok(()) }
    }

    fn store(&mut self) -> Result<(), StorageError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.commit += 1;
        let writes = std::mem::take(&mut self.batch).into_iter().map(Write::Insert).collect();
        let mut staged = Some(Staged { writes, high_water: None, commit: self.commit });
        self.writer()?.transact(&Wants::default(), &mut |_| staged.take().unwrap_or_default())?;
        self.bytes = 0;
        self.most = MOST_ROWS.min(self.most * 2);
        Ok(())
    }

    /// Stores the rest, remembers the largest id ever given out and closes the store.
    pub fn close(mut self, high_water: Option<Ulid>) -> Result<(), StorageError> {
        self.store()?;
        if let Some(high_water) = high_water {
            let high_water = self.high_water.max(high_water);
            self.writer()?.store_high_water(high_water)?;
        }
        self.writer.take().map_or(Ok(()), Writer::close)
    }

    fn writer(&mut self) -> Result<&mut dyn Writer, StorageError> {
        match &mut self.writer {
            Some(writer) => Ok(writer.as_mut()),
            None => Err(StorageError::unavailable("the store is closed")),
        }
    }
}

/// Bytes of what is long in a record.
fn size(row: &Row) -> usize {
    let mut bytes = 0;
    row.visit(&mut |_, value| {
        if let Value::Text(text) = value {
            bytes += text.len();
        }
    });
    bytes
}

/// What was stored so far stays, in a file that SQLite has closed before its lock is given up.
impl Drop for Import {
    fn drop(&mut self) {
        let _ = self.writer.take().map(Writer::close);
    }
}

/// What SQLite and its lock leave beside a file.
fn remove_companions(path: &Path) {
    for suffix in ["-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(beside(path, suffix));
    }
}
