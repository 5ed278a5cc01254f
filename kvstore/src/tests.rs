//! The store as its users see it: a table with two indexes, declared once.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU32, Ordering},
};

use proptest::prelude::*;
use redb::backends::InMemoryBackend;

use crate::{
    Direction, Error, Finding, KeyRange, Migration, OpenError, Options, Problem, Schema, Store, catalogue, record,
    snapshot::definition, table,
};

record! {
    /// An animal in a zoo.
    struct Animal: version 1 {
        /// Its name.
        name: String,
        /// The house it lives in; none while it travels.
        house: Option<u64>,
    }
}

table! {
    /// Every animal.
    table Animals("animals"): u64 => Animal;
    /// Finds an animal by its name.
    unique AnimalsByName("animals_by_name"): String = |_, animal| Some(animal.name.clone());
    /// Lists the animals of a house.
    index AnimalsByHouse("animals_by_house"): u64 = |_, animal| animal.house;
}

const SCHEMA: Schema = Schema { catalogue: catalogue![Animals], format: 1, oldest_reader: 1, migrations: &[] };

fn a_store() -> Store {
    Options::default().open_with_backend(InMemoryBackend::new(), &SCHEMA).unwrap()
}

fn animal(name: &str, house: u64) -> Animal {
    Animal { name: name.into(), house: Some(house) }
}

fn insert(store: &Store, key: u64, animal: &Animal) -> Result<(), Error> {
    store.write(|batch| batch.run(|operation| operation.insert::<Animals>(&key, animal)))?
}

fn house(store: &Store, house: u64, range: KeyRange<'_, u64>, direction: Direction) -> Vec<u64> {
    let snapshot = store.snapshot().unwrap();
    let keys = snapshot.keys_of::<AnimalsByHouse>(&house, range, direction).unwrap();
    keys.map(|entry| entry.unwrap().1).collect()
}

fn findings(store: &Store) -> Vec<Finding> {
    let mut findings = Vec::new();
    store.verify(|finding| findings.push(finding)).unwrap();
    findings
}

/// Changes the file behind the store's back.
fn tamper(store: &Store, table: &str, key: &[u8], value: Option<&[u8]>) {
    store
        .with_transaction(|transaction| {
            let mut table = transaction.open_table(definition(table))?;
            match value {
                Some(value) => table.insert(key, value)?,
                None => table.remove(key)?,
            };
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_failing_operation_leaves_no_trace_and_its_neighbours_untouched() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    let results = store
        .write(|batch| {
            [
                batch.run(|operation| operation.insert::<Animals>(&2, &animal("Bob", 1))),
                batch.run(|operation| {
                    operation.insert::<Animals>(&3, &animal("Cy", 1))?;
                    operation.replace::<Animals>(&2, &animal("Bobby", 2))?;
                    operation.insert::<Animals>(&4, &animal("Ada", 1))
                }),
                batch.run(|operation| operation.insert::<Animals>(&5, &animal("Cy", 3))),
                batch.run(|operation| operation.remove::<Animals>(&9)),
            ]
        })
        .unwrap();
    assert!(matches!(
        results,
        [Ok(()), Err(Error::Duplicate { index: "animals_by_name" }), Ok(()), Err(Error::Missing { .. })]
    ));
    let snapshot = store.snapshot().unwrap();
    let rows: Vec<_> = snapshot.rows::<Animals>(None, Direction::Forward).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, [(1, animal("Ada", 1)), (2, animal("Bob", 1)), (5, animal("Cy", 3))]);
    assert_eq!(findings(&store), []);
}

#[test]
fn an_operation_that_touched_a_key_twice_and_failed_is_taken_back_to_before_its_first_touch() {
    let store = a_store();
    insert(&store, 1, &animal("committed", 1)).unwrap();
    store
        .write(|batch| {
            batch.run(|operation| operation.replace::<Animals>(&1, &animal("staged", 2))).unwrap();
            batch
                .run(|operation| {
                    operation.replace::<Animals>(&1, &animal("once", 3))?;
                    operation.replace::<Animals>(&1, &animal("twice", 4))?;
                    operation.insert::<Animals>(&2, &animal("new", 5))?;
                    operation.remove::<Animals>(&2)?;
                    operation.remove::<Animals>(&9)
                })
                .unwrap_err();
            batch.run(|operation| operation.insert::<Animals>(&3, &animal("once", 3))).unwrap();
        })
        .unwrap();
    let snapshot = store.snapshot().unwrap();
    let rows: Vec<_> = snapshot.rows::<Animals>(None, Direction::Forward).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, [(1, animal("staged", 2)), (3, animal("once", 3))]);
    assert_eq!(snapshot.find::<AnimalsByName>(&"once".into()).unwrap(), Some(3));
    assert_eq!(findings(&store), []);
}

