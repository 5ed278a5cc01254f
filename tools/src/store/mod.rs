//! What the commands that move whole stores share.
//!
//! ```text
//!  contents.rs   the records of a store, in the order of a dump
//!  merge.rs      two such sequences in step
//!  build.rs      a store made of one, beside its place, and read back before anybody sees it
//! ```

pub(crate) mod build;
pub(crate) mod contents;
pub(crate) mod merge;
