//! The conformance suite: one test per sentence of the storage contract, for every backend.
//!
//! A [`Sentence`] is a sentence of the contract and the test that holds a store to it. [`sentences`] lists them all;
//! a [`Setup`] says which store to run them over: a backend, in memory, on disk, or closed and reopened after every
//! call that changes something. `tests/conformance.rs` runs each sentence over each setup; a new backend is one more
//! line there.

// This is test code in a library so that several programs can run it: a broken promise is to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod context;
mod contract;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod model;
mod reopening;

use futures::future::LocalBoxFuture;

pub use context::{Context, Place, Setup};

/// A sentence of the contract, with the test that holds a store to it.
#[derive(Clone, Copy)]
pub struct Sentence {
    /// Where it is written: `module::the_sentence`.
    pub name: &'static str,
    /// Runs the test; it panics if the store breaks its promise.
    pub test: fn(Context) -> LocalBoxFuture<'static, ()>,
}

/// Every sentence of the contract.
pub fn sentences() -> impl Iterator<Item = &'static Sentence> {
    contract::ALL.iter().copied().flatten()
}

/// Lists the tests of a module. One that is forgotten is dead code, which the compiler reports.
macro_rules! suite {
    ($($name:ident,)*) => {
        /// The sentences of this module.
        pub(crate) const SENTENCES: &[crate::Sentence] = &[$(crate::Sentence {
            name: concat!(module_path!(), "::", stringify!($name)),
            test: |context| Box::pin($name(context)),
        }),*];
    };
}
pub(crate) use suite;

/// Asserts that a call was refused with exactly this kind of error.
macro_rules! assert_refused {
    ($result:expr, $expected:pat $(if $guard:expr)?) => {
        match $result {
            Err($expected) $(if $guard)? => {}
            other => panic!("expected {}, got {other:?}", stringify!($expected)),
        }
    };
}
pub(crate) use assert_refused;