#[test]
fn what_does_not_decode_can_be_discarded_with_the_entries_that_are_known() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    insert(&store, 2, &animal("Bob", 1)).unwrap();
    tamper(&store, "animals", &1_u64.to_be_bytes(), Some(b"rubbish"));
    let removed = store.write(|batch| batch.run(|operation| operation.remove::<Animals>(&1))).unwrap();
    assert!(matches!(removed, Err(Error::Corrupt { .. })));
    let discarded = store.write(|batch| {
        batch.run(|operation| {
            operation.discard::<Animals>(&1)?;
            operation.discard_entry::<AnimalsByHouse>(&1, &1)
        })
    });
    discarded.unwrap().unwrap();
    assert_eq!(house(&store, 1, KeyRange::ALL, Direction::Forward), [2]);
    // What nobody could know is left, for a rebuild.
    assert!(matches!(
        findings(&store)[..],
        [Finding { table: "animals_by_name", problem: Problem::DanglingEntry, .. }]
    ));
    store.rebuild_indexes().unwrap();
    assert_eq!(findings(&store), []);
}

#[test]
fn operations_see_what_was_staged_before_them() {
    let store = a_store();
    store
        .write(|batch| {
            batch.run(|operation| operation.insert::<Animals>(&1, &animal("Ada", 1))).unwrap();
            batch.run(|operation| operation.replace::<Animals>(&1, &animal("Eve", 2))).unwrap();
            batch.run(|operation| operation.insert::<Animals>(&2, &animal("Ada", 1))).unwrap();
            batch
                .run(|operation| {
                    assert_eq!(operation.find::<AnimalsByName>(&"Eve".into())?, Some(1));
                    assert_eq!(operation.get::<Animals>(&2)?, Some(animal("Ada", 1)));
                    operation.remove::<Animals>(&1)
                })
                .unwrap();
        })
        .unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.get::<Animals>(&1).unwrap(), None);
    assert_eq!(snapshot.find::<AnimalsByName>(&"Eve".into()).unwrap(), None);
    assert_eq!(snapshot.find::<AnimalsByName>(&"Ada".into()).unwrap(), Some(2));
    assert_eq!(findings(&store), []);
}

#[test]
fn a_panic_aborts_the_batch_and_the_store_goes_on() {
    let store = a_store();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        store.write(|batch| {
            batch.run(|operation| operation.insert::<Animals>(&1, &animal("Ada", 1))).unwrap();
            panic!("planned");
        })
    }));
    assert!(panicked.is_err());
    insert(&store, 2, &animal("Bob", 1)).unwrap();
    assert_eq!(store.snapshot().unwrap().len::<Animals>().unwrap(), 1);
    assert_eq!(findings(&store), []);
}

#[test]
fn a_snapshot_shows_one_state_for_as_long_as_it_is_held() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    let before = store.snapshot().unwrap();
    insert(&store, 2, &animal("Bob", 1)).unwrap();
    assert_eq!(before.get::<Animals>(&2).unwrap(), None);
    assert_eq!(store.snapshot().unwrap().get::<Animals>(&2).unwrap(), Some(animal("Bob", 1)));
}

