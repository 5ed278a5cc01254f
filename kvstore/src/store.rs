//! The open store: the current snapshot for readers, one batch at a time for the writer.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use redb::{Database, Durability, ReadableDatabase, TableError, WriteTransaction};

use crate::{
    batch::Batch,
    catalogue::{Catalogue, fingerprint},
    contained::{Contained, guarded},
    error::Error,
    medium::Medium,
    open::{CLOSED_AT, Options, Progress, now},
    slots::{FINGERPRINT, Slots, UNFINISHED},
    snapshot::{Snapshot, definition},
    verify::Finding,
};

/// After an attempt to recover that failed, the next one waits this many times as long as it took.
const PAUSE: u32 = 9;

/// An open store. Any number of threads may read; batches are stored one after the other.
pub struct Store {
    database: Mutex<Contained<Database>>,
    /// What the database lies on.
    medium: Arc<Medium>,
    /// When opening the file again may be tried next.
    next_recovery: Mutex<Instant>,
    /// The newest committed state; `None` once closed.
    current: RwLock<Option<Arc<Snapshot>>>,
    slots: Arc<Slots>,
    catalogue: Catalogue,
    options: Options,
}

impl Store {
    /// A store over a database that has, or may lack, tables of the catalogue: those are made.
    pub(crate) fn over(
        database: Contained<Database>,
        medium: Arc<Medium>,
        catalogue: Catalogue,
        options: Options,
    ) -> Result<Self, Error> {
        let store = Self::as_it_is(database, medium, catalogue, options)?;
        // Nothing is written where nothing is missing: a store opens on a full disk, too.
        if !store.lacks_a_table()? {
            return Ok(store);
        }
        let slots = store.slots.clone();
        store.with_transaction(|transaction| {
            // Reading a table that was never created is an error in redb, so all exist from the start.
            for name in slots.names() {
                transaction.open_table(definition(name))?;
            }
            Ok(())
        })?;
        Ok(store)
    }

    /// A store over a database; reading a table that is not there, or is none of ours, is an error that names it.
    pub(crate) fn as_it_is(
        database: Contained<Database>,
        medium: Arc<Medium>,
        catalogue: Catalogue,
        options: Options,
    ) -> Result<Self, Error> {
        let store = Self {
            current: RwLock::new(None),
            database: Mutex::new(database),
            medium,
            next_recovery: Mutex::new(Instant::now()),
            slots: Arc::new(Slots::of(catalogue)),
            catalogue,
            options,
        };
        let snapshot = store.read(store.lock().get()?)?;
        store.publish(Some(snapshot));
        Ok(store)
    }

    fn lacks_a_table(&self) -> Result<bool, Error> {
        let database = self.lock();
        let database = database.get()?;
        guarded(|| {
            let transaction = database.begin_read()?;
            for name in self.slots.names() {
                match transaction.open_table(definition(name)) {
                    Ok(_) => {}
                    Err(TableError::TableDoesNotExist(_)) => return Ok(true),
                    Err(error) => return Err(Error::from(error)),
                }
            }
            Ok(false)
        })
    }

    /// From now on, `make_room` is called when the file cannot grow because the disk is full. If it answers that it made
    /// some, the write that failed is tried once more, and neither the engine nor anybody else hears of it.
    pub fn when_full(&self, make_room: impl Fn() -> bool + Send + Sync + 'static) {
        self.medium.when_full(Box::new(make_room));
    }

    /// The newest committed state, in nanoseconds: no disk, no waiting for the writer.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }

    /// Stores what the operations run by `batch` stage, in one durable commit, and answers what it answers. If nothing
    /// was staged, nothing is committed. When this returns `Ok`, the commit survives power loss and every
    /// [`snapshot`](Self::snapshot) taken from then on shows it.
    ///
    /// An error of the engine, or a panic in `batch`, means that nothing was stored. After an input or output failed the
    /// store takes no more batches until it has [recovered](Self::recover).
    pub fn write<R>(&self, batch: impl FnOnce(&mut Batch) -> R) -> Result<R, Error> {
        let database = self.lock();
        let mut staging = Batch::new(self.snapshot()?, self.slots.clone());
        let result = batch(&mut staging);
        if !staging.is_empty() {
            self.commit(&database, |transaction| staging.apply(transaction))?;
        }
        Ok(result)
    }

    pub(crate) fn catalogue(&self) -> Catalogue {
        self.catalogue
    }

