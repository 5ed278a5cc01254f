//! Moments at which a record is there and must not count, or must count and might be gone, one by one.

use std::sync::Arc;

use super::{
    super::{
        AppendError, Directory as _, Hash, Identity, Journal, Keep, LogError, Tip,
        header::{COPIES, Header},
        record, segment,
    },
    IDENTITY, SIZES,
    disk::{Disk, Fault, Random},
    time,
};

fn create(disk: &Disk, identity: Identity) -> Journal {
    Journal::create(Arc::new(disk.clone()), identity, SIZES, Tip::default()).unwrap()
}

fn open(disk: &Disk, identity: Identity, applied: Tip) -> Result<Journal, LogError> {
    Journal::open(Arc::new(disk.clone()), identity, SIZES, applied)
}

fn payloads(journal: &Journal) -> Vec<Vec<u8>> {
    journal.log().records(0).map(|record| record.unwrap().payload).collect()
}

/// A file is used again whose records of a former life would go on exactly where the log ends.
#[test]
fn records_of_a_former_life_never_count() {
    let branch = Identity { timeline: 8, ..IDENTITY };
    for cut in 0..24 {
        let disk = Disk::new();
        let mut journal = create(&disk, IDENTITY);
        for number in 1..=13_u8 {
            journal.append(time(1), &[number]).unwrap(); // four of them fill the first segment, and the next has 5 to 14
        }
        let keep = Keep { applied: 13, shipped: None, since: time(9), bytes: 0 };
        journal.log().prepare().unwrap();
        journal.append(time(1), &vec![0; 30_000]).unwrap();
        journal.log().trim(&keep).unwrap();
        drop(journal);
        // The same history once more, in another timeline, until it needs the second file.
        drop(create(&disk, branch));
        let mut journal = open(&disk, branch, Tip::default()).unwrap();
        for number in 1..=4_u8 {
            journal.append(time(1), &[number]).unwrap();
        }
        disk.will(Fault::Cut(cut));
        let stored = journal.append(time(1), &[5]).is_ok();
        drop(journal);
        for seed in 0..4 {
            let journal = open(&disk.after_power_loss(&mut Random(seed)), branch, Tip::default()).unwrap();
            let found = payloads(&journal);
            assert!(found.len() == 5 || (found.len() == 4 && !stored), "cut {cut}: {found:?}");
        }
    }
}

#[test]
fn a_record_that_does_not_follow_the_one_before_is_damage() {
    let disk = Disk::new();
    let mut journal = create(&disk, IDENTITY);
    let tips: Vec<_> = (1..=3_u8).map(|number| journal.append(time(1), &[number]).unwrap()).collect();
    drop(journal);
    let file = disk.open(&segment::name_of(0)).unwrap();
    let mut blocks = vec![0; COPIES * 4096];
    file.read(0, &mut blocks).unwrap();
    let salt = Header::decode(&blocks, 0).unwrap().unwrap().salt;
    let mut another = Vec::new();
    record::encode(&mut another, salt, 2, time(1), Hash([9; 16]), &[2]);
    file.write(segment::START + 4096, &another).unwrap();
    file.sync().unwrap();
    assert!(matches!(open(&disk, IDENTITY, Tip::default()), Err(LogError::Damaged { number: 2, .. })));
    assert_eq!(open(&disk, IDENTITY, tips[2]).unwrap().tip(), tips[2], "what is applied stops no start");
}

/// A process died between the write and the end of the sync; the next one finds the record in the system's memory.
#[test]
fn what_was_found_at_an_opening_is_durable_from_then_on() {
    for seed in 0..30 {
        let disk = Disk::new();
        let mut journal = create(&disk, IDENTITY);
        let applied = journal.append(time(1), b"stored").unwrap();
        disk.will(Fault::Cut(1));
        assert!(matches!(journal.append(time(1), b"perhaps"), Err(AppendError::Unknown(_))));
        drop(journal);
        disk.will(Fault::None);
        let journal = open(&disk, IDENTITY, applied).unwrap();
        assert_eq!(journal.tip().number, 2);
        let found = journal.tip();
        drop(journal);
        let journal = open(&disk.after_power_loss(&mut Random(seed)), IDENTITY, applied).unwrap();
        assert_eq!(journal.tip(), found);
    }
}

#[test]
fn after_a_segment_could_not_be_begun_nothing_more_goes_into_the_one_before() {
    for call in 0..16 {
        for seed in 0..4 {
            let disk = Disk::new();
            let mut journal = create(&disk, IDENTITY);
            journal.append(time(1), b"first").unwrap();
            disk.will(Fault::Error(call));
            let large = journal.append(time(1), &vec![7; 30_000]); // has no room there
            disk.will(Fault::None);
            let small = journal.append(time(1), b"small").unwrap(); // would have some
            assert_eq!(small.number, 2 + u64::from(large.is_ok()));
            drop(journal);
            let journal = open(&disk.after_power_loss(&mut Random(seed)), IDENTITY, Tip::default()).unwrap();
            assert_eq!(payloads(&journal).last().unwrap(), b"small", "call {call}");
            assert_eq!(journal.tip(), small);
        }
    }
}

#[test]
fn once_nobody_knows_what_is_stored_nothing_more_is_taken() {
    let disk = Disk::new();
    let mut journal = create(&disk, IDENTITY);
    disk.will(Fault::Cut(0));
    assert!(matches!(journal.append(time(1), b"perhaps"), Err(AppendError::Unknown(_))));
    disk.will(Fault::None);
    assert!(matches!(journal.append(time(1), b"certainly"), Err(AppendError::Stopped)));
}
