//! The redb database of a store: one commit at a time, and another database over the same file when a disk failed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition,
    WriteTransaction,
};

use crate::error::Error;

use super::{
    contained::{Contained, guarded},
    medium::{MakeRoom, Medium},
    options::{Options, Progress},
};

/// After an attempt to recover that failed, the next one waits this many times as long as it took.
const PAUSE: u32 = 9;

/// How every table lies in redb: bytes to bytes. What they mean is for the schema to know.
pub(crate) type Bytes = &'static [u8];
/// A table as a snapshot reads it.
pub(crate) type RawTable = ReadOnlyTable<Bytes, Bytes>;

/// The redb table with this name.
pub(crate) fn definition(name: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(name)
}

/// A redb database and what it lies on.
pub(crate) struct Engine {
    medium: Arc<Medium>,
    options: Options,
    running: Mutex<Running>,
}

struct Running {
    /// Ended once the store is closed.
    database: Contained<Database>,
    /// When opening the file again may be tried next.
    next_recovery: Instant,
}

impl Engine {
    /// Opens the database on a medium, or makes one where it is empty. Whoever calls this contains its panics.
    pub(crate) fn over(medium: Arc<Medium>, options: Options) -> Result<Self, DatabaseError> {
        let database = Contained::new(open(&medium, &options)?);
        let running = Mutex::new(Running { database, next_recovery: Instant::now() });
        Ok(Self { medium, options, running })
    }

    /// Whom to ask for room on a full disk; the first one stays.
    pub(crate) fn when_full(&self, make_room: MakeRoom) {
        self.medium.when_full(make_room);
    }

    /// Whether an input or output failed, so that the database refuses everything.
    pub(crate) fn has_failed(&self) -> bool {
        self.medium.has_failed()
    }

    /// Waits for whoever else has the engine.
    ///
    /// A panic leaves no half-done state behind: staging is in memory and redb undoes a dropped transaction.
    pub(crate) fn lock(&self) -> Exclusive<'_> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        Exclusive { medium: &self.medium, options: &self.options, running }
    }

    /// What `read` makes of the newest commit, in a transaction that ends with it.
    pub(crate) fn reading<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        let engine = self.lock();
        let database = engine.running.database.get()?;
        guarded(|| read(&database.begin_read()?))
    }
}

/// The engine, for the one who has it at the moment.
pub(crate) struct Exclusive<'a> {
    medium: &'a Arc<Medium>,
    options: &'a Options,
    running: MutexGuard<'a, Running>,
}

impl Exclusive<'_> {
    /// The newest commit, for as long as it is read.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, Error> {
        let database = self.running.database.get()?;
        guarded(|| database.begin_read())
    }

    /// One durable commit of whatever `change` does; nothing, if that is an error.
    pub(crate) fn commit(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), Error>) -> Result<(), Error> {
        let database = self.running.database.get()?;
        let mut transaction = Contained::new(guarded(|| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_quick_repair(self.options.quick_repair);
            Ok::<_, Error>(transaction)
        })?);
        // On an error the transaction is dropped, which undoes it.
        guarded(|| change(transaction.get()?))?;
        transaction.end(WriteTransaction::commit)
    }

    /// Opens another database over the file. Readers are given its newest commit by `publish` before the old one ends.
    /// Attempts that fail are made for a tenth of the time at most, and refused in between.
    pub(crate) fn recover(&mut self, publish: impl FnOnce(ReadTransaction)) -> Result<(), Error> {
        self.running.database.get()?;
        let began = Instant::now();
        if began < self.running.next_recovery {
            return Err(redb::Error::PreviousIo.into());
        }
        (self.options.progress)(Progress::Recovering);
        match guarded(|| self.another()) {
            Ok((database, newest)) => {
                publish(newest);
                self.running.database = database; // the old one refuses everything, so its end touches nothing
                Ok(())
            }
            Err(error) => {
                self.medium.set_failed(true);
                self.running.next_recovery = Instant::now() + began.elapsed() * PAUSE;
                Err(error)
            }
        }
    }

    fn another(&self) -> Result<(Contained<Database>, ReadTransaction), Error> {
        self.medium.take_back().map_err(|error| Error::from(redb::Error::Io(error)))?;
        self.medium.set_failed(false);
        let database = Contained::new(open(self.medium, self.options).map_err(redb::Error::from)?);
        let newest = guarded(|| database.get()?.begin_read().map_err(Error::from))?;
        Ok((database, newest))
    }

    /// Runs what must have the database to itself.
    pub(crate) fn alone<E: Into<Error>>(
        &mut self,
        run: impl FnOnce(&mut Database) -> Result<bool, E>,
    ) -> Result<bool, Error> {
        let database = self.running.database.get_mut()?;
        guarded(|| run(database))
    }

    /// Closes the file and gives up its lock; `Ok` if that was done before.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.running.database.end(Database::close)
    }
}

/// A database over a file that has one, or the first.
fn open(medium: &Arc<Medium>, options: &Options) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    let progress = options.progress;
    builder.set_repair_callback(move |session| progress(Progress::Repairing(session.progress())));
    builder.create_with_backend(medium.handle())
}
