//! decentcom: a self-hosted community server and its storage.
//!
//! [`storage`] is the contract and its backends, [`config`] what an operator can set, `http` (a cargo feature, on by
//! default) the API that clients speak. [`terminal`] says which characters of a text must not reach a terminal.

pub mod config;
#[cfg(feature = "http")]
pub mod http;
pub mod storage;
pub mod terminal;
