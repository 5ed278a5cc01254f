//! Rebuilding indexes takes many commits; together they make every entry.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

use decentcom_kvstore::{
    Direction, KeyRange, Options, Schema, Store, catalogue, record, redb::backends::InMemoryBackend, table,
};

record! {
    /// A coat.
    struct Coat: version 1 {
        /// The hook it hangs on.
        hook: u64,
    }
}

table! {
    /// Every coat.
    table Coats("coats"): u64 => Coat;
    /// Lists the coats on a hook.
    index CoatsByHook("coats_by_hook"): u64 = |_, coat| Some(coat.hook);
}

/// More than two steps of a rebuild.
const COATS: u64 = 20_001;

fn a_full_wardrobe() -> Store {
    let schema = Schema::new(catalogue![Coats]);
    let store = Options::default().open_over(InMemoryBackend::new(), &schema).unwrap();
    let filled = store.write(|batch| (0..COATS).try_for_each(|key| batch.insert::<Coats>(&key, &Coat { hook: 1 })));
    filled.unwrap();
    store
}

fn assert_sound(store: &Store) {
    store.verify(|mismatch| panic!("{mismatch}")).unwrap();
}

#[test]
fn a_rebuild_of_many_steps_makes_every_entry() {
    let store = a_full_wardrobe();
    assert_eq!(store.rebuild_indexes().unwrap(), COATS);
    assert_sound(&store);
    let snapshot = store.snapshot().unwrap();
    let entries = snapshot.keys_of::<CoatsByHook>(&1, KeyRange::ALL, Direction::Forward).unwrap();
    assert_eq!(entries.count() as u64, COATS);
}
