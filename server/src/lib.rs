//! decentcom: a self-hosted community server and its storage.
//!
//! [`storage`] is the contract and its backends.

pub mod storage;
