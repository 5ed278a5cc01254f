//! Reading: snapshots, pages of an index, and what is damaged.

use super::*;
use crate::{Problem, RawSource as _};

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
fn a_damaged_record_is_an_error_that_names_table_and_key() {
    let store = a_store();
    insert(&store, 1, &animal("Ada", 1)).unwrap();
    let key = 1_u64.to_be_bytes();
    let mut value = store.snapshot().unwrap().raw("animals", &key).unwrap().unwrap();
    value[7] ^= 1;
    tamper(&store, "animals", &key, Some(&value));
    let error = store.snapshot().unwrap().get::<Animals>(&1).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { table: "animals", key, .. } if key == "0000000000000001"), "{error}");
    assert!(matches!(mismatches(&store)[0].problem, Problem::Record(_)));
    tamper(&store, "animals", b"odd", Some(&value));
    assert!(mismatches(&store).iter().any(|mismatch| mismatch.problem == Problem::Key));
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
