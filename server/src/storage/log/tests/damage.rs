//! What a log that is damaged, or not the store's, is taken for.

use std::sync::Arc;

use super::{
    super::{Identity, Journal, Keep, LogError, Tip},
    IDENTITY, SIZES,
    disk::{Disk, Fault, Random},
    time,
};

const RECORDS: u64 = 24;

/// A log with some records, after a few openings; and its tip after each record.
fn log() -> (Disk, Vec<Tip>) {
    let disk = Disk::new();
    let mut journal = Journal::create(Arc::new(disk.clone()), IDENTITY, SIZES, Tip::default()).unwrap();
    let mut tips = vec![Tip::default()];
    for number in 1..=RECORDS {
        if number % 10 == 0 {
            drop(journal);
            journal = open(&disk, tips[number as usize - 4]).unwrap();
        }
        let length = [10, 5000, 4100][number as usize % 3];
        tips.push(journal.append(time(number), &vec![number as u8; length]).unwrap());
    }
    (disk, tips)
}

fn open(disk: &Disk, applied: Tip) -> Result<Journal, LogError> {
    Journal::open(Arc::new(disk.clone()), IDENTITY, SIZES, applied)
}

fn names(disk: &Disk) -> Vec<String> {
    use super::super::Directory as _;
    disk.names().unwrap()
}

#[test]
fn damage_anywhere_loses_no_record_without_a_word() {
    let (disk, tips) = log();
    let (mut refused, mut harmless) = (0, 0);
    for name in names(&disk) {
        for block in 0..disk.length(&name) / 4096 {
            for at in [block * 4096 + 9, block * 4096 + 45] {
                for applied in [0, 11, 20, 24] {
                    let damaged = disk.after_power_loss(&mut Random(1));
                    damaged.damage(&name, at);
                    let opened = open(&damaged, tips[applied]);
                    match opened {
                        Ok(journal) => {
                            harmless += 1;
                            let tip = journal.tip();
                            assert!(tip.number >= RECORDS - 1, "{name} {at}: only the very last may be taken for torn");
                            assert_eq!(tip, tips[tip.number as usize]);
                            let after = journal.log().records(applied as u64).map(|record| record.unwrap().number);
                            assert_eq!(
                                after.collect::<Vec<_>>(),
                                (applied as u64 + 1..=tip.number).collect::<Vec<_>>()
                            );
                        }
                        Err(LogError::Damaged { number, .. }) => {
                            refused += 1;
                            assert!(number > applied as u64, "{name} {at}: what is applied stops no start");
                        }
                        // The very last record, which the store has applied.
                        Err(LogError::Behind { applied, last }) => assert_eq!((applied, last), (RECORDS, RECORDS - 1)),
                        Err(error) => panic!("{name} {at} {applied}: {error}"),
                    }
                }
            }
        }
    }
    assert!(refused > 30 && harmless > 100, "{refused} {harmless}");
}

#[test]
fn a_segment_both_of_whose_headers_are_damaged_stops_a_start_that_needs_it() {
    let (disk, tips) = log();
    let mut segments = names(&disk);
    segments.retain(|name| name.ends_with(".segment"));
    let (first, last) = (segments.first().unwrap(), segments.last().unwrap());
    for (name, applied, is_refused) in [(first, 0, true), (first, 24, false), (last, 0, true), (last, 24, true)] {
        let damaged = disk.after_power_loss(&mut Random(1));
        damaged.damage(name, 50);
        damaged.damage(name, 4096 + 50);
        let opened = open(&damaged, tips[applied]);
        assert_eq!(matches!(opened, Err(LogError::Header { .. })), is_refused, "{name} {applied}");
    }
}

