//! Files altered behind the store's back: every call answers, with a row or an error, and none panics.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use decentcom_kvstore::{Direction, Options, RawRange, Schema, Store, catalogue, record, table};

record! {
    /// A page.
    struct Page: version 1 {
        /// What it says.
        text: String,
    }
}

table! {
    /// Every page.
    table Pages("pages"): u64 => Page;
    /// Lists the pages by their length.
    index PagesByLength("pages_by_length"): u64 = |_, page| Some(page.text.len() as u64);
}

const PAGES: u64 = 300;

fn open(path: &Path) -> Result<Store, String> {
    let schema = Schema::new(catalogue![Pages]);
    Options::default().open(path, &schema).map_err(|error| error.to_string())
}

fn a_good_file() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path).unwrap();
    for key in 0..PAGES {
        let page = Page { text: "y".repeat(300 + usize::try_from(key).unwrap()) };
        store.write(|batch| batch.insert::<Pages>(&key, &page)).unwrap();
    }
    store.close().unwrap();
    std::fs::read(&path).unwrap()
}

/// Opens a file of these bytes, reads all of it in every way, writes and closes; `Err` is the first refusal.
fn use_everything(bytes: &[u8]) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    std::fs::write(&path, bytes).unwrap();
    let store = open(&path)?;
    let mut refused = None;
    let mut note = |result: Result<(), String>| {
        if let Err(error) = result {
            refused.get_or_insert(error);
        }
    };
    note(store.verify(|_| ()).map_err(|error| error.to_string()));
    let snapshot = store.snapshot().unwrap();
    for key in 0..PAGES {
        note(snapshot.get::<Pages>(&key).map(|_| ()).map_err(|error| error.to_string()));
    }
    let rows = snapshot.scan("pages_by_length", RawRange::ALL, Direction::Reverse);
    note(rows.and_then(|mut rows| rows.try_for_each(|row| row.map(|_| ()))).map_err(|error| error.to_string()));
    drop(snapshot);
    let written = store.write(|batch| batch.replace::<Pages>(&7, &Page { text: "z".into() }));
    note(written.map_err(|error| error.to_string()));
    note(store.close().map_err(|error| error.to_string()));
    refused.map_or(Ok(()), Err)
}

fn panics(bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| use_everything(bytes))).is_err()
}

#[test]
fn a_good_file_is_fine() {
    assert_eq!(use_everything(&a_good_file()), Ok(()));
}

#[test]
fn a_truncated_file_is_refused() {
    let good = a_good_file();
    for length in [1, 9, 64, 320, 4095, 4096, 8192, good.len() / 4, good.len() / 2, good.len() - 4096, good.len() - 1] {
        assert!(!panics(&good[..length]), "cut to {length} bytes");
        assert!(use_everything(&good[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn no_flipped_bit_panics() {
    let good = a_good_file();
    let mut random = 1_u64;
    let mut panicked = Vec::new();
    for _ in 0..600 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(random >> 20).unwrap() % good.len();
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (random >> 61);
        if panics(&bytes) {
            panicked.push(at);
        }
    }
    assert!(panicked.is_empty(), "flipping a bit in these bytes panics: {panicked:?}");
}