    /// Opens the file again if an input or output failed, so that the store can be used as before: what was committed
    /// is there, what failed is not. Where nothing failed, this does nothing.
    ///
    /// Readers go on with what they have meanwhile, and if this fails. It may take as long as opening a file after a
    /// crash; attempts that fail are made for a tenth of the time at most, and refused in between.
    pub fn recover(&self) -> Result<(), Error> {
        if !self.medium.has_failed() {
            return Ok(());
        }
        let mut database = self.lock();
        database.get()?;
        let mut next = self.next_recovery.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if began < *next {
            return Err(redb::Error::PreviousIo.into());
        }
        (self.options.progress)(Progress::Recovering);
        match guarded(|| self.another_database()) {
            Ok((new, snapshot)) => {
                self.publish(Some(snapshot));
                *database = new; // the old one refuses everything, so its end touches nothing
                Ok(())
            }
            Err(error) => {
                self.medium.set_failed(true);
                *next = Instant::now() + began.elapsed() * PAUSE;
                Err(error)
            }
        }
    }

    fn another_database(&self) -> Result<(Contained<Database>, Snapshot), Error> {
        self.medium.take_back().map_err(|error| Error::from(redb::Error::Io(error)))?;
        self.medium.set_failed(false);
        let database = Contained::new(self.options.database_over(&self.medium).map_err(redb::Error::from)?);
        let snapshot = self.read(database.get()?)?;
        Ok((database, snapshot))
    }

    /// A fact about the store.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.snapshot()?.meta(name)
    }

    /// Stores one fact, in a commit of its own.
    pub(crate) fn set_meta(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        self.write(|batch| batch.run(|operation| operation.set_meta(name, value)))?
    }

    /// Checks every record and every index entry of every table against each other, as of one moment, in constant
    /// memory. Each thing found wrong goes to `report`.
    pub fn verify(&self, mut report: impl FnMut(Finding)) -> Result<(), Error> {
        let snapshot = self.snapshot()?;
        self.catalogue.iter().try_for_each(|table| table.verify(&*snapshot, &mut report))
    }

    /// Makes every index anew from the records. Cut short, it is finished when the store is next opened.
    pub fn rebuild_indexes(&self) -> Result<u64, Error> {
        self.set_meta(FINGERPRINT, UNFINISHED)?;
        let mut rows = 0;
        for table in self.catalogue {
            rows += table.rebuild_indexes(self)?;
        }
        self.set_meta(FINGERPRINT, fingerprint(self.catalogue).as_bytes())?;
        Ok(rows)
    }

    /// Whether every page is what its checksum says. Nothing else may use the store meanwhile.
    pub fn check_pages(&self) -> Result<bool, Error> {
        self.alone(Database::check_integrity)
    }

    /// Gives unused space back to the file system. Nothing else may use the store meanwhile.
    pub fn compact(&self) -> Result<bool, Error> {
        self.alone(Database::compact)
    }

    /// Runs what must have the database to itself.
    fn alone<E: Into<Error>>(&self, run: impl FnOnce(&mut Database) -> Result<bool, E>) -> Result<bool, Error> {
        let mut database = self.lock();
        self.publish(None);
        let database = database.get_mut()?;
        let result = guarded(|| run(database));
        self.publish(Some(self.read(database)?));
        result
    }

    /// Notes the time, closes the file and gives up its lock. Later calls, and reads of snapshots still held, are
    /// [`Error::Closed`]. Closing again is `Ok`. So is closing on a full disk: everything is stored, and all that is missing
    /// is what would have spared the next opening a walk through the file.
    pub fn close(&self) -> Result<(), Error> {
        let noted = self.set_meta(CLOSED_AT, now().as_bytes());
        let mut database = self.lock();
        self.publish(None);
        let closed = database.end(Database::close);
        match (noted, closed) {
            (Err(Error::DiskFull(_)), _) | (_, Err(Error::DiskFull(_))) => Ok(()),
            (_, closed) => closed,
        }
    }

    /// One durable commit of whatever `change` does.
    pub(crate) fn with_transaction(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.commit(&self.lock(), change)
    }

    fn commit(
        &self,
        database: &Contained<Database>,
        change: impl FnOnce(&WriteTransaction) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let database = database.get()?;
        let mut transaction = Contained::new(guarded(|| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_quick_repair(self.options.quick_repair);
            Ok::<_, Error>(transaction)
        })?);
        // On an error the transaction is dropped, which undoes it.
        guarded(|| change(transaction.get()?))?;
        transaction.end(WriteTransaction::commit)?;
        self.publish(Some(self.read(database)?));
        Ok(())
    }

    fn read(&self, database: &Database) -> Result<Snapshot, Error> {
        Ok(Snapshot::new(guarded(|| database.begin_read())?, self.slots.clone()))
    }

    fn publish(&self, snapshot: Option<Snapshot>) {
        let old = std::mem::replace(
            &mut *self.current.write().unwrap_or_else(PoisonError::into_inner),
            snapshot.map(Arc::new),
        );
        drop(old); // after the lock: the last holder of a snapshot pays for its end
    }

    /// A panic leaves no half-done state behind: staging is in memory and redb undoes a dropped transaction.
    fn lock(&self) -> MutexGuard<'_, Contained<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
