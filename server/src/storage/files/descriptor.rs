//! Descriptors of database files, which must not be closed at a wrong moment.
//!
//! SQLite's locks are POSIX locks: they belong to a process and a file, and closing *any* descriptor of the file drops all
//! that the process has on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2). So whoever has a file open through
//! SQLite says so with [`InUse`], and a [`Descriptor`] of ours that ends meanwhile is put aside and closed with the last of
//! those. Nothing in this crate opens a file that SQLite may have open in another way.

use std::{
    collections::BTreeMap,
    fs::{File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::OFlags;

use super::FILE_MODE;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// What a file is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), number: file.ino() }
    }

    /// That of the file which `path` names at this moment, through any symbolic links.
    pub(in crate::storage) fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|file| Self::of(&file))
    }
}

/// Who uses a file through SQLite, and what must stay open meanwhile.
#[derive(Default)]
struct Users {
    count: usize,
    put_aside: Vec<File>,
}

static USED: Mutex<BTreeMap<Inode, Users>> = Mutex::new(BTreeMap::new());

fn used() -> MutexGuard<'static, BTreeMap<Inode, Users>> {
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says, as long as it lives, that SQLite may have a file open in this process.
#[derive(Debug)]
pub(in crate::storage) struct InUse(Inode);

impl InUse {
    pub(in crate::storage) fn begin(file: Inode) -> Self {
        used().entry(file).or_default().count += 1;
        Self(file)
    }

    /// Whether somebody in this process has said so.
    pub(in crate::storage) fn is_begun(file: Inode) -> bool {
        used().contains_key(&file)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut used = used();
        if let Some(users) = used.get_mut(&self.0) {
            users.count -= 1;
            if users.count == 0 {
                used.remove(&self.0);
            }
        }
    }
}

/// An open file.
#[derive(Debug)]
pub(in crate::storage) struct Descriptor {
    /// `None` only while it is being dropped.
    file: Option<File>,
    inode: Inode,
    length: u64,
}

impl Descriptor {
    /// Opens the file at `path`, which must be a regular one.
    pub(in crate::storage) fn read(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().read(true))
    }

    /// The same, to write to it; it is created (0600) if it is missing.
    pub(in crate::storage) fn write(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE))
    }

    fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        // Whatever has come to lie there since it was looked at: a pipe would keep us waiting for its other end.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        let file = options.custom_flags(flags.cast_signed()).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(Self { inode: Inode::of(&found), length: found.len(), file: Some(file) })
    }

    pub(in crate::storage) fn inode(&self) -> Inode {
        self.inode
    }

    /// Bytes that the file had when it was opened.
    pub(in crate::storage) fn length(&self) -> u64 {
        self.length
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Takes the lock for itself; `false` if somebody has it.
    pub(in crate::storage) fn lock(&self) -> io::Result<bool> {
        is_taken(self.file()?.try_lock())
    }

    /// Takes the lock together with others who do so; `false` if somebody has it for himself.
    pub(in crate::storage) fn lock_shared(&self) -> io::Result<bool> {
        is_taken(self.file()?.try_lock_shared())
    }

    /// Bytes from `offset` on, at most as many as `buffer` takes; fewer only at the end of the file.
    pub(in crate::storage) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.file()?;
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Makes a file of the same content and mode at `path`, which is on disk when this returns.
    pub(in crate::storage) fn copy_to(&self, path: &Path) -> io::Result<()> {
        let to = File::create(path)?;
        to.set_permissions(self.file()?.metadata()?.permissions())?;
        let (mut buffer, mut at) = (vec![0; COPY_BYTES], 0);
        loop {
            let read = self.read_at(at, &mut buffer)?;
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { return to.sync_all() };
            to.write_all_at(piece, at)?;
            at += read as u64;
        }
    }

    /// Overwrites the beginning of the file.
    pub(in crate::storage) fn write_start(&self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all_at(bytes, 0)
    }

    /// Puts what was written on disk.
    pub(in crate::storage) fn sync(&self) -> io::Result<()> {
        self.file()?.sync_all()
    }
}

fn is_taken(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let _ = file.unlock(); // also where the descriptor itself has to stay
        if let Some(users) = used().get_mut(&self.inode) {
            users.put_aside.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptors_of(inode: Inode) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        open.filter(|it| it.as_ref().is_ok_and(|it| Inode::at(&it.path()).is_ok_and(|it| it == inode))).count()
    }

    #[test]
    fn a_descriptor_of_a_file_in_use_is_closed_only_with_its_last_user() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = Descriptor::read(file.path()).unwrap();
        let inode = before.inode();
        let opened_before = descriptors_of(inode);
        let (first, second) = (InUse::begin(inode), InUse::begin(inode));
        drop(Descriptor::read(file.path()).unwrap());
        drop(before);
        assert_eq!(descriptors_of(inode), opened_before + 1, "both stay");
        drop(first);
        assert_eq!(descriptors_of(inode), opened_before + 1);
        drop(second);
        assert_eq!(descriptors_of(inode), opened_before - 1);
        drop(Descriptor::read(file.path()).unwrap());
        assert_eq!(descriptors_of(inode), opened_before - 1, "nobody uses it");
    }

    #[test]
    fn a_lock_ends_with_its_holder_even_where_the_descriptor_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = Descriptor::write(file.path()).unwrap();
        let _in_use = InUse::begin(first.inode());
        assert!(first.lock().unwrap());
        assert!(!Descriptor::write(file.path()).unwrap().lock().unwrap());
        drop(first);
        assert!(Descriptor::write(file.path()).unwrap().lock().unwrap());
    }

    #[test]
    fn a_pipe_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(Descriptor::read(&pipe).is_err() && Descriptor::write(&pipe).is_err());
    }
}
