//! Migrations, the copy that is kept before them, and attempts that were cut short.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{CannotOpen, Migration};

#[test]
fn migrations_run_once_in_order_after_a_copy_is_kept() {
    fn note(store: &Store, name: &str) -> Result<(), Error> {
        let key = store.snapshot()?.len::<Animals>()?;
        insert(store, key, &animal(name, 1))
    }
    const LATER: Schema = Schema {
        format: 3,
        oldest_reader: 3,
        migrations: &[
            Migration { name: "second", to_format: 2, run: |store| note(store, "second") },
            Migration { name: "third", to_format: 3, run: |store| note(store, "third") },
        ],
        ..Schema::new(SCHEMA.catalogue)
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    let store = Options::default().open(&path, &SCHEMA).unwrap();
    note(&store, "first").unwrap();
    store.close().unwrap();
    for _ in 0..2 {
        let store = Options::default().open(&path, &LATER).unwrap();
        let rows = store.snapshot().unwrap().rows::<Animals>(None, Direction::Forward).unwrap();
        let names: Vec<_> = rows.map(|row| row.unwrap().1.name).collect();
        assert_eq!(names, ["first", "second", "third"]);
        assert!(store.meta("migration:second").unwrap().is_some());
        store.close().unwrap();
    }
    assert!(matches!(Options::default().open(&path, &SCHEMA), Err(CannotOpen::NewerFormat { .. })));
    let kept = Options::default().open(&directory.path().join("zoo.before-format-2"), &SCHEMA).unwrap();
    assert_eq!(kept.snapshot().unwrap().len::<Animals>().unwrap(), 1);
}

#[test]
fn a_second_upgrade_keeps_a_copy_of_its_own_and_runs_what_is_new() {
    const fn upgrade(format: u32, migrations: &'static [Migration]) -> Schema {
        Schema { format, oldest_reader: format, migrations, ..Schema::new(SCHEMA.catalogue) }
    }
    fn note(store: &Store, key: u64) -> Result<(), Error> {
        insert(store, key, &animal(&format!("migration {key}"), 1)) // fails where it has run before
    }
    const SECOND: Migration = Migration { name: "second", to_format: 2, run: |store| note(store, 2) };
    const THIRD: Migration = Migration { name: "third", to_format: 3, run: |store| note(store, 3) };
    let schemas = [upgrade(1, &[]), upgrade(2, &[SECOND]), upgrade(3, &[SECOND, THIRD])];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    for (schema, animals) in schemas.iter().zip(0..) {
        for _ in 0..2 {
            let store = Options::default().open(&path, schema).unwrap();
            assert_eq!(store.snapshot().unwrap().len::<Animals>().unwrap(), animals);
            store.close().unwrap();
        }
    }
    // Each copy is what that upgrade began with, and there are no others.
    for (schema, animals) in schemas[..2].iter().zip(0..) {
        let kept = directory.path().join(format!("zoo.before-format-{}", schema.format + 1));
        let kept = Options::default().open(&kept, schema).unwrap();
        assert_eq!(kept.snapshot().unwrap().len::<Animals>().unwrap(), animals);
        kept.close().unwrap();
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn an_upgrade_that_failed_is_taken_up_again_with_the_copy_it_kept() {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    fn run(store: &Store) -> Result<(), Error> {
        let attempt = ATTEMPTS.fetch_add(1, Ordering::SeqCst);
        insert(store, attempt.into(), &animal(&format!("attempt {attempt}"), 1))?;
        if attempt < 2 { Err(Error::Refused("planned".into())) } else { Ok(()) }
    }
    const LATER: Schema = Schema {
        format: 2,
        oldest_reader: 2,
        migrations: &[Migration { name: "second", to_format: 2, run }],
        ..Schema::new(SCHEMA.catalogue)
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    Options::default().open(&path, &SCHEMA).unwrap().close().unwrap();
    for _ in 0..2 {
        assert!(matches!(Options::default().open(&path, &LATER), Err(CannotOpen::Store(Error::Refused(_)))));
    }
    let store = Options::default().open(&path, &LATER).unwrap();
    assert_eq!(store.snapshot().unwrap().len::<Animals>().unwrap(), 3);
    let kept = Options::default().open(&directory.path().join("zoo.before-format-2"), &SCHEMA).unwrap();
    assert_eq!(kept.snapshot().unwrap().len::<Animals>().unwrap(), 0, "the copy is older than every attempt");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

/// `/dev/full` takes bytes like a disk that has no room left for them.
#[cfg(target_os = "linux")]
#[test]
fn a_copy_that_could_not_be_finished_is_not_there_and_nothing_is_migrated() {
    const LATER: Schema = Schema {
        format: 2,
        oldest_reader: 2,
        migrations: &[Migration { name: "second", to_format: 2, run: |_| panic!("it runs without a copy") }],
        ..Schema::new(SCHEMA.catalogue)
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    Options::default().open(&path, &SCHEMA).unwrap().close().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("zoo.before-format-2.partial")).unwrap();
    let refused = Options::default().open(&path, &LATER).err().unwrap();
    assert!(matches!(refused, CannotOpen::Io { .. }), "{refused}");
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["zoo"]);
    Options::default().open(&path, &SCHEMA).unwrap().close().unwrap(); // of the format it was
}