#[test]
fn a_page_never_bleeds_into_the_neighbouring_fields() {
    let store = a_store();
    for house in [0, 1, 2, u64::MAX - 1, u64::MAX] {
        for key in [0, 1, 2, u64::MAX - 1, u64::MAX] {
            let key = key ^ (house << 8); // keys differ between houses and still reach both ends
            insert(&store, key, &animal(&format!("{house} {key}"), house)).unwrap();
        }
    }
    for number in [0, 1, 2, u64::MAX - 1, u64::MAX] {
        let mut expected: Vec<u64> = [0, 1, 2, u64::MAX - 1, u64::MAX].map(|key| key ^ (number << 8)).to_vec();
        expected.sort_unstable();
        let read = |range, direction| house(&store, number, range, direction);
        assert_eq!(read(KeyRange::ALL, Direction::Forward), expected);
        let below = KeyRange { above: None, below: Some(&expected[3]) };
        assert_eq!(read(below, Direction::Forward), expected[..3]);
        let above = KeyRange { above: Some(&expected[1]), below: None };
        assert_eq!(read(above, Direction::Forward), expected[2..]);
        let nothing = KeyRange { above: Some(&expected[3]), below: Some(&expected[1]) };
        assert_eq!(read(nothing, Direction::Forward), []);
        let reversed: Vec<_> = expected.iter().rev().copied().collect();
        assert_eq!(read(KeyRange::ALL, Direction::Reverse), reversed);
    }
}

#[test]
fn verification_finds_every_planted_fault_and_a_rebuild_mends_the_indexes() {
    let store = a_store();
    for key in 1..=4 {
        insert(&store, key, &animal(&format!("animal {key}"), 7)).unwrap();
    }
    tamper(&store, "animals_by_name", b"animal 1", None);
    tamper(&store, "animals_by_name", b"nobody", Some(&99_u64.to_be_bytes()));
    tamper(&store, "animals_by_name", b"animal 2", Some(&3_u64.to_be_bytes()));
    tamper(&store, "animals_by_house", &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], Some(&[]));
    tamper(&store, "animals_by_house", b"short", Some(&[]));
    let mut found: Vec<_> = findings(&store).into_iter().map(|finding| (finding.table, finding.problem)).collect();
    found.sort_by_key(|(table, problem)| format!("{table} {problem:?}"));
    assert_eq!(
        found,
        [
            ("animals_by_house", Problem::Key),
            ("animals_by_house", Problem::WrongEntry),
            ("animals_by_name", Problem::DanglingEntry),
            ("animals_by_name", Problem::MissingEntry),
            ("animals_by_name", Problem::WrongEntry),
            ("animals_by_name", Problem::WrongEntry),
        ]
    );
    assert_eq!(store.rebuild_indexes().unwrap(), 4);
    assert_eq!(findings(&store), []);
    assert_eq!(house(&store, 7, KeyRange::ALL, Direction::Forward), [1, 2, 3, 4]);
}

#[test]
fn a_damaged_record_is_an_error_that_names_table_and_key() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    let key = 1_u64.to_be_bytes();
    let mut value = store.snapshot().unwrap().raw("animals", &key).unwrap().unwrap();
    value[7] ^= 1;
    tamper(&store, "animals", &key, Some(&value));
    let error = store.snapshot().unwrap().get::<Animals>(&1).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { table: "animals", key, .. } if key == "0000000000000001"), "{error}");
    assert!(matches!(findings(&store)[0].problem, Problem::Record(_)));
    tamper(&store, "animals", b"odd", Some(&value));
    assert!(findings(&store).iter().any(|finding| finding.problem == Problem::Key));
}

#[test]
fn a_closed_store_says_so_and_closing_again_is_fine() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    let held = store.snapshot().unwrap();
    store.close().unwrap();
    store.close().unwrap();
    assert!(matches!(store.snapshot(), Err(Error::Closed)));
    assert!(matches!(insert(&store, 2, &animal("Bob", 1)), Err(Error::Closed)));
    drop(held);
}

