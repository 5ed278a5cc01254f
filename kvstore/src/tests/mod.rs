//! The store as its users see it: a table with two indexes, declared once.

mod batches;
mod copying;
mod indexes;
mod migrating;
mod opening;
mod reading;

use redb::backends::InMemoryBackend;

use crate::{
    Direction, Error, KeyRange, Mismatch, Options, Schema, Store, catalogue, engine::database::definition, record,
    table,
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
    /// Lists the animals of a house.
    index AnimalsByHouse("animals_by_house"): u64 = |_, animal| animal.house;
    /// Finds an animal by its name.
    unique AnimalsByName("animals_by_name"): String = |_, animal| Some(animal.name.clone());
}

const SCHEMA: Schema = Schema::new(catalogue![Animals]);

fn a_store() -> Store {
    Options::default().open_over(InMemoryBackend::new(), &SCHEMA).unwrap()
}

fn animal(name: &str, house: u64) -> Animal {
    Animal { name: name.into(), house: Some(house) }
}

fn insert(store: &Store, key: u64, animal: &Animal) -> Result<(), Error> {
    store.write(|batch| batch.insert::<Animals>(&key, animal))
}

fn rows(store: &Store) -> Vec<(u64, Animal)> {
    let snapshot = store.snapshot().unwrap();
    snapshot.rows::<Animals>(None, Direction::Forward).unwrap().map(Result::unwrap).collect()
}

fn house(store: &Store, house: u64, range: KeyRange<'_, u64>, direction: Direction) -> Vec<u64> {
    let snapshot = store.snapshot().unwrap();
    let keys = snapshot.keys_of::<AnimalsByHouse>(&house, range, direction).unwrap();
    keys.map(|entry| entry.unwrap().1).collect()
}

fn mismatches(store: &Store) -> Vec<Mismatch> {
    let mut mismatches = Vec::new();
    store.verify(|mismatch| mismatches.push(mismatch)).unwrap();
    mismatches
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
