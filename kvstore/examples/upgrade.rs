//! A record gets a field: rows that older programs wrote are read as the new version, and written as it when they change.
//!
//! `cargo run -p decentcom-kvstore --example upgrade`

#![allow(clippy::print_stdout)] // an example shows what it does

use std::path::Path;

use decentcom_kvstore::{
    Catalogue, DecodeError, Direction, Error, Options, RawRange, Schema, catalogue, decode_payload, record, table,
};

record! {
    /// A book, as it was written before the library lent any.
    pub struct BookV1: version 1 {
        /// The title.
        pub title: String,
    }
}

record! {
    /// A book.
    pub struct Book: version 2, older with upgrade {
        /// The title.
        pub title: String,
        /// Whether somebody has it at home.
        pub is_lent: bool,
    }
}

/// What a book of an older version is today. It stays for ever, as do the fields of that version.
fn upgrade(version: u8, payload: &[u8]) -> Result<Book, DecodeError> {
    match version {
        1 => decode_payload::<BookV1>(payload).map(|old| Book { title: old.title, is_lent: false }),
        other => Err(DecodeError::UnknownVersion(other)),
    }
}

/// The program of last year.
mod old {
    use super::*;

    table! {
        /// Every book there is.
        pub table Books("books"): u64 => BookV1;
    }
}

table! {
    /// Every book there is.
    pub table Books("books"): u64 => Book;
    /// Finds a book by its title; made from the records when the store is next opened, as it was declared later.
    unique BooksByTitle("books_by_title"): String = |_, book| Some(book.title.clone());
}

fn schema(catalogue: Catalogue) -> Schema {
    Schema::new(catalogue)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("library.redb");
    last_year(&path)?;

    let store = Options::default().open(&path, &schema(catalogue![Books]))?;
    let snapshot = store.snapshot()?;
    let found = snapshot.find::<BooksByTitle>(&"Dune".into())?;
    println!("found by the new index: {found:?}, {:?}", snapshot.get::<Books>(&1)?);

    store.write(|batch| batch.replace::<Books>(&1, &Book { title: "Dune".into(), is_lent: true }))?;
    for row in store.snapshot()?.scan("books", RawRange::ALL, Direction::Forward)? {
        let (key, value) = row?;
        println!("{key:?} lies there as version {:?}", value.first());
    }
    drop(snapshot);
    store.close().map_err(Error::into)
}

fn last_year(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = Options::default().open(path, &schema(catalogue![old::Books]))?;
    store.write(|batch| {
        batch.insert::<old::Books>(&1, &BookV1 { title: "Dune".into() })?;
        batch.insert::<old::Books>(&2, &BookV1 { title: "Emma".into() })
    })?;
    store.close().map_err(Error::into)
}
