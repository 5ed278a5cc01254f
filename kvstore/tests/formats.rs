//! What a file's format promises to older programs, and to whoever has to start a migration twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use decentcom_kvstore::{CannotOpen, Error, Migration, Options, Schema, Store, catalogue, record, table};

record! {
    /// A note.
    struct Note: version 1 {
        /// What it says.
        text: String,
    }
}

table! {
    /// Every note.
    table Notes("notes"): u64 => Note;
}

fn note(text: &str) -> Note {
    Note { text: text.into() }
}

fn open(path: &Path, format: u32, migrations: &'static [Migration]) -> Result<Store, CannotOpen> {
    Options::default()
        .open(path, &Schema { format, oldest_reader: format, migrations, ..Schema::new(catalogue![Notes]) })
}

fn text(path: &Path, format: u32) -> String {
    let store = open(path, format, &[]).unwrap();
    store.snapshot().unwrap().get::<Notes>(&1).unwrap().unwrap().text
}

fn file_with_a_note(path: &Path) {
    let store = open(path, 1, &[]).unwrap();
    store.write(|batch| batch.insert::<Notes>(&1, &note("original"))).unwrap();
    store.close().unwrap();
}

fn nothing(_: &Store) -> Result<(), Error> {
    Ok(())
}

#[test]
fn a_format_raised_without_a_migration_refuses_older_programs_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    file_with_a_note(&path);
    drop(open(&path, 2, &[]).unwrap());
    assert!(matches!(open(&path, 1, &[]), Err(CannotOpen::NewerFormat { found: 2, .. })));
    assert_eq!(text(&directory.path().join("store.before-format-2"), 1), "original", "the way back");
    drop(open(&path, 2, &[]).unwrap());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "the store and one copy");
}

#[test]
fn a_step_that_failed_runs_again_though_another_reached_its_format() {
    static FAILS: AtomicBool = AtomicBool::new(true);
    static RAN: AtomicU32 = AtomicU32::new(0);
    fn second(_: &Store) -> Result<(), Error> {
        RAN.fetch_add(1, SeqCst);
        if FAILS.load(SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }
    static STEPS: &[Migration] = &[
        Migration { name: "first", to_format: 2, run: nothing },
        Migration { name: "second", to_format: 2, run: second },
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(open(&path, 1, &[]).unwrap());
    assert!(open(&path, 2, STEPS).is_err());
    FAILS.store(false, SeqCst);
    drop(open(&path, 2, STEPS).unwrap());
    drop(open(&path, 2, STEPS).unwrap());
    assert_eq!(RAN.load(SeqCst), 2, "once in vain, once for good, never again");
}

#[test]
fn a_new_file_needs_none_of_the_steps_before_it() {
    static STEPS: &[Migration] = &[Migration { name: "never", to_format: 2, run: |_| Err(Error::Closed) }];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(open(&path, 2, STEPS).unwrap());
    drop(open(&path, 2, STEPS).unwrap());
}

#[test]
fn the_copy_kept_is_from_before_the_first_attempt_however_often_it_is_tried() {
    fn half(store: &Store) -> Result<(), Error> {
        store.write(|batch| batch.replace::<Notes>(&1, &note("half way")))?;
        Err(Error::Closed)
    }
    static STEPS: &[Migration] = &[Migration { name: "half", to_format: 2, run: half }];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    file_with_a_note(&path);
    assert!(open(&path, 2, STEPS).is_err());
    assert!(open(&path, 2, STEPS).is_err());
    assert_eq!(text(&directory.path().join("store.before-format-2"), 1), "original");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "the store and one copy");
}

#[test]
fn a_copy_from_an_earlier_upgrade_is_not_overwritten() {
    static STEPS: &[Migration] = &[Migration { name: "nothing", to_format: 2, run: nothing }];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let earlier = directory.path().join("store.before-format-2");
    std::fs::write(&earlier, "somebody's backup").unwrap();
    file_with_a_note(&path);
    drop(open(&path, 2, STEPS).unwrap());
    assert_eq!(std::fs::read(&earlier).unwrap(), b"somebody's backup");
    assert_eq!(text(&directory.path().join("store.before-format-2-2"), 1), "original");
}
