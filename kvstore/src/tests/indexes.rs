//! Indexes: held to their records by verification, made anew from them, kept through every batch.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Problem;

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
    let mut found: Vec<_> = mismatches(&store).into_iter().map(|it| (it.table, it.problem)).collect();
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
    assert_eq!(mismatches(&store), []);
    assert_eq!(house(&store, 7, KeyRange::ALL, Direction::Forward), [1, 2, 3, 4]);
}

#[derive(Clone, Debug)]
enum Change {
    Insert(u64, Animal),
    Replace(u64, Animal),
    Remove(u64),
}

/// Batches of changes, and whether each is given up in the end.
fn batches() -> impl Strategy<Value = Vec<(Vec<Change>, bool)>> {
    let key = 0..8_u64;
    let animal = ("[a-d]", prop::option::of(0..3_u64)).prop_map(|(name, house)| Animal { name, house });
    let change = prop_oneof![
        (key.clone(), animal.clone()).prop_map(|(key, animal)| Change::Insert(key, animal)),
        (key.clone(), animal).prop_map(|(key, animal)| Change::Replace(key, animal)),
        key.prop_map(Change::Remove),
    ];
    prop::collection::vec((prop::collection::vec(change, 1..6), prop::bool::weighted(0.2)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn indexes_are_a_function_of_the_records_after_any_batches(batches in batches()) {
        let store = a_store();
        let mut committed: BTreeMap<u64, Animal> = BTreeMap::new();
        for (changes, is_given_up) in batches {
            let mut model = committed.clone();
            let written = store.write(|batch| {
                for change in changes {
                    let taken = |model: &BTreeMap<u64, Animal>, key, name: &str| {
                        model.iter().any(|(other, animal)| *other != key && animal.name == name)
                    };
                    match change {
                        // Inserting is for keys known to be new.
                        Change::Insert(key, _) if model.contains_key(&key) => {}
                        Change::Insert(key, animal) => {
                            let result = batch.insert::<Animals>(&key, &animal);
                            assert_eq!(result.is_err(), taken(&model, key, &animal.name));
                            if result.is_ok() {
                                model.insert(key, animal);
                            }
                        }
                        Change::Replace(key, animal) => {
                            let result = batch.replace::<Animals>(&key, &animal);
                            assert_eq!(result.is_ok(), model.contains_key(&key) && !taken(&model, key, &animal.name));
                            if result.is_ok() {
                                model.insert(key, animal);
                            }
                        }
                        Change::Remove(key) => {
                            let result = batch.remove::<Animals>(&key);
                            assert_eq!(result.is_ok(), model.remove(&key).is_some());
                        }
                    }
                }
                if is_given_up { Err(Error::Refused("given up".into())) } else { Ok(()) }
            });
            prop_assert_eq!(written.is_err(), is_given_up);
            if !is_given_up {
                committed = model;
            }
            prop_assert_eq!(mismatches(&store), vec![]);
            let snapshot = store.snapshot().unwrap();
            let rows = snapshot.rows::<Animals>(None, Direction::Forward).unwrap();
            prop_assert_eq!(&rows.map(Result::unwrap).collect::<BTreeMap<_, _>>(), &committed);
            for number in 0..3 {
                let expected: Vec<_> =
                    committed.iter().filter(|(_, it)| it.house == Some(number)).map(|(key, _)| *key).collect();
                prop_assert_eq!(house(&store, number, KeyRange::ALL, Direction::Forward), expected);
            }
            for (key, animal) in &committed {
                prop_assert_eq!(snapshot.find::<AnimalsByName>(&animal.name).unwrap(), Some(*key));
            }
        }
    }
}