#[test]
fn files_are_reopened_after_a_close_and_after_a_drop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    let options = Options::default();
    for key in 0..4 {
        let store = options.open(&path, &SCHEMA).unwrap();
        assert_eq!(store.snapshot().unwrap().len::<Animals>().unwrap(), key);
        insert(&store, key, &animal(&key.to_string(), 1)).unwrap();
        assert!(matches!(options.open(&path, &SCHEMA), Err(OpenError::InUse { .. })));
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
    assert!(matches!(refused, Err(OpenError::Foreign { .. })));
    let text = directory.path().join("text");
    std::fs::write(&text, "no database, but long enough to be looked at twice".repeat(1000)).unwrap();
    let before = std::fs::read(&text).unwrap();
    let refused = Options::default().open(&text, &SCHEMA);
    assert!(matches!(refused, Err(OpenError::Damaged { .. })));
    assert_eq!(std::fs::read(&text).unwrap(), before);
}

#[test]
fn newer_formats_are_refused_unless_they_allow_older_readers() {
    let directory = tempfile::tempdir().unwrap();
    for (oldest_reader, is_readable) in [(1, true), (2, false)] {
        let path = directory.path().join(format!("{oldest_reader}"));
        let newer = Schema { catalogue: SCHEMA.catalogue, format: 2, oldest_reader, migrations: &[] };
        Options::default().open(&path, &newer).unwrap().close().unwrap();
        match Options::default().open(&path, &SCHEMA) {
            Ok(_) => assert!(is_readable),
            Err(OpenError::NewerFormat { found: 2, supported: 1, .. }) => assert!(!is_readable),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn migrations_run_once_in_order_after_a_copy_is_kept() {
    fn note(store: &Store, name: &str) -> Result<(), Error> {
        let key = store.snapshot()?.len::<Animals>()?;
        insert(store, key, &animal(name, 1))
    }
    const LATER: Schema = Schema {
        catalogue: SCHEMA.catalogue,
        format: 3,
        oldest_reader: 3,
        migrations: &[
            Migration { name: "second", to_format: 2, run: |store| note(store, "second") },
            Migration { name: "third", to_format: 3, run: |store| note(store, "third") },
        ],
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
    assert!(matches!(Options::default().open(&path, &SCHEMA), Err(OpenError::NewerFormat { .. })));
    let kept = Options::default().open(&directory.path().join("zoo.before-format-2"), &SCHEMA).unwrap();
    assert_eq!(kept.snapshot().unwrap().len::<Animals>().unwrap(), 1);
}

#[test]
fn a_second_upgrade_keeps_a_copy_of_its_own_and_runs_what_is_new() {
    const fn upgrade(format: u32, migrations: &'static [Migration]) -> Schema {
        Schema { catalogue: SCHEMA.catalogue, format, oldest_reader: format, migrations }
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
        catalogue: SCHEMA.catalogue,
        format: 2,
        oldest_reader: 2,
        migrations: &[Migration { name: "second", to_format: 2, run }],
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    Options::default().open(&path, &SCHEMA).unwrap().close().unwrap();
    for _ in 0..2 {
        assert!(matches!(Options::default().open(&path, &LATER), Err(OpenError::Store(Error::Refused(_)))));
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
        catalogue: SCHEMA.catalogue,
        format: 2,
        oldest_reader: 2,
        migrations: &[Migration { name: "second", to_format: 2, run: |_| panic!("it runs without a copy") }],
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    Options::default().open(&path, &SCHEMA).unwrap().close().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("zoo.before-format-2.partial")).unwrap();
    let refused = Options::default().open(&path, &LATER).err().unwrap();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused}");
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["zoo"]);
    Options::default().open(&path, &SCHEMA).unwrap().close().unwrap(); // of the format it was
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
        let older =
            Schema { catalogue: catalogue![without_index::Animals], format: 1, oldest_reader: 1, migrations: &[] };
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
                batch.run(|operation| {
                    operation.insert::<without_index::Animals>(&new, &animal(&format!("new {new}"), 3))?;
                    operation.replace::<without_index::Animals>(&2, &animal("moves", 10 + round))?;
                    if round == 0 { operation.remove::<without_index::Animals>(&3) } else { Ok(()) }
                })
            });
            worked.unwrap().unwrap();
            if is_closed {
                store.close().unwrap();
            }
            drop(store);
            let store = Options::default().open(&path, &newer).unwrap();
            assert_eq!(findings(&store), [], "format {newer_format}, round {round}");
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
    const BEFORE: Schema =
        Schema { catalogue: catalogue![without_index::Animals], format: 1, oldest_reader: 1, migrations: &[] };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zoo");
    let store = Options::default().open(&path, &BEFORE).unwrap();
    for key in 0..5 {
        let inserting = |batch: &mut crate::Batch| {
            batch.run(|operation| operation.insert::<without_index::Animals>(&key, &animal(&key.to_string(), 3)))
        };
        store.write(inserting).unwrap().unwrap();
    }
    store.close().unwrap();
    let store = Options::default().open(&path, &SCHEMA).unwrap();
    assert_eq!(findings(&store), []);
    assert_eq!(house(&store, 3, KeyRange::ALL, Direction::Forward), [0, 1, 2, 3, 4]);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, Animal),
    Replace(u64, Animal),
    Remove(u64),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let key = 0..8_u64;
    let animal = ("[a-d]", prop::option::of(0..3_u64)).prop_map(|(name, house)| Animal { name, house });
    let step = prop_oneof![
        (key.clone(), animal.clone()).prop_map(|(key, animal)| Step::Insert(key, animal)),
        (key.clone(), animal).prop_map(|(key, animal)| Step::Replace(key, animal)),
        key.prop_map(Step::Remove),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..6), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn indexes_are_a_function_of_the_records_after_any_operations(batches in steps()) {
        let store = a_store();
        let mut model: BTreeMap<u64, Animal> = BTreeMap::new();
        for batch_steps in batches {
            store.write(|batch| {
                for step in batch_steps {
                    let taken = |model: &BTreeMap<u64, Animal>, key, name: &str| {
                        model.iter().any(|(other, animal)| *other != key && animal.name == name)
                    };
                    match step {
                        // Inserting is for keys known to be new.
                        Step::Insert(key, _) if model.contains_key(&key) => {}
                        Step::Insert(key, animal) => {
                            let result = batch.run(|operation| operation.insert::<Animals>(&key, &animal));
                            assert_eq!(result.is_err(), taken(&model, key, &animal.name));
                            if result.is_ok() {
                                model.insert(key, animal);
                            }
                        }
                        Step::Replace(key, animal) => {
                            let result = batch.run(|operation| operation.replace::<Animals>(&key, &animal));
                            assert_eq!(result.is_ok(), model.contains_key(&key) && !taken(&model, key, &animal.name));
                            if result.is_ok() {
                                model.insert(key, animal);
                            }
                        }
                        Step::Remove(key) => {
                            let result = batch.run(|operation| operation.remove::<Animals>(&key));
                            assert_eq!(result.is_ok(), model.remove(&key).is_some());
                        }
                    }
                }
            }).unwrap();
            prop_assert_eq!(findings(&store), vec![]);
            let snapshot = store.snapshot().unwrap();
            let rows = snapshot.rows::<Animals>(None, Direction::Forward).unwrap();
            prop_assert_eq!(&rows.map(Result::unwrap).collect::<BTreeMap<_, _>>(), &model);
            for number in 0..3 {
                let expected: Vec<_> =
                    model.iter().filter(|(_, it)| it.house == Some(number)).map(|(key, _)| *key).collect();
                prop_assert_eq!(house(&store, number, KeyRange::ALL, Direction::Forward), expected);
            }
            for (key, animal) in &model {
                prop_assert_eq!(snapshot.find::<AnimalsByName>(&animal.name).unwrap(), Some(*key));
            }
        }
    }
}
