//! What was acknowledged is there, in order, whatever happens, and what was refused is not.

use std::sync::Arc;

use super::{
    super::{AppendError, Journal, Keep, LogError, Record, Tip},
    IDENTITY, SIZES,
    disk::{Disk, Fault, Random},
    time,
};

const STEPS: u64 = 14;

/// A store in front of the disk: what it was told, and what it has applied durably somewhere else.
#[derive(Clone)]
struct Store {
    acknowledged: Vec<Vec<u8>>,
    /// Payloads of which nobody knows whether they are stored.
    unknown: Vec<Vec<u8>>,
    applied: Tip,
    made: u64,
}

impl Store {
    fn new() -> Self {
        Self { acknowledged: vec![], unknown: vec![], applied: Tip::default(), made: 0 }
    }

    fn open(&self, disk: &Disk) -> Result<Journal, LogError> {
        let directory = Arc::new(disk.clone());
        match Journal::open(directory.clone(), IDENTITY, SIZES, self.applied) {
            // It was never begun.
            Err(LogError::Missing) if self.acknowledged.is_empty() && self.unknown.is_empty() => {
                Journal::create(directory, IDENTITY, SIZES, Tip::default())
            }
            opened => opened,
        }
    }

    fn append(&mut self, journal: &mut Journal, random: &mut Random) {
        self.made += 1;
        let length = [3, 4000, 4056, 4057, 9000, 30_000][random.below(6) as usize];
        let mut payload = vec![self.made as u8; length];
        payload[..2].copy_from_slice(&(self.made as u16).to_le_bytes());
        match journal.append(time(random.below(1000)), &payload) {
            Ok(tip) => {
                self.acknowledged.push(payload);
                assert_eq!(tip.number, self.acknowledged.len() as u64);
            }
            Err(AppendError::NotStored(_) | AppendError::Stopped) => {}
            Err(AppendError::Unknown(_)) => self.unknown.push(payload),
            Err(error) => panic!("{error}"),
        }
    }

    /// Some of what a store does; answers early when the disk refuses.
    fn work(&mut self, journal: &mut Journal, random: &mut Random) -> Result<(), LogError> {
        for _ in 0..STEPS {
            match random.below(8) {
                0 => journal.log().prepare()?,
                1 => self.applied = journal.tip(),
                2 => {
                    let (since, bytes) = (time(0), 3 * 4096 * random.below(8));
                    journal.log().trim(&Keep { applied: self.applied.number, shipped: None, since, bytes })?;
                }
                _ => self.append(journal, random),
            }
        }
        Ok(())
    }

    /// Everything is there that was acknowledged and is still in reach, and at most one more, of which nobody knew.
    fn check(&mut self, journal: &Journal) -> Result<(), LogError> {
        let records = match journal.log().records(journal.log().reach()).collect::<Result<Vec<_>, _>>() {
            Err(error @ LogError::Io { .. }) => return Err(error),
            records => records.unwrap(),
        };
        let (tip, acknowledged) = (journal.tip().number as usize, self.acknowledged.len());
        assert!(journal.log().reach() <= self.applied.number);
        assert!(tip >= acknowledged, "{tip} records of {acknowledged}");
        assert!(tip <= acknowledged + 1, "{tip} records of {acknowledged}");
        let mut before: Option<Record> = None;
        for record in records {
            let number = record.number as usize;
            match self.acknowledged.get(number - 1) {
                Some(payload) => assert!(record.payload == *payload, "record {number}"),
                None => assert!(self.unknown.contains(&record.payload), "record {number} was refused, or never made"),
            }
            if let Some(before) = before {
                assert_eq!((before.number + 1, before.hash()), (record.number, record.before));
                assert!(before.time <= record.time);
            }
            before = Some(record);
        }
        if let Some(newest) = before {
            assert_eq!(newest.hash(), journal.tip().hash);
            if newest.number as usize > acknowledged {
                self.acknowledged.push(newest.payload);
            }
        }
        self.unknown.clear();
        Ok(())
    }
}

/// Opens a log, works, and says of a payload under way that nobody knows of it.
fn live(store: &mut Store, disk: &Disk, random: &mut Random) -> Result<(), LogError> {
    let mut journal = store.open(disk)?;
    store.check(&journal)?;
    store.work(&mut journal, random)
}

/// How many calls a life makes that nothing happens to.
fn calls(store: &Store, disk: &Disk, seed: u64) -> usize {
    disk.will(Fault::None);
    live(&mut store.clone(), disk, &mut Random(seed)).unwrap();
    disk.calls()
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_at_every_call_twice_in_a_row() {
    for seed in 0..12 {
        let calls = calls(&Store::new(), &Disk::new(), seed);
        for cut in 0..=calls {
            let (mut store, disk, mut random) = (Store::new(), Disk::new(), Random(seed));
            disk.will(Fault::Cut(cut));
            let _ = live(&mut store, &disk, &mut random);
            // Again, at any call of the life after.
            let mut fate = Random(seed ^ ((cut as u64) << 20));
            let disk = disk.after_power_loss(&mut fate);
            disk.will(Fault::Cut(fate.below(60) as usize));
            let _ = live(&mut store, &disk, &mut random);
            let disk = disk.after_power_loss(&mut fate);
            live(&mut store, &disk, &mut random).unwrap_or_else(|error| panic!("seed {seed}, cut {cut}: {error}"));
        }
    }
}

#[test]
fn what_was_refused_never_comes_back_whichever_call_fails() {
    for seed in 0..16 {
        let calls = calls(&Store::new(), &Disk::new(), seed);
        for call in 0..calls + 5 {
            let (mut store, disk, mut random) = (Store::new(), Disk::new(), Random(seed));
            disk.will(Fault::Error(call));
            let _ = live(&mut store, &disk, &mut random);
            disk.will(Fault::None);
            let disk = disk.after_power_loss(&mut Random(seed ^ ((call as u64) << 20)));
            live(&mut store, &disk, &mut random).unwrap_or_else(|error| panic!("seed {seed}, call {call}: {error}"));
        }
    }
}
