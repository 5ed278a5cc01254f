//! Reading the log of `tests/preload/log.c`.

use std::{fs, ops::Range, path::Path, sync::Arc};

/// One thing a server did to its files.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Where the record ends in the log.
    pub(crate) end: u64,
    pub(crate) event: Event,
}

/// Paths are below the disk's root; a file is known by its inode, whatever its name.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Create {
        path: String,
        inode: u64,
    },
    MakeDirectory {
        path: String,
    },
    Write {
        inode: u64,
        at: usize,
        bytes: Bytes,
    },
    Truncate {
        inode: u64,
        length: usize,
    },
    Sync {
        inode: u64,
        failed: bool,
    },
    SyncDirectory {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    /// A process began.
    Start,
}

/// A part of the log, shared.
#[derive(Clone)]
pub(crate) struct Bytes {
    log: Arc<[u8]>,
    range: Range<usize>,
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.log[self.range.clone()]
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.range.len())
    }
}

const HEADER: usize = 32;

pub(super) fn read(path: &Path) -> Vec<Record> {
    let log: Arc<[u8]> = fs::read(path).unwrap().into();
    let mut records = Vec::new();
    let mut at = 0;
    while at < log.len() {
        let short = |offset: usize| u32::from_ne_bytes(log[at + offset..at + offset + 4].try_into().unwrap());
        let long = |offset: usize| u64::from_ne_bytes(log[at + offset..at + offset + 8].try_into().unwrap());
        let (length, inode, offset, failed) = (short(0) as usize, long(8), long(16) as usize, short(24) != 0);
        let range = at + HEADER..at + HEADER + length;
        let bytes = Bytes { log: log.clone(), range: range.clone() };
        let path = || String::from_utf8(bytes.to_vec()).unwrap();
        let event = match short(4) {
            1 => Event::Create { path: path(), inode },
            2 => Event::MakeDirectory { path: path() },
            3 => Event::Write { inode, at: offset, bytes },
            4 => Event::Truncate { inode, length: offset },
            5 => Event::Sync { inode, failed },
            6 => Event::SyncDirectory { path: path() },
            7 => {
                let both = path();
                let (from, to) = both.split_once('\0').unwrap();
                Event::Rename { from: from.into(), to: to.into() }
            }
            8 => Event::Remove { path: path() },
            9 => Event::Start,
            other => panic!("event {other} in the log"),
        };
        at = range.end;
        records.push(Record { end: at as u64, event });
    }
    records
}
