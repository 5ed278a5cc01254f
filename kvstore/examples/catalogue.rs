//! A table with two indexes: what is written together is one commit, what an index promises holds.
//!
//! `cargo run -p decentcom-kvstore --example catalogue`

#![allow(clippy::print_stdout)] // an example shows what it does

use decentcom_kvstore::{Direction, Error, KeyRange, Options, Schema, catalogue, record, table};

record! {
    /// A book on a shelf.
    pub struct Book: version 1 {
        /// The title.
        pub title: String,
        /// The shelf it stands on.
        pub shelf: u64,
        /// Its number in the catalogue of the library.
        pub signature: String,
    }
}

table! {
    /// Every book there is.
    pub table Books("books"): u64 => Book;
    /// Finds a book by its signature.
    unique BooksBySignature("books_by_signature"): String = |_, book| Some(book.signature.clone());
    /// Lists the books of a shelf.
    index BooksByShelf("books_by_shelf"): u64 = |_, book| Some(book.shelf);
}

fn book(title: &str, shelf: u64, signature: &str) -> Book {
    Book { title: title.into(), shelf, signature: signature.into() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let schema = Schema::new(catalogue![Books]);
    let store = Options::default().open(&directory.path().join("library.redb"), &schema)?;

    // A batch is one durable commit, stored as a whole or not at all.
    store.write(|batch| {
        batch.insert::<Books>(&1, &book("Dune", 7, "HER-1"))?;
        batch.insert::<Books>(&2, &book("Emma", 7, "AUS-1"))
    })?;
    let taken = store.write(|batch| {
        batch.insert::<Books>(&3, &book("Persuasion", 8, "AUS-2"))?;
        batch.insert::<Books>(&4, &book("Dune Messiah", 8, "HER-1"))
    });
    assert!(matches!(taken, Err(Error::Duplicate { index: "books_by_signature" })));
    assert!(!store.snapshot()?.contains::<Books>(&3)?);

    // A book that moves is found on its new shelf: nobody but the declaration knows that there is an index.
    store.write(|batch| batch.replace::<Books>(&2, &book("Emma", 8, "AUS-1")))?;

    let snapshot = store.snapshot()?;
    println!("HER-1 is the book {:?}", snapshot.find::<BooksBySignature>(&"HER-1".into())?);
    for shelf in [7, 8] {
        for entry in snapshot.keys_of::<BooksByShelf>(&shelf, KeyRange::ALL, Direction::Forward)? {
            let (_, id) = entry?;
            println!("shelf {shelf}: {:?}", snapshot.get::<Books>(&id)?.map(|book| book.title));
        }
    }
    drop(snapshot);
    store.close()?;
    Ok(())
}
