//! A disk in memory that logs what it is told, so that the power can be cut afterwards at any moment of a run; and that
//! fails when it is told to.

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use decentcom_kvstore::redb::StorageBackend;

use super::random::Random;

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// Something that happened to the disk, or around it.
#[derive(Clone)]
pub(super) enum Event {
    Write {
        offset: u64,
        data: Arc<[u8]>,
    },
    SetLen(u64),
    Sync,
    /// The operating system reports this once and takes the pages for clean from then on, though the disk may not have
    /// them (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    FailedSync,
    /// A caller, by number, was told that a call of its succeeded.
    Acknowledged(usize),
}

/// A kind of call that the engine makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Len,
    Read,
    SetLen,
    Sync,
    Write,
}

impl Kind {
    pub(super) const ALL: &'static [Self] = &[Self::Len, Self::Read, Self::SetLen, Self::Sync, Self::Write];
    /// Those that a full disk refuses.
    pub(super) const CHANGES: &'static [Self] = &[Self::SetLen, Self::Sync, Self::Write];
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// With this error, before anything is done.
    Whole(io::ErrorKind),
    /// A write stops half-way with an error.
    Short,
}

/// Which calls fail, by number.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) calls: Range<usize>,
    pub(super) kinds: &'static [Kind],
    pub(super) failure: Failure,
}

