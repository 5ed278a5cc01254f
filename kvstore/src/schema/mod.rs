//! What bytes mean: keys, records, tables with their indexes, and the catalogue of them all. Nothing here reads or writes
//! a file, or knows that there is one.
//!
//! ```text
//!  catalogue ──> explain ──> table ──> key, record ──> codec, range, part
//!                              encodings ──> key
//! ```

pub(crate) mod catalogue;
pub(crate) mod codec;
mod encodings;
pub(crate) mod explain;
pub(crate) mod key;
pub(crate) mod part;
pub(crate) mod range;
pub(crate) mod record;
pub(crate) mod table;
