//! Opening: files of ours, of others, of newer and older programs.

use super::*;
use crate::CannotOpen;

#[test]
fn files_are_reopened_after_a_close_and_after_a_drop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    let options = Options::default();
    for key in 0..4 {
        let store = options.open(&path, &SCHEMA).unwrap();
        assert_eq!(store.snapshot().unwrap().len::<Animals>().unwrap(), key);
        insert(&store, key, &animal(&key.to_string(), 1)).unwrap();
        assert!(matches!(options.open(&path, &SCHEMA), Err(CannotOpen::InUse { .. })));
        if key % 2 == 0 {
            store.close().unwrap();
        }
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("foreign");
    {
        let database = redb::Database::create(&foreign).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(definition("accounts")).unwrap().insert(&b"a"[..], &b"b"[..]).unwrap();
        transaction.commit().unwrap();
    }
    let refused = Options::default().open(&foreign, &SCHEMA);
    assert!(matches!(refused, Err(CannotOpen::Foreign { .. })));
    let text = directory.path().join("text");
    std::fs::write(&text, "no database, but long enough to be looked at twice".repeat(1000)).unwrap();
    let before = std::fs::read(&text).unwrap();
    let refused = Options::default().open(&text, &SCHEMA);
    assert!(matches!(refused, Err(CannotOpen::Damaged { .. })));
    assert_eq!(std::fs::read(&text).unwrap(), before);
}

#[test]
fn newer_formats_are_refused_unless_they_allow_older_readers() {
    let directory = tempfile::tempdir().unwrap();
    for (oldest_reader, is_readable) in [(1, true), (2, false)] {
        let path = directory.path().join(format!("{oldest_reader}"));
        let newer = Schema { format: 2, oldest_reader, ..Schema::new(SCHEMA.catalogue) };
        Options::default().open(&path, &newer).unwrap().close().unwrap();
        match Options::default().open(&path, &SCHEMA) {
            Ok(_) => assert!(is_readable),
            Err(CannotOpen::NewerFormat { found: 2, supported: 1, .. }) => assert!(!is_readable),
            Err(other) => panic!("{other}"),
        }
    }
}

/// The same table as an older program declares it: one index less.
#[allow(dead_code, reason = "its index is kept, and read by nobody")]
mod without_index {
    super::table! {
        /// Every animal.
        pub(super) table Animals("animals"): u64 => super::Animal;
        /// Finds an animal by its name.
        unique AnimalsByName("animals_by_name"): String = |_, animal| Some(animal.name.clone());
    }
}

/// Without a number of its own the newer catalogue differs by its fingerprint alone.
#[test]
fn what_an_older_program_writes_into_a_newer_store_is_in_the_newer_ones_indexes() {
    for newer_format in [1, 2] {
        let older = Schema::new(catalogue![without_index::Animals]);
        let newer = Schema { format: newer_format, ..SCHEMA };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zoo");
        let store = Options::default().open(&path, &newer).unwrap();
        insert(&store, 1, &animal("stays", 3)).unwrap();
        insert(&store, 2, &animal("moves", 3)).unwrap();
        insert(&store, 3, &animal("goes", 3)).unwrap();
        store.close().unwrap();
        // The second time, closing is cut short.
        for (round, is_closed) in [(0, true), (1, false)] {
            let store = Options::default().open(&path, &older).unwrap();
            let new = 4 + round;
            let worked = store.write(|batch| {
                batch.insert::<without_index::Animals>(&new, &animal(&format!("new {new}"), 3))?;
                batch.replace::<without_index::Animals>(&2, &animal("moves", 10 + round))?;
                if round == 0 { batch.remove::<without_index::Animals>(&3) } else { Ok(()) }
            });
            worked.unwrap();
            if is_closed {
                store.close().unwrap();
            }
            drop(store);
            let store = Options::default().open(&path, &newer).unwrap();
            assert_eq!(mismatches(&store), [], "format {newer_format}, round {round}");
            let lives_in = |number| house(&store, number, KeyRange::ALL, Direction::Forward);
            assert_eq!(lives_in(3), [vec![1], (4..=new).collect()].concat());
            assert_eq!(lives_in(10 + round), [2]);
            assert_eq!(store.meta("format").unwrap().unwrap(), newer_format.to_string().as_bytes());
            store.close().unwrap();
        }
    }
}

#[test]
fn a_new_index_is_made_from_the_records_when_the_store_is_opened() {
    const BEFORE: Schema = Schema::new(catalogue![without_index::Animals]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    let store = Options::default().open(&path, &BEFORE).unwrap();
    for key in 0..5 {
        let inserted = store.write(|batch| batch.insert::<without_index::Animals>(&key, &animal(&key.to_string(), 3)));
        inserted.unwrap();
    }
    store.close().unwrap();
    let store = Options::default().open(&path, &SCHEMA).unwrap();
    assert_eq!(mismatches(&store), []);
    assert_eq!(house(&store, 3, KeyRange::ALL, Direction::Forward), [0, 1, 2, 3, 4]);
}
