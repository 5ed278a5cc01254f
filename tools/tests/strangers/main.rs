//! What strangers did: to the tables of a store, in its texts, in the names of files, in dumps; and where results go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test program

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod altered;
mod hostile;
mod streams;
mod terminal;
