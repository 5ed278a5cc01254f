//! Looking into a file without changing a byte of it: its tables, its rows, and what each of their bytes means.
//!
//! `cargo run -p decentcom-kvstore --example look`

#![allow(clippy::print_stdout)] // an example shows what it does

use decentcom_kvstore::{Direction, Options, Part, RawRange, Schema, catalogue, record, table};

record! {
    /// A book.
    pub struct Book: version 1 {
        /// The title.
        pub title: String,
        /// The shelf it stands on.
        pub shelf: u64,
    }
}

table! {
    /// Every book there is.
    pub table Books("books"): u64 => Book;
    /// Lists the books of a shelf.
    index BooksByShelf("books_by_shelf"): u64 = |_, book| Some(book.shelf);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("library.redb");
    let schema = Schema::new(catalogue![Books]);
    let store = Options::default().open(&path, &schema)?;
    store.write(|batch| batch.insert::<Books>(&1, &Book { title: "Dune".into(), shelf: 7 }))?;
    store.close()?;
    drop(store);

    let bytes = std::fs::read(&path)?;
    let store = Options::default().inspect(&path, &schema)?;
    let snapshot = store.snapshot()?;
    for table in schema.catalogue {
        let info = table.describe();
        println!("{}: {}", info.name, info.purpose);
        for name in [info.name].into_iter().chain(info.indexes.iter().map(|index| index.name)) {
            for row in snapshot.scan(name, RawRange::ALL, Direction::Forward)? {
                let (key, value) = row?;
                let Some(meaning) = table.explain(name, &key, &value) else { continue };
                println!("  {name}, a key of {} bytes and a value of {}", key.len(), value.len());
                meaning.key.iter().for_each(|part| show("key", part));
                meaning.value.iter().for_each(|part| show("value", part));
            }
        }
    }
    let mut mismatches = Vec::new();
    store.verify(|mismatch| mismatches.push(mismatch))?;
    println!("{} mismatches", mismatches.len());
    assert_eq!(std::fs::read(&path)?, bytes, "whoever looks changes nothing");
    Ok(())
}

fn show(of: &str, part: &Part) {
    println!("    {of}: {:<10} {:>3} bytes, {}: {:?}", part.name, part.bytes, part.layout, part.value);
}
