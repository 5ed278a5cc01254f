//! What lies under redb: the file, kept open for longer than a database over it.
//!
//! redb refuses everything after an input or output failed, for good: a database over the file is lost then, the file
//! is not. This keeps the file and its lock, so that another database can be opened over it in its place.
//!
//! It also takes back a commit whose sync failed. The operating system reports such a failure once and takes the pages
//! for clean from then on: the file, when it is read again, shows a commit that the disk may not have, and a later
//! sync, which succeeds, does not write it (<https://wiki.postgresql.org/wiki/Fsync_Errors>). Whatever is built upon it is
//! lost with the power. So redb's header, which says which commit is the newest, is put back as it was at the last sync
//! that succeeded. Everything it points to was on the disk then and has not been overwritten since, because redb never
//! writes in place. What the failed commit wrote counts as free space and is written anew before it is used.

use std::{
    fmt, io,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use redb::{BackendError, StorageBackend};

use crate::error::is_full;

/// redb's header lies in the first sector, alone.
const HEADER_BYTES: usize = 512;

/// A file, or whatever else is a [`StorageBackend`], shared by the databases that follow each other over it.
pub(crate) struct Medium {
    file: Box<dyn StorageBackend>,
    header: Mutex<Header>,
    has_failed: AtomicBool,
    /// Databases that have it open; the last one to close closes it.
    open: AtomicUsize,
    when_full: OnceLock<MakeRoom>,
}

/// Answers whether it made room on a full disk.
pub(crate) type MakeRoom = Box<dyn Fn() -> bool + Send + Sync>;

/// The first bytes of the file; fewer while it is being created.
#[derive(Default)]
struct Header {
    synced: Vec<u8>,
    written: Vec<u8>,
}

impl Medium {
    pub(crate) fn over(file: impl StorageBackend) -> io::Result<Arc<Self>> {
        let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        let mut header = vec![0; length.min(HEADER_BYTES)];
        file.read(0, &mut header)?;
        Ok(Arc::new(Self {
            file: Box::new(file),
            header: Mutex::new(Header { synced: header.clone(), written: header }),
            has_failed: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            when_full: OnceLock::new(),
        }))
    }

    /// What a database is opened over.
    pub(crate) fn handle(self: &Arc<Self>) -> impl StorageBackend {
        let is_first = self.open.fetch_add(1, Ordering::AcqRel) == 0;
        Handle { medium: self.clone(), is_first }
    }

    /// Whom to ask for room; the first one stays.
    pub(crate) fn when_full(&self, make_room: MakeRoom) {
        let _ = self.when_full.set(make_room);
    }

    /// Whether a call failed, so that the database over the file refuses everything.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    pub(crate) fn set_failed(&self, has_failed: bool) {
        self.has_failed.store(has_failed, Ordering::Release);
    }

    /// Puts the header back as it was at the last sync that succeeded.
    pub(crate) fn take_back(&self) -> io::Result<()> {
        let mut header = self.header();
        self.file.write(0, &header.synced)?;
        self.file.sync_data()?;
        header.written = header.synced.clone();
        Ok(())
    }

    fn header(&self) -> MutexGuard<'_, Header> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that needs room: where there is none, it is repeated once if some can be made. A sync is never repeated.
    fn grow(&self, call: impl Fn(&dyn StorageBackend) -> io::Result<()>) -> io::Result<()> {
        self.change(|file| match call(file) {
            Err(error) if is_full(&error) && self.when_full.get().is_some_and(|make_room| make_room()) => call(file),
            result => result,
        })
    }

    /// A call that changes the file: where it fails, so does the commit it belongs to.
    fn change(&self, call: impl FnOnce(&dyn StorageBackend) -> io::Result<()>) -> io::Result<()> {
        let result = call(&*self.file);
        if result.is_err() {
            self.set_failed(true);
            let _ = self.take_back(); // tried again before the file is used again
        }
        result
    }
}

