//! The conformance suite: one test per sentence of the storage contract, for every backend.
//!
//! A [`Sentence`] is a sentence of the contract and the test that holds a store to it; [`sentences`] lists them all. A
//! [`Provider`] opens the stores of one backend, and [`run_suite`] runs every sentence over them, also with the store closed
//! and opened again after every call that changes something. The suite knows no backend: one that lives in another
//! repository implements [`Provider`] and has the same tests.

// This is test code in a library so that several programs can run it: a broken promise is to panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod context;
mod contract;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod model;
pub mod provider;
mod reopening;
mod runner;

use futures::future::LocalBoxFuture;

/// For implementations of [`Provider`].
pub use async_trait::async_trait;
pub use context::{Context, Setup};
pub use provider::{Kept, Opened, Provider};
pub use runner::run_suite;

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
