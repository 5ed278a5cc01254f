//! Writing: what a batch stages, refuses and sees.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::*;
use crate::{Problem, RawSource, Table as _, WriteBatch};

#[test]
fn a_batch_that_fails_stores_nothing() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    let result = store.write(|batch| {
        batch.insert::<Animals>(&2, &animal("Bob", 1))?;
        batch.replace::<Animals>(&1, &animal("Eve", 2))?;
        batch.set_meta("fed_at", b"noon")?;
        batch.insert::<Animals>(&3, &animal("Bob", 1))
    });
    assert!(matches!(result, Err(Error::Duplicate { index: "animals_by_name" })));
    assert_eq!(rows(&store), [(1, animal("Ada", 1))]);
    assert_eq!(store.meta("fed_at").unwrap(), None);
    assert_eq!(mismatches(&store), []);
}

#[test]
fn a_call_that_fails_stages_nothing_and_its_batch_may_go_on() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    let write = |batch: &mut WriteBatch| {
        batch.insert::<Animals>(&2, &animal("Bob", 1))?;
        let refused = [
            batch.insert::<Animals>(&2, &animal("Cy", 2)),
            batch.insert::<Animals>(&3, &animal("Ada", 2)),
            batch.insert::<Animals>(&3, &animal("Bob", 2)),
            batch.insert::<Animals>(&3, &animal(&"too large ".repeat(500_000), 2)),
            batch.replace::<Animals>(&2, &animal("Ada", 2)),
            batch.replace::<Animals>(&1, &animal(&"too large ".repeat(500_000), 2)),
            batch.replace::<Animals>(&9, &animal("Cy", 2)),
            batch.remove::<Animals>(&9),
        ];
        batch.insert::<Animals>(&4, &animal("Cy", 3))?;
        Ok(refused)
    };
    let refused = store.write(write).unwrap();
    assert!(matches!(
        refused,
        [
            Err(Error::Exists { .. }),
            Err(Error::Duplicate { index: "animals_by_name" }),
            Err(Error::Duplicate { .. }),
            Err(Error::TooLarge { .. }),
            Err(Error::Duplicate { .. }),
            Err(Error::TooLarge { .. }),
            Err(Error::Missing { .. }),
            Err(Error::Missing { .. }),
        ]
    ));
    assert_eq!(rows(&store), [(1, animal("Ada", 1)), (2, animal("Bob", 1)), (4, animal("Cy", 3))]);
    assert_eq!(mismatches(&store), []);
}

#[test]
fn a_batch_sees_what_it_staged_before() {
    let store = a_store();
    store
        .write(|batch| {
            batch.insert::<Animals>(&1, &animal("Ada", 1))?;
            batch.replace::<Animals>(&1, &animal("Eve", 2))?;
            batch.insert::<Animals>(&2, &animal("Ada", 1))?;
            assert_eq!(batch.find::<AnimalsByName>(&"Eve".into())?, Some(1));
            assert_eq!(batch.get::<Animals>(&2)?, Some(animal("Ada", 1)));
            batch.remove::<Animals>(&1)?;
            assert_eq!(batch.get::<Animals>(&1)?, None);
            assert_eq!(batch.find::<AnimalsByName>(&"Eve".into())?, None);
            Ok(())
        })
        .unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.get::<Animals>(&1).unwrap(), None);
    assert_eq!(snapshot.find::<AnimalsByName>(&"Eve".into()).unwrap(), None);
    assert_eq!(snapshot.find::<AnimalsByName>(&"Ada".into()).unwrap(), Some(2));
    assert_eq!(mismatches(&store), []);
}

