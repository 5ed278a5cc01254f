//! A store whose disk failed opens its file again, and keeps others out meanwhile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

use std::{
    fs::File,
    io,
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use decentcom_kvstore::{
    CannotOpen, Error, Options, Schema, Store, catalogue, record,
    redb::{BackendError, StorageBackend, backends::FileBackend},
    table,
};

record! {
    /// A key on a hook.
    struct Hook: version 1 {
        /// What it opens.
        opens: String,
    }
}

table! {
    /// Every hook.
    table Hooks("hooks"): u64 => Hook;
}

const SCHEMA: Schema = Schema::new(catalogue![Hooks]);

/// A file that cannot be changed while it is told so.
#[derive(Debug)]
struct Flaky {
    file: FileBackend,
    fails: Arc<AtomicBool>,
}

impl Flaky {
    fn check(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) { Err(io::Error::other("planned")) } else { Ok(()) }
    }
}

impl StorageBackend for Flaky {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

fn open(path: &Path) -> (Store, Arc<AtomicBool>) {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let backend = Flaky { file: FileBackend::new(file).unwrap(), fails: fails.clone() };
    (Options::default().open_over(backend, &SCHEMA).unwrap(), fails)
}

fn hang(store: &Store, key: u64) -> Result<(), Error> {
    let hook = Hook { opens: format!("door {key}") };
    store.write(|batch| batch.insert::<Hooks>(&key, &hook))
}

fn hooks(store: &Store) -> u64 {
    store.snapshot().unwrap().len::<Hooks>().unwrap()
}

#[test]
fn a_store_recovers_and_the_file_stays_locked_until_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hooks");
    let is_in_use = || matches!(Options::default().open(&path, &SCHEMA), Err(CannotOpen::InUse { .. }));
    let (store, fails) = open(&path);
    hang(&store, 1).unwrap();
    let held = store.snapshot().unwrap();
    for round in 0..3 {
        fails.store(true, Ordering::SeqCst);
        assert!(matches!(hang(&store, 100), Err(Error::Io(_))));
        assert!(matches!(hang(&store, 100), Err(Error::MustReopen(_))));
        assert!(store.recover().is_err());
        assert!(matches!(hang(&store, 100), Err(Error::MustReopen(_))));
        assert_eq!(hooks(&store), 1 + round, "readers go on");
        assert!(is_in_use());
        fails.store(false, Ordering::SeqCst);
        while store.recover().is_err() {} // until the pause after the last attempt is over
        hang(&store, 2 + round).unwrap();
        assert_eq!(hooks(&store), 2 + round);
        assert!(is_in_use());
    }
    store.close().unwrap();
    drop(held);
    let store = Options::default().open(&path, &SCHEMA).unwrap();
    assert_eq!(hooks(&store), 4);
    store.verify(|mismatch| panic!("{mismatch}")).unwrap();
}

#[test]
fn recovering_a_store_that_works_or_is_closed_does_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, fails) = open(&directory.path().join("hooks"));
    store.recover().unwrap();
    fails.store(true, Ordering::SeqCst);
    hang(&store, 1).unwrap_err();
    fails.store(false, Ordering::SeqCst);
    let _ = store.close(); // says that the disk failed
    assert!(matches!(store.recover(), Err(Error::Closed)));
}
