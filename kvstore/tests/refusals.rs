//! What the store refuses, so that everything in it stays readable and indexed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

use decentcom_kvstore::{Error, Options, Schema, Store, catalogue, record, redb::backends::InMemoryBackend, table};

record! {
    /// A series of measurements.
    struct Series: version 1 {
        /// Its name.
        name: String,
        /// What was measured.
        values: Vec<u64>,
    }
}

table! {
    /// Every series.
    table AllSeries("series"): u64 => Series;
    /// Finds a series by its name.
    unique SeriesByName("series_by_name"): String = |_, series| Some(series.name.clone());
}

fn a_store() -> Store {
    let schema = Schema::new(catalogue![AllSeries]);
    Options::default().open_over(InMemoryBackend::new(), &schema).unwrap()
}

fn series(name: &str) -> Series {
    Series { name: name.into(), values: Vec::new() }
}

fn insert(store: &Store, key: u64, series: &Series) -> Result<(), Error> {
    store.write(|batch| batch.insert::<AllSeries>(&key, series))
}

fn assert_sound(store: &Store) {
    store.verify(|mismatch| panic!("{mismatch}")).unwrap();
}

#[test]
fn an_insert_over_a_committed_row_stores_nothing() {
    let store = a_store();
    insert(&store, 1, &series("first")).unwrap();
    assert!(matches!(insert(&store, 1, &series("second")), Err(Error::Exists { table: "series", .. })));
    assert_sound(&store);
    assert_eq!(store.snapshot().unwrap().get::<AllSeries>(&1).unwrap(), Some(series("first")));
    insert(&store, 2, &series("second")).unwrap();
}

#[test]
fn an_insert_over_a_row_of_the_same_batch_is_refused() {
    let store = a_store();
    let refused = store.write(|batch| {
        batch.insert::<AllSeries>(&1, &series("first"))?;
        batch.insert::<AllSeries>(&1, &series("second"))
    });
    assert!(matches!(refused, Err(Error::Exists { .. })));
    assert_sound(&store);
    assert!(store.snapshot().unwrap().is_empty::<AllSeries>().unwrap());
}

#[test]
fn a_row_removed_and_inserted_again_in_one_batch_is_there() {
    let store = a_store();
    insert(&store, 1, &series("first")).unwrap();
    let written = store.write(|batch| {
        batch.remove::<AllSeries>(&1)?;
        batch.insert::<AllSeries>(&1, &series("second"))
    });
    written.unwrap();
    assert_sound(&store);
    assert_eq!(store.snapshot().unwrap().find::<SeriesByName>(&"second".into()).unwrap(), Some(1));
}

#[test]
fn a_row_inserted_over_another_is_refused_whatever_the_batch_does_to_it_later() {
    let store = a_store();
    insert(&store, 1, &series("first")).unwrap();
    let replaced = store.write(|batch| {
        batch.insert::<AllSeries>(&1, &series("second"))?;
        batch.replace::<AllSeries>(&1, &series("third"))
    });
    assert!(matches!(replaced, Err(Error::Exists { .. })));
    let removed = store.write(|batch| {
        batch.insert::<AllSeries>(&1, &series("second"))?;
        batch.remove::<AllSeries>(&1)
    });
    assert!(matches!(removed, Err(Error::Exists { .. })));
    assert_sound(&store);
    assert_eq!(store.snapshot().unwrap().get::<AllSeries>(&1).unwrap(), Some(series("first")));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let store = a_store();
    // 600,000 bytes as stored, but 4.8 MB in memory: more than decoding may claim.
    let many = Series { name: "many".into(), values: vec![0; 600_000] };
    assert!(matches!(insert(&store, 1, &many), Err(Error::TooLarge { .. })));
    let fewer = Series { name: "fewer".into(), values: vec![0; 500_000] };
    insert(&store, 1, &fewer).unwrap();
    assert_eq!(store.snapshot().unwrap().get::<AllSeries>(&1).unwrap(), Some(fewer));
}

#[test]
fn entries_up_to_a_text_leave_out_longer_ones() {
    let store = a_store();
    insert(&store, 1, &series("ab")).unwrap();
    insert(&store, 2, &series("abc")).unwrap();
    let snapshot = store.snapshot().unwrap();
    let entries = snapshot.entries_up_to::<SeriesByName>(&"ab".into()).unwrap();
    assert_eq!(entries.collect::<Result<Vec<_>, _>>().unwrap(), [("ab".to_owned(), 1)]);
}