#[test]
fn a_log_that_does_not_join_what_is_applied_is_refused_and_stays_as_it_is() {
    let (disk, tips) = log();
    let before = names(&disk);
    let tip = tips[RECORDS as usize];
    let (ahead, another) = (Tip { number: RECORDS + 1, ..tip }, Tip { hash: tips[3].hash, ..tips[4] });
    assert!(matches!(open(&disk, ahead), Err(LogError::Behind { applied: 25, last: RECORDS })));
    assert!(matches!(open(&disk, another), Err(LogError::Foreign { number: 4 })));
    for stranger in [Identity { log: [1; 16], ..IDENTITY }, Identity { timeline: 1, ..IDENTITY }] {
        let opened = Journal::open(Arc::new(disk.clone()), stranger, SIZES, tip);
        assert!(matches!(opened, Err(LogError::Missing)));
    }
    assert_eq!(names(&disk), before);

    let later = Disk::new();
    drop(Journal::create(Arc::new(later.clone()), IDENTITY, SIZES, tips[9]).unwrap());
    assert!(matches!(open(&later, tips[8]), Err(LogError::Gap { applied: 8, first: 10 })));
    assert!(matches!(open(&later, Tip { hash: tips[8].hash, ..tips[9] }), Err(LogError::Foreign { number: 9 })));
    assert_eq!(open(&later, tips[9]).unwrap().tip(), tips[9]);
}

#[test]
fn after_a_sync_that_failed_the_number_is_used_again_and_what_was_written_first_is_void() {
    let (disk, tips) = log();
    let mut journal = open(&disk, tips[24]).unwrap();
    disk.will(Fault::Error(1)); // the write succeeds, the sync does not
    journal.append(time(99), b"never stored").unwrap_err();
    disk.will(Fault::None);
    let tip = journal.append(time(99), b"stored").unwrap();
    assert_eq!(tip.number, 25);
    drop(journal);
    for seed in 0..50 {
        let journal = open(&disk.after_power_loss(&mut Random(seed)), tips[24]).unwrap();
        let payloads = journal.log().records(24).map(|record| record.unwrap().payload);
        assert_eq!(payloads.collect::<Vec<_>>(), [b"stored"]);
    }
}

#[test]
fn a_new_timeline_goes_on_where_it_was_told_and_what_was_there_before_goes() {
    let (disk, tips) = log();
    let branch = Identity { timeline: 8, ..IDENTITY };
    let mut journal = Journal::create(Arc::new(disk.clone()), branch, SIZES, tips[20]).unwrap();
    assert_eq!(journal.append(time(1), b"another 21").unwrap().number, 21);
    drop(journal);
    let disk = disk.after_power_loss(&mut Random(1));
    let journal = Journal::open(Arc::new(disk.clone()), branch, SIZES, tips[20]).unwrap();
    let payloads = journal.log().records(20).map(|record| record.unwrap().payload);
    assert_eq!(payloads.collect::<Vec<_>>(), [b"another 21"]);
    assert!(matches!(open(&disk, tips[20]), Err(LogError::Missing)));
}

#[test]
fn segments_before_a_gap_are_not_of_the_log() {
    use super::super::Directory as _;
    let (disk, tips) = log();
    let mut segments = names(&disk);
    segments.retain(|name| name.ends_with(".segment"));
    disk.remove(&segments[segments.len() - 2]).unwrap();
    assert!(matches!(open(&disk, tips[0]), Err(LogError::Gap { applied: 0, .. })));
    let journal = open(&disk, tips[24]).unwrap();
    assert!(journal.log().reach() > 0);
    assert!(journal.log().records(journal.log().reach()).all(|record| record.is_ok()));
}

#[test]
fn what_was_not_shipped_stays_although_it_is_applied_and_old() {
    let (disk, tips) = log();
    let journal = open(&disk, tips[24]).unwrap();
    let trim = |shipped| journal.log().trim(&Keep { applied: 24, shipped: Some(shipped), since: time(99), bytes: 0 });
    trim(5).unwrap();
    assert!(journal.log().reach() <= 5);
    trim(24).unwrap();
    assert!(journal.log().reach() > 5);
}
