//! `dcstore` as an operator meets it: the built program, run on stores of both backends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests, too

mod damage;
mod help;
<<<<<<< HEAD
mod ids;
=======
mod limits;
>>>>>>> 87ec27c (One damaged row blocks no reclaiming and no sweep; two programs of different catalogues share a store; copies are whole or not there)
mod looking;
mod repair;
mod running;
mod support;
