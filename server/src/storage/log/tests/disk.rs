//! A disk that keeps what was synced, and of what was not any part, in sectors; and that may fail.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::super::folder::{Directory, File};

const SECTOR: usize = 512;

/// What can happen to it, by the number of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Power fails: this call and all after it.
    Cut(usize),
    /// This one call fails.
    Error(usize),
}

#[derive(Clone)]
pub(super) struct Disk(Arc<Mutex<Platters>>);

struct Platters {
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Change>,
    calls: usize,
    fault: Fault,
}

#[derive(Clone, Default)]
struct Contents {
    /// What a reader sees.
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// What a sync that failed has left: clean, as the operating system has it, and perhaps on the disk.
    forgotten: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum Change {
    Name(String, usize),
    Rename(String, String),
    Unname(String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Name(name, file) => names.insert(name.clone(), *file),
            Self::Rename(from, to) => names.remove(from).and_then(|file| names.insert(to.clone(), file)),
            Self::Unname(name) => names.remove(name),
        };
    }
}

/// Numbers that look random, the same for each seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

impl Disk {
    pub(super) fn new() -> Self {
        let (names, durable_names) = (BTreeMap::new(), BTreeMap::new());
        let platters =
            Platters { files: vec![], names, durable_names, unsynced_names: vec![], calls: 0, fault: Fault::None };
        Self(Arc::new(Mutex::new(platters)))
    }

    fn platters(&self) -> MutexGuard<'_, Platters> {
        self.0.lock().unwrap()
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.platters().calls
    }

    /// Counts calls from 0 again; this happens to one.
    pub(super) fn will(&self, fault: Fault) {
        let mut platters = self.platters();
        (platters.calls, platters.fault) = (0, fault);
    }

    /// What is there after the power has failed.
    pub(super) fn after_power_loss(&self, random: &mut Random) -> Self {
        let platters = self.platters();
        let mut names = platters.durable_names.clone();
        let kept = random.below(platters.unsynced_names.len() as u64 + 1) as usize;
        platters.unsynced_names.iter().take(kept).for_each(|change| change.apply(&mut names));
        let files = platters.files.iter().map(|file| file.after_power_loss(random)).collect();
        let platters = Platters {
            files,
            durable_names: names.clone(),
            names,
            unsynced_names: vec![],
            calls: 0,
            fault: Fault::None,
        };
        Self(Arc::new(Mutex::new(platters)))
    }

    /// Changes a byte of a file.
    pub(super) fn damage(&self, name: &str, at: usize) {
        let mut platters = self.platters();
        let file = platters.names[name];
        let file = &mut platters.files[file];
        file.now[at] ^= 0x55;
        file.durable = file.now.clone();
    }

    pub(super) fn length(&self, name: &str) -> usize {
        let platters = self.platters();
        platters.files[platters.names[name]].now.len()
    }
}

impl Contents {
    fn after_power_loss(&self, random: &mut Random) -> Self {
        let mut bytes = self.durable.clone();
        for (at, written) in self.forgotten.iter().chain(&self.unsynced) {
            for (number, sector) in written.chunks(SECTOR).enumerate() {
                let at = at + number * SECTOR;
                let torn = match random.below(6) {
                    0..=2 => sector.len(),
                    3..=4 => 0,
                    _ => random.below(sector.len() as u64) as usize,
                };
                if bytes.len() < at + sector.len() {
                    bytes.resize(at + sector.len(), 0);
                }
                bytes[at..at + torn].copy_from_slice(&sector[..torn]);
            }
        }
        Self { now: bytes.clone(), durable: bytes, ..Self::default() }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        if self.now.len() < at + bytes.len() {
            self.now.resize(at + bytes.len(), 0);
        }
        self.now[at..at + bytes.len()].copy_from_slice(bytes);
        self.unsynced.push((at, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (at, bytes) in self.unsynced.drain(..) {
            if self.durable.len() < at + bytes.len() {
                self.durable.resize(at + bytes.len(), 0);
            }
            self.durable[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
}

impl Platters {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        let number = self.calls - 1;
        match self.fault {
            Fault::Cut(at) if number >= at => Err(io::Error::other("the power has failed")),
            Fault::Error(at) if number == at => Err(io::Error::other("the disk failed")),
            _ => Ok(()),
        }
    }

    fn rename(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }
}

struct Open {
    disk: Disk,
    file: usize,
}

impl Directory for Disk {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut platters = self.platters();
        platters.call()?;
        Ok(platters.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut platters = self.platters();
        platters.call()?;
        let file = *platters.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { disk: self.clone(), file }))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn File>> {
        let mut platters = self.platters();
        platters.call()?;
        if platters.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = platters.files.len();
        platters.files.push(Contents::default());
        platters.rename(Change::Name(name.to_owned(), file));
        platters.files[file].write(0, &vec![0; bytes as usize]);
        platters.call()?;
        platters.files[file].sync();
        Ok(Box::new(Open { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut platters = self.platters();
        platters.call()?;
        platters.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        platters.rename(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut platters = self.platters();
        platters.call()?;
        platters.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        platters.rename(Change::Unname(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut platters = self.platters();
        platters.call()?;
        platters.durable_names = platters.names.clone();
        platters.unsynced_names.clear();
        Ok(())
    }
}

impl File for Open {
    fn bytes(&self) -> io::Result<u64> {
        let mut platters = self.disk.platters();
        platters.call()?;
        Ok(platters.files[self.file].now.len() as u64)
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut platters = self.disk.platters();
        platters.call()?;
        let there = platters.files[self.file].now.get(at as usize..at as usize + buffer.len());
        buffer.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut platters = self.disk.platters();
        // A write that fails may have written some.
        platters.files[self.file].write(at as usize, bytes);
        platters.call().inspect_err(|_| {
            let file = &mut platters.files[self.file];
            let failed = file.unsynced.pop().unwrap();
            file.forgotten.push(failed);
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut platters = self.disk.platters();
        let called = platters.call();
        let file = &mut platters.files[self.file];
        match called {
            Ok(()) => file.sync(),
            Err(_) => file.forgotten.append(&mut file.unsynced),
        }
        called
    }
}