#[test]
fn of_what_a_batch_does_to_a_key_the_last_counts() {
    let store = a_store();
    insert(&store, 1, &animal("committed", 1)).unwrap();
    store
        .write(|batch| {
            batch.replace::<Animals>(&1, &animal("once", 3))?;
            batch.replace::<Animals>(&1, &animal("twice", 4))?;
            batch.insert::<Animals>(&2, &animal("new", 5))?;
            batch.remove::<Animals>(&2)?;
            batch.insert::<Animals>(&3, &animal("once", 3))
        })
        .unwrap();
    assert_eq!(rows(&store), [(1, animal("twice", 4)), (3, animal("once", 3))]);
    assert_eq!(store.snapshot().unwrap().find::<AnimalsByName>(&"once".into()).unwrap(), Some(3));
    assert_eq!(mismatches(&store), []);
}

#[test]
fn what_does_not_decode_can_be_discarded_with_the_entries_that_are_known() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    insert(&store, 2, &animal("Bob", 1)).unwrap();
    tamper(&store, "animals", &1_u64.to_be_bytes(), Some(b"rubbish"));
    let removed = store.write(|batch| batch.remove::<Animals>(&1));
    assert!(matches!(removed, Err(Error::Corrupt { .. })));
    let discarded = store.write(|batch| {
        batch.discard::<Animals>(&1)?;
        batch.discard_entry::<AnimalsByHouse>(&1, &1)
    });
    discarded.unwrap();
    assert_eq!(house(&store, 1, KeyRange::ALL, Direction::Forward), [2]);
    // What nobody could know is left, for a rebuild.
    assert!(matches!(
        mismatches(&store)[..],
        [Mismatch { table: "animals_by_name", problem: Problem::DanglingEntry, .. }]
    ));
    store.rebuild_indexes().unwrap();
    assert_eq!(mismatches(&store), []);
}

#[test]
fn a_panic_aborts_the_batch_and_the_store_goes_on() {
    let store = a_store();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        store.write(|batch| -> Result<(), Error> {
            batch.insert::<Animals>(&1, &animal("Ada", 1))?;
            panic!("planned");
        })
    }));
    assert!(panicked.is_err());
    insert(&store, 2, &animal("Bob", 1)).unwrap();
    assert_eq!(store.snapshot().unwrap().len::<Animals>().unwrap(), 1);
    assert_eq!(mismatches(&store), []);
}

/// What many new rows between rows that are there come to is what they would come to one by one, and in full pages.
#[test]
fn runs_of_new_rows_are_stored_where_they_belong_and_packed() {
    let store = a_store();
    let mut expected = BTreeMap::new();
    // Places at which rows are added, a run at a time, as messages are to channels.
    for round in 0..8_u64 {
        store
            .write(|batch| {
                for place in 0..30_u64 {
                    for row in 0..40 + (round * place) % 20 {
                        let (key, animal) = (
                            place * 1_000_000 + round * 100 + row,
                            animal(&format!("{place} {round} {row} {}", "x".repeat(100)), 1),
                        );
                        batch.insert::<Animals>(&key, &animal)?;
                        expected.insert(key, animal);
                    }
                }
                Ok(())
            })
            .unwrap();
    }
    let snapshot = store.snapshot().unwrap();
    let rows: BTreeMap<_, _> =
        snapshot.rows::<Animals>(None, Direction::Forward).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, expected);
    let tree = RawSource::tree(&*snapshot, Animals::NAME).unwrap().unwrap();
    let fill = tree.stored_bytes as f64 / (tree.stored_bytes + tree.fragmented_bytes) as f64;
    assert!(fill > 0.7, "pages are {fill} full");

    // A key that is there ends the batch, wherever it is in a run.
    for taken in [0, 1, 2] {
        let refused = store.write(|batch| {
            (0..3).try_for_each(|number| {
                let key = if number == taken { 5_000_000 } else { 4_999_990 + number * 20 };
                batch.insert::<Animals>(&key, &animal(&format!("new {taken} {number}"), 1))
            })
        });
        assert!(matches!(refused, Err(Error::Exists { .. })), "{taken}: {refused:?}");
    }
    assert_eq!(store.snapshot().unwrap().len::<Animals>().unwrap(), expected.len() as u64);
}