#[derive(Default)]
struct State {
    /// What reads see: the operating system's cache.
    bytes: Vec<u8>,
    log: Vec<Event>,
    calls: Vec<Kind>,
    fault: Option<Fault>,
    failures: Vec<Kind>,
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    /// A disk with `bytes` on it, all of them durable.
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { bytes, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Notes that a caller was answered `Ok`.
    pub(super) fn acknowledge(&self, caller: usize) {
        self.state().log.push(Event::Acknowledged(caller));
    }

    pub(super) fn log(&self) -> Vec<Event> {
        self.state().log.clone()
    }

    /// The calls made so far.
    pub(super) fn calls(&self) -> Vec<Kind> {
        self.state().calls.clone()
    }

    pub(super) fn syncs(&self) -> usize {
        self.calls().iter().filter(|kind| **kind == Kind::Sync).count()
    }

    /// From now on, or never again, calls fail.
    pub(super) fn set_fault(&self, fault: impl Into<Option<Fault>>) {
        self.state().fault = fault.into();
    }

    /// How many calls failed.
    pub(super) fn failures(&self) -> usize {
        self.state().failures.len()
    }

    /// What the last call was that failed.
    pub(super) fn last_failure(&self) -> Option<Kind> {
        self.state().failures.last().copied()
    }

    /// Counts a call; `Some` if it is to fail.
    fn call(&self, kind: Kind) -> (MutexGuard<'_, State>, Option<Failure>) {
        let mut state = self.state();
        let number = state.calls.len();
        state.calls.push(kind);
        let fault = state.fault.as_ref().filter(|it| it.calls.contains(&number) && it.kinds.contains(&kind));
        let failure = fault.map(|it| it.failure);
        state.failures.extend(failure.map(|_| kind));
        (state, failure)
    }
}

fn error_of(failure: Failure) -> io::Error {
    match failure {
        Failure::Whole(kind) => kind.into(),
        Failure::Short => io::Error::other("the disk failed half-way"),
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        match self.call(Kind::Len) {
            (_, Some(failure)) => Err(error_of(failure)),
            (state, None) => Ok(state.bytes.len() as u64),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (state, failure) = self.call(Kind::Read);
        if let Some(failure) = failure {
            return Err(error_of(failure));
        }
        let start = usize::try_from(offset).unwrap();
        let end = start.checked_add(out.len());
        let bytes = end.and_then(|end| state.bytes.get(start..end));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let (mut state, failure) = self.call(Kind::SetLen);
        let needs_room = usize::try_from(len).unwrap() > state.bytes.len();
        match failure {
            Some(Failure::Whole(io::ErrorKind::StorageFull)) if !needs_room => {} // no disk is too full for less
            Some(failure) => return Err(error_of(failure)),
            None => {}
        }
        state.bytes.resize(usize::try_from(len).unwrap(), 0);
        state.log.push(Event::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let (mut state, failure) = self.call(Kind::Sync);
        state.log.push(if failure.is_some() { Event::FailedSync } else { Event::Sync });
        failure.map_or(Ok(()), |failure| Err(error_of(failure)))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let (mut state, failure) = self.call(Kind::Write);
        let written = match failure {
            None => data,
            Some(Failure::Whole(_)) => &[],
            Some(Failure::Short) => &data[..data.len() / 2],
        };
        let start = usize::try_from(offset).unwrap();
        let end = start + written.len();
        if state.bytes.len() < end {
            state.bytes.resize(end, 0);
        }
        state.bytes[start..end].copy_from_slice(written);
        state.log.push(Event::Write { offset, data: written.into() });
        failure.map_or(Ok(()), |failure| Err(error_of(failure)))
    }
}

/// What becomes of the writes that no sync followed when the power goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// None of them is on the disk.
    Lost,
    /// All of them are.
    Kept,
    /// Only the file's first sector, with redb's header: what points to the rest.
    OnlyHeader,
    /// All but that.
    AllButHeader,
    /// Of every write all or nothing, by a coin.
    Writes,
    /// Of every sector, by a coin.
    Sectors,
    /// All but one sector.
    AllButOne,
    /// The later half of the sectors: the disk took its own order.
    Latest,
}

impl Fate {
    pub(super) const ALL: [Self; 8] = [
        Self::Lost,
        Self::Kept,
        Self::OnlyHeader,
        Self::AllButHeader,
        Self::Writes,
        Self::Sectors,
        Self::AllButOne,
        Self::Latest,
    ];
}

/// What may or may not be on the disk.
#[derive(Clone)]
enum Unsynced {
    Sector {
        offset: u64,
        data: Box<[u8]>,
        write: usize,
        /// A failed sync let go of it: no later one will write it.
        is_forgotten: bool,
    },
    SetLen(u64),
}

/// What is on the disk for certain, and what is on its way, at one moment of a log.
#[derive(Clone, Default)]
pub(super) struct Platter {
    bytes: Vec<u8>,
    unsynced: Vec<Unsynced>,
    writes: usize,
}

impl Platter {
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Lets the next event happen.
    pub(super) fn advance(&mut self, event: &Event) {
        match event {
            Event::Write { offset, data } => {
                self.writes += 1;
                let (mut offset, mut rest) = (*offset, &data[..]);
                while !rest.is_empty() {
                    let room = usize::try_from(SECTOR - offset % SECTOR).unwrap();
                    let (piece, others) = rest.split_at(room.min(rest.len()));
                    let (data, write) = (piece.into(), self.writes);
                    self.unsynced.push(Unsynced::Sector { offset, data, write, is_forgotten: false });
                    offset += piece.len() as u64;
                    rest = others;
                }
            }
            Event::SetLen(len) => self.unsynced.push(Unsynced::SetLen(*len)),
            Event::Sync => self.sync(),
            Event::FailedSync => {
                for unsynced in &mut self.unsynced {
                    if let Unsynced::Sector { is_forgotten, .. } = unsynced {
                        *is_forgotten = true;
                    }
                }
            }
            Event::Acknowledged(_) => {}
        }
    }

    fn sync(&mut self) {
        let mut forgotten: Vec<Unsynced> = Vec::new();
        for unsynced in std::mem::take(&mut self.unsynced) {
            match unsynced {
                Unsynced::Sector { is_forgotten: true, .. } => forgotten.push(unsynced),
                Unsynced::Sector { offset, ref data, .. } => {
                    put(&mut self.bytes, offset, data);
                    // What was written over can no longer appear.
                    forgotten.retain(|it| !matches!(it, Unsynced::Sector { offset: other, .. } if *other == offset));
                }
                Unsynced::SetLen(len) => self.bytes.resize(usize::try_from(len).unwrap(), 0),
            }
        }
        self.unsynced = forgotten;
    }

    /// What the disk holds when the power comes back.
    pub(super) fn after_power_loss(&self, fate: Fate, random: &mut Random) -> Vec<u8> {
        let sectors = self.unsynced.iter().filter(|it| matches!(it, Unsynced::Sector { .. })).count();
        let lengths = self.unsynced.len() - sectors;
        // Lengths are kept by a journal: those up to some moment.
        let kept_lengths = match fate {
            Fate::Lost => 0,
            Fate::Kept => lengths,
            _ => random.below(lengths + 1),
        };
        let missing = random.below(sectors);
        let kept_writes: Vec<bool> = (0..=self.writes).map(|_| random.coin()).collect();
        let mut bytes = self.bytes.clone();
        let mut length = bytes.len();
        let (mut sector, mut lengths) = (0, 0);
        for unsynced in &self.unsynced {
            match unsynced {
                Unsynced::Sector { offset, data, write, .. } => {
                    let is_kept = match fate {
                        Fate::Lost => false,
                        Fate::Kept => true,
                        Fate::OnlyHeader => *offset < SECTOR,
                        Fate::AllButHeader => *offset >= SECTOR,
                        Fate::Writes => kept_writes[*write],
                        Fate::Sectors => random.coin(),
                        Fate::AllButOne => sector != missing,
                        Fate::Latest => sector >= sectors / 2,
                    };
                    sector += 1;
                    if is_kept {
                        put(&mut bytes, *offset, data);
                    }
                }
                Unsynced::SetLen(len) => {
                    if lengths < kept_lengths {
                        length = usize::try_from(*len).unwrap();
                        bytes.resize(length, 0);
                    }
                    lengths += 1;
                }
            }
        }
        // Writes behind the end of the file are nowhere.
        bytes.resize(length, 0);
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    let end = start + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}
