//! An open store: the newest commit for readers, one batch at a time for the writer.
//!
//! ```text
//!  open ──> format, migrate, rewrite, indexes ──> Store ──> batch ──> snapshot ──> source, numbers ──> meta
//! ```

pub(crate) mod batch;
pub(crate) mod format;
pub(crate) mod indexes;
mod kept;
mod meta;
mod migrate;
pub(crate) mod numbers;
pub(crate) mod open;
pub(crate) mod rewrite;
pub(crate) mod snapshot;
pub(crate) mod source;

use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadTransaction, TableError, WriteTransaction};

use crate::{
    engine::database::{Engine, Exclusive, definition},
    error::Error,
    schema::catalogue::Catalogue,
};

use self::{
    batch::WriteBatch,
    meta::{CLOSED_AT, now},
    numbers::TableNumbers,
    snapshot::Snapshot,
};

/// An open store. Any number of threads may read; batches are stored one after the other.
pub struct Store {
    engine: Engine,
    /// The newest committed state; `None` once closed.
    current: RwLock<Option<Arc<Snapshot>>>,
    numbers: Arc<TableNumbers>,
    catalogue: Catalogue,
}

impl Store {
    /// A store over a database that has, or may lack, tables of the catalogue: those are made.
    pub(crate) fn over(engine: Engine, catalogue: Catalogue) -> Result<Self, Error> {
        let store = Self::as_it_is(engine, catalogue)?;
        // Nothing is written where nothing is missing: a store opens on a full disk, too.
        if store.lacks_a_table()? {
            store.with_transaction(|transaction| {
                // Reading a table that was never created is an error in redb, so all exist from the start.
                for name in store.numbers.names() {
                    transaction.open_table(definition(name))?;
                }
                Ok(())
            })?;
        }
        Ok(store)
    }

    /// A store over a database; reading a table that is not there, or is none of ours, is an error that names it.
    pub(crate) fn as_it_is(engine: Engine, catalogue: Catalogue) -> Result<Self, Error> {
        let numbers = Arc::new(TableNumbers::of(catalogue));
        let store = Self { engine, current: RwLock::new(None), numbers, catalogue };
        let newest = store.engine.lock().begin_read()?;
        store.publish(Some(newest));
        Ok(store)
    }

    fn lacks_a_table(&self) -> Result<bool, Error> {
        self.engine.reading(|transaction| {
            for name in self.numbers.names() {
                match transaction.open_table(definition(name)) {
                    Ok(_) => {}
                    Err(TableError::TableDoesNotExist(_)) => return Ok(true),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(false)
        })
    }

    /// From now on, `make_room` is called when the file cannot grow because the disk is full. If it answers that it made
    /// some, the write that failed is tried once more, and neither the engine nor anybody else hears of it. Only the first call counts.
    pub fn when_full(&self, make_room: impl Fn() -> bool + Send + Sync + 'static) {
        self.engine.when_full(Box::new(make_room));
    }

    /// The newest committed state, in nanoseconds: no disk, no waiting for the writer.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }

    /// Stores what `change` stages, in one durable commit, and answers what it answers. If it answers an error, nothing
    /// is stored; if it staged nothing, nothing is committed. When this returns `Ok`, the commit survives power loss and
    /// every [`snapshot`](Self::snapshot) taken from then on shows it.
    ///
    /// An error of the engine, or a panic in `change`, means that nothing was stored. After an input or output failed the
    /// store takes no more batches until it has [recovered](Self::recover).
    pub fn write<R>(&self, change: impl FnOnce(&mut WriteBatch) -> Result<R, Error>) -> Result<R, Error> {
        let engine = self.engine.lock();
        let mut batch = WriteBatch::on(self.snapshot()?, self.numbers.clone());
        let answer = change(&mut batch)?;
        if !batch.is_empty() {
            self.commit(&engine, |transaction| batch.apply(transaction))?;
        }
        Ok(answer)
    }

    /// The tables it has: this program's, or, of a file of an older format that is only looked at, that format's.
    pub fn catalogue(&self) -> Catalogue {
        self.catalogue
    }

    /// Opens the file again if an input or output failed, so that the store can be used as before: what was committed
    /// is there, what failed is not. Where nothing failed, this does nothing.
    ///
    /// Readers go on with what they have meanwhile, and if this fails. It may take as long as opening a file after a
    /// crash; attempts that fail are made for a tenth of the time at most, and refused in between.
    pub fn recover(&self) -> Result<(), Error> {
        if !self.engine.has_failed() {
            return Ok(());
        }
        self.engine.lock().recover(|newest| self.publish(Some(newest)))
    }

    /// A fact about the store.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.snapshot()?.meta(name)
    }

    /// Stores one fact, in a commit of its own.
    fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        self.write(|batch| batch.set_meta(name, value))
    }

    /// Whether every page is what its checksum says. Nothing else may use the store meanwhile.
    pub fn check_pages(&self) -> Result<bool, Error> {
        self.alone(Database::check_integrity)
    }

    /// Gives unused space back to the file system. Nothing else may use the store meanwhile.
    pub fn compact(&self) -> Result<bool, Error> {
        self.alone(Database::compact)
    }

    /// Runs what must have the database to itself: snapshots are refused meanwhile.
    fn alone<E: Into<Error>>(&self, run: impl FnOnce(&mut Database) -> Result<bool, E>) -> Result<bool, Error> {
        let mut engine = self.engine.lock();
        self.publish(None);
        let result = engine.alone(run);
        self.publish(Some(engine.begin_read()?));
        result
    }

    /// Notes the time, closes the file and gives up its lock. Later calls, and reads of snapshots still held, are
    /// [`Error::Closed`]. Closing again is `Ok`. So is closing on a full disk: everything is stored, and all that is missing
    /// is what would have spared the next opening a walk through the file.
    pub fn close(&self) -> Result<(), Error> {
        let noted = self.set_meta(CLOSED_AT, now().as_bytes());
        let mut engine = self.engine.lock();
        self.publish(None);
        match (noted, engine.close()) {
            (Err(Error::DiskFull(_)), _) | (_, Err(Error::DiskFull(_))) => Ok(()),
            (_, closed) => closed,
        }
    }

    /// One durable commit of whatever `change` does, which no batch could.
    pub(crate) fn with_transaction(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.commit(&self.engine.lock(), change)
    }

    fn commit(
        &self,
        engine: &Exclusive<'_>,
        change: impl FnOnce(&WriteTransaction) -> Result<(), Error>,
    ) -> Result<(), Error> {
        engine.commit(change)?;
        self.publish(Some(engine.begin_read()?));
        Ok(())
    }

    fn publish(&self, newest: Option<ReadTransaction>) {
        let snapshot = newest.map(|transaction| Arc::new(Snapshot::new(transaction, self.numbers.clone())));
        let old = std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), snapshot);
        drop(old); // after the lock: the last holder of a snapshot pays for its end
    }
}
