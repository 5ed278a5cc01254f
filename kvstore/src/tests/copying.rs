//! A copy in the order of the keys: everything the store has, as it is.

use super::*;
use crate::{RawRange, RawSource as _};

fn raw(store: &Store, table: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let snapshot = store.snapshot().unwrap();
    snapshot.scan(table, RawRange::ALL, Direction::Forward).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_copy_has_every_row_entry_and_fact_and_is_smaller_than_a_store_that_grew() {
    let store = a_store();
    for number in 0..3000_u64 {
        let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15); // here and there
        insert(&store, key, &animal(&format!("animal {number}"), number % 7)).unwrap();
    }
    tamper(&store, "animals", &[1, 2, 3], Some(b"no record")); // a copy is no judge
    tamper(&store, "animals_by_house", b"nobody's entry", Some(b""));
    store.write(|batch| batch.set_meta("fact", b"something")).unwrap();
    let copy = a_store();
    assert!(store.copy_to(&copy, |_| {}).unwrap());
    for table in ["animals", "animals_by_house", "animals_by_name"] {
        assert_eq!(raw(&copy, table), raw(&store, table), "{table}");
    }
    assert_eq!(copy.meta("fact").unwrap().unwrap(), b"something");
    assert_eq!(mismatches(&copy), mismatches(&store));
    let tree = |store: &Store| store.snapshot().unwrap().tree("animals").unwrap().unwrap();
    let unused = |store: &Store| tree(store).fragmented_bytes * 100 / (tree(store).leaf_pages * 4096);
    assert!(unused(&store) > 15 && unused(&copy) < 8, "{} % and {} % unused", unused(&store), unused(&copy));
    assert!(tree(&copy).leaf_pages < tree(&store).leaf_pages);
}

#[test]
fn a_store_with_a_table_of_somebody_elses_is_not_copied() {
    let (store, copy) = (a_store(), a_store());
    tamper(&store, "another program's", b"key", Some(b"value"));
    assert!(!store.copy_to(&copy, |_| {}).unwrap());
}
