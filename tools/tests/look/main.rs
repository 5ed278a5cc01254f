//! `dcstore` as an operator meets it: the built program, run on stores of both backends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

mod copies;
mod damage;
mod help;
mod ids;
mod limits;
mod looking;
mod matrix;
mod repair;
mod running;
mod support;