impl Header {
    fn note(&mut self, offset: u64, data: &[u8]) {
        let Some(start) = usize::try_from(offset).ok().filter(|start| *start < HEADER_BYTES) else { return };
        let end = (start + data.len()).min(HEADER_BYTES);
        if self.written.len() < end {
            self.written.resize(end, 0);
        }
        for (byte, new) in self.written.iter_mut().skip(start).zip(data) {
            *byte = *new;
        }
    }
}

/// One database's way to the file.
struct Handle {
    medium: Arc<Medium>,
    /// Takes the file's locks; those who come later find them held by this process.
    is_first: bool,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.medium.file.fmt(f)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.medium.file.len().inspect_err(|_| self.medium.set_failed(true))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.medium.file.read(offset, out) {
            // A damaged page points to a place behind the end. Nothing is there, which redb takes for a damaged page;
            // after an error it would refuse all that is not damaged, too.
            Err(error) if is_no_place(&error) => {
                out.fill(0);
                Ok(())
            }
            result => result.inspect_err(|_| self.medium.set_failed(true)),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium.grow(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let written = self.medium.header().written.clone();
        self.medium.change(|file| file.sync_data())?;
        self.medium.header().synced = written;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.medium.header().note(offset, data);
        self.medium.grow(|file| file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        if self.medium.open.fetch_sub(1, Ordering::AcqRel) == 1 { self.medium.file.close() } else { Ok(()) }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.is_first { self.medium.file.try_lock_range(start, end) } else { Ok(true) }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.is_first { self.medium.file.unlock_range(start, end) } else { Ok(()) }
    }
}

/// Whether a read failed because the file has no such place: behind its end, or beyond what an offset can be.
fn is_no_place(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn a_place_behind_the_end_holds_nothing_and_is_no_failure_of_the_disk() {
        let file = InMemoryBackend::new();
        file.set_len(4096).unwrap();
        let medium = Medium::over(file).unwrap();
        let mut page = [7; 512];
        medium.handle().read(8192, &mut page).unwrap();
        assert_eq!(page, [0; 512]);
        assert!(!medium.has_failed());
    }

    /// Has room for nothing until some is made.
    #[derive(Clone, Debug, Default)]
    struct Tight {
        has_room: Arc<AtomicBool>,
        below: Arc<InMemoryBackend>,
    }

    impl StorageBackend for Tight {
        fn len(&self) -> io::Result<u64> {
            self.below.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.below.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.below.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            match self.has_room.load(Ordering::Relaxed) {
                true => self.below.write(offset, data),
                false => Err(io::ErrorKind::StorageFull.into()),
            }
        }
    }

    #[test]
    fn a_write_that_finds_no_room_is_repeated_once_where_some_can_be_made() {
        for can_be_made in [true, false] {
            let tight = Tight::default();
            tight.below.set_len(4096).unwrap();
            let medium = Medium::over(tight.clone()).unwrap();
            let asked = Arc::new(AtomicUsize::new(0));
            let (room, count) = (tight, asked.clone());
            medium.when_full(Box::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
                room.has_room.store(can_be_made, Ordering::Relaxed);
                can_be_made
            }));
            assert_eq!(medium.handle().write(1024, b"page").is_ok(), can_be_made);
            assert_eq!((medium.has_failed(), asked.load(Ordering::Relaxed)), (!can_be_made, 1));
        }
    }

    #[test]
    fn only_a_sync_makes_a_header_the_one_to_go_back_to() {
        let medium = Medium::over(InMemoryBackend::new()).unwrap();
        let handle = medium.handle();
        let header = || {
            let mut bytes = [0; 4];
            handle.read(0, &mut bytes).unwrap();
            bytes
        };
        handle.set_len(4096).unwrap();
        handle.write(0, b"one ").unwrap();
        handle.sync_data().unwrap();
        handle.write(0, b"two").unwrap();
        assert_eq!(header(), *b"two ");
        medium.take_back().unwrap();
        assert_eq!(header(), *b"one ");
    }
}
