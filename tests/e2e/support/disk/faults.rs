//! Ordering faults from `tests/preload/faults.c`, through a small file that both sides share.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::Disk;

/// Where the fields of `struct plan` are, in bytes.
const NUMBER: u64 = 0;
const ORDER: u64 = 8;
const SEEN: u64 = 40;
const COUNTED: u64 = 48;
const FAILED: u64 = 56;
const LENGTH: u64 = 64;

/// Kinds of calls, as `enum call` has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Call {
    Opening = 1,
    Reading = 2,
    Writing = 4,
    Resizing = 8,
    Syncing = 16,
    Naming = 32,
    Mapping = 64,
}

impl Call {
    pub(crate) const ALL: [Self; 7] =
        [Self::Opening, Self::Reading, Self::Writing, Self::Resizing, Self::Syncing, Self::Naming, Self::Mapping];
}

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// It fails: EIO, whatever it does.
    Error,
    /// It asks for space, and there is none: ENOSPC.
    Full,
    /// A write fails with EIO after half of its bytes.
    Torn,
    /// A write that takes half of its bytes and says so, which is no error.
    Short,
    /// A sync fails with EIO.
    Unsynced,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [Self::Error, Self::Full, Self::Torn, Self::Short, Self::Unsynced];

    /// The calls it can happen to.
    fn calls(self) -> u64 {
        let calls: &[Call] = match self {
            Self::Error => &Call::ALL,
            Self::Full => &[Call::Opening, Call::Writing, Call::Resizing, Call::Naming],
            Self::Torn | Self::Short => &[Call::Writing],
            Self::Unsynced => &[Call::Syncing],
        };
        calls.iter().map(|call| *call as u64).sum()
    }

    /// `enum how`, and the errno.
    fn how(self) -> (u64, u64) {
        const EIO: u64 = 5;
        const ENOSPC: u64 = 28;
        match self {
            Self::Error | Self::Unsynced => (1, EIO),
            Self::Full => (1, ENOSPC),
            Self::Torn => (2, EIO),
            Self::Short => (3, 0),
        }
    }
}

pub(super) fn create(path: &Path) {
    File::create(path).unwrap().set_len(LENGTH).unwrap();
}

impl Disk {
    /// The `nth` call from now that `fault` can happen to meets it, once. Nothing is failed before the first order, or
    /// by an `nth` of 0.
    pub(crate) fn order(&self, nth: u64, fault: Fault) {
        let (how, error) = fault.how();
        let order: Vec<u8> = [nth, fault.calls(), how, error].iter().flat_map(|field| field.to_ne_bytes()).collect();
        let file = self.open_faults();
        file.write_all_at(&order, ORDER).unwrap();
        file.write_all_at(&(read(&file, NUMBER) + 1).to_ne_bytes(), NUMBER).unwrap();
    }

    /// The call that failed, once one did.
    pub(crate) fn failed(&self) -> Option<Call> {
        let file = self.open_faults();
        let is_current = read(&file, SEEN) == read(&file, NUMBER);
        let failed = read(&file, FAILED);
        Call::ALL.into_iter().find(|call| is_current && *call as u64 == failed)
    }

    /// Calls since the last order that its fault could have happened to.
    pub(crate) fn counted(&self) -> u64 {
        let file = self.open_faults();
        if read(&file, SEEN) == read(&file, NUMBER) { read(&file, COUNTED) } else { 0 }
    }

    fn open_faults(&self) -> File {
        OpenOptions::new().read(true).write(true).open(self.fault_file()).unwrap()
    }
}

fn read(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).unwrap();
    u64::from_ne_bytes(bytes)
}
