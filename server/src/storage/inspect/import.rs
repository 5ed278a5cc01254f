//! Making a store from records, for tools: as fast as the backend stores batches, with ids and times as they come.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use ulid::Ulid;

use super::Row;
use crate::storage::{
    Backend, OpenError, RedbOptions, StorageError,
    files::{self, beside, path_error},
    front::engine::{Staged, Wants, Write, Writer},
    redb, sqlite,
};

/// A store being made beside the place where it is to be: nobody sees it before [`finish`](Self::finish).
pub struct Import {
    writer: Box<dyn Writer>,
    partial: PathBuf,
    path: PathBuf,
    high_water: Ulid,
    /// SQLite's calls are futures; declared last, so that it outlives the writer.
    _runtime: tokio::runtime::Runtime,
}

impl Import {
    /// Where the unfinished store of `path` lies.
    pub fn partial(path: &Path) -> PathBuf {
        beside(path, ".partial")
    }

    /// Opens the unfinished store that is to become `path`, creating it if there is none.
    pub fn open(backend: Backend, path: &Path) -> Result<Self, OpenError> {
        let partial = Self::partial(path);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| StorageError::internal("start a runtime", error))?;
        let (writer, high_water) = match backend {
            Backend::Redb => redb::open_writer(&partial, RedbOptions::default())?,
            Backend::Sqlite => runtime.block_on(sqlite::open_writer(&partial))?,
        };
        Ok(Self { writer, partial, path: path.into(), high_water, _runtime: runtime })
    }

    /// Stores rows in one durable commit, all or none. They are new, and what they refer to is stored already.
    pub fn append(&mut self, rows: Vec<Row>) -> Result<(), StorageError> {
        let mut staged = Some(Staged { writes: rows.into_iter().map(Write::Insert).collect(), high_water: None });
        self.writer.transact(&Wants::default(), &mut |_| staged.take().unwrap_or_default())
    }

    /// Remembers the largest id ever given out, closes the store and puts it where it is to be, in place of what is
    /// there. Until the last step nothing is there that was not before.
    pub fn finish(mut self, high_water: Ulid) -> Result<(), OpenError> {
        let high_water = self.high_water.max(high_water);
        self.writer.store_high_water(high_water)?;
        self.writer.close()?;
        let moved = std::fs::rename(&self.partial, &self.path)
            .and_then(|()| File::open(files::directory_of(&self.path))?.sync_all());
        moved.map_err(|error| path_error(&self.path, &error))?;
        remove_companions(&self.partial);
        Ok(())
    }

    /// Removes the unfinished store of `path`, if there is one.
    pub fn discard(path: &Path) -> Result<(), OpenError> {
        let partial = Self::partial(path);
        remove_companions(&partial);
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(path_error(&partial, &error)),
            _ => Ok(()),
        }
    }
}

/// What SQLite and its lock leave beside a file.
fn remove_companions(path: &Path) {
    for suffix in ["-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(beside(path, suffix));
    }
}
